//! `crosspoint serve`: puts the floors together, and takes them apart on SIGTERM.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::config::{Config, LogFormat, log_filter};
use super::http;
use super::ng::{NgService, doors, dtmf_log};
use super::phones::Phones;
use crate::engine::{Privacy, Timers};
use crate::flow::records::StoreError;
use crate::flow::script::ScriptError;
use crate::plane::limits::{LimitError, OpenFiles};
use crate::plane::worker::{CALLS_MAX, WorkerConfig, WorkerHandle};
use crate::record::recorder::RecordError;
use crate::sip::{SipError, UserAgent};
use crate::switch::{
    Recorders, RecordingDefaults, Site, SiteConfig, SiteError, Switch, SwitchConfig, WorkerPort,
};

/// Why the switch could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A control address cannot be bound.
    #[error("cannot listen on {address} for {door}: {source}")]
    Bind {
        /// `ng`, `ng-tcp` or `http`.
        door: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A media interface is wrong.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A worker cannot start.
    #[error("cannot start worker {ix}: {source}")]
    Worker {
        /// Which one.
        ix: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Too few descriptors for even one call.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The directory of recordings cannot be written.
    #[error(transparent)]
    Recorder(#[from] RecordError),
    /// The signalling layer cannot listen.
    #[error(transparent)]
    Sip(#[from] SipError),
    /// Flows are wrong.
    #[error("{}", lines(.0))]
    Flows(Vec<ScriptError>),
    /// The database of calls cannot be had.
    #[error(transparent)]
    Records(#[from] StoreError),
    /// The runtime, a signal handler or the log cannot be set up.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A line for each mistake; the first stands behind the program's name.
fn lines(errors: &[ScriptError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Starts logging as the settings say; a bad filter is reported, not ignored.
///
/// # Errors
/// The filter's own words.
pub fn start_log(config: &Config) -> Result<(), String> {
    let filter = log_filter(&config.log).map_err(|e| format!("log: '{}': {e}", config.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        // It would tell of a log it cannot write by eprintln!, which then panics.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Runs the switch until SIGTERM or SIGINT.
///
/// # Errors
/// [`ServeError`] when it cannot start; a running switch ends only by a signal.
pub fn run(config: &Config) -> Result<(), ServeError> {
    let max_calls = admit(config)?;
    let site = Site::new(SiteConfig {
        interfaces: &config.interfaces,
        ports: config.ports,
        quarantine: config.port_quarantine,
        tos: config.tos,
        socket_buffer: config.socket_buffer,
    })?;
    let mut workers = Vec::with_capacity(config.workers);
    for ix in 0..config.workers {
        let cpu = config.pin.get(ix % config.pin.len().max(1)).copied();
        let (handle, reports) = WorkerHandle::start(WorkerConfig {
            index: ix,
            cpu,
            calls_max: u32::try_from(max_calls).unwrap_or(CALLS_MAX),
            queue_len: QUEUE_LEN,
        })
        .map_err(|source| ServeError::Worker { ix, source })?;
        workers.push(WorkerPort::new(handle, reports));
    }
    let switch = Switch::new(
        SwitchConfig {
            max_calls,
            timers: Timers {
                setup: config.setup_timeout,
                silence: config.silence_timeout,
                limit: config.call_limit,
            },
            privacy: if config.masked {
                Privacy::Masked
            } else {
                Privacy::Transparent
            },
            prompts: config.prompts.clone(),
            recording: recording(config)?,
        },
        site,
        workers,
    );
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.control_threads)
        .thread_name("control")
        .enable_all()
        .build()?
        .block_on(serve(config, switch))
}

/// How calls are recorded. The recorder starts now if the directory is not the usual one, which may
/// well be unwritable where nobody wants to record, or if there are recordings that a crash may
/// have left.
fn recording(config: &Config) -> Result<RecordingDefaults, ServeError> {
    let settings = &config.recording;
    let recorders = settings
        .recorder
        .clone()
        .map_or_else(Recorders::off, Recorders::on_first_use);
    if settings.asked {
        recorders.start()?;
    } else if recorders.directory().is_some_and(Path::is_dir)
        && let Err(error) = recorders.start()
    {
        tracing::warn!(%error, "nothing can be recorded");
    }
    Ok(RecordingDefaults {
        recorders,
        pattern: settings.pattern.clone(),
        format: settings.format,
        rate_hz: settings.rate_hz,
    })
}

/// Raises the descriptor limit and says how many calls it allows.
fn admit(config: &Config) -> Result<usize, ServeError> {
    let files = OpenFiles::raise()?;
    files.require(1)?;
    let allowed = u32::try_from(files.calls_max())
        .unwrap_or(CALLS_MAX)
        .min(CALLS_MAX) as usize;
    let asked = config.max_calls.unwrap_or(allowed);
    if asked > allowed {
        tracing::warn!(
            max_calls = asked,
            allowed,
            open_files = files.max,
            "the limit of open files allows fewer calls than max-calls: taking that many"
        );
    }
    Ok(asked.min(allowed))
}

/// Commands a worker may have waiting; one more is refused with `Load limit exceeded`.
const QUEUE_LEN: usize = 4096;

async fn serve(config: &Config, switch: Arc<Switch>) -> Result<(), ServeError> {
    let bound = |door, address| {
        move |source| ServeError::Bind {
            door,
            address,
            source,
        }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for worker in 0..config.workers {
        tokio::spawn(Arc::clone(&switch).pump(worker));
    }
    let service = NgService::new(Arc::clone(&switch), config.delete_delay);
    let udp = doors::bind_udp(config.ng).map_err(bound("ng", config.ng))?;
    let web = TcpListener::bind(config.http)
        .await
        .map_err(bound("http", config.http))?;
    if let Some(address) = config.ng_tcp {
        let tcp = TcpListener::bind(address)
            .await
            .map_err(bound("ng-tcp", address))?;
        tokio::spawn(doors::serve_tcp(Arc::clone(&service), tcp));
    }
    tokio::spawn(dtmf_log::serve(Arc::clone(&service), config.digit_log));
    tokio::spawn(doors::serve_udp(Arc::clone(&service), udp));
    let phones = Phones::start(&config.phones, &switch).await?;
    let agent = phones.as_ref().map(|phones| Arc::clone(phones.agent()));
    let token = config.http_token.clone();
    let seen = phones.as_ref().map(Phones::seen);
    tokio::spawn(async move {
        if let Err(error) = http::serve(web, service, seen, token).await {
            tracing::error!(%error, "http ended");
        }
    });
    tracing::info!(
        ng = %config.ng, http = %config.http, interfaces = %config.interfaces.join(","),
        ports = %format_args!("{}-{}", config.ports.0, config.ports.1),
        workers = config.workers, max_calls = switch.max_calls(), "ready"
    );
    tokio::select! {
        _ = terminate.recv() => {
            let again = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            drain(&switch, agent.as_deref(), config.drain_timeout, again).await;
        }
        _ = interrupt.recv() => tracing::info!("interrupted"),
    }
    if let Some(phones) = phones {
        phones.close().await;
    }
    switch.shutdown().await;
    close_recordings(&switch).await;
    tracing::info!("stopped");
    Ok(())
}

/// Waits until the recordings of the calls that ended now are closed; those that are not by then
/// are closed at the next start.
async fn close_recordings(switch: &Switch) {
    let Some(recorder) = switch.recording_defaults().recorders.running().cloned() else {
        return;
    };
    let close = move || recorder.shutdown(RECORDINGS_CLOSE);
    if !tokio::task::spawn_blocking(close).await.unwrap_or(false) {
        tracing::warn!("recordings are left to be closed at the next start");
    }
}

/// How long the end of the switch waits for recordings to be closed.
const RECORDINGS_CLOSE: Duration = Duration::from_secs(5);

/// Takes no new calls and waits for the others, at most `timeout` or until asked `again`.
async fn drain(
    switch: &Switch,
    agent: Option<&UserAgent>,
    timeout: Duration,
    again: impl Future<Output = ()>,
) {
    switch.drain();
    if let Some(agent) = agent {
        agent.drain();
    }
    tracing::info!(
        calls = switch.calls(),
        timeout_s = timeout.as_secs(),
        "draining"
    );
    let empty = async {
        // A call by SIP that only rings may have no media yet.
        let by_sip = || agent.map_or(0, |agent| agent.load().calls);
        while switch.calls() + by_sip() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = empty => {}
        () = tokio::time::sleep(timeout) => {
            tracing::warn!(calls = switch.calls(), "drain timeout: ending the rest");
        }
        () = again => tracing::warn!(calls = switch.calls(), "second signal: ending the rest"),
    }
}
