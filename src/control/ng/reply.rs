//! Bodies of the larger replies: `query` and `delete`, `statistics`.
//!
//! Structure and units are rtpengine's, since clients read them: times in unix seconds, MOS times
//! ten, round-trip times in µs, jitter in ms, loss in percent.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::subscribe;
use crate::engine::{DropReason, PlayReport, Privacy, SourceReport, StreamReport, Traffic};
use crate::switch::{LegMedia, Party, RecordingState, Snapshot, Switch};
use crate::wire::ng::Value;

/// The body of `query` and `delete`.
pub(crate) fn query(s: &Snapshot, only: &[&str]) -> Value<'static> {
    let (created_s, created_us) = unix(s.created);
    let micros = created_s
        .saturating_mul(1_000_000)
        .saturating_add(created_us);
    let mut tags = Value::dict();
    for (ix, party) in s.parties.iter().enumerate().filter(|(_, p)| !p.closed) {
        if only.is_empty() || only.iter().any(|tag| party.has_tag(tag)) {
            tags.push(tag_of(s, ix).into_bytes(), tag(s, ix, party));
        }
    }
    subscribe::query(s, only, &mut tags);
    let reply = Value::dict()
        .with("result", "ok")
        .with("created", created_s)
        .with("created_us", created_us)
        .with("created_ts", micros)
        .with("last signal", unix(s.last_signal).0)
        .with("SSRC", ssrcs(s))
        .with("tags", tags)
        .with("totals", totals(s))
        .with("recording", recording(s));
    let mut metadata = s.recordings.iter().map(|own| &*own.metadata);
    match metadata.find(|text| !text.is_empty()) {
        Some(metadata) => reply.with("metadata", metadata.to_owned()),
        None => reply,
    }
}

/// What is recorded of the call at the moment.
fn recording(s: &Snapshot) -> Value<'static> {
    let file = |recording: &RecordingState| {
        let legs = recording
            .legs
            .iter()
            .map(|leg| Value::from(leg.to_string()));
        Value::dict()
            .with("recording-id", recording.name.to_string())
            .with("recording-file", recording.path.to_string())
            .with(
                "state",
                if recording.paused {
                    "paused"
                } else {
                    "recording"
                },
            )
            .with("started", unix(recording.since).0)
            .with("legs", Value::List(legs.collect()))
    };
    match s.recordings.is_empty() {
        true => Value::dict(),
        false => Value::dict().with(
            "files",
            Value::List(s.recordings.iter().map(file).collect()),
        ),
    }
}

pub(super) fn tag_of(s: &Snapshot, party: usize) -> String {
    match s.parties[party].tags.last() {
        Some(tag) => tag.to_string(),
        None => format!("<untagged {party}>"),
    }
}

fn tag(s: &Snapshot, ix: usize, party: &Party) -> Value<'static> {
    let subscription = |peer: usize| {
        Value::dict()
            .with("tag", tag_of(s, peer))
            .with("type", "offer/answer")
    };
    let peers: Vec<Value<'static>> = party.peer.map(subscription).into_iter().collect();
    let hears_me = (0..s.parties.len()).filter(|&p| s.parties[p].peer == Some(ix));
    let hears_me = hears_me.map(subscription);
    let hears_me = hears_me.chain(subscribe::listeners_to(s, ix)).collect();
    tag_dict(s, party, peers, hears_me)
}

/// A party, with whom it hears and who hears it.
pub(super) fn tag_dict(
    s: &Snapshot,
    party: &Party,
    hears: Vec<Value<'static>>,
    heard_by: Vec<Value<'static>>,
) -> Value<'static> {
    let medias = party
        .medias
        .iter()
        .enumerate()
        .map(|(m, line)| media(s, m, line))
        .collect();
    let aliases = party
        .tags
        .iter()
        .rev()
        .skip(1)
        .map(|t| Value::from(t.to_string()))
        .collect();
    let mut out = Value::dict();
    if let Some(own) = party.tags.last() {
        out = out.with("tag", own.to_string());
    }
    if let Some(branch) = &party.via_branch {
        out = out.with("via-branch", branch.to_string());
    }
    if let Some(label) = &party.label {
        out = out.with("label", label.to_string());
    }
    out.with("tag-aliases", Value::List(aliases))
        .with("created", unix(party.created).0)
        .with("subscriptions", Value::List(hears))
        .with("subscribers", Value::List(heard_by))
        .with("medias", Value::List(medias))
}

