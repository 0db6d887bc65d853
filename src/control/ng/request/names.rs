//! Names of what a request holds without effect.

use super::{WARNING_NAME_MAX, WARNING_NAMES_MAX};

/// A bounded list of names for a warning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) names: Vec<String>,
    /// How many did not fit.
    pub(super) more: usize,
}

impl Names {
    pub(super) fn add(&mut self, name: &[u8]) {
        let printable = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        };
        let name: String = name.iter().take(WARNING_NAME_MAX).map(printable).collect();
        if self.names.contains(&name) {
            return;
        }
        if self.names.len() == WARNING_NAMES_MAX {
            self.more += 1;
            return;
        }
        self.names.push(name);
    }
}
