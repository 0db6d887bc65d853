//! Prometheus metrics: workers keep plain counters, a scrape sums and names them.

mod phones;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::http::Phones;
use super::ng::NgService;
use crate::engine::DropReason;
use crate::plane::counters::{Counter, LATENESS_BOUNDS_US, WorkerCounters};
use crate::switch::Usage;

/// A registry that reads the service, its switch, the workers and what answers the phone at each
/// scrape.
pub fn registry(service: Arc<NgService>, phones: Option<Phones>) -> Registry {
    let mut registry = Registry::with_prefix("crosspoint");
    registry.register_collector(Box::new(Scrape(service)));
    let Some(phones) = phones else {
        return registry;
    };
    if let Some(records) = &phones.records {
        registry.register_collector(Box::new(phones::Records(Arc::clone(records))));
    }
    registry.register_collector(Box::new(phones::Phone(phones)));
    registry
}

/// The exposition text (OpenMetrics 1.0).
pub fn text(registry: &Registry) -> String {
    let mut out = String::new();
    if let Err(error) = prometheus_client::encoding::text::encode(&mut out, registry) {
        tracing::error!(%error, "metrics");
    }
    out
}

#[derive(Debug)]
struct Scrape(Arc<NgService>);

impl Collector for Scrape {
    fn encode(&self, mut e: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (service, switch) = (&self.0, self.0.switch());
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let c = switch.counters();
        gauge(
            &mut e,
            "calls",
            "Calls at the moment",
            switch.calls() as u64,
        )?;
        gauge(
            &mut e,
            "calls_limit",
            "Most calls at a time",
            switch.max_calls() as u64,
        )?;
        gauge(
            &mut e,
            "draining",
            "1 while no new calls are taken",
            switch.is_draining().into(),
        )?;
        gauge(
            &mut e,
            "uptime_seconds",
            "Seconds since start",
            switch.uptime().as_secs(),
        )?;
        counter(&mut e, "calls_created", "Calls created", load(&c.created))?;
        counter(
            &mut e,
            "calls_deleted",
            "Calls ended by delete",
            load(&c.deleted),
        )?;
        let ended = ["setup", "silence", "limit"];
        let ended: Vec<_> = ended
            .iter()
            .zip(&c.ended)
            .map(|(t, n)| (*t, load(n)))
            .collect();
        family(
            &mut e,
            "calls_timed_out",
            "Calls ended by a timer",
            "timer",
            &ended,
        )?;
        counter(
            &mut e,
            "negotiations",
            "Offers and answers handled",
            load(&c.negotiated),
        )?;
        counter(&mut e, "refused", "Commands refused", load(&c.refused))?;
        counter(
            &mut e,
            "refused_limit",
            "Commands refused by a limit",
            load(&c.refused_limit),
        )?;
        counter(
            &mut e,
            "refused_by_worker",
            "Commands a worker refused",
            load(&c.refused_by_worker),
        )?;
        counter(
            &mut e,
            "ng_requests",
            "ng requests carried out",
            load(&service.requests),
        )?;
        counter(
            &mut e,
            "ng_errors",
            "ng requests answered with an error",
            load(&service.errors),
        )?;
        counter(
            &mut e,
            "ng_replays",
            "ng replies sent again",
            load(&service.replays),
        )?;
        counter(
            &mut e,
            "ng_dropped",
            "ng datagrams dropped",
            load(&service.dropped),
        )?;
        counter(
            &mut e,
            "ng_replies_oversize",
            "ng replies too large for a datagram",
            load(&service.oversize_replies),
        )?;
        let digits = [
            (
                "dtmf_logged",
                "Key presses sent to a log",
                &service.digits_logged,
            ),
            (
                "dtmf_unlogged",
                "Key presses no log was reached with",
                &service.digits_unlogged,
            ),
            (
                "ng_notices_lost",
                "Notices a slow TCP client missed",
                &service.notices_lost,
            ),
            (
                "events_lagged",
                "Events a slow subscriber missed",
                &c.events_lagged,
            ),
        ];
        for (name, help, count) in digits {
            counter(&mut e, name, help, load(count))?;
        }
        let cookies = service.cookie_stats();
        gauge(&mut e, "ng_cookies", "Cookies kept", cookies.entries as u64)?;
        gauge(
            &mut e,
            "ng_cookie_bytes",
            "Bytes of cookies and replies kept",
            cookies.bytes as u64,
        )?;
        counter(
            &mut e,
            "ng_cookies_dropped",
            "Cookies given up early",
            cookies.dropped,
        )?;
        self.prompts(&mut e)?;
        self.recordings(&mut e)?;
        self.workers(&mut e)?;
        let usage = switch.site().usage();
        ports(
            &mut e,
            "ports_free",
            "Media ports free",
            usage.iter().map(|u| (u, u.free)),
        )?;
        ports(
            &mut e,
            "ports_used",
            "Media ports in use",
            usage.iter().map(|u| (u, u.used)),
        )?;
        Ok(())
    }
}

