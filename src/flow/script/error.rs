//! What is wrong with a flow, and where.

use std::fmt;

/// One mistake in a file of a flow, as `flows/main.toml:12:8: applet.menu.keys: '12' is no key`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScriptError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0: it is about the file as a whole.
    pub line: usize,
    /// The character of the line, from 1; 0 with line 0.
    pub column: usize,
    /// What it is about, as `applet.menu.keys`; empty: the syntax.
    pub at: String,
    /// What is wrong with it.
    pub why: String,
}

impl ScriptError {
    /// One about a file as a whole.
    pub(in crate::flow) fn of_file(file: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self {
            file: file.to_string(),
            line: 0,
            column: 0,
            at: String::new(),
            why: why.to_string(),
        }
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.why)
    }
}
