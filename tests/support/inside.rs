//! A switch inside the test's own process, as an application drives it.

use std::sync::Arc;
use std::time::Duration;

use crosspoint::engine::{Privacy, Timers};
use crosspoint::plane::worker::{WorkerConfig, WorkerHandle};
use crosspoint::switch::prompts::PromptsConfig;
use crosspoint::switch::{
    Negotiation, Options, RecordingDefaults, Site, SiteConfig, Switch, SwitchConfig, WorkerPort,
};
use tokio::runtime::Runtime;

use super::ports::Ports;

/// Most calls of such a switch.
pub const CALLS_MAX: u32 = 4;

/// A switch on loopback with so many real workers, whose reports are read from here on.
pub fn switch(ports: &mut Ports, workers: usize) -> Arc<Switch> {
    switch_of(ports, 16, workers)
}

/// The same with so many media ports, and a runtime of its own.
pub fn switch_alone(media_ports: u16) -> (Arc<Switch>, Runtime, Ports) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut ports = Ports::reserve(media_ports);
    let inside = runtime.enter();
    let switch = switch_of(&mut ports, media_ports, 1);
    drop(inside);
    (switch, runtime, ports)
}

fn switch_of(ports: &mut Ports, media_ports: u16, workers: usize) -> Arc<Switch> {
    let site = Site::new(SiteConfig {
        interfaces: &["a/127.0.0.1".to_owned()],
        ports: ports.next_range(media_ports),
        quarantine: Duration::ZERO,
        tos: 0,
        socket_buffer: None,
    });
    let started = (0..workers).map(|index| {
        let worker = WorkerConfig {
            index,
            cpu: None,
            calls_max: CALLS_MAX,
            queue_len: 1_024,
        };
        let (handle, reports) = WorkerHandle::start(worker).expect("a worker");
        WorkerPort::new(handle, reports)
    });
    let config = SwitchConfig {
        max_calls: CALLS_MAX as usize,
        timers: Timers::default(),
        privacy: Privacy::Transparent,
        prompts: PromptsConfig::default(),
        recording: RecordingDefaults::default(),
    };
    let switch = Switch::new(config, site.expect("loopback ports"), started.collect());
    for worker in 0..workers {
        tokio::spawn(Arc::clone(&switch).pump(worker));
    }
    switch
}

/// An SDP of PCMU and whatever else is in `formats`, with more lines.
pub fn sdp(port: u16, formats: &str, lines: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {formats}\r\n{lines}"
    )
}

/// An offer of the first tag, or an answer of `to_tag` to it; the SDP for the other side.
pub fn say(
    switch: &Arc<Switch>,
    (call_id, from_tag): (&str, &str),
    to_tag: Option<&str>,
    sdp: &str,
) -> String {
    let negotiation = Negotiation {
        call_id,
        from_tag,
        to_tag,
        via_branch: None,
        sdp: sdp.as_bytes(),
        options: Options::default(),
    };
    let done = match to_tag {
        None => switch.offer(&negotiation),
        Some(_) => switch.answer(&negotiation),
    };
    done.expect("a call").sdp
}
