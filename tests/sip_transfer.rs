//! Transfers that phones ask for, and calls that take the place of others.

mod sip_support;

use crosspoint::sip::{
    Cause, EndedBy, Incoming, LegEvent, LegEvents, Replaces, TransferAsked, Transport,
};
use sip_support::*;

async fn transfer(events: &mut LegEvents) -> TransferAsked {
    match event(events).await {
        LegEvent::Transfer(asked) => asked,
        other => panic!("{other:?} and not a transfer"),
    }
}

/// Asks for a transfer to `to`.
async fn refer(phone: &mut Phone, to: &str) {
    let refer = phone.request("REFER", &format!("Refer-To: {to}\r\n"), b"");
    phone.say(&refer).await;
}

/// The next NOTIFY, answered: its event, the first word of its state, and the status it tells.
async fn notified(phone: &Phone) -> (String, String, u16) {
    let notify = phone.asked("NOTIFY").await;
    phone.reply(&notify, 200, "", b"").await;
    assert_eq!(notify.header("Content-Type"), "message/sipfrag;version=2.0");
    let state = notify.header("Subscription-State");
    let state = state.split(';').next().unwrap_or_default().to_owned();
    let body = Message(notify.body().to_owned());
    (notify.header("Event").to_owned(), state, body.code())
}

fn is(event: &str, state: &str, code: u16) -> (String, String, u16) {
    (event.to_owned(), state.to_owned(), code)
}

/// The leg that `phone` is in, as the phone names it.
fn named(phone: &Phone) -> Replaces {
    Replaces {
        call_id: phone.call_id.clone(),
        to_tag: phone.to_tag.clone(),
        from_tag: format!("c{}", phone.call_id.len()),
        early_only: false,
    }
}

/// The same within a URI.
fn escaped(replaces: &Replaces) -> String {
    let text = replaces.to_string();
    text.replace(';', "%3B").replace('=', "%3D")
}

