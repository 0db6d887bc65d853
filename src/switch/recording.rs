//! Recordings of calls: begun, paused and ended by command, and kept true to who is in the call.
//!
//! The engine copies packets of the tracks it is told onto a tape; the recorder makes a file of
//! them. Here it is known who the parties are: at each change of a call its recordings are brought
//! to what they should be, the recorder first, so that it knows what packets mean before they come.

mod follow;
mod recorders;
mod request;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

pub use follow::Recordings;
use follow::{Subject, Tracked};
pub use recorders::{Recorders, RecordingDefaults};
pub use request::{
    FinishKeys, LegSides, RECORDING_NAME_MAX, RecordLayout, RecordPath, RecordRequest, Recorded,
    RecordingState, Started,
};
use tokio::sync::broadcast::error::RecvError;

use super::call::CallState;
use super::negotiate::wake;
use super::request::Participants;
use super::{Switch, SwitchError};
use crate::audio::tone::TonePlan;
use crate::engine::{
    Change, Layer, Play, PlayId, RECORDERS_MAX, RecorderId, Side, Sound, TRACKS_MAX, TapeReader,
    TapeWriter, tape,
};
use crate::record::config::{ConfigError, Format, Layout, RecordingConfig};
use crate::record::event::{RecordingEvent, RecordingEventKind};
use crate::record::recorder::{RecordError, Recorder, Recording};
use crate::record::vault::pattern::{self, Names};

/// The tone that says that a recording begins; beside it prompts and music go on.
const BEEP: PlayId = PlayId(2);

/// Most files of one name: `a.wav`, `a-2.wav`, to `a-99.wav`.
const SAME_NAME_MAX: u32 = 99;

/// A mix has a tape for so many tracks at least: who comes later needs no other one.
const MIXED_TRACKS_MIN: usize = 4;

/// How long a recording may take to begin: a disk that takes longer has none.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Recordings that may be waiting for the disk to begin; one more is refused.
pub const RECORDINGS_BEGINNING_MAX: usize = 64;

impl Switch {
    /// Begins a recording of a call. If there is one of its name, nothing changes, but one that
    /// was paused goes on.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`]; [`SwitchError::RecordingOff`];
    /// [`SwitchError::TooManyRecordings`]; a leg that fits nobody;
    /// [`SwitchError::NothingToRecord`]; [`SwitchError::RecordingPath`]; [`SwitchError::Record`]
    /// for what cannot be recorded so, or not to this disk; [`SwitchError::RecordingExists`];
    /// [`SwitchError::RecorderSlow`]; or an overloaded worker. The call is then as it was.
    pub async fn start_recording(
        self: &Arc<Self>,
        call_id: &str,
        request: &RecordRequest<'_>,
    ) -> Result<Started, SwitchError> {
        let result = self.start_recording_now(call_id, request).await;
        self.counted(result)
    }

    async fn start_recording_now(
        self: &Arc<Self>,
        call_id: &str,
        request: &RecordRequest<'_>,
    ) -> Result<Started, SwitchError> {
        if !self.config.recording.recorders.are_on() {
            return Err(SwitchError::RecordingOff);
        }
        if request.name.len() > RECORDING_NAME_MAX {
            return Err(SwitchError::RecordingName {
                max: RECORDING_NAME_MAX,
            });
        }
        let now = Instant::now();
        let prepared = self.with_call(call_id, |call| self.prepare(call, call_id, request, now))?;
        let (id, config) = match prepared {
            Prepared::Known(started) => return Ok(started),
            Prepared::New(id, config) => (id, config),
        };
        // The disk is waited for without the call.
        let exact = matches!(request.path, RecordPath::File(_));
        let begun = self.begin(config, exact, now).await;
        let begun = begun.and_then(|(recording, writer)| {
            let recording = Arc::new(recording);
            let carried = self.with_call(call_id, |call| {
                self.carry_tape(call, id, &recording, writer, request)
            });
            carried.inspect_err(|_| recording.stop(Instant::now(), true))
        });
        let path = begun.inspect_err(|_| {
            let forget = |call: &mut CallState| {
                call.recordings.all.retain(|tracked| tracked.id != id);
                Ok(())
            };
            let _gone_with_its_call = self.with_call(call_id, forget);
        })?;
        let mut warnings = Vec::new();
        if let Some(announcement) = &request.announcement {
            let played = self.play(call_id, Participants::All, announcement).await;
            warnings.extend(played.err().map(|error| format!("announcement: {error}")));
        }
        Ok(Started {
            id,
            path,
            is_new: true,
            warnings,
        })
    }

