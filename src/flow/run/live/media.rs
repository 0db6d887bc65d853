//! A call's media as it is negotiated: what is told to the caller, and to whoever it is to talk
//! with.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::super::Over;
use super::super::sdp::{Audio, OF_NOBODY, offer_all, reject_rest};
use super::{CALLER, Live, fresh_sid};
use crate::engine::{EarlyMedia, Privacy};
use crate::sip::{Cause, Leg};
use crate::switch::{CodecPolicy, Echo, Mux, Negotiation, Options, SwitchError};

/// Codecs that called parties are offered besides the caller's own.
const TRANSCODED: [&str; 4] = ["PCMA", "PCMU", "G722", "opus"];

/// How often it is looked whether the switch still has a call's media.
const MEDIA_LOOK: Duration = Duration::from_secs(1);

/// Somebody who is called, as the switch knows it.
#[derive(Clone, Debug)]
pub(in crate::flow::run) struct Branch {
    /// SID of its leg; its tag and its branch on the switch.
    pub(in crate::flow::run) leg: String,
    /// It is another call of this very switch.
    pub(in crate::flow::run) is_local: bool,
    /// Where its messages come from, once it has said anything.
    pub(in crate::flow::run) far: Arc<OnceLock<IpAddr>>,
    /// Its leg, once there is one.
    pub(in crate::flow::run) sip: Arc<OnceLock<Leg>>,
    /// Who called whom, as it is written down.
    pub(in crate::flow::run) from: String,
    pub(in crate::flow::run) to: String,
}

/// Whose words an SDP is, and where it came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// It is another call of this very switch.
    pub(super) is_local: bool,
    /// Its signalling's address: media may come from there too, behind a NAT.
    pub(super) far: Option<IpAddr>,
}

impl Branch {
    /// Somebody of a leg that is yet to be dialled.
    pub(in crate::flow::run) fn new(is_local: bool, from: &str, to: &str) -> Self {
        Self {
            leg: fresh_sid(),
            is_local,
            far: Arc::default(),
            sip: Arc::default(),
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    /// Its leg is this one.
    pub(in crate::flow::run) fn with(self, leg: &Leg) -> Self {
        // A branch of its own: it had none.
        let _first = self.sip.set(leg.clone());
        if let Some(far) = leg.far() {
            let _first = self.far.set(far);
        }
        self
    }

    fn said(&self) -> Said {
        Said {
            is_local: self.is_local,
            far: self.far.get().copied(),
        }
    }
}

/// Whom the caller talks with.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) branch: Branch,
    pub(super) audio: Audio,
    /// What it was told last.
    pub(super) told: String,
}

impl Live {
    /// Sees to it that the caller has media: a flow that never answers needs none.
    pub(super) fn publish_once(&self) -> Result<(), Over> {
        if !self.state().told.is_empty() {
            return Ok(());
        }
        let offer = self.offer.as_deref().unwrap_or(OF_NOBODY.as_bytes());
        self.publish(offer).map_err(Over)
    }

    /// Waits until the switch has ended the call by a timer of its own, or on another's command.
    pub(in crate::flow::run) async fn loses_media(&self) {
        loop {
            tokio::time::sleep(MEDIA_LOOK).await;
            if !self.state().told.is_empty() && !self.switch().has_call(&self.sid) {
                tracing::info!(call_id = %self.sid, "its media is gone: it is hung up");
                return;
            }
        }
    }

    /// Sees to it that others can be called on behalf of the caller. Who came without an offer is
    /// answered for it: what it can is known only then.
    pub(in crate::flow::run) async fn introduce(&self) -> Result<(), Over> {
        self.publish_once()?;
        match self.offer {
            Some(_) => Ok(()),
            None => self.answer().await,
        }
    }

    fn publish(&self, sdp: &[u8]) -> Result<(), Cause> {
        self.publish_as(sdp, self.said())
    }

    /// What whoever is in the caller's place says of itself.
    pub(super) fn publish_as(&self, sdp: &[u8], said: Said) -> Result<(), Cause> {
        let told = self.switch().publish(&Negotiation {
            call_id: &self.sid,
            from_tag: CALLER,
            to_tag: None,
            via_branch: None,
            sdp,
            options: self.options(said, said.is_local),
        });
        let told = told.map_err(|error| self.refusal(&error))?.sdp;
        let audio = Audio::accepted(sdp, told.as_bytes()).ok_or(Cause(488))?;
        let known = self.offer.is_some() || sdp != OF_NOBODY.as_bytes();
        let mut state = self.state();
        state.told = match known {
            true => told,
            false => offer_all(&told),
        };
        state.caller = known.then_some(audio);
        Ok(())
    }

    pub(super) fn refusal(&self, error: &SwitchError) -> Cause {
        if matches!(error, SwitchError::UnknownCall) {
            self.warn("media refused", error);
            return Cause::TIMEOUT;
        }
        let call_id = &self.sid;
        // Whoever offers nonsense with each INVITE fills no disk with it.
        match self.desk.warned.ask(self.caller().0.far(), Instant::now()) {
            Some(more) => tracing::warn!(%call_id, %error, more, "media refused"),
            None => tracing::debug!(%call_id, %error, "media refused"),
        }
        match error {
            error if error.is_load_limit() => Cause(503),
            _ => Cause(488),
        }
    }

    /// The caller offers anew, or asks for an offer.
    pub(in crate::flow::run) fn caller_offers(&self, sdp: Option<&[u8]>) -> Result<Vec<u8>, Cause> {
        if let Some(sdp) = sdp {
            self.publish(sdp)?;
            self.rejoin()?;
        }
        Ok(self.state().told.clone().into_bytes())
    }

