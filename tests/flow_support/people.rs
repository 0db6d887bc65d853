//! People: a SIP phone and a voice each.

use super::{House, Voice};
use crate::sip_support::{Message, Phone};

/// One who calls.
pub(crate) struct Caller {
    pub(crate) sip: Phone,
    pub(crate) voice: Voice,
}

impl Caller {
    pub(crate) async fn new(house: &House, number: &str, hz: f32) -> Self {
        Self {
            sip: Phone::new(house.address, number).await,
            voice: Voice::new(hz),
        }
    }

    /// One who has called, and waits.
    pub(crate) async fn calls(house: &House, number: &str, hz: f32) -> Self {
        let mut caller = Self::new(house, number, hz).await;
        let offer = caller.voice.sdp();
        caller.sip.invite_with("", &offer).await;
        caller
    }

    /// One who has called, and was answered.
    pub(crate) async fn talks(house: &House, number: &str, hz: f32) -> Self {
        let mut caller = Self::calls(house, number, hz).await;
        caller.is_answered().await;
        caller
    }

    /// Waits for the answer, and speaks.
    pub(crate) async fn is_answered(&mut self) -> Message {
        let answer = self.sip.response_to("INVITE", 200).await;
        self.sip.confirm(&answer, b"").await;
        self.voice.speaks_to(answer.body());
        answer
    }

    /// Waits until it is refused: with what code.
    pub(crate) async fn is_refused(&mut self) -> u16 {
        loop {
            let response = self.sip.response().await;
            if response.code() >= 300 {
                self.sip.take(&response).await;
                return response.code();
            }
            assert!(response.code() < 200, "{response:?}");
        }
    }

    /// Cancels, and waits until that is done.
    pub(crate) async fn cancels(&mut self) {
        let cancel = self.sip.same("CANCEL", "", b"");
        self.sip.say(&cancel).await;
        let terminated = self.sip.response_to("INVITE", 487).await;
        self.sip.take(&terminated).await;
    }

    pub(crate) async fn hangs_up(&mut self) {
        self.sip.bye().await;
    }

    /// Waits for the BYE.
    pub(crate) async fn is_hung_up(&self) -> Message {
        let bye = self.sip.asked("BYE").await;
        self.sip.reply(&bye, 200, "", b"").await;
        bye
    }

    /// Offers anew with this direction; the answer.
    pub(crate) async fn reoffers(&mut self, direction: &str) -> Message {
        let offer = self.voice.sdp_with(direction);
        let invite = self.sip.request("INVITE", "", &offer);
        self.sip.say(&invite).await;
        let answer = self.sip.response().await;
        assert_eq!(answer.code(), 200, "{answer:?}");
        self.sip.confirm(&answer, b"").await;
        answer
    }
}

/// One who is called.
pub(crate) struct Callee {
    pub(crate) sip: Phone,
    pub(crate) voice: Voice,
    pub(crate) invite: Option<Message>,
    cseq: u32,
}

impl Callee {
    pub(crate) async fn new(house: &House, hz: f32) -> Self {
        Self {
            sip: Phone::new(house.address, "callee").await,
            voice: Voice::new(hz),
            invite: None,
            cseq: 0,
        }
    }

    /// Where it is called.
    pub(crate) fn uri(&self) -> String {
        format!("sip:callee@{}", self.sip.own())
    }

    fn invite(&self) -> &Message {
        self.invite.as_ref().expect("a call")
    }

    /// Waits until it is called.
    pub(crate) async fn is_called(&mut self) -> &Message {
        let invite = self.sip.asked("INVITE").await;
        self.sip.reply(&invite, 100, "", b"").await;
        self.invite.insert(invite)
    }

    /// Waits until it is called, and rings.
    pub(crate) async fn rings(&mut self) {
        self.is_called().await;
        self.rings_now().await;
    }

    pub(crate) async fn rings_now(&self) {
        self.sip.reply(self.invite(), 180, "", b"").await;
    }

    /// Rings with early media: its voice.
    pub(crate) async fn speaks_early(&mut self) {
        let sdp = self.voice.sdp();
        self.sip.reply(self.invite(), 183, "", &sdp).await;
        self.voice.speaks_to(self.invite().body());
    }

    /// Answers what it was called with, and speaks.
    pub(crate) async fn answers(&mut self) {
        let sdp = self.voice.sdp();
        self.sip.reply(self.invite(), 200, "", &sdp).await;
        self.voice.speaks_to(self.invite().body());
        self.sip.asked("ACK").await;
    }

    /// Answers with this body.
    pub(crate) async fn answers_with(&mut self, body: &str) {
        self.sip
            .reply(self.invite(), 200, "", body.as_bytes())
            .await;
        self.sip.asked("ACK").await;
    }

    pub(crate) async fn refuses(&mut self, code: u16) {
        self.sip.reply(self.invite(), code, "", b"").await;
        self.sip.asked("ACK").await;
    }

    /// Waits for the CANCEL, and does as it says.
    pub(crate) async fn is_cancelled(&mut self) {
        let cancel = self.sip.asked("CANCEL").await;
        self.sip.reply(&cancel, 200, "", b"").await;
        self.refuses(487).await;
    }

    /// Waits for the BYE.
    pub(crate) async fn is_hung_up(&self) -> Message {
        let bye = self.sip.asked("BYE").await;
        self.sip.reply(&bye, 200, "", b"").await;
        bye
    }

    pub(crate) async fn hangs_up(&self) {
        self.sip.hang_up(self.invite()).await;
        self.sip.response_to("BYE", 200).await;
    }

    /// A request of the next CSeq.
    pub(crate) fn request(&mut self, method: &str, body: &[u8]) -> String {
        self.cseq += 1;
        self.sip.cseq = self.cseq;
        self.sip.within(self.invite(), method, self.cseq, body)
    }

    /// Offers anew with this direction; the answer.
    pub(crate) async fn reoffers(&mut self, direction: &str) -> Message {
        let offer = self.voice.sdp_with(direction);
        let request = self.request("INVITE", &offer);
        self.sip.say(&request).await;
        let answer = self.sip.response().await;
        assert_eq!(answer.code(), 200, "{answer:?}");
        let invite = self.invite();
        let ack = self.sip.within(invite, "ACK", self.cseq, b"");
        self.sip.say(&ack).await;
        answer
    }
}