    /// Names a recording and says what it is to be, from the call as it is.
    fn prepare(
        &self,
        call: &mut CallState,
        call_id: &str,
        request: &RecordRequest<'_>,
        now: Instant,
    ) -> Result<Prepared, SwitchError> {
        let mut known = call.recordings.all.iter_mut();
        if let Some(known) = known.find(|tracked| *tracked.name == *request.name) {
            if let Some(recording) = known.recording.as_ref().filter(|_| known.paused) {
                recording.resume(now);
            }
            known.paused = false;
            let (id, path) = (known.id, known.path.clone());
            call.note(now, "start recording", request.name, None);
            return Ok(Prepared::Known(Started {
                id,
                path,
                is_new: false,
                warnings: Vec::new(),
            }));
        }
        if call.recordings.len() >= RECORDERS_MAX {
            return Err(SwitchError::TooManyRecordings { max: RECORDERS_MAX });
        }
        let talk = &call.dialogue;
        let subject = subject_of(call, &request.what)?;
        let left = request.left.map(|left| talk.select(left)).transpose()?;
        let format = request.format.unwrap_or(self.config.recording.format);
        if format == Format::OpusCopy && !matches!(subject, Subject::Legs(_)) {
            return Err(RecordError::from(ConfigError::Copy).into());
        }
        let mut tracked = Tracked {
            id: next_id(),
            name: request.name.into(),
            path: Box::default(),
            layout: Layout::Mono,
            left: left.and_then(|left| left.first().copied()),
            early: request.early_media,
            slots: vec![follow::Slot::default(); TRACKS_MAX],
            subject,
            recording: None,
            paused: false,
            since: SystemTime::now(),
            metadata: request.metadata.into(),
        };
        let mut tracks = tracked.first_tracks(talk);
        if tracks.is_empty() {
            return Err(SwitchError::NothingToRecord);
        }
        tracked.layout = layout_of(request, format, &tracked.subject, tracks.len());
        let kept = match tracked.layout {
            Layout::PerTrack(kept) => usize::from(kept).clamp(1, TRACKS_MAX),
            _ if format == Format::OpusCopy => 1,
            _ => TRACKS_MAX,
        };
        // One more leg of a single one's recording is an error of who asks, not of who comes.
        let legs_fit = !matches!(tracked.subject, Subject::Legs(_)) || tracks.len() <= kept;
        if legs_fit {
            tracks.truncate(kept);
        }
        tracked.slots.truncate(kept);
        tracked.path = self.path_of(call_id, request, format, &tracks)?.into();
        let config = RecordingConfig {
            call_id: call_id.into(),
            path: tracked.path.clone(),
            format,
            rate_hz: request.rate_hz.unwrap_or(self.config.recording.rate_hz),
            layout: tracked.layout,
            tracks,
            pause: request.pause,
            length_max: request.length_max,
            silence_max: request.silence_max,
            trim: request.trim,
            metadata: request.metadata.into(),
        };
        config.check().map_err(RecordError::from)?;
        let id = tracked.id;
        call.recordings.all.push(tracked);
        Ok(Prepared::New(id, config))
    }

    fn path_of(
        &self,
        call_id: &str,
        request: &RecordRequest<'_>,
        format: Format,
        tracks: &[crate::record::config::TrackConfig],
    ) -> Result<String, SwitchError> {
        let first = tracks.first();
        let tag = first.map_or("", |track| &*track.leg);
        let label = first.and_then(|track| track.label.as_deref());
        let one = tracks.iter().all(|track| *track.leg == *tag);
        let single = one && matches!(request.what, Recorded::Legs(_));
        let names = Names {
            at: SystemTime::now(),
            account: request.account,
            call: call_id,
            leg: if single { label.unwrap_or(tag) } else { "mix" },
            tag,
            label,
            random: self.site.random(),
        };
        let extension = format.extension();
        let path = match &request.path {
            RecordPath::Usual => self.config.recording.pattern.expand(&names, extension)?,
            RecordPath::Pattern(pattern) => pattern.expand(&names, extension)?,
            RecordPath::File(name) => pattern::with_extension(name, extension),
        };
        let path = match request.directory.map(|name| name.trim_end_matches('/')) {
            Some(directory) if !directory.is_empty() => format!("{directory}/{path}"),
            _ => path,
        };
        pattern::check(&path)?;
        Ok(path)
    }

