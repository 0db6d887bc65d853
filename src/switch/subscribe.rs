//! Listening: somebody is offered a copy of what parties of a call send, and takes it or not.

use std::time::{Instant, SystemTime};

use super::call::CallState;
use super::dialogue::Dialogue;
use super::negotiate::{Desk, Plan, listeners};
use super::request::{
    Options, Participants, Subscribe, Subscribed, SubscribedMedia, SubscribedParty,
};
use super::{Switch, SwitchError};

impl Switch {
    /// Offers a listener what the selected parties send, one line for each of theirs that is plain
    /// RTP. A listener that is there already keeps its ports.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`]; [`SwitchError::NothingToHear`] and
    /// [`SwitchError::NotEligible`] where the selection leaves nothing;
    /// [`SwitchError::Subscribe`]; a load limit. A refused request changes nothing.
    pub fn subscribe(&self, wanted: &Subscribe<'_>) -> Result<Subscribed, SwitchError> {
        let result = self.with_call(wanted.call_id, |call| {
            let mut plan = Plan::default();
            let mut draft = call.dialogue.clone();
            let sources = sources(&draft, &wanted.sources, &mut plan)?;
            let tag = match wanted.to_tag.filter(|tag| !draft.ever_had_tag(tag)) {
                Some(tag) => tag.to_owned(),
                None => format!("{:016x}{:016x}", self.site.random(), self.site.random()),
            };
            let desk = self.desk();
            let offered = listeners::offer(&desk, &mut draft, &mut plan, &tag, &sources, wanted);
            let (_, sdp) = offered.map_err(within(SwitchError::Subscribe))?;
            let warnings = std::mem::take(&mut plan.warnings);
            let told = told(&draft, &sources);
            self.carry_out(call, draft, plan, desk.now)?;
            call.note_with(desk.now, "subscribe request", &tag, None, warnings.clone());
            Ok(Subscribed {
                sdp,
                to_tag: tag,
                sources: told,
                warnings,
            })
        });
        self.counted(result)
    }

    /// Takes a listener's answer: from here on it hears what it accepted. With `transcodes`, what
    /// it does not accept is decoded and encoded anew. Returns what the client should know.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`]; [`SwitchError::UnknownListener`], or
    /// [`SwitchError::NotEligible`] for the tag of a party that talks;
    /// [`SwitchError::SubscribeAnswer`]; a load limit. A refused answer changes nothing.
    pub fn subscribe_answer(
        &self,
        call_id: &str,
        tag: &str,
        (sdp, transcodes): (&[u8], bool),
        options: &Options,
    ) -> Result<Vec<String>, SwitchError> {
        let result = self.with_call(call_id, |call| {
            let listener = listener(&call.dialogue, tag)?;
            let (mut draft, mut plan) = (call.dialogue.clone(), Plan::default());
            let (desk, answer) = (self.desk(), (sdp, transcodes));
            listeners::answer(&desk, &mut draft, &mut plan, listener, answer, options)
                .map_err(within(SwitchError::SubscribeAnswer))?;
            let warnings = std::mem::take(&mut plan.warnings);
            self.carry_out(call, draft, plan, desk.now)?;
            let noted = warnings.clone();
            call.note_with(desk.now, "subscribe answer", tag, Some(sdp), noted);
            Ok(warnings)
        });
        self.counted(result)
    }

    /// Ends a listener and frees its ports.
    ///
    /// # Errors
    /// As [`Switch::subscribe_answer`], with [`SwitchError::Unsubscribe`].
    pub fn unsubscribe(&self, call_id: &str, tag: &str) -> Result<(), SwitchError> {
        let result = self.with_call(call_id, |call| {
            let listener = listener(&call.dialogue, tag)?;
            self.close_listener(call, listener)
                .map_err(within(SwitchError::Unsubscribe))?;
            call.note(Instant::now(), "unsubscribe", tag, None);
            Ok(())
        });
        self.counted(result)
    }

    pub(super) fn close_listener(
        &self,
        call: &mut CallState,
        listener: usize,
    ) -> Result<(), SwitchError> {
        let (mut draft, mut plan) = (call.dialogue.clone(), Plan::default());
        listeners::close(&mut draft, &mut plan, listener);
        self.carry_out(call, draft, plan, Instant::now())
    }

    fn desk(&self) -> Desk<'_> {
        Desk {
            site: &self.site,
            now: Instant::now(),
            wall: SystemTime::now(),
            privacy: self.config.privacy,
        }
    }
}

/// Says what failed, but leaves alone what clients know and act upon.
fn within(what: fn(Box<SwitchError>) -> SwitchError) -> impl FnOnce(SwitchError) -> SwitchError {
    move |error| match error {
        error if error.is_load_limit() => error,
        error => what(Box::new(error)),
    }
}

fn listener(talk: &Dialogue, tag: &str) -> Result<usize, SwitchError> {
    talk.listener_by_tag(tag)
        .ok_or_else(|| match talk.party_by_tag(tag) {
            Some(_) => SwitchError::NotEligible,
            None => SwitchError::UnknownListener,
        })
}

/// The lines of the selected parties that can be listened to, in order, each once.
fn sources(
    talk: &Dialogue,
    who: &[Participants<'_>],
    plan: &mut Plan,
) -> Result<Vec<(usize, usize)>, SwitchError> {
    let mut parties: Vec<usize> = Vec::new();
    for who in who {
        for party in talk.select(*who).unwrap_or_default() {
            if !parties.contains(&party) && talk.parties[party].has_sdp {
                parties.push(party);
            }
        }
    }
    if parties.is_empty() {
        return Err(SwitchError::NothingToHear);
    }
    let mut sources = Vec::new();
    for party in parties {
        for (media, line) in talk.parties[party].medias.iter().enumerate() {
            if talk.is_audible((party, media)) {
                sources.push((party, media));
            } else if line.stream.is_some() {
                let tag = talk.parties[party].tag();
                plan.warnings.push(format!(
                    "media {media} of {tag} is not plain RTP and cannot be listened to"
                ));
            }
        }
    }
    match sources.is_empty() {
        true => Err(SwitchError::NotEligible),
        false => Ok(sources),
    }
}

/// What the client is told of those that are listened to.
fn told(talk: &Dialogue, sources: &[(usize, usize)]) -> Vec<SubscribedParty> {
    let mut told: Vec<(usize, SubscribedParty)> = Vec::new();
    for (line, (ix, index)) in sources.iter().copied().enumerate() {
        let party = &talk.parties[ix];
        if told.last().is_none_or(|(last, _)| *last != ix) {
            let known = SubscribedParty {
                tag: party.tag().to_owned(),
                label: party.label.as_deref().map(str::to_owned),
                medias: Vec::new(),
            };
            told.push((ix, known));
        }
        if let Some((_, party_told)) = told.last_mut() {
            party_told.medias.push(SubscribedMedia {
                line,
                index,
                direction: party.medias[index].direction,
                kind: party.medias[index].kind.to_string(),
            });
        }
    }
    told.into_iter().map(|(_, party)| party).collect()
}
