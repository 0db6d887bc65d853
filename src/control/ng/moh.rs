//! The `moh` dictionary of offers and answers: music for whoever is put on hold.

use std::path::PathBuf;

use super::flags::Name;
use super::request::{FILE_NAME_MAX, Request};
use crate::switch::prompts::Source;
use crate::switch::{HoldMusic, MusicSource};
use crate::wire::ng::Value;

/// Reads it into the request; what is of no effect is noted by name. `false` if all of it is: it
/// names no music.
pub(super) fn read(request: &mut Request<'_>, value: &Value<'_>) -> bool {
    let Value::Dict(entries) = value else {
        return false;
    };
    let (mut file, mut blob, mut reflect) = (None, None, false);
    let (mut sendrecv, mut zero_address) = (false, false);
    for (key, value) in entries {
        let name = Name::new(key);
        let word = value.bytes().and_then(Name::new);
        let word = word.as_ref().map_or(&[][..], Name::bytes);
        let known = match name.as_ref().map_or(&[][..], Name::bytes) {
            b"file" => {
                let named = value.str();
                let named = named.filter(|file| (1..=FILE_NAME_MAX).contains(&file.len()));
                file = named.map(source_of);
                file.is_some()
            }
            b"blob" => {
                let bytes = value.bytes().filter(|bytes| !bytes.is_empty());
                blob = bytes.map(|bytes| Source::Bytes(bytes.into()));
                blob.is_some()
            }
            b"mode" => {
                (sendrecv, reflect) = (word == b"sendrecv", word == b"reflect");
                [&b"sendonly"[..], b"sendrecv", b"reflect"].contains(&word)
            }
            b"connection" => {
                zero_address = word == b"zero";
                zero_address
            }
            _ => false,
        };
        if !known {
            request.ignore(&format!("moh-{}", String::from_utf8_lossy(key)));
        }
    }
    let own = file.or(blob).filter(|_| !reflect).map(MusicSource::Own);
    let source = own.or_else(|| reflect.then_some(MusicSource::Reflect));
    request.moh = source.map(|source| HoldMusic {
        source,
        sendrecv,
        zero_address,
    });
    request.moh.is_some()
}

/// A path, or an `http` or `https` URL.
pub(super) fn source_of(file: &str) -> Source {
    let is_url = ["http://", "https://"].iter().any(|scheme| {
        file.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if is_url {
        Source::Url(file.to_owned())
    } else {
        Source::File(PathBuf::from(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ng::request::Command;

    fn moh(json: &str) -> (Option<HoldMusic>, Vec<String>) {
        let message = format!(r#"{{"command":"query","call-id":"c","moh":{json}}}"#);
        let (_, request) = Request::decode(message.as_bytes());
        let request = request.expect("a request");
        assert_eq!(request.command, Command::Query);
        (request.moh.clone(), request.ignored().to_vec())
    }

    fn own(source: Source, sendrecv: bool, zero_address: bool) -> Option<HoldMusic> {
        Some(HoldMusic {
            source: MusicSource::Own(source),
            sendrecv,
            zero_address,
        })
    }

    #[test]
    fn music_is_a_file_a_url_or_a_blob() {
        let file = Source::File("hold.wav".into());
        assert_eq!(
            moh(r#"{"file":"hold.wav"}"#),
            (own(file.clone(), false, false), vec![])
        );
        let told = r#"{"file":"hold.wav","mode":"sendrecv","connection":"zero"}"#;
        assert_eq!(moh(told), (own(file.clone(), true, true), vec![]));
        let url = Source::Url("HTTP://x/y".into());
        assert_eq!(
            moh(r#"{"file":"HTTP://x/y","mode":"sendonly"}"#).0,
            own(url, false, false)
        );
        let blob = Source::Bytes(b"RIFF"[..].into());
        assert_eq!(moh(r#"{"blob":"RIFF"}"#).0, own(blob, false, false));
        let reflect = moh(r#"{"mode":"reflect","file":"hold.wav"}"#)
            .0
            .expect("music");
        assert_eq!(reflect.source, MusicSource::Reflect);
        let twice = moh(r#"{"db-id":7,"file":"hold.wav","frob":1}"#);
        let ignored = ["moh-db-id", "moh-frob"].map(str::to_owned).to_vec();
        assert_eq!(twice, (own(file, false, false), ignored));
    }

    #[test]
    fn what_names_no_music_is_told_so() {
        let ignored = |json: &str| {
            let (music, ignored) = moh(json);
            assert_eq!(music, None, "{json}");
            ignored.join(",")
        };
        assert_eq!(ignored("{}"), "moh");
        assert_eq!(ignored(r#""x""#), "moh");
        assert_eq!(ignored("[]"), "moh");
        assert_eq!(ignored(r#"{"db-id":7}"#), "moh-db-id,moh");
        assert_eq!(ignored(r#"{"file":""}"#), "moh-file,moh");
        assert_eq!(ignored(r#"{"file":["x"]}"#), "moh-file,moh");
        assert_eq!(
            ignored(r#"{"mode":"loud","connection":"one"}"#),
            "moh-mode,moh-connection,moh"
        );
        let longest = "x".repeat(FILE_NAME_MAX);
        assert!(moh(&format!(r#"{{"file":"{longest}"}}"#)).0.is_some());
        assert_eq!(
            ignored(&format!(r#"{{"file":"{longest}x"}}"#)),
            "moh-file,moh"
        );
    }
}