    /// Begins the file, under another name where its own is taken.
    async fn begin(
        self: &Arc<Self>,
        config: RecordingConfig,
        exact: bool,
        now: Instant,
    ) -> Result<(Recording, TapeWriter), SwitchError> {
        let permit = Arc::clone(&self.beginning).try_acquire_owned();
        let permit = permit.map_err(|_| SwitchError::RecorderSlow)?;
        let switch = Arc::clone(self);
        let mut work = tokio::task::spawn_blocking(move || {
            let _until_it_is_done = permit;
            let recorder = switch.config.recording.recorders.start()?;
            let recorder = recorder.ok_or(SwitchError::RecordingOff)?;
            let begun = begin_named(&recorder, &config, exact, now)?;
            Ok::<_, SwitchError>((begun, recorder))
        });
        match tokio::time::timeout(BEGIN_TIMEOUT, &mut work).await {
            Ok(Ok(begun)) => {
                let (begun, recorder) = begun?;
                self.watch(&recorder);
                Ok(begun)
            }
            Ok(Err(_panicked)) => Err(SwitchError::RecorderSlow),
            Err(_too_late) => {
                // Whatever it still becomes is nobody's.
                tokio::spawn(async move {
                    if let Ok(Ok(((recording, _), _))) = work.await {
                        recording.stop(now, true);
                    }
                });
                Err(SwitchError::RecorderSlow)
            }
        }
    }

    /// Hands the tape to the engine; returns the path of the file.
    fn carry_tape(
        &self,
        call: &mut CallState,
        id: RecorderId,
        recording: &Arc<Recording>,
        writer: TapeWriter,
        request: &RecordRequest<'_>,
    ) -> Result<Box<str>, SwitchError> {
        let place = call.recordings.all.iter().position(|own| own.id == id);
        // It was stopped meanwhile, or its call ended.
        let place = place.ok_or(SwitchError::NotRecording)?;
        let mut recordings = call.recordings.clone();
        let path: Box<str> = recording.path().into();
        let own = &mut recordings.all[place];
        own.recording = Some(Arc::clone(recording));
        own.path = path.clone();
        if own.paused {
            recording.pause(Instant::now());
        }
        let mut changes = vec![Change::Record {
            recorder: id,
            tape: Box::new(writer),
            finish: request.finish.0,
        }];
        let recordings = recordings.followed(&call.dialogue, &mut changes);
        let mut draft = call.dialogue.clone();
        if request.beep {
            let streams: Vec<_> = recordings.all[place].streams().collect();
            changes.extend(beeps(&mut draft, &streams));
        }
        self.submit_change(call, changes, Vec::new())
            .inspect_err(|_| call.recordings.tell_again())?;
        call.dialogue = draft;
        call.recordings = recordings;
        call.note(Instant::now(), "start recording", request.name, None);
        self.counters.recordings.fetch_add(1, Ordering::Relaxed);
        Ok(path)
    }

    /// Ends the recording of this name, or all of the call: their files are closed and kept, or
    /// thrown away. Returns how many.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`]; [`SwitchError::NotRecording`] if there is none; or an
    /// overloaded worker.
    pub fn stop_recording(
        &self,
        call_id: &str,
        name: Option<&str>,
        discard: bool,
    ) -> Result<usize, SwitchError> {
        let result = self.with_call(call_id, |call| {
            let meant = |tracked: &&Tracked| name.is_none_or(|name| *tracked.name == *name);
            let stopped: Vec<Tracked> = call.recordings.all.iter().filter(meant).cloned().collect();
            if stopped.is_empty() {
                return Err(SwitchError::NotRecording);
            }
            let on_tape = stopped.iter().filter(|own| own.recording.is_some());
            let changes: Vec<Change> = on_tape.map(|own| Change::StopRecord(own.id)).collect();
            if !changes.is_empty() {
                self.submit_change(call, changes, Vec::new())?;
            }
            let now = Instant::now();
            for recording in stopped.iter().filter_map(|own| own.recording.as_ref()) {
                recording.stop(now, discard);
            }
            call.recordings.all.retain(|tracked| !meant(&tracked));
            call.note(now, "stop recording", name.unwrap_or_default(), None);
            Ok(stopped.len())
        });
        self.counted(result)
    }

