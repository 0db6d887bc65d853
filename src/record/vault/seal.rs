//! Encryption at rest: what was recorded can be read by whoever has the private key, which the
//! switch does not need to have.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use age::x25519::Recipient;

use super::{VaultError, at};

/// Ends the name of a sealed recording.
pub(super) const SUFFIX: &str = ".age";

/// Most recipients of a key file.
pub const RECIPIENTS_MAX: usize = 32;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key file cannot be read.
    #[error("the key file {path} cannot be read: {error}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// No recipient, or more than [`RECIPIENTS_MAX`].
    #[error("{0} recipients of recordings: 1 to {RECIPIENTS_MAX} are possible")]
    Recipients(usize),
    /// A line that is no recipient. It is not shown: it may be a private key.
    #[error("line {line} of the key is no age recipient (age1…): {error}")]
    Recipient {
        /// From 1.
        line: usize,
        /// Why not.
        error: &'static str,
    },
}

/// To whom recordings are sealed: the public keys of [age](https://age-encryption.org/v1).
#[derive(Clone)]
pub struct Key(Arc<[Recipient]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({} recipients)", self.0.len())
    }
}

impl Key {
    /// The recipients of a text, one in a line (`age1…`); empty lines and those that begin with `#`
    /// do not count.
    ///
    /// # Errors
    /// [`KeyError::Recipients`], [`KeyError::Recipient`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let recipients = lines
            .map(|(at, line)| {
                line.parse().map_err(|error| KeyError::Recipient {
                    line: at + 1,
                    error,
                })
            })
            .collect::<Result<Arc<[Recipient]>, _>>()?;
        match recipients.len() {
            1..=RECIPIENTS_MAX => Ok(Self(recipients)),
            other => Err(KeyError::Recipients(other)),
        }
    }

    /// As [`from_text`](Self::from_text), of a file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let text = fs::read_to_string(path).map_err(|error| KeyError::File {
            path: path.display().to_string(),
            error,
        })?;
        Self::from_text(&text)
    }
}

/// Seals `file` by way of `part` as `sealed`, and deletes it when that is on the disk.
pub(super) fn seal(key: &Key, file: &Path, part: &Path, sealed: &Path) -> Result<(), VaultError> {
    let failed = |error: &dyn std::fmt::Display| VaultError::Seal(error.to_string());
    let recipients = key
        .0
        .iter()
        .map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|error| failed(&error))?;
    let mut plain = File::open(file).map_err(at(file))?;
    let out = File::create(part).map_err(at(part))?;
    let mut writer = encryptor.wrap_output(out).map_err(at(part))?;
    io::copy(&mut plain, &mut writer).map_err(at(part))?;
    let out = writer.finish().map_err(at(part))?;
    out.sync_all().map_err(at(part))?;
    fs::rename(part, sealed).map_err(at(sealed))?;
    if let Some(dir) = sealed.parent() {
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(at(dir))?;
    }
    super::remove(file)
}