impl Scrape {
    fn prompts(&self, e: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let switch = self.0.switch();
        let (c, usage) = (switch.prompts().counters(), switch.prompts().usage());
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let played = load(&switch.counters().played);
        counter(e, "played", "Sounds begun by command", played)?;
        let requests = [
            ("hit", load(&c.hits)),
            ("miss", load(&c.misses)),
            ("failed", load(&c.failures)),
            ("refused", load(&c.refused)),
            ("stale", load(&c.stale)),
            ("revalidated", load(&c.revalidated)),
        ];
        let help = "Requests for prompts, by what became of them";
        family(e, "prompt_requests", help, "outcome", &requests)?;
        let help = "Prompts dropped from the cache for want of room";
        counter(e, "prompt_evictions", help, load(&c.evictions))?;
        gauge(e, "prompts", "Prompts kept", usage.clips as u64)?;
        let help = "Bytes of prompts kept";
        gauge(e, "prompt_bytes", help, usage.bytes as u64)?;
        let help = "Prompts being loaded";
        gauge(e, "prompt_loads", help, usage.loads as u64)
    }
}

impl Scrape {
    fn recordings(&self, e: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let switch = self.0.switch();
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let commanded = load(&switch.counters().recordings);
        let help = "Recordings begun by command";
        counter(e, "recordings_commanded", help, commanded)?;
        let recorders = &switch.recording_defaults().recorders;
        let Some(recorder) = recorders.running() else {
            return Ok(());
        };
        if let Some(vault) = recorder.vault() {
            let done = vault.counters();
            let counts = [
                (
                    "recordings_stored",
                    "Recordings stored and verified",
                    &done.stored,
                ),
                (
                    "recording_store_failures",
                    "Attempts to store recordings that failed and are repeated",
                    &done.failed,
                ),
                (
                    "recording_callbacks",
                    "Callbacks on recordings that were taken",
                    &done.told,
                ),
                (
                    "recordings_expired",
                    "Recordings deleted because of their age",
                    &done.expired,
                ),
            ];
            for (name, help, count) in counts {
                counter(e, name, help, load(count))?;
            }
        }
        let c = recorder.counters();
        let help = "Recordings in progress, or being closed";
        gauge(e, "recordings", help, load(&c.live))?;
        let ends = [
            ("completed", load(&c.completed)),
            ("discarded", load(&c.discarded)),
            ("failed", load(&c.failed)),
            ("refused", load(&c.refused)),
        ];
        let help = "Recordings, by what became of them";
        family(e, "recordings_ended", help, "outcome", &ends)?;
        let counts = [
            ("recordings_begun", "Recordings begun", &c.begun),
            (
                "recordings_recovered",
                "Recordings closed after a crash",
                &c.recovered,
            ),
            ("recording_bytes", "Octets written to recordings", &c.bytes),
            (
                "recording_samples_lost",
                "Samples of each channel that the disk did not take",
                &c.samples_lost,
            ),
            (
                "recording_write_errors",
                "Failures to write recordings",
                &c.write_errors,
            ),
            (
                "recording_journal_lost",
                "Octets of journals that the disk did not take",
                &c.journal_lost,
            ),
            (
                "recording_commands_dropped",
                "Commands to recordings that did not fit",
                &c.commands_dropped,
            ),
        ];
        for (name, help, count) in counts {
            counter(e, name, help, load(count))?;
        }
        let help = "Longest write of a recording, in milliseconds";
        gauge(e, "recording_stall_max_ms", help, load(&c.stall_max_ms))
    }