    /// Leaves out what comes from now on, until [`Self::start_recording`] or
    /// [`Self::resume_recording`], in the recording of this name or in all of the call.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`]; [`SwitchError::NotRecording`] if there is none.
    pub fn pause_recording(&self, call_id: &str, name: Option<&str>) -> Result<usize, SwitchError> {
        self.set_paused(call_id, name, true)
    }

    /// Goes on with what was paused.
    ///
    /// # Errors
    /// As of [`Self::pause_recording`].
    pub fn resume_recording(
        &self,
        call_id: &str,
        name: Option<&str>,
    ) -> Result<usize, SwitchError> {
        self.set_paused(call_id, name, false)
    }

    fn set_paused(
        &self,
        call_id: &str,
        name: Option<&str>,
        paused: bool,
    ) -> Result<usize, SwitchError> {
        let result = self.with_call(call_id, |call| {
            let now = Instant::now();
            let mut meant = 0;
            for tracked in &mut call.recordings.all {
                if name.is_some_and(|name| *tracked.name != *name) {
                    continue;
                }
                meant += 1;
                tracked.paused = paused;
                match &tracked.recording {
                    Some(recording) if paused => recording.pause(now),
                    Some(recording) => recording.resume(now),
                    None => {}
                }
            }
            if meant == 0 {
                return Err(SwitchError::NotRecording);
            }
            let what = if paused {
                "pause recording"
            } else {
                "resume recording"
            };
            call.note(now, what, name.unwrap_or_default(), None);
            Ok(meant)
        });
        self.counted(result)
    }

    /// What is being recorded of a call.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`].
    pub fn recordings(&self, call_id: &str) -> Result<Vec<RecordingState>, SwitchError> {
        self.with_call(call_id, |call| Ok(call.recordings.states()))
    }

    /// Whether what is recorded of a call is thrown away when the call ends; an unknown call is
    /// none.
    pub fn discard_at_end(&self, call_id: &str, discards: bool) {
        let set = |call: &mut CallState| {
            call.recordings.discard = discards;
            Ok(())
        };
        let _no_such_call = self.with_call(call_id, set);
    }

    /// Who records, and how.
    pub fn recording_defaults(&self) -> &RecordingDefaults {
        &self.config.recording
    }

    /// Hears from now on which recordings ended by themselves.
    fn watch(self: &Arc<Self>, recorder: &Arc<Recorder>) {
        if self.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut events = recorder.events();
        let switch: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => match switch.upgrade() {
                        Some(switch) => switch.take_recording_event(&event),
                        None => return,
                    },
                    // Those that were missed are over too; their names are kept until a stop.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    fn take_recording_event(&self, event: &RecordingEvent) {
        let (call_id, path) = (&event.call_id, &event.path);
        match &event.kind {
            RecordingEventKind::Started => return,
            RecordingEventKind::Available { url } => {
                tracing::info!(%call_id, %path, %url, "recording stored");
                return;
            }
            RecordingEventKind::Lost { error, .. } => {
                tracing::warn!(%call_id, %path, %error, "a recording lost sound");
                return;
            }
            RecordingEventKind::Failed { error } => {
                tracing::error!(%call_id, %path, %error, "a recording failed");
            }
            RecordingEventKind::Completed {
                reason,
                length,
                chain,
                ..
            } => tracing::info!(%call_id, %path, ?reason, ?length, %chain, "recorded"),
            RecordingEventKind::Discarded => tracing::info!(%call_id, %path, "discarded"),
        }
        let _gone_with_its_call = self.with_call(call_id, |call| {
            let of_it = |tracked: &Tracked| tracked.recording.is_some() && tracked.path == *path;
            let ended = call.recordings.all.iter().find(|own| of_it(own));
            let ended = ended.map(|own| own.id);
            if let Some(id) = ended {
                // Where the queue is full, the tape is abandoned and ends without it.
                let _ends_anyway =
                    self.submit_change(call, vec![Change::StopRecord(id)], Vec::new());
                call.recordings.all.retain(|tracked| tracked.id != id);
            }
            Ok(())
        });
    }
}

/// What a command to record comes to.
enum Prepared {
    /// There is one of its name.
    Known(Started),
    /// It is to be begun.
    New(RecorderId, RecordingConfig),
}

impl Recordings {
    /// As those who ask see them.
    pub(super) fn states(&self) -> Vec<RecordingState> {
        let state = |tracked: &Tracked| RecordingState {
            name: tracked.name.clone(),
            id: tracked.id,
            path: tracked.path.clone(),
            paused: tracked.paused,
            since: tracked.since,
            metadata: tracked.metadata.clone(),
            legs: tracked.legs(),
        };
        self.all.iter().map(state).collect()
    }
}