fn media(s: &Snapshot, ix: usize, line: &LegMedia) -> Value<'static> {
    let mut flags: Vec<Value<'static>> = vec!["initialized".into()];
    let (send, receive) = (line.direction.sends(), line.direction.receives());
    let remote = line.remote;
    let named = [
        (send, "send"),
        (receive, "recv"),
        (remote.is_some_and(|r| r.mux), "rtcp-mux"),
        (remote.is_some_and(|r| r.learn.asymmetric), "asymmetric"),
        (line.privacy == Privacy::Masked, "masked"),
        (line.is_transcoded(), "transcoding"),
    ];
    flags.extend(
        named
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| Value::from(*name)),
    );
    let stream = s.stream(line);
    let streams = stream.map_or_else(Vec::new, |r| {
        vec![
            stream_dict(s, line, r, false),
            stream_dict(s, line, r, true),
        ]
    });
    let ingress = stream.map_or_else(Vec::new, |r| r.sources.iter().map(ssrc_entry).collect());
    let playing = stream.map_or_else(Vec::new, |r| r.playing.iter().map(player).collect());
    let egress = stream.and_then(|r| r.ssrc_out);
    let egress = egress.map(|ssrc| Value::dict().with("SSRC", i64::from(ssrc)));
    Value::dict()
        .with("index", int(ix as u64 + 1))
        .with("type", line.kind.to_string())
        .with("protocol", line.transport.to_string())
        .with("codec", line.codec.to_string())
        .with("streams", Value::List(streams))
        .with("flags", Value::List(flags))
        .with("ingress SSRCs", Value::List(ingress))
        .with("egress SSRCs", Value::List(egress.into_iter().collect()))
        .with("playing", Value::List(playing))
}

/// What a party is played; positions in milliseconds.
fn player(play: &PlayReport) -> Value<'static> {
    let position = i64::try_from(play.position.as_millis()).unwrap_or(i64::MAX);
    Value::dict()
        .with("id", i64::from(play.id.0))
        .with("item", i64::from(play.item))
        .with("position", position)
        .with("frames", i64::from(play.frames))
}

fn ssrc_entry(source: &SourceReport) -> Value<'static> {
    Value::dict()
        .with("SSRC", i64::from(source.ssrc))
        .with("bytes", int(source.bytes))
        .with("packets", int(source.packets))
        .with("last RTP timestamp", i64::from(source.last_timestamp))
        .with("last RTP seq", i64::from(source.highest_seq & 0xFFFF))
        .with("cumulative loss", int(source.lost))
        .with("reordered", int(source.reordered))
        .with("duplicate", int(source.duplicate))
        .with("late", int(source.late))
        .with("jitter", round(f64::from(source.jitter_ms)))
}

fn stream_dict(s: &Snapshot, line: &LegMedia, r: &StreamReport, rtcp: bool) -> Value<'static> {
    let mux = line.remote.is_some_and(|r| r.mux);
    let port = if rtcp && !mux {
        line.local.port().saturating_add(1)
    } else {
        line.local.port()
    };
    let sdp = if rtcp {
        line.remote.and_then(|r| r.rtcp)
    } else {
        line.remote_address()
    };
    let real = if rtcp { sdp } else { r.latched.or(sdp) };
    let (input, output) = if rtcp {
        (r.rtcp_in, r.rtcp_out)
    } else {
        (r.rtp_in, r.rtp_out)
    };
    let last = if rtcp { r.last_rtcp } else { r.last_packet };
    let mut flags: Vec<Value<'static>> = vec![if rtcp { "RTCP" } else { "RTP" }.into()];
    if rtcp && mux {
        flags.push("fallback RTCP".into());
    }
    if sdp.is_some() {
        flags.push("filled".into());
    }
    if r.latched.is_some() {
        flags.push("confirmed".into());
    }
    flags.push("no kernel support".into());
    let mut out = Value::dict()
        .with("local port", i64::from(port))
        .with("local address", line.local.ip().to_string())
        .with("family", family(line.local.ip()));
    if let Some(real) = real {
        out = out.with("endpoint", endpoint(real));
    }
    if let Some(sdp) = sdp {
        out = out.with("advertised endpoint", endpoint(sdp));
    }
    if let Some(source) = r.sources.last().filter(|_| !rtcp) {
        out = out.with("SSRC", i64::from(source.ssrc));
    }
    let seen = last.map_or(0, |at| unix_at(s, at));
    out.with("last packet", seen)
        .with("last kernel packet", 0_i64)
        .with("last user packet", seen)
        .with("flags", Value::List(flags))
        .with("stats", traffic(input))
        .with("stats_out", traffic(output))
        .with("rejected", int(if rtcp { 0 } else { r.rejected }))
}

fn endpoint(address: SocketAddr) -> Value<'static> {
    Value::dict()
        .with("family", family(address.ip()))
        .with("address", address.ip().to_string())
        .with("port", i64::from(address.port()))
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn traffic(t: Traffic) -> Value<'static> {
    Value::dict()
        .with("packets", int(t.packets))
        .with("bytes", int(t.bytes))
        .with("errors", int(t.errors))
}