    /// The caller answers our offer, in its ACK.
    pub(in crate::flow::run) fn caller_answers(&self, sdp: &[u8]) {
        let taken = self.publish(sdp).and_then(|()| self.rejoin());
        if let Err(cause) = taken {
            tracing::warn!(call_id = %self.sid, cause = cause.0, "an answer that fits nothing");
        }
    }

    /// Brings the ways between the caller and whom it talks with up to what they say now.
    pub(super) fn rejoin(&self) -> Result<(), Cause> {
        let Some(peer) = self.state().peer.clone() else {
            return Ok(());
        };
        let offered = self.offer_to(&peer.branch, None);
        offered.map_err(|error| self.refusal(&error))?;
        self.join(None)
    }

    /// Joins the caller with whom it talks, by what that one said last of itself.
    pub(in crate::flow::run) fn join(&self, echo: Option<Echo>) -> Result<(), Cause> {
        let peer = self.state().peer.clone().ok_or(Cause(500))?;
        let joined = self.take_answer(&peer.branch, &peer.audio, false, echo);
        joined.map_err(|error| self.refusal(&error))
    }

    /// Who talks with the caller answers our offer, in its ACK.
    pub(in crate::flow::run) fn peer_answers(&self, branch: &Branch, sdp: &[u8]) {
        if let Err(cause) = self.peer_offers(branch, Some(sdp)) {
            tracing::warn!(call_id = %self.sid, cause = cause.0, "an answer that fits nothing");
        }
    }

    /// Who talks with the caller offers anew, or asks for an offer.
    pub(in crate::flow::run) fn peer_offers(
        &self,
        branch: &Branch,
        sdp: Option<&[u8]>,
    ) -> Result<Vec<u8>, Cause> {
        let (peer, caller) = {
            let state = self.state();
            (state.peer.clone(), state.caller.clone())
        };
        let peer = peer
            .filter(|peer| peer.branch.leg == branch.leg)
            .ok_or(Cause(488))?;
        let caller = caller.ok_or(Cause(488))?;
        let Some(sdp) = sdp else {
            return Ok(peer.told.into_bytes());
        };
        let audio = Audio::of(sdp).ok_or(Cause(488))?;
        let (offer, answer) = (audio.offer(), caller.answer_to(&audio));
        let mut negotiation = Negotiation {
            call_id: &self.sid,
            from_tag: &branch.leg,
            to_tag: Some(CALLER),
            via_branch: None,
            sdp: offer.as_bytes(),
            options: Options {
                codecs: transcoded(),
                ..self.options(branch.said(), self.said().is_local)
            },
        };
        let done = self.switch().offer(&negotiation).and_then(|_| {
            negotiation.sdp = answer.as_bytes();
            negotiation.options = self.options(self.said(), branch.is_local);
            self.switch().answer(&negotiation)
        });
        let told = reject_rest(sdp, done.map_err(|error| self.refusal(&error))?.sdp);
        self.joined(branch, audio, told.clone());
        Ok(told.into_bytes())
    }

    /// What a party is offered on behalf of the caller; its tag and branch are its leg's SID.
    pub(in crate::flow::run) fn offer_to(
        &self,
        branch: &Branch,
        early: Option<EarlyMedia>,
    ) -> Result<String, SwitchError> {
        let caller = self.state().caller.clone().ok_or(SwitchError::NoOffer)?;
        let done = self.switch().offer(&Negotiation {
            call_id: &self.sid,
            from_tag: CALLER,
            to_tag: None,
            via_branch: Some(&branch.leg),
            sdp: caller.offer().as_bytes(),
            options: Options {
                early_policy: early,
                codecs: transcoded(),
                ..self.options(self.said(), branch.is_local)
            },
        })?;
        Ok(done.sdp)
    }

    /// A party that was offered something answers it, or lets hear that it rings.
    pub(in crate::flow::run) fn take_answer(
        &self,
        branch: &Branch,
        audio: &Audio,
        provisional: bool,
        echo: Option<Echo>,
    ) -> Result<(), SwitchError> {
        let sdp = audio.offer();
        self.switch().answer(&Negotiation {
            call_id: &self.sid,
            from_tag: CALLER,
            to_tag: Some(&branch.leg),
            via_branch: Some(&branch.leg),
            sdp: sdp.as_bytes(),
            options: Options {
                provisional,
                echo,
                ..self.options(branch.said(), self.said().is_local)
            },
        })?;
        Ok(())
    }

    /// From now on the caller talks with this party.
    pub(in crate::flow::run) fn joined(&self, branch: &Branch, audio: Audio, told: String) {
        self.state().peer = Some(Peer {
            branch: branch.clone(),
            audio,
            told,
        });
    }

    /// The caller talks with nobody.
    pub(in crate::flow::run) fn parted(&self) {
        self.state().peer = None;
    }

    fn said(&self) -> Said {
        self.state().seat.said()
    }

    /// No party of a flow's call learns anything of another one by media; RTCP is ours. Only where
    /// the SDP is that of another call of this switch its address may be ours; and only to such a
    /// call (`to_us`) it is told where we are, in the place of what the world is told.
    fn options(&self, said: Said, to_us: bool) -> Options {
        let here = || {
            self.switch()
                .site()
                .usage()
                .first()
                .map(|usage| usage.address)
        };
        Options {
            privacy: Some(Privacy::Masked),
            mux: Mux {
                demux: true,
                ..Mux::default()
            },
            own_ports: said.is_local,
            received_from: said.far,
            media_address: to_us.then(here).flatten(),
            ..Options::default()
        }
    }
}

fn transcoded() -> CodecPolicy {
    CodecPolicy {
        transcode: TRANSCODED.map(str::to_owned).to_vec(),
        ..CodecPolicy::default()
    }
}