/// A name that no other recording of this process has: calls become one, and names stay apart.
fn next_id() -> RecorderId {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    RecorderId(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn subject_of(call: &CallState, what: &Recorded<'_>) -> Result<Subject, SwitchError> {
    let talk = &call.dialogue;
    Ok(match what {
        Recorded::Call => Subject::Call,
        Recorded::Bridge(name) => Subject::Bridge((*name).into()),
        Recorded::Legs(legs) => {
            let mut all = Vec::new();
            for (who, sides) in legs {
                let sides: &[Side] = match sides {
                    LegSides::In => &[Side::In],
                    LegSides::Out => &[Side::Out],
                    LegSides::Both => &[Side::In, Side::Out],
                };
                for party in talk.select(*who)? {
                    let of_it = sides.iter().map(|side| (party, *side));
                    all.extend(of_it.filter(|own| !all.contains(own)).collect::<Vec<_>>());
                }
            }
            if all.is_empty() {
                return Err(SwitchError::NothingToRecord);
            }
            Subject::Legs(all)
        }
    })
}

fn layout_of(request: &RecordRequest<'_>, format: Format, subject: &Subject, now: usize) -> Layout {
    /// Channels of a call's file whoever is in it as it begins: somebody may still come.
    const LEGS_MIN: usize = 2;
    match request.layout {
        _ if format == Format::OpusCopy => Layout::Mono,
        RecordLayout::Mono => Layout::Mono,
        RecordLayout::Stereo => Layout::Stereo,
        RecordLayout::PerLeg(Some(kept)) => Layout::PerTrack(kept),
        RecordLayout::PerLeg(None) => {
            let kept = match subject {
                Subject::Legs(legs) => legs.len(),
                Subject::Call | Subject::Bridge(_) => now.max(LEGS_MIN),
            };
            Layout::PerTrack(u8::try_from(kept).unwrap_or(u8::MAX))
        }
    }
}

/// Begins the file; a name that is taken gets a number, unless it has to be that very one.
fn begin_named(
    recorder: &Recorder,
    config: &RecordingConfig,
    exact: bool,
    now: Instant,
) -> Result<(Recording, TapeWriter), SwitchError> {
    let tracks = match config.layout {
        Layout::PerTrack(tracks) => usize::from(tracks),
        _ if config.format == Format::OpusCopy => 1,
        _ => config.tracks.len().max(MIXED_TRACKS_MIN),
    };
    for count in 1..=SAME_NAME_MAX {
        let (writer, reader): (TapeWriter, TapeReader) = tape(tracks, now);
        let numbered = RecordingConfig {
            path: pattern::numbered(&config.path, count)?.into(),
            ..config.clone()
        };
        match recorder.begin(numbered, reader) {
            Ok(recording) => return Ok((recording, writer)),
            Err(error) if is_taken(&error) && !exact => {}
            Err(error) if is_taken(&error) => break,
            Err(other) => return Err(other.into()),
        }
    }
    Err(SwitchError::RecordingExists(config.path.clone()))
}

/// Whether there is a recording of that path, or one in progress.
fn is_taken(error: &RecordError) -> bool {
    match error {
        RecordError::Busy(_) => true,
        RecordError::File { error, .. } => error.kind() == std::io::ErrorKind::AlreadyExists,
        _ => false,
    }
}

/// A short tone for whoever can hear it among these streams.
fn beeps(
    draft: &mut super::dialogue::Dialogue,
    streams: &[crate::engine::StreamIx],
) -> Vec<Change> {
    let mut changes = Vec::new();
    let Ok(tone) = TonePlan::parse("beep") else {
        return changes;
    };
    for party in draft.parties.iter_mut().filter(|party| !party.closed) {
        let hears = |line: &&super::party::LegMedia| {
            line.speaks.is_some() && line.stream.is_some_and(|ix| streams.contains(&ix))
        };
        let Some(stream) = party.medias.iter().find(hears).and_then(|line| line.stream) else {
            continue;
        };
        changes.extend(wake(party));
        changes.push(Change::Play(Box::new(Play {
            layer: Layer::Over,
            ..Play::new(BEEP, stream, [Sound::Tone(tone.clone())])
        })));
    }
    changes
}
