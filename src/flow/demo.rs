//! The flows and sounds that are built in: what a new user hears first.
//!
//! A call to `1000` finds a menu; `1001` to `1004` are the agents who are called from there.

use std::sync::Arc;

use super::numbers::Numbers;
use super::script::{Parsed, ScriptError, parse};
use crate::switch::prompts::Source;

/// What the name of a built-in sound begins with, where a prompt is named.
pub const PREFIX: &str = "builtin:";

/// The flows by name.
const FLOWS: [(&str, &str); 5] = [
    ("busy", include_str!("demo/busy.toml")),
    ("main", include_str!("demo/main.toml")),
    ("quick", include_str!("demo/quick.toml")),
    ("silent", include_str!("demo/silent.toml")),
    ("slow", include_str!("demo/slow.toml")),
];

/// The sounds by name.
static SOUNDS: [(&str, &[u8]); 13] = [
    ("again", include_bytes!("demo/again.wav")),
    ("agent", include_bytes!("demo/agent.wav")),
    ("echo", include_bytes!("demo/echo.wav")),
    ("goodbye", include_bytes!("demo/goodbye.wav")),
    ("menu", include_bytes!("demo/menu.wav")),
    ("message", include_bytes!("demo/message.wav")),
    ("music", include_bytes!("demo/music.wav")),
    ("nobody", include_bytes!("demo/nobody.wav")),
    ("queue", include_bytes!("demo/queue.wav")),
    ("recorded", include_bytes!("demo/recorded.wav")),
    ("ringing", include_bytes!("demo/ringing.wav")),
    ("waiting", include_bytes!("demo/waiting.wav")),
    ("welcome", include_bytes!("demo/welcome.wav")),
];

/// The flows that are built in, by their numbers.
///
/// # Errors
/// None: they are tested.
pub fn numbers() -> Result<Numbers, Vec<ScriptError>> {
    let parsed: Result<Vec<Parsed>, _> = FLOWS
        .into_iter()
        .map(|(name, text)| parse(name, &format!("{PREFIX}{name}"), text, &[]))
        .collect();
    let flows = parsed?.into_iter().map(|parsed| Arc::new(parsed.flow));
    Ok(Numbers::of(flows))
}

/// The built-in sound of a name.
pub(super) fn sound(name: &str) -> Option<Source> {
    let found = SOUNDS.iter().find(|(known, _)| *known == name);
    found.map(|(_, bytes)| Source::Bytes((*bytes).into()))
}

/// Names of all built-in sounds.
pub(super) fn sound_names() -> impl Iterator<Item = &'static str> + Clone {
    SOUNDS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests;
