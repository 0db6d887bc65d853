//! `why`: the timeline of a call, and why its audio is one-way.

use std::fmt::Write as _;
use std::time::Instant;

use crate::engine::{self, DropReason, EventKind, PlayId, PlayReport, StreamIx, StreamReport};

use super::{LegMedia, Listener, Party, Snapshot, Subscription};

/// Tells a person what happened to a call: SDP seen, latch attempts, first and last packets, and
/// for every direction whether sound passes and if not, why.
pub fn explain(s: &Snapshot) -> String {
    let mut out = String::new();
    let age = s.taken.1.saturating_duration_since(s.created_at);
    let _ = writeln!(out, "call {}  age {:.1} s", s.call_id, age.as_secs_f64());
    timeline(s, &mut out);
    for (ix, party) in s.parties.iter().enumerate() {
        for (line, used) in party.medias.iter().flat_map(with_other) {
            if let Some(report) = s.stream(line) {
                let _ = writeln!(out, "\n{}{used}", heading(ix, party, line));
                state(s, line, report, &mut out);
                let _ = writeln!(out, "  verdict: {}", verdict(s, ix, line, report));
            }
        }
    }
    for listener in &s.listeners {
        for (line, heard) in listener.party.medias.iter().zip(&listener.lines) {
            if let Some(report) = s.stream(line) {
                let tag = listener.party.tag();
                let _ = writeln!(out, "\nlistener {tag}: {} at {}", line.kind, line.local);
                state(s, line, report, &mut out);
                let _ = writeln!(out, "  verdict: {}", listens(s, heard, report));
            }
        }
    }
    out
}

/// One sentence: whether a listener is sent what it listens to.
fn listens(s: &Snapshot, line: &Subscription, r: &StreamReport) -> String {
    let Some((party, media)) = line.source else {
        return "not in use".to_owned();
    };
    let who = format!("party {party} {} media {media}", s.parties[party].tag());
    match () {
        () if line.accepted.is_empty() => format!("has not accepted to hear {who}"),
        () if r.hears.is_none() => format!("accepts nothing that {who} may send"),
        () if !r.receives => format!("does not want to hear {who} now"),
        () if r.rtp_out.packets == 0 => format!("{who} has said nothing that was sent to it"),
        () => format!("hears {who}"),
    }
}

/// A line's stream, and the one it has besides: voice while a fax is offered, a fax that is over.
fn with_other(line: &LegMedia) -> impl Iterator<Item = (&LegMedia, &'static str)> {
    let other = line.other.as_deref().map(|other| (other, ", set aside"));
    std::iter::once((line, "")).chain(other)
}

fn heading(ix: usize, party: &Party, line: &LegMedia) -> String {
    let tag = if party.tag().is_empty() {
        "(no tag yet)"
    } else {
        party.tag()
    };
    let closed = if party.closed { ", closed" } else { "" };
    format!("party {ix} {tag}{closed}: {} at {}", line.kind, line.local)
}

fn timeline(s: &Snapshot, out: &mut String) {
    let mut lines: Vec<(Instant, String)> = Vec::new();
    for signal in &s.history {
        let mut text = match &*signal.tag {
            "" => signal.what.to_owned(),
            tag => format!("{} from {tag}", signal.what),
        };
        if let Some(sdp) = &signal.sdp {
            for line in sdp.lines().filter(|l| tells(l)) {
                let _ = write!(text, "\n             {line}");
            }
        }
        for warning in &signal.warnings {
            let _ = write!(text, "\n             warning: {warning}");
        }
        lines.push((signal.at, text));
    }
    for event in &s.report.events {
        let who = owner(s, event.stream);
        lines.push((event.at, format!("{who}: {}", describe(event.kind))));
    }
    lines.sort_by_key(|(at, _)| *at);
    let lost = s.history_dropped + s.report.events_dropped;
    if lost > 0 {
        let _ = writeln!(out, "  ({lost} older entries are no longer kept)");
    }
    for (at, text) in lines {
        let since = at.saturating_duration_since(s.created_at).as_secs_f64();
        let _ = writeln!(out, "  {since:>9.3} s {text}");
    }
}

/// The lines of an SDP that decide where media goes.
fn tells(line: &str) -> bool {
    ["c=", "m=", "a=send", "a=recv", "a=inactive", "a=rtcp"]
        .iter()
        .any(|p| line.starts_with(p))
}

