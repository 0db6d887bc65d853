//! Clients of a running switch, for its users' own machines: a load generator that compares the
//! switch with its peer ([`mod@bench`]), and a two-party call whose audio one can listen to
//! ([`call`]).
//!
//! They stand beside the floors and know the switch only as any stranger would: by its ng port and
//! its media ports. Nothing here is used by the switch itself.

pub mod bench;
pub mod call;
pub mod calls;
mod canvas;
pub mod ctl;
mod door;
pub mod dtmf;
pub mod ng_client;
pub mod recording;
pub mod replay;
mod sdp;
mod text;
pub mod top;
mod wav;

use std::io::{self, Write};

use anyhow::{Context as _, Result};

/// Prints to standard output. Unlike `print!` it does not panic where that is full, and a reader
/// who has seen enough (`| head`) is no error.
///
/// # Errors
/// When standard output cannot be written to.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}