#[tokio::test]
async fn a_blind_transfer_is_told_of_until_its_end() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (leg, mut events) = phone.connected(&mut calls).await;
    let headers = format!("Referred-By: <sip:200@{address}>\r\nRefer-To: <sip:201@{address}>\r\n");
    let request = phone.request("REFER", &headers, b"");
    phone.say(&request).await;
    let asked = transfer(&mut events).await;
    assert_eq!((asked.to.as_str(), &asked.replaces), ("201", &None));
    let by = format!("<sip:200@{address}>");
    assert_eq!(asked.referred_by.as_deref(), Some(by.as_str()));
    let progress = asked.reply.accept();
    assert_eq!(phone.response().await.code(), 202);
    assert_eq!(notified(&phone).await, is("refer", "active", 100));
    progress.tell(Cause(180));
    assert_eq!(notified(&phone).await, is("refer", "active", 180));
    progress.tell(Cause(200));
    progress.tell(Cause(486));
    // The outcome is told before the call ends.
    leg.hang_up(Cause::HANG_UP).await;
    assert_eq!(notified(&phone).await, is("refer", "terminated", 200));
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Us));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_party_that_we_called_transfers_as_well() {
    let (agent, _calls) = agent_with("").await;
    let address = address(&agent, Transport::Udp);
    let mut phone = Phone::new(address, "100").await;
    let (_leg, mut events) = agent
        .dial(call(format!("sip:200@{}", phone.own())))
        .await
        .expect("dialled");
    let invite = phone.asked("INVITE").await;
    phone.reply(&invite, 200, "", &sdp("phone")).await;
    answered(&mut events).await;
    phone.asked("ACK").await;
    let (_, tag) = invite.header("From").split_once(";tag=").expect("a tag");
    let (own, target) = (phone.own(), invite.contact());
    phone.cseq = 1;
    phone.call_id = invite.header("Call-ID").to_owned();
    phone
        .say(&format!(
            "REFER {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKrefer{tag}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:phone@{own}>;tag=p{}\r\n\
             To: <sip:100@{own}>;tag={tag}\r\n\
             Call-ID: {}\r\nCSeq: 1 REFER\r\nContact: <sip:200@{own}>\r\n\
             r: \"The <other>\" <sip:+49%23@elsewhere.example;user=phone?X=y>\r\n\
             Content-Length: 0\r\n\r\n",
            own.port(),
            phone.call_id,
        ))
        .await;
    let asked = transfer(&mut events).await;
    assert_eq!(asked.to, "sip:+49%23@elsewhere.example;user=phone");
    let progress = asked.reply.accept();
    assert_eq!(phone.response().await.code(), 202);
    assert_eq!(notified(&phone).await, is("refer", "active", 100));
    // Nobody knows how it went.
    drop(progress);
    assert_eq!(notified(&phone).await, is("refer", "terminated", 500));
    phone.hang_up(&invite).await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Party));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn transfers_are_declined_and_what_is_malformed_is_refused() {
    let trunk = "[[sip.trunk]]\nname = \"carrier\"\naddress = \"sip:carrier.example\"\n";
    let (agent, mut calls) = agent_with(&trunk.replace("sip.", "")).await;
    let address = address(&agent, Transport::Udp);
    let mut phone = Phone::new(address, "1000").await;
    let (_leg, mut events) = phone.connected(&mut calls).await;
    for (decline, code) in [
        (Some(Cause(404)), 404),
        (Some(Cause::HANG_UP), 603),
        (None, 603),
    ] {
        refer(&mut phone, "<tel:+49-30>").await;
        let asked = transfer(&mut events).await;
        assert_eq!(asked.to, "+4930");
        match decline {
            Some(cause) => asked.reply.decline(cause),
            None => drop(asked),
        }
        assert_eq!(phone.response().await.code(), code);
    }
    refer(&mut phone, "<sip:1@Carrier.example>").await;
    let asked = transfer(&mut events).await;
    assert_eq!(asked.to, "1@carrier");
    drop(asked);
    assert_eq!(phone.response().await.code(), 603);
    let escape = format!("<sip:1%40carrier@{address}>");
    let cases = [
        ("<mailto:a@b>", 416),
        ("<sip:1@h;method=BYE>", 501),
        ("<sip:1@h?Replaces=a>", 400),
        ("<sip:1@h>\r\nRefer-To: <sip:2@h>", 400),
        ("<sip:1@h>\r\nReferred-By: <sip:1@h>\r\nb: <sip:1@h>", 400),
        // Nobody gets to a trunk by the name of a user.
        (&escape, 404),
    ];
    for (to, code) in cases {
        refer(&mut phone, to).await;
        assert_eq!(phone.response().await.code(), code, "{to}");
    }
    let without = phone.request("REFER", "", b"");
    phone.say(&without).await;
    assert_eq!(phone.response().await.code(), 400);
    // In no call.
    let mut other = Phone::new(address, "1000").await;
    refer(&mut other, "<sip:1@h>").await;
    let refused = other.response().await;
    assert_eq!(refused.code(), 405);
    assert!(!refused.header("Allow").contains("REFER"), "{refused:?}");
    other.to_tag = "none".into();
    refer(&mut other, "<sip:1@h>").await;
    assert_eq!(other.response().await.code(), 481);
    phone.bye().await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Party));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn one_transfer_at_a_time_and_so_many_in_a_call() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (_leg, mut events) = phone.connected(&mut calls).await;
    refer(&mut phone, "<sip:1@h>").await;
    let asked = transfer(&mut events).await;
    let first = phone.cseq;
    refer(&mut phone, "<sip:2@h>").await;
    assert_eq!(phone.response().await.code(), 491);
    drop(asked);
    let declined = phone.response_to("REFER", 603).await;
    assert_eq!(declined.header("CSeq"), format!("{first} REFER"));
    for _ in 1..32 {
        refer(&mut phone, "<sip:1@h>").await;
        drop(transfer(&mut events).await);
        assert_eq!(phone.response().await.code(), 603);
    }
    refer(&mut phone, "<sip:1@h>").await;
    assert_eq!(phone.response().await.code(), 603);
    // The owner did not hear of the last one.
    phone.bye().await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Party));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn transfers_after_the_first_are_told_apart_and_end_where_nobody_hears() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (_leg, mut events) = phone.connected(&mut calls).await;
    refer(&mut phone, "<sip:1@h>").await;
    drop(transfer(&mut events).await);
    assert_eq!(phone.response().await.code(), 603);
    refer(&mut phone, "<sip:1@h>").await;
    let progress = transfer(&mut events).await.reply.accept();
    let id = format!("refer;id={}", phone.cseq);
    assert_eq!(phone.response().await.code(), 202);
    assert_eq!(notified(&phone).await, is(&id, "active", 100));
    progress.tell(Cause(180));
    let notify = phone.asked("NOTIFY").await;
    phone.reply(&notify, 481, "", b"").await;
    progress.tell(Cause(200));
    phone.bye().await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Party));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn an_attended_transfer_names_another_leg_of_ours() {
    let (agent, mut calls, address) = agent().await;
    let mut first = Phone::new(address, "1000").await;
    let (_leg, mut events) = first.connected(&mut calls).await;
    let mut second = Phone::new(address, "1001").await;
    let (other, mut others) = second.connected(&mut calls).await;
    let replaces = escaped(&named(&second));
    refer(
        &mut first,
        &format!("<sip:1001@{address}?Replaces={replaces}>"),
    )
    .await;
    let asked = transfer(&mut events).await;
    assert_eq!(asked.to, "1001");
    let replaced = asked.replaces.as_ref().expect("a dialog");
    assert_eq!(agent.find_replaced(replaced), Some(other.id()));
    let progress = asked.reply.accept();
    progress.tell(Cause(200));
    assert_eq!(first.response().await.code(), 202);
    assert_eq!(notified(&first).await, is("refer", "terminated", 200));
    for (phone, events) in [(&mut first, &mut events), (&mut second, &mut others)] {
        phone.bye().await;
        assert_eq!(ending(events).await, (200, EndedBy::Party));
        assert_eq!(agent.find_replaced(&named(phone)), None);
    }
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_call_takes_the_place_of_another() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (leg, mut events) = phone.connected(&mut calls).await;
    let mut named = named(&phone);
    let mut other = Phone::new(address, "1000").await;
    let headers = format!("Require: replaces\r\nReplaces: {named}\r\n");
    other.invite_with(&headers, &sdp("other")).await;
    let call = incoming(&mut calls).await;
    assert_eq!(call.replaces, Some(leg.id()));
    call.leg.answer(&sdp("agent")).await.expect("answered");
    leg.hang_up(Cause::HANG_UP).await;
    let answer = other.response().await;
    other.confirm(&answer, b"").await;
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Us));

    let again = format!("Replaces: {named}\r\n");
    named.call_id.clone_from(&other.call_id);
    named.to_tag.clone_from(&other.to_tag);
    named.from_tag = format!("c{}", other.call_id.len());
    let answered = format!("Replaces: {named};early-only\r\n");
    let twice = format!("Replaces: {named}\r\nReplaces: {named}\r\n");
    let cases = [
        (again.as_str(), 481),
        ("Replaces: a;to-tag=t\r\n", 400),
        (&twice, 400),
        (&answered, 486),
    ];
    for (headers, code) in cases {
        let mut late = Phone::new(address, "1000").await;
        late.invite_with(headers, &sdp("late")).await;
        let refused = late.response().await;
        assert_eq!(refused.code(), code, "{headers}");
        late.take(&refused).await;
    }
    let options = other.request("OPTIONS", &again, b"");
    other.say(&options).await;
    assert_eq!(other.response().await.code(), 400);
    other.bye().await;
    drop(call);
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_ringing_phone_is_picked_up_and_a_ringing_caller_is_not() {
    let (agent, mut calls, address) = agent().await;
    let ringing = Phone::new(address, "100").await;
    let to = format!("sip:1@{}", ringing.own());
    let (leg, mut events) = agent.dial(call(to)).await.expect("dialled");
    let invite = ringing.asked("INVITE").await;
    ringing.reply(&invite, 180, "", b"").await;
    assert!(matches!(event(&mut events).await, LegEvent::Ringing));
    let (_, tag) = invite.header("From").split_once(";tag=").expect("a tag");
    let mut named = Replaces {
        call_id: invite.header("Call-ID").to_owned(),
        to_tag: tag.to_owned(),
        from_tag: format!("p{}", ringing.own().port()),
        early_only: true,
    };
    let mut other = Phone::new(address, "1000").await;
    other
        .invite_with(&format!("Replaces: {named}\r\n"), &sdp("other"))
        .await;
    let Incoming {
        replaces, leg: own, ..
    } = incoming(&mut calls).await;
    assert_eq!(replaces, Some(leg.id()));
    // RFC 3891 section 3: what we did not dial is not replaced before it is answered.
    own.ring(None).await.expect("it rings");
    let rings = other.response_to("INVITE", 180).await;
    named.call_id.clone_from(&other.call_id);
    named.to_tag = rings.to_tag().to_owned();
    named.from_tag = format!("c{}", other.call_id.len());
    let mut late = Phone::new(address, "1000").await;
    late.invite_with(&format!("Replaces: {named}\r\n"), &sdp("late"))
        .await;
    let refused = late.response().await;
    assert_eq!(refused.code(), 481);
    late.take(&refused).await;
    drop(events);
    let cancel = ringing.asked("CANCEL").await;
    ringing.reply(&cancel, 200, "", b"").await;
    ringing.reply(&invite, 487, "", b"").await;
}