fn owner(s: &Snapshot, stream: StreamIx) -> String {
    let line_of = |party: &Party| {
        party
            .medias
            .iter()
            .flat_map(with_other)
            .find(|(m, _)| m.stream == Some(stream))
            .map(|(m, _)| m.kind.clone())
    };
    let found = s
        .parties
        .iter()
        .enumerate()
        .find_map(|(ix, p)| Some((ix, p.tag(), line_of(p)?)));
    match found {
        Some((ix, tag, kind)) => format!("party {ix} {tag} {kind}"),
        None => listener_of(s, stream).map_or_else(
            || format!("stream {}", stream.0),
            |listener| format!("listener {}", listener.party.tag()),
        ),
    }
}

fn listener_of(s: &Snapshot, stream: StreamIx) -> Option<&Listener> {
    let has = |listener: &&Listener| listener.party.streams().any(|own| own == stream);
    s.listeners.iter().find(has)
}

fn describe(kind: EventKind) -> String {
    match kind {
        EventKind::Candidate(from) => {
            format!("packets from {from}, not the SDP's address: watched")
        }
        EventKind::Latched { from, by_sdp: true } => format!("latched to {from}, as its SDP said"),
        EventKind::Latched {
            from,
            by_sdp: false,
        } => format!("latched to {from}, learned"),
        EventKind::LatchRejected(from) => format!("latch.rejected: packets from {from} dropped"),
        EventKind::FirstPacket { ssrc, pt } => {
            format!("first packet, SSRC {ssrc:#010x}, payload type {pt}")
        }
        EventKind::SsrcChanged(ssrc) => format!("new SSRC {ssrc:#010x}"),
        EventKind::SourceChanged(from) => format!("now hears stream {}", from.0),
        EventKind::Progress(progress) => format!("early media: {progress:?}"),
        EventKind::PlayStarted(id, to) => format!("playing {}", sound(id, to)),
        EventKind::PlayCompleted(play) => {
            format!("{} ended, {}", sound(play.id, play.listener), played(play))
        }
        EventKind::PlayInterrupted(play) => {
            format!(
                "{} was stopped, {}",
                sound(play.id, play.listener),
                played(play)
            )
        }
        EventKind::PlayFailed(play) => {
            format!("{} failed, {}", sound(play.id, play.listener), played(play))
        }
        EventKind::MaskingBegan => "keys are masked from here on, by a trigger".to_owned(),
        EventKind::MaskingEnded => "keys are not masked any more, by a trigger".to_owned(),
        EventKind::DigitBegan(press) => format!("a key goes down ({})", press.source.label()),
        EventKind::DigitEnded(press) => {
            let ms = press.duration.as_millis();
            format!("the key comes up after {ms} ms ({})", press.source.label())
        }
        EventKind::DigitsSent(sent) => {
            let whole = if sent.completed {
                "all sent"
            } else {
                "stopped"
            };
            format!("digits {}: {whole}, {} keys", sent.id.0, sent.keys)
        }
        EventKind::Gathered(gathered) => format!(
            "gathered {} keys in {} ms, {} attempts: {}",
            gathered.digits.len(),
            gathered.lasted_ms,
            gathered.attempts,
            gathered.end.label()
        ),
        EventKind::Bye => "RTCP BYE seen (ends nothing)".to_owned(),
        EventKind::Stalled => "no packets for two seconds".to_owned(),
        EventKind::Ended(reason) => format!("ended by the {reason:?} timer"),
    }
}

fn played(play: PlayReport) -> String {
    let at = play.position.as_secs_f64();
    let mut text = format!("{} frames sent, {at:.2} s into it", play.frames);
    if play.item > 0 {
        let _ = write!(text, " (the sound after {} others)", play.item);
    }
    if play.missing > 0 {
        let _ = write!(text, ", {} samples came too late", play.missing);
    }
    text
}

fn sound(id: PlayId, listener: engine::Listener) -> String {
    match listener {
        engine::Listener::Leg(_) => format!("sound {}", id.0),
        engine::Listener::Bridge(bridge) => format!("sound {} to bridge {}", id.0, bridge.0),
    }
}

