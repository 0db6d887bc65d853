//! Music for whoever is put on hold: remembered for the party that has it, begun when that party
//! holds, ended when it resumes.
//!
//! An offer is answered before its music is there. It is loaded by a task of its own, which looks
//! again whether the hold still stands.

use std::sync::Arc;
use std::time::Instant;

use super::prompts::Source;
use super::request::Playback;
use super::{Switch, SwitchError};
use crate::engine::PlayId;

/// The music of a hold. What a command plays has another name.
pub(super) const MUSIC: PlayId = PlayId(1);

/// How a party that holds has its partner entertained, as ng's `moh` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldMusic {
    /// What is played, over and over.
    pub source: MusicSource,
    /// The party that is held is told `sendrecv`, and not `sendonly`.
    pub sendrecv: bool,
    /// It is told the address 0.0.0.0 (hold as RFC 2543 wrote it).
    pub zero_address: bool,
}

/// Whose music it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MusicSource {
    /// The party's own, remembered for it from now on.
    Own(Source),
    /// That of the party which is being held (`mode: reflect`); nothing is remembered.
    Reflect,
}

/// A hold with music, while it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its name among all holds.
    pub serial: u64,
    /// Index of the party that is held.
    pub listener: usize,
}

/// Music that is to begin.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) serial: u64,
    pub(super) source: Source,
}

impl Switch {
    /// Loads the music of a hold and plays it, if the hold still stands then. The call goes on
    /// without, if there is none.
    pub(super) async fn play_music(self: Arc<Self>, call_id: Box<str>, wish: Wish) {
        let playback = Playback::of([wish.source]);
        let held = |call: &super::CallState| {
            let mut holds = call.dialogue.open_parties().filter_map(|(_, p)| p.hold);
            let hold = holds.find(|hold| hold.serial == wish.serial);
            let open = |hold: &Hold| !call.dialogue.parties[hold.listener].closed;
            let listener = hold.filter(open).map(|hold| vec![hold.listener]);
            listener.ok_or(SwitchError::NotPlaying)
        };
        let begun = self
            .play_to(&call_id, held, MUSIC, &playback, ("music on hold", ""))
            .await;
        match begun {
            // Over before it began: the call, or the hold.
            Ok(_) | Err(SwitchError::UnknownCall | SwitchError::NotPlaying) => {}
            Err(error) => {
                tracing::warn!(%call_id, %error, "no music on hold");
                let _gone_already = self.with_call(&call_id, |call| {
                    let warnings = vec![error.to_string()];
                    call.note_with(Instant::now(), "no music on hold", "", None, warnings);
                    Ok(())
                });
            }
        }
    }
}
