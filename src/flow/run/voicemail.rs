//! The applets `voicemail` and `playback`: what the caller says, kept and played.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;

use super::Over;
use super::caller::{keys, one_of, sound};
use super::live::{CALLER, Live};
use crate::engine::Keys;
use crate::flow::script::{Next, Voicemail};
use crate::record::config::Format;
use crate::record::event::{RecordingEvent, RecordingEventKind};
use crate::switch::prompts::Source;
use crate::switch::{FinishKeys, LegSides, Participants, RecordRequest, Recorded};

/// How long the tone is that says: speak now.
const BEEP: Duration = Duration::from_millis(300);
/// How long a recording that was ended may take to be a file.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// Largest recording that is played back, in octets.
const PLAYBACK_BYTES_MAX: u64 = 64 << 20;

pub(super) async fn voicemail(
    live: &Arc<Live>,
    name: &str,
    voicemail: &Voicemail,
) -> Result<Next, Over> {
    live.answer().await?;
    live.say(&voicemail.prompt).await?;
    if voicemail.beep {
        sound(live, "beep", Some(BEEP));
        tokio::time::sleep(BEEP).await;
    }
    let Some(mut events) = recorder_events(live).await else {
        return Ok(voicemail.next);
    };
    let finish: Keys = voicemail.finish.into_iter().collect();
    let request = RecordRequest {
        name,
        what: Recorded::Legs(vec![(Participants::Tag(CALLER), LegSides::In)]),
        format: Some(Format::Wav),
        length_max: Some(voicemail.max),
        silence_max: Some(voicemail.silence),
        finish: FinishKeys(finish),
        trim: true,
        ..RecordRequest::default()
    };
    match live.switch().start_recording(&live.sid, &request).await {
        Ok(started) => {
            live.recorded(name, &started.path);
            let what = (name, &*started.path);
            until_recorded(live, what, finish, voicemail.max, &mut events).await?;
        }
        Err(error) => live.warn("no voicemail", &error),
    }
    Ok(voicemail.next)
}

/// What becomes of recordings; `None`: there are none, which the log says.
async fn recorder_events(live: &Live) -> Option<Receiver<RecordingEvent>> {
    let recorders = live.switch().recording_defaults().recorders.clone();
    let started = tokio::task::spawn_blocking(move || recorders.start()).await;
    match started {
        Ok(Ok(Some(recorder))) => Some(recorder.events()),
        Ok(Ok(None)) => {
            tracing::warn!(call_id = %live.sid, "no voicemail: recording is switched off");
            None
        }
        Ok(Err(error)) => {
            tracing::warn!(call_id = %live.sid, %error, "no voicemail");
            None
        }
        Err(_panicked) => None,
    }
}

/// Waits until the file is there. A key that came by signalling ends it here, one that is heard
/// ends it by itself.
async fn until_recorded(
    live: &Live,
    (name, path): (&str, &str),
    finish: Keys,
    max: Duration,
    events: &mut Receiver<RecordingEvent>,
) -> Result<(), Over> {
    let ended = ended(path, events);
    tokio::pin!(ended);
    let wanted = one_of(finish, max.saturating_add(CLOSE_MAX));
    tokio::select! {
        is_there = &mut ended => {
            if !is_there {
                live.unrecorded(name);
            }
            return Ok(());
        }
        pressed = keys(live, &wanted), if finish != Keys::NONE => {
            if let Some(gathered) = pressed? {
                live.pressed(&gathered.digits.to_string(), false);
            }
        }
        () = tokio::time::sleep(max.saturating_add(CLOSE_MAX)) => {}
    }
    // It may have ended by itself.
    let _ended = live.switch().stop_recording(&live.sid, Some(name), false);
    match tokio::time::timeout(CLOSE_MAX, ended).await {
        Ok(true) => {}
        Ok(false) => live.unrecorded(name),
        Err(_late) => {
            tracing::warn!(call_id = %live.sid, %path, "a recording that is not closed");
        }
    }
    Ok(())
}

/// Waits until a recording is over; whether there is a file.
async fn ended(path: &str, events: &mut Receiver<RecordingEvent>) -> bool {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match events.recv().await {
            Ok(event) if *event.path == *path => match event.kind {
                RecordingEventKind::Completed { .. } => return true,
                RecordingEventKind::Discarded | RecordingEventKind::Failed { .. } => return false,
                _ => {}
            },
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return false,
        }
    }
}

/// Plays what was recorded under a name in this call.
pub(super) async fn playback(live: &Live, name: &str) -> Result<(), Over> {
    live.answer().await?;
    let recorders = &live.switch().recording_defaults().recorders;
    let (Some(path), Some(directory)) = (live.recording(name), recorders.directory()) else {
        return Ok(());
    };
    let file = directory.join(path);
    let read = tokio::task::spawn_blocking(move || {
        let length = std::fs::metadata(&file)?.len();
        if length > PLAYBACK_BYTES_MAX {
            return Err(std::io::Error::other("it is too long to be played"));
        }
        std::fs::read(&file)
    });
    match read.await {
        Ok(Ok(bytes)) => live.say(&vec![Source::Bytes(bytes.into())]).await,
        Ok(Err(error)) => {
            tracing::warn!(call_id = %live.sid, %error, "not played back");
            Ok(())
        }
        Err(_panicked) => Ok(()),
    }
}
