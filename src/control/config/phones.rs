//! The settings of the embedded signalling layer and its call flows.

use std::path::{Path, PathBuf};

use super::{ConfigError, Settings, said};
use crate::flow::callback::Secret;
use crate::flow::folder::prompt_directory;
use crate::sip::SipConfig;
use crate::switch::prompts::PromptsConfig;

/// Where calls are written down unless something else is said.
const RECORDS: &str = "calls.sqlite";
/// Switches the signalling layer, or call records, off.
const OFF: &str = "off";

/// What answers the phone.
#[derive(Clone, Debug)]
pub struct PhoneSettings {
    /// The user agent; `None`: there is none.
    pub sip: Option<SipConfig>,
    /// Somebody said where it listens: it has to when the switch starts.
    pub asked: bool,
    /// The directory of call flows; `None`: the built-in demo.
    pub flows: Option<PathBuf>,
    /// Other directories of prompts.
    pub prompts: Vec<PathBuf>,
    /// The database of calls; `None`: they are told to the log alone.
    pub records: Option<PathBuf>,
    /// It is not the usual one: it has to be had when the switch starts.
    pub records_asked: bool,
    /// What status callbacks are signed with.
    pub secret: Option<Secret>,
}

impl Settings {
    /// Takes the settings of the signalling layer. The directory of flows becomes one of `prompts`.
    pub(super) fn phones(
        &mut self,
        prompts: &mut PromptsConfig,
    ) -> Result<PhoneSettings, ConfigError> {
        let mut sip = std::mem::take(&mut self.sip);
        // The flag, the variable and the key are one thing, and beat the table.
        if !self.sip_listen.is_empty() {
            sip.listen = std::mem::take(&mut self.sip_listen);
        }
        let asked = !sip.listen.is_empty();
        let is_off = sip.listen == [OFF];
        if is_off {
            sip.listen.clear();
        }
        // Checked in any case: what is wrong is not found out first when it is switched on.
        let checked = SipConfig::new(sip).map_err(|error| ConfigError::Value {
            key: "sip",
            why: error.to_string(),
        })?;
        let flows = self.flow_dir.take();
        let flows = flows.map(|dir| prompt_directory(&dir)).transpose();
        let flows = flows.map_err(|error| ConfigError::Value {
            key: "flow-dir",
            why: error.to_string(),
        })?;
        let others = prompts.directories.clone();
        prompts.directories.extend(flows.clone());
        let usual = Path::new(RECORDS);
        let records = self.call_records.take();
        let records = records.unwrap_or_else(|| usual.to_owned());
        Ok(PhoneSettings {
            sip: (!is_off).then_some(checked),
            asked,
            flows,
            prompts: others,
            records_asked: records != usual,
            records: (records != Path::new(OFF)).then_some(records),
            secret: said(self.status_callback_secret.take()).map(Secret::new),
        })
    }
}