fn totals(s: &Snapshot) -> Value<'static> {
    let sum = |pick: fn(&StreamReport) -> Traffic| {
        s.report
            .streams
            .iter()
            .map(pick)
            .fold(Traffic::default(), |a, b| Traffic {
                packets: a.packets + b.packets,
                bytes: a.bytes + b.bytes,
                errors: a.errors + b.errors,
            })
    };
    Value::dict()
        .with("RTP", traffic(sum(|r| r.rtp_in)))
        .with("RTCP", traffic(sum(|r| r.rtcp_in)))
}

/// All sources by SSRC. Nothing keeps two parties from choosing the same one, but keys are
/// unique: the one that sent more is shown here, and every one at its own media.
fn ssrcs(s: &Snapshot) -> Value<'static> {
    let mut sources: BTreeMap<u32, (&StreamReport, &SourceReport)> = BTreeMap::new();
    for stream in &s.report.streams {
        for source in &stream.sources {
            let shown = sources.entry(source.ssrc).or_insert((stream, source));
            if source.packets > shown.1.packets {
                *shown = (stream, source);
            }
        }
    }
    let mut out = Value::dict();
    for (ssrc, (stream, source)) in sources {
        let quality = quality(stream, source);
        let entry = ssrc_entry(source)
            .with("average MOS", quality.clone())
            .with("lowest MOS", reported(s, quality.clone()))
            .with("highest MOS", reported(s, quality));
        out.push(ssrc.to_string().into_bytes(), entry);
    }
    out
}

fn reported(s: &Snapshot, quality: Value<'static>) -> Value<'static> {
    quality.with("reported at", unix_at(s, s.report.taken))
}

/// One sample over the whole life of the source.
fn quality(stream: &StreamReport, source: &SourceReport) -> Value<'static> {
    let expected = source.packets.saturating_add(source.lost).max(1);
    let loss = source.lost as f64 / expected as f64;
    let rtt_us = stream
        .rtt
        .map_or(0, |r| u64::try_from(r.as_micros()).unwrap_or(u64::MAX));
    let mos = stream.mos(source.packets, source.lost, source.jitter_ms);
    Value::dict()
        .with("MOS", round(mos * 10.0))
        .with("round-trip time", int(rtt_us))
        .with("round-trip time leg", int(rtt_us))
        .with("jitter", round(f64::from(source.jitter_ms)))
        .with("packet loss", round(loss * 100.0))
        .with("samples", 1_i64)
}

/// The body of `statistics`.
pub(crate) fn statistics(switch: &Switch) -> Value<'static> {
    let counters = switch.counters();
    let load = |n: &std::sync::atomic::AtomicU64| int(n.load(Ordering::Relaxed));
    let current = Value::dict()
        .with("sessionstotal", int(switch.calls() as u64))
        .with("sessionsmax", int(switch.max_calls() as u64));
    let mut workers = Vec::new();
    let (mut packets, mut bytes, mut errors) = (0, 0, 0);
    for c in switch.worker_counters() {
        packets += c.packets_out.get();
        bytes += c.bytes_out.get();
        errors += c.send_errors.get();
        let mut drops = Value::dict();
        for reason in DropReason::ALL {
            drops.push(
                reason.label().as_bytes(),
                int(c.drops[reason as usize].get()),
            );
        }
        workers.push(
            Value::dict()
                .with("calls", int(c.calls.get()))
                .with("packets", int(c.packets_in.get()))
                .with("packets out", int(c.packets_out.get()))
                .with("drops", drops),
        );
    }
    let total = Value::dict()
        .with("uptime", int(switch.uptime().as_secs()))
        .with("managedsessions", load(&counters.created))
        .with("deletedsessions", load(&counters.deleted))
        .with("rejectedsessions", load(&counters.refused_limit))
        .with("timeoutsessions", load(&counters.ended[1]))
        .with("setuptimeoutsessions", load(&counters.ended[0]))
        .with("limitsessions", load(&counters.ended[2]))
        .with("relayedpackets", int(packets))
        .with("relayedbytes", int(bytes))
        .with("relayedpacketerrors", int(errors));
    let interfaces = switch.site().usage().into_iter().map(|u| {
        Value::dict()
            .with("name", u.name)
            .with("address", u.address.to_string())
            .with("ports used", int(u.used as u64))
            .with("ports free", int(u.free as u64))
    });
    let body = Value::dict()
        .with("currentstatistics", current)
        .with("totalstatistics", total)
        .with("workers", Value::List(workers))
        .with("interfaces", Value::List(interfaces.collect()));
    Value::dict().with("result", "ok").with("statistics", body)
}

fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "saturates, and the values are small"
)]
fn round(x: f64) -> i64 {
    x.round() as i64
}

fn unix(at: SystemTime) -> (i64, i64) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    (int(since.as_secs()), i64::from(since.subsec_micros()))
}

fn unix_at(s: &Snapshot, at: Instant) -> i64 {
    unix(s.wall(at)).0
}