    fn workers(&self, e: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let switch = self.0.switch();
        type Pick = fn(&WorkerCounters) -> &Counter;
        let sum = |pick: Pick| switch.worker_counters().map(|w| pick(w).get()).sum::<u64>();
        let counters: [(&str, &str, Pick); 16] = [
            ("packets_in", "Datagrams received", |w| &w.packets_in),
            ("packets_out", "Datagrams sent", |w| &w.packets_out),
            ("bytes_in", "UDP payload bytes received", |w| &w.bytes_in),
            ("bytes_out", "UDP payload bytes sent", |w| &w.bytes_out),
            ("events_lost", "Events nobody took in time", |w| {
                &w.events_lost
            }),
            (
                "presses_ignored",
                "Key presses that were more than anybody can press",
                |w| &w.presses_ignored,
            ),
            ("send_full", "Datagrams a full network queue refused", |w| {
                &w.send_full
            }),
            ("send_errors", "Datagrams that could not be sent", |w| {
                &w.send_errors
            }),
            ("icmp_errors", "ICMP errors that came back", |w| {
                &w.icmp_errors
            }),
            ("receive_errors", "Failures to receive", |w| {
                &w.receive_errors
            }),
            ("oversize", "Datagrams too long to receive", |w| &w.oversize),
            ("wakes", "Returns of a worker from waiting", |w| &w.wakes),
            ("commands", "Commands workers carried out", |w| &w.commands),
            ("commands_refused", "Commands a full queue refused", |w| {
                &w.submit.refused
            }),
            (
                "calls_broken",
                "Calls lost to a defect of the switch",
                |w| &w.calls_broken,
            ),
            ("busy_nanoseconds", "Time workers spent working", |w| {
                &w.busy_ns
            }),
        ];
        for (name, help, pick) in counters {
            counter(e, name, help, sum(pick))?;
        }
        let longest = switch.worker_counters().map(|w| w.turn_us_max.take()).max();
        let help = "Longest turn of a worker since the last scrape, in microseconds";
        gauge(e, "turn_us_max", help, longest.unwrap_or(0))?;
        let dropped = |r: DropReason| {
            switch
                .worker_counters()
                .map(|w| w.drops[r as usize].get())
                .sum::<u64>()
        };
        self.lateness(e)?;
        let drops = DropReason::ALL.map(|r| (r.label(), dropped(r)));
        family(
            e,
            "packets_dropped",
            "Datagrams dropped, by reason",
            "reason",
            &drops,
        )
    }
}

impl Scrape {
    fn lateness(&self, e: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let bounds = LATENESS_BOUNDS_US.map(|us| us as f64 / 1e6);
        let bounds = bounds.into_iter().chain([f64::MAX]);
        let mut buckets: Vec<_> = bounds.map(|bound| (bound, 0)).collect();
        let mut sum_us = 0;
        for worker in self.0.switch().worker_counters() {
            sum_us += worker.lateness.sum_us();
            for (bucket, count) in buckets.iter_mut().zip(worker.lateness.counts()) {
                bucket.1 += count;
            }
        }
        let count = buckets.iter().map(|(_, n)| n).sum();
        let (name, help) = (
            "frame_lateness_seconds",
            "How late frames of audio were made",
        );
        let mut metric = e.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(sum_us as f64 / 1e6, count, &buckets, None)
    }
}

fn ports<'a>(
    e: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'a Usage, usize)>,
) -> std::fmt::Result {
    let mut d = e.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (usage, n) in values {
        let labels = [
            ("interface", usage.name.clone()),
            ("address", usage.address.to_string()),
        ];
        ConstGauge::new(i(n as u64)).encode(d.encode_family(&labels)?)?;
    }
    Ok(())
}

fn i(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn gauge(e: &mut DescriptorEncoder<'_>, name: &str, help: &str, n: u64) -> std::fmt::Result {
    let metric = ConstGauge::new(i(n));
    metric.encode(e.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn counter(e: &mut DescriptorEncoder<'_>, name: &str, help: &str, n: u64) -> std::fmt::Result {
    let metric = ConstCounter::new(n);
    metric.encode(e.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn family(
    e: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: &[(&str, u64)],
) -> std::fmt::Result {
    let metric_type = ConstCounter::new(0u64).metric_type();
    let mut d = e.encode_descriptor(name, help, None, metric_type)?;
    for (value, n) in values {
        ConstCounter::new(*n).encode(d.encode_family(&[(label, *value)])?)?;
    }
    Ok(())
}
