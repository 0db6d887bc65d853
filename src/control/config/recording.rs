//! The settings of recordings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ConfigError, Settings};
use crate::control::ng::recording::parse_format;
use crate::record::config::Format;
use crate::record::disk::SyncPolicy;
use crate::record::recorder::{RecorderConfig, THREADS_MAX};
use crate::record::vault::pattern::Pattern;
use crate::record::vault::{CALLBACK_LEN_MAX, Key, KeyError, Store, VaultConfig};

/// Where recordings are written if nobody says.
const DIRECTORY: &str = "recordings";

/// Sampling rate of recordings in Hz: what most calls have.
const RATE_HZ: u32 = 8_000;

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// Longest time between two syncs in seconds.
pub const FSYNC_MAX_S: u64 = 3_600;

/// How calls are recorded.
#[derive(Clone, Debug)]
pub struct RecordingSettings {
    /// How the recorder is started; `None`: recording is switched off.
    pub recorder: Option<RecorderConfig>,
    /// The directory is not the usual one: it has to be there when the switch starts.
    pub asked: bool,
    /// How files are called.
    pub pattern: Pattern,
    /// How they are written.
    pub format: Format,
    /// Sampling rate in Hz.
    pub rate_hz: u32,
}

impl Settings {
    /// Takes the settings of recordings.
    pub(super) fn recording(&mut self) -> Result<RecordingSettings, ConfigError> {
        let usual = Path::new(DIRECTORY);
        let directory = self.recording_dir.take();
        let directory = directory.unwrap_or_else(|| usual.to_owned());
        let bad = |key, why: String| ConfigError::Value { key, why };
        let pattern = self.recording_pattern.take();
        let pattern = pattern.map_or_else(|| Ok(Pattern::default()), |text| Pattern::parse(&text));
        let pattern = pattern.map_err(|error| bad("recording-pattern", error.to_string()))?;
        let format = self.recording_format.take();
        let format = format.unwrap_or_else(|| "wav".to_owned());
        let why = "is none of wav, wav-alaw, wav-ulaw, opus";
        let format = parse_format(&format)
            .filter(|format| *format != Format::OpusCopy)
            .ok_or_else(|| bad("recording-format", format!("'{format}' {why}")))?;
        let threads = self.recording_threads.unwrap_or(1);
        if !(1..=THREADS_MAX).contains(&threads) {
            let why = format!("{threads} is not 1 to {THREADS_MAX}");
            return Err(bad("recording-threads", why));
        }
        let sync = match self.recording_fsync.as_deref() {
            None => SyncPolicy::default(),
            Some(text) => sync_of(text).ok_or_else(|| {
                let why =
                    format!("'{text}' is not never, completion or 1 to {FSYNC_MAX_S} seconds");
                bad("recording-fsync", why)
            })?,
        };
        let vault = self.vault()?;
        let is_off = directory == PathBuf::new();
        Ok(RecordingSettings {
            asked: !is_off && directory != usual,
            recorder: (!is_off).then(|| RecorderConfig {
                threads,
                sync,
                vault,
                ..RecorderConfig::new(directory)
            }),
            pattern,
            format,
            rate_hz: RATE_HZ,
        })
    }
}

impl Settings {
    /// Takes the settings of what is done with complete recordings.
    fn vault(&mut self) -> Result<VaultConfig, ConfigError> {
        let bad = |key, why: String| ConfigError::Value { key, why };
        let mut options = Vec::new();
        for option in &self.recording_store_option {
            // The value may be a secret.
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| bad("recording-store-option", "is not KEY=VALUE".to_owned()))?;
            options.push((key.trim().to_ascii_lowercase(), value.to_owned()));
        }
        let store = self.recording_store.as_deref();
        let store = store.map(|url| Store::open(url, &options)).transpose();
        let key = self.recording_key.as_deref().map(key_of).transpose();
        let callback = self.recording_callback.take();
        if let Some(url) = &callback
            && !(url.len() <= CALLBACK_LEN_MAX
                && ["http://", "https://"]
                    .iter()
                    .any(|scheme| url.starts_with(scheme)))
        {
            let why = format!("is no http or https URL of up to {CALLBACK_LEN_MAX} octets");
            return Err(bad("recording-callback", why));
        }
        if self.recording_retention == Some(0) {
            return Err(bad(
                "recording-retention",
                "0 is not a number of days".to_owned(),
            ));
        }
        let days = self
            .recording_retention
            .map(|days| Duration::from_secs(u64::from(days) * DAY_S));
        Ok(VaultConfig {
            store: store.map_err(|error| bad("recording-store", error.to_string()))?,
            key: key.map_err(|error| bad("recording-key", error.to_string()))?,
            callback,
            keep: self.recording_keep.unwrap_or(false),
            retention: days,
        })
    }
}

