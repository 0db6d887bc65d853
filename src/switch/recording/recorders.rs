//! Where the switch's recorder comes from: it is there, it starts on first use, or it is off.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::record::config::Format;
use crate::record::recorder::{RecordError, Recorder, RecorderConfig};
use crate::record::vault::pattern::Pattern;

/// How calls are recorded where a command does not say.
#[derive(Clone, Debug)]
pub struct RecordingDefaults {
    /// Who records.
    pub recorders: Recorders,
    /// How files are called.
    pub pattern: Pattern,
    /// How they are written.
    pub format: Format,
    /// Sampling rate in Hz.
    pub rate_hz: u32,
}

impl Default for RecordingDefaults {
    /// Nothing is recorded.
    fn default() -> Self {
        Self {
            recorders: Recorders::off(),
            pattern: Pattern::default(),
            format: Format::Wav,
            rate_hz: 8_000,
        }
    }
}

/// The recorder, or how to start it.
#[derive(Clone, Debug)]
pub struct Recorders {
    config: Option<RecorderConfig>,
    started: Arc<OnceLock<Arc<Recorder>>>,
    starting: Arc<Mutex<()>>,
}

impl Recorders {
    /// Recording is switched off.
    #[must_use]
    pub fn off() -> Self {
        Self {
            config: None,
            started: Arc::default(),
            starting: Arc::default(),
        }
    }

    /// It starts when something is to be recorded for the first time.
    #[must_use]
    pub fn on_first_use(config: RecorderConfig) -> Self {
        Self {
            config: Some(config),
            started: Arc::default(),
            starting: Arc::default(),
        }
    }

    /// Whether there is, or can be, a recorder.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.config.is_some()
    }

    /// Where recordings are written; `None`: nowhere.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.config.as_ref().map(|config| config.dir.as_path())
    }

    /// The recorder if it was started.
    #[must_use]
    pub fn running(&self) -> Option<&Arc<Recorder>> {
        self.started.get()
    }

    /// The recorder, started now if it was not; `None`: recording is switched off. Waits for the
    /// disk.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be started; the next call tries again.
    pub fn start(&self) -> Result<Option<Arc<Recorder>>, RecordError> {
        let Some(config) = &self.config else {
            return Ok(None);
        };
        // Nothing is guarded but the start itself, so a panic of a holder spoils nothing.
        let starting = self.starting.lock();
        let _one_at_a_time = starting.unwrap_or_else(PoisonError::into_inner);
        if let Some(started) = self.started.get() {
            return Ok(Some(Arc::clone(started)));
        }
        let recorder = Recorder::start(config.clone())?;
        Ok(Some(Arc::clone(self.started.get_or_init(|| recorder))))
    }
}