fn state(s: &Snapshot, line: &LegMedia, r: &StreamReport, out: &mut String) {
    let says = line
        .remote_address()
        .map_or_else(|| "nowhere".to_owned(), |a| a.to_string());
    let is = match r.latched {
        Some(a) if r.latched_by_sdp => format!("sends from there ({a})"),
        Some(a) => format!("really sends from {a}"),
        None => "has not been heard".to_owned(),
    };
    let _ = writeln!(out, "  its SDP says {says}; it {is}");
    let ago = |at: Option<Instant>| {
        at.map_or_else(
            || "never".to_owned(),
            |at| {
                format!(
                    "{:.1} s ago",
                    s.taken.1.saturating_duration_since(at).as_secs_f64()
                )
            },
        )
    };
    let _ = writeln!(
        out,
        "  received {} packets (first {}, last {}), sent to it {}, refused by source {}",
        r.rtp_in.packets,
        ago(r.first_packet),
        ago(r.last_packet),
        r.rtp_out.packets,
        r.rejected,
    );
    if r.presses_ignored > 0 {
        let n = r.presses_ignored;
        let _ = writeln!(
            out,
            "  {n} key presses not told: more than anybody can press"
        );
    }
    for reason in DropReason::ALL {
        let n = r.drops[reason as usize];
        if n > 0 {
            let _ = writeln!(out, "  dropped {n}: {}", reason.label());
        }
    }
}

fn no_sdp(r: &StreamReport) -> String {
    match r.drops[DropReason::Candidate as usize] {
        0 => "no SDP from this party yet, so none of its media is accepted".to_owned(),
        n => {
            format!("early media: {n} packets arrived, and their source has not proven itself yet")
        }
    }
}

fn nothing_arrived(line: &LegMedia, r: &StreamReport) -> String {
    match (line.remote, r.rejected) {
        (None, 0) => no_sdp(r),
        (None, n) => format!(
            "{n} packets arrived before any SDP of this party and were dropped: an answer (a 183 \
             with SDP is one), or the flag early-media on the offer, lets it be heard"
        ),
        (Some(remote), 0) => match remote.rtp {
            Some(to) => format!(
                "nothing arrived from it: it does not send, or a firewall between {to} and {} \
                 drops it",
                line.local
            ),
            None => "its SDP holds the call (no address), and nothing arrived".to_owned(),
        },
        (Some(_), n) => format!(
            "{n} packets arrived, none from the address of its SDP and none that may be learned: \
             its SDP is wrong, or somebody else sends"
        ),
    }
}

/// One sentence: does this party's sound reach its peer, and if not, what stops it.
fn verdict(s: &Snapshot, ix: usize, line: &LegMedia, r: &StreamReport) -> String {
    if r.closed {
        return "closed".to_owned();
    }
    let room = line.stream.and_then(|stream| s.bridges.audience(stream));
    let peer = s.parties[ix].peer;
    if room.is_none() && peer.is_none() {
        return "no peer yet".to_owned();
    }
    if r.rtp_in.packets == 0 {
        return nothing_arrived(line, r);
    }
    if let Some((others, heard_by)) = room {
        return match () {
            () if r.blocked => "blocked by command".to_owned(),
            () if !r.sends => "held: the SDP says so".to_owned(),
            () => format!("in a room with {others} others, {heard_by} of whom hear it"),
        };
    }
    let Some(peer) = peer else {
        return "no peer yet".to_owned();
    };
    let behind = |m: &&LegMedia| s.stream(m).is_some_and(|p| p.media == r.media);
    let Some(out) = s.parties[peer]
        .medias
        .iter()
        .find(behind)
        .and_then(|m| s.stream(m))
    else {
        return "its peer has no such media".to_owned();
    };
    let stopped = |reason: DropReason| r.drops[reason as usize] > 0;
    if out.rtp_out.packets == 0 {
        return match () {
            () if r.blocked => "blocked by command".to_owned(),
            () if stopped(DropReason::NoTarget) => "its peer has no usable address".to_owned(),
            () if stopped(DropReason::Held) => "held: the SDP says so".to_owned(),
            () if stopped(DropReason::NotHeard) => "another branch is heard".to_owned(),
            () => "received, but nothing of it was sent on".to_owned(),
        };
    }
    if !r.sends || !out.receives {
        return "sound passed before; now held by SDP".to_owned();
    }
    if r.blocked || r.silenced {
        return "sound passed before; now blocked or silenced by command".to_owned();
    }
    "sound passes to its peer".to_owned()
}