/// The recipients themselves, or those in a file.
fn key_of(text: &str) -> Result<Key, KeyError> {
    match text.trim_start().starts_with("age1") {
        true => Key::from_text(&text.replace(',', "\n")),
        false => Key::from_file(Path::new(text)),
    }
}

fn sync_of(text: &str) -> Option<SyncPolicy> {
    Some(match text {
        "never" => SyncPolicy::Never,
        "completion" => SyncPolicy::OnCompletion,
        seconds => {
            let seconds: u64 = seconds.parse().ok()?;
            let within = (1..=FSYNC_MAX_S).contains(&seconds);
            SyncPolicy::Every(Duration::from_secs(within.then_some(seconds)?))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: fn(&mut Settings)) -> Result<RecordingSettings, String> {
        let mut settings = Settings::default();
        change(&mut settings);
        let resolved = settings.resolve().map(|config| config.recording);
        resolved.map_err(|error| error.to_string())
    }

    #[test]
    fn recordings_are_checked_before_the_start() {
        let usual = with(|_| {}).unwrap();
        let recorder = usual.recorder.unwrap();
        assert_eq!(recorder.dir, Path::new("recordings"));
        assert_eq!((usual.asked, recorder.threads), (false, 1));
        let asked = with(|s| s.recording_dir = Some("/srv/r".into())).unwrap();
        assert!(asked.asked);
        let off = with(|s| s.recording_dir = Some("".into())).unwrap();
        assert!(off.recorder.is_none() && !off.asked);
        let error = with(|s| s.recording_pattern = Some("../{call}".into())).unwrap_err();
        assert!(
            error.starts_with("recording-pattern: '../{call}'"),
            "{error}"
        );
        for format in ["mp3", "opus-copy", ""] {
            let settings = Settings {
                recording_format: Some(format.into()),
                ..Settings::default()
            };
            let error = settings.resolve().unwrap_err().to_string();
            assert!(error.starts_with("recording-format: "), "{error}");
        }
        assert!(with(|s| s.recording_threads = Some(THREADS_MAX)).is_ok());
        assert!(with(|s| s.recording_threads = Some(THREADS_MAX + 1)).is_err());
        assert!(with(|s| s.recording_threads = Some(0)).is_err());
    }

    #[test]
    fn where_recordings_go_is_checked_before_the_start() {
        let vault = |change| with(change).map(|it| it.recorder.unwrap().vault);
        assert!(vault(|_| {}).unwrap().is_empty());
        let stored = vault(|s| {
            s.recording_store = Some("s3://calls/eu".into());
            s.recording_store_option = vec!["aws_region=eu-west-1".into()];
            s.recording_retention = Some(30);
            s.recording_callback = Some("https://example.com/recorded".into());
        });
        let stored = stored.unwrap();
        assert!(stored.store.is_some() && !stored.keep);
        assert_eq!(stored.retention, Some(Duration::from_secs(30 * DAY_S)));
        type Change = fn(&mut Settings);
        let wrong: [(Change, &str); 7] = [
            (
                |s| s.recording_store = Some("calls".into()),
                "recording-store: ",
            ),
            (
                |s| s.recording_store = Some("ftp://calls".into()),
                "recording-store: ",
            ),
            (
                |s| s.recording_store = Some("s3://me:secret@calls".into()),
                "recording-store: ",
            ),
            (
                |s| s.recording_store_option = vec!["x".into()],
                "recording-store-option: ",
            ),
            (
                |s| s.recording_key = Some("/no/such/file".into()),
                "recording-key: ",
            ),
            (
                |s| s.recording_callback = Some("mailto:me".into()),
                "recording-callback: ",
            ),
            (|s| s.recording_retention = Some(0), "recording-retention: "),
        ];
        for (change, begins) in wrong {
            let error = vault(change).unwrap_err();
            assert!(error.starts_with(begins), "{error}");
        }
    }

    #[test]
    fn disks_are_synced_as_often_as_somebody_wants() {
        assert_eq!(sync_of("never"), Some(SyncPolicy::Never));
        assert_eq!(sync_of("completion"), Some(SyncPolicy::OnCompletion));
        let every = |s| Some(SyncPolicy::Every(Duration::from_secs(s)));
        assert_eq!(sync_of("1"), every(1));
        assert_eq!(sync_of("3600"), every(FSYNC_MAX_S));
        for text in ["0", "3601", "", "-1", "always"] {
            assert_eq!(sync_of(text), None, "{text}");
        }
    }
}
