//! Calls that change hands: REFER, blind and attended, and INVITE with Replaces.

#[path = "transfers/attended.rs"]
mod attended;
#[path = "transfers/blind.rs"]
mod blind;
#[path = "transfers/replaces.rs"]
mod replaces;
#[path = "transfers/rules.rs"]
mod rules;

use crosspoint::flow::script::{Connect, Transfers};

use crate::flow_support::*;
use crate::sip_support::{Message, Phone};

const CALLER_HZ: f32 = 500.0;
const AGENT_HZ: f32 = 800.0;
const TARGET_HZ: f32 = 900.0;
/// Carrier of the ringing tone of India, which is modulated by 25 Hz.
const RINGBACK_HZ: f32 = 400.0;

/// A house in which 1000 calls an agent and 2001 a target, and where everybody may transfer.
struct Scene {
    house: House,
    caller: Caller,
    agent: Callee,
    target: Callee,
}

impl Scene {
    /// Before anybody has called.
    async fn new(change: impl FnOnce(&mut Connect)) -> Self {
        let house = House::new("").await;
        *house.transfer.lock().expect("a word") = Transfers::All;
        let agent = Callee::new(&house, AGENT_HZ).await;
        let target = Callee::new(&house, TARGET_HZ).await;
        let mut step = connect(&[agent.uri()]);
        change(&mut step);
        house.flow("1000", connected(step));
        house.flow("2001", connected(connect(&[target.uri()])));
        let caller = Caller::new(&house, "1000", CALLER_HZ).await;
        Self {
            house,
            caller,
            agent,
            target,
        }
    }

    /// The caller and the agent talk.
    async fn talking() -> Self {
        Self::talking_with(|_| {}).await
    }

    async fn talking_with(change: impl FnOnce(&mut Connect)) -> Self {
        let mut scene = Self::new(change).await;
        let offer = scene.caller.voice.sdp();
        scene.caller.sip.invite_with("", &offer).await;
        scene.agent.rings().await;
        scene.agent.answers().await;
        scene.caller.is_answered().await;
        scene.they_hear_each_other().await;
        scene
    }

    async fn they_hear_each_other(&self) {
        self.caller.voice.hears(AGENT_HZ).await;
        self.agent.voice.hears(CALLER_HZ).await;
    }

    /// The address of a number of the house.
    fn at(&self, number: &str) -> String {
        format!("<sip:{number}@{}>", self.house.address)
    }

    /// What the only leg that came by a transfer took the place of.
    fn instead_of(&self) -> Option<String> {
        let all = self.house.book.all().into_iter();
        let mut found = all.filter_map(|told| match told {
            Told::LegStarted { instead_of, .. } => instead_of,
            _ => None,
        });
        let first = found.next();
        assert_eq!(found.next(), None, "one leg takes the place of another");
        first
    }
}

/// The caller asks for a transfer; the answer.
async fn caller_refers(caller: &mut Caller, to: &str) -> u16 {
    let refer = format!("Refer-To: {to}\r\nReferred-By: <sip:secret@secret.example>\r\n");
    loop {
        let request = caller.sip.request("REFER", &refer, b"");
        caller.sip.say(&request).await;
        match caller.sip.response().await.code() {
            // The end of the one before is not acknowledged yet.
            491 => tokio::time::sleep(ms(20)).await,
            code => return code,
        }
    }
}

/// Waits until the voice hears that it rings somewhere.
async fn hears_ringing(voice: &Voice) {
    until("the ringing tone", || voice.share_now(RINGBACK_HZ) > 0.5).await;
}

/// The agent asks for a transfer; the answer.
async fn agent_refers(agent: &mut Callee, to: &str) -> u16 {
    let headers = format!("\r\nRefer-To: {to}\r\nReferred-By: <sip:secret@secret.example>\r\n");
    loop {
        let refer = agent.request("REFER", b"").replacen("\r\n", &headers, 1);
        agent.sip.say(&refer).await;
        match agent.sip.response().await.code() {
            491 => tokio::time::sleep(ms(20)).await,
            code => return code,
        }
    }
}

/// What the next NOTIFY tells.
async fn notified(phone: &Phone) -> u16 {
    let notify = phone.asked("NOTIFY").await;
    phone.reply(&notify, 200, "", b"").await;
    Message(notify.body().to_owned()).code()
}

/// Is told that it is tried, that it rings, unless the end is there before that, and the end.
async fn notified_to_the_end(phone: &Phone) -> u16 {
    loop {
        match notified(phone).await {
            100 | 180 => {}
            end => return end,
        }
    }
}

/// The dialog of a caller as it is named in Replaces, and the same within a URI.
fn dialog_of(phone: &Phone) -> (String, String) {
    let (call_id, to_tag) = (&phone.call_id, &phone.to_tag);
    named(call_id, to_tag, &format!("c{}", phone.call_id.len()))
}

/// The dialog of somebody who was called.
fn dialog_at(callee: &Callee) -> (String, String) {
    let invite = callee.invite.as_ref().expect("a call");
    let (_, tag) = invite.header("From").split_once(";tag=").expect("a tag");
    let own = format!("p{}", callee.sip.own().port());
    named(invite.header("Call-ID"), tag, &own)
}

fn named(call_id: &str, to_tag: &str, from_tag: &str) -> (String, String) {
    let text = format!("{call_id};to-tag={to_tag};from-tag={from_tag}");
    let escaped = text.replace(';', "%3B").replace('=', "%3D");
    (text, escaped)
}

/// Takes an offer within the call, and speaks to where it says from now on.
async fn follows(phone: &Phone, voice: &Voice) {
    let offer = phone.asked("INVITE").await;
    phone.reply(&offer, 200, "", &voice.sdp()).await;
    phone.asked("ACK").await;
    voice.speaks_to(offer.body());
}
