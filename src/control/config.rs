//! Settings: one struct is the TOML file, the command line and the environment.
//!
//! A flag beats an environment variable beats the file beats the default. `--silence-timeout` is
//! `silence-timeout` in the file and `CROSSPOINT_SILENCE_TIMEOUT` in the environment.

mod phones;
mod recording;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::TypedValueParser as _;
pub use phones::PhoneSettings;
pub use recording::{FSYNC_MAX_S, RecordingSettings};
use serde::Deserialize;

use super::ng::dtmf_log::{self, DigitLog};
use crate::plane::interface::{InterfaceSpec, Interfaces, SpecError};
use crate::plane::ports::PortRange;
use crate::sip::SipSettings;
use crate::switch::prompts::PromptsConfig;

/// What a user may set; `None` (or an empty list) leaves the default.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Address for ng over UDP [default: 127.0.0.1:2223]
    #[arg(long, env = "CROSSPOINT_NG", value_name = "ADDR:PORT")]
    pub ng: Option<SocketAddr>,
    /// Address for ng over TCP [default: off]
    #[arg(long, env = "CROSSPOINT_NG_TCP", value_name = "ADDR:PORT")]
    pub ng_tcp: Option<SocketAddr>,
    /// Address for HTTP and WebSocket [default: 127.0.0.1:8080]
    #[arg(long, env = "CROSSPOINT_HTTP", value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,
    /// Bearer token every HTTP and WebSocket request must carry [default: none]
    #[arg(
        long,
        env = "CROSSPOINT_HTTP_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub http_token: Option<String>,
    /// Allow control addresses other than loopback (HTTP then needs http-token) [default: false]
    #[arg(long, env = "CROSSPOINT_EXPOSE", num_args = 0..=1, default_missing_value = "true")]
    pub expose: Option<bool>,
    /// Media interface, repeatable [default: default/127.0.0.1]
    #[arg(
        long,
        env = "CROSSPOINT_INTERFACE",
        value_name = "NAME/ADDR[!ADVERTISED]",
        value_delimiter = ','
    )]
    pub interface: Vec<String>,
    /// Media ports of each interface [default: 20000-59999]
    #[arg(long, env = "CROSSPOINT_PORTS", value_name = "MIN-MAX")]
    pub ports: Option<String>,
    /// Worker threads [default: one per CPU]
    #[arg(long, env = "CROSSPOINT_WORKERS")]
    pub workers: Option<usize>,
    /// Pin workers to these CPUs, in order [default: not pinned]
    #[arg(
        long,
        env = "CROSSPOINT_PIN",
        value_name = "CPU,…",
        value_delimiter = ','
    )]
    pub pin: Vec<usize>,
    /// Threads for control [default: 1]
    #[arg(long, env = "CROSSPOINT_CONTROL_THREADS")]
    pub control_threads: Option<usize>,
    /// Most calls at a time [default: what the descriptor limit allows]
    #[arg(long, env = "CROSSPOINT_MAX_CALLS")]
    pub max_calls: Option<usize>,
    /// Seconds until a call without any media ends, 0 = never [default: 300]
    #[arg(long, env = "CROSSPOINT_SETUP_TIMEOUT", value_name = "SECONDS")]
    pub setup_timeout: Option<u64>,
    /// Seconds without RTP after which a call ends, 0 = never [default: 60]
    #[arg(long, env = "CROSSPOINT_SILENCE_TIMEOUT", value_name = "SECONDS")]
    pub silence_timeout: Option<u64>,
    /// Longest call in seconds, 0 = no limit [default: 86400]
    #[arg(long, env = "CROSSPOINT_CALL_LIMIT", value_name = "SECONDS")]
    pub call_limit: Option<u64>,
    /// Seconds a call lives on after `delete` without a delay of its own [default: 0]
    #[arg(long, env = "CROSSPOINT_DELETE_DELAY", value_name = "SECONDS")]
    pub delete_delay: Option<u64>,
    /// Seconds before a freed media port is used again [default: 2]
    #[arg(long, env = "CROSSPOINT_PORT_QUARANTINE", value_name = "SECONDS")]
    pub port_quarantine: Option<u64>,
    /// Type of service octet of media, 184 = DSCP EF [default: 184]
    #[arg(long, env = "CROSSPOINT_TOS")]
    pub tos: Option<u8>,
    /// Socket buffer per media port in bytes [default: the kernel's]
    #[arg(long, env = "CROSSPOINT_SOCKET_BUFFER", value_name = "BYTES")]
    pub socket_buffer: Option<usize>,
    /// Seconds SIGTERM waits for calls to end before it ends them [default: 30]
    #[arg(long, env = "CROSSPOINT_DRAIN_TIMEOUT", value_name = "SECONDS")]
    pub drain_timeout: Option<u64>,
    /// Hide each party's SSRC, CNAME and SDP origin from the others on ng calls [default: false]
    #[arg(long, env = "CROSSPOINT_MASKED", num_args = 0..=1, default_missing_value = "true")]
    pub masked: Option<bool>,
    /// Where key presses of calls without a dtmf-log-dest are told, as JSON over UDP [default: off]
    #[arg(long, env = "CROSSPOINT_DTMF_LOG_DEST", value_name = "ADDR:PORT")]
    pub dtmf_log_dest: Option<SocketAddr>,
    /// Tell every ng-tcp connection of key presses [default: false]
    #[arg(
        long,
        env = "CROSSPOINT_DTMF_LOG_NG_TCP",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub dtmf_log_ng_tcp: Option<bool>,
    /// Write key presses into the log, with their keys [default: false]
    #[arg(long, env = "CROSSPOINT_LOG_DIGITS", num_args = 0..=1, default_missing_value = "true")]
    pub log_digits: Option<bool>,
    /// Directory that prompts may be read from, repeatable [default: /var/lib/crosspoint/prompts]
    #[arg(
        long,
        env = "CROSSPOINT_PROMPT_DIR",
        value_name = "DIR",
        value_delimiter = ','
    )]
    pub prompt_dir: Vec<PathBuf>,
    /// Mebibytes of decoded prompts that are kept [default: 256]
    #[arg(long, env = "CROSSPOINT_PROMPT_CACHE", value_name = "MIB")]
    pub prompt_cache: Option<usize>,
    /// Let prompt URLs lead to private and loopback addresses [default: false]
    #[arg(
        long,
        env = "CROSSPOINT_PROMPT_PRIVATE_URLS",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub prompt_private_urls: Option<bool>,
    /// Seconds from asking for a prompt's URL to its last byte [default: 15]
    #[arg(long, env = "CROSSPOINT_PROMPT_URL_TIMEOUT", value_name = "SECONDS")]
    pub prompt_url_timeout: Option<u64>,
    /// Directory of recordings, created on first use; empty: nothing is recorded
    /// [default: recordings]
    #[arg(
        long,
        env = "CROSSPOINT_RECORDING_DIR",
        value_name = "DIR",
        value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from)
    )]
    pub recording_dir: Option<PathBuf>,
    /// How recordings are called [default: {date}/{call}-{time}]
    #[arg(long, env = "CROSSPOINT_RECORDING_PATTERN", value_name = "PATTERN")]
    pub recording_pattern: Option<String>,
    /// Recordings as `wav`, `wav-alaw`, `wav-ulaw` or `opus` [default: wav]
    #[arg(long, env = "CROSSPOINT_RECORDING_FORMAT", value_name = "FORMAT")]
    pub recording_format: Option<String>,
    /// Threads that record [default: 1]
    #[arg(long, env = "CROSSPOINT_RECORDING_THREADS")]
    pub recording_threads: Option<usize>,
    /// When recordings are synced to the disk: `never`, `completion` or so many seconds
    /// [default: completion]
    #[arg(long, env = "CROSSPOINT_RECORDING_FSYNC", value_name = "WHEN")]
    pub recording_fsync: Option<String>,
    /// Object store to which complete recordings are brought: s3://, gs://, az:// or file:// with a
    /// prefix [default: none]
    #[arg(long, env = "CROSSPOINT_RECORDING_STORE", value_name = "URL")]
    pub recording_store: Option<String>,
    /// An option of the store, as `aws_endpoint=https://…`, repeatable; others come from its own
    /// environment variables, where secrets belong [default: none]
    #[arg(
        long,
        env = "CROSSPOINT_RECORDING_STORE_OPTION",
        value_name = "KEY=VALUE",
        value_delimiter = ','
    )]
    pub recording_store_option: Vec<String>,
    /// Keep recordings in the directory when they are stored [default: false]
    #[arg(long, env = "CROSSPOINT_RECORDING_KEEP", num_args = 0..=1,
          default_missing_value = "true")]
    pub recording_keep: Option<bool>,
    /// Seal complete recordings to these age recipients (age1…, with commas), or to those of a file
    /// [default: none]
    #[arg(long, env = "CROSSPOINT_RECORDING_KEY", value_name = "AGE1|FILE")]
    pub recording_key: Option<String>,
    /// URL to which it is POSTed that a recording is available [default: none]
    #[arg(long, env = "CROSSPOINT_RECORDING_CALLBACK", value_name = "URL")]
    pub recording_callback: Option<String>,
    /// Delete recordings from the directory after so many days [default: never]
    #[arg(long, env = "CROSSPOINT_RECORDING_RETENTION", value_name = "DAYS")]
    pub recording_retention: Option<u32>,
    /// Where SIP is listened for, repeatable, or `off` [default: udp and tcp on 127.0.0.1:5060]
    #[arg(
        long,
        env = "CROSSPOINT_SIP_LISTEN",
        value_name = "TRANSPORT:ADDR:PORT",
        value_delimiter = ','
    )]
    pub sip_listen: Vec<String>,
    /// Directory of call flows, a TOML file each [default: the built-in demo]
    #[arg(long, env = "CROSSPOINT_FLOW_DIR", value_name = "DIR")]
    pub flow_dir: Option<PathBuf>,
    /// Database that calls are written down in, or `off` [default: calls.sqlite]
    #[arg(long, env = "CROSSPOINT_CALL_RECORDS", value_name = "FILE")]
    pub call_records: Option<PathBuf>,
    /// Secret that status callbacks are signed with [default: none]
    #[arg(
        long,
        env = "CROSSPOINT_STATUS_CALLBACK_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub status_callback_secret: Option<String>,
    /// The table `[sip]`: phones, trunks, and who may call.
    #[arg(skip)]
    pub sip: SipSettings,
    /// Log filter, as `info` or `crosspoint=debug` [default: info]
    #[arg(long, env = "CROSSPOINT_LOG")]
    pub log: Option<String>,
    /// Log as `text` or `json` [default: text]
    #[arg(long, env = "CROSSPOINT_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Settings with every default filled in and every rule between them checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// ng over UDP.
    pub ng: SocketAddr,
    /// ng over TCP.
    pub ng_tcp: Option<SocketAddr>,
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// Token of HTTP requests.
    pub http_token: Option<String>,
    /// Media interfaces, as given.
    pub interfaces: Vec<String>,
    /// First and last media port.
    pub ports: (u16, u16),
    /// Worker threads.
    pub workers: usize,
    /// CPUs of the workers.
    pub pin: Vec<usize>,
    /// Control threads.
    pub control_threads: usize,
    /// Most calls; `None`: by descriptors.
    pub max_calls: Option<usize>,
    /// Setup timer.
    pub setup_timeout: Option<Duration>,
    /// Silence timer.
    pub silence_timeout: Option<Duration>,
    /// Hard limit.
    pub call_limit: Option<Duration>,
    /// Delay of deletes that name none.
    pub delete_delay: Duration,
    /// Quarantine of freed ports.
    pub port_quarantine: Duration,
    /// Type of service octet.
    pub tos: u8,
    /// Socket buffer size.
    pub socket_buffer: Option<usize>,
    /// How long SIGTERM waits.
    pub drain_timeout: Duration,
    /// Mask ng calls.
    pub masked: bool,
    /// Whom key presses are told.
    pub digit_log: DigitLog,
    /// Where prompts come from, and how many are kept.
    pub prompts: PromptsConfig,
    /// How calls are recorded.
    pub recording: RecordingSettings,
    /// What answers the phone.
    pub phones: PhoneSettings,
    /// Log filter.
    pub log: String,
    /// Log format.
    pub log_format: LogFormat,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key or a value of the wrong kind; the text names the
    /// line.
    #[error("{path}: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value makes no sense, alone or beside another.
    #[error("{key}: {why}")]
    Value {
        /// The setting.
        key: &'static str,
        /// The rule it breaks.
        why: String,
    },
}

impl Settings {
    /// Reads a TOML file; unknown keys are refused with their line.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// `self` where it says something, else `file`.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        fn list<T>(a: Vec<T>, b: Vec<T>) -> Vec<T> {
            if a.is_empty() { b } else { a }
        }
        Self {
            ng: self.ng.or(file.ng),
            ng_tcp: self.ng_tcp.or(file.ng_tcp),
            http: self.http.or(file.http),
            http_token: said(self.http_token).or(file.http_token),
            expose: self.expose.or(file.expose),
            interface: list(self.interface, file.interface),
            ports: self.ports.or(file.ports),
            workers: self.workers.or(file.workers),
            pin: list(self.pin, file.pin),
            control_threads: self.control_threads.or(file.control_threads),
            max_calls: self.max_calls.or(file.max_calls),
            setup_timeout: self.setup_timeout.or(file.setup_timeout),
            silence_timeout: self.silence_timeout.or(file.silence_timeout),
            call_limit: self.call_limit.or(file.call_limit),
            delete_delay: self.delete_delay.or(file.delete_delay),
            port_quarantine: self.port_quarantine.or(file.port_quarantine),
            tos: self.tos.or(file.tos),
            socket_buffer: self.socket_buffer.or(file.socket_buffer),
            drain_timeout: self.drain_timeout.or(file.drain_timeout),
            masked: self.masked.or(file.masked),
            dtmf_log_dest: self.dtmf_log_dest.or(file.dtmf_log_dest),
            dtmf_log_ng_tcp: self.dtmf_log_ng_tcp.or(file.dtmf_log_ng_tcp),
            log_digits: self.log_digits.or(file.log_digits),
            prompt_dir: list(self.prompt_dir, file.prompt_dir),
            prompt_cache: self.prompt_cache.or(file.prompt_cache),
            prompt_private_urls: self.prompt_private_urls.or(file.prompt_private_urls),
            prompt_url_timeout: self.prompt_url_timeout.or(file.prompt_url_timeout),
            recording_dir: self.recording_dir.or(file.recording_dir),
            recording_pattern: self.recording_pattern.or(file.recording_pattern),
            recording_format: self.recording_format.or(file.recording_format),
            recording_threads: self.recording_threads.or(file.recording_threads),
            recording_fsync: self.recording_fsync.or(file.recording_fsync),
            recording_store: self.recording_store.or(file.recording_store),
            recording_store_option: list(self.recording_store_option, file.recording_store_option),
            recording_keep: self.recording_keep.or(file.recording_keep),
            recording_key: self.recording_key.or(file.recording_key),
            recording_callback: self.recording_callback.or(file.recording_callback),
            recording_retention: self.recording_retention.or(file.recording_retention),
            sip_listen: list(self.sip_listen, file.sip_listen),
            flow_dir: self.flow_dir.or(file.flow_dir),
            call_records: self.call_records.or(file.call_records),
            status_callback_secret: said(self.status_callback_secret)
                .or(file.status_callback_secret),
            // It has no flags.
            sip: file.sip,
            log: self.log.or(file.log),
            log_format: self.log_format.or(file.log_format),
        }
    }

    /// Fills in defaults and checks the rules.
    pub fn resolve(mut self) -> Result<Config, ConfigError> {
        let mut prompts = self.prompts()?;
        let recording = self.recording()?;
        let phones = self.phones(&mut prompts)?;
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let config = Config {
            ng: self.ng.unwrap_or_else(|| loopback(2223)),
            ng_tcp: self.ng_tcp,
            http: self.http.unwrap_or_else(|| loopback(8080)),
            http_token: said(self.http_token),
            interfaces: if self.interface.is_empty() {
                vec!["default/127.0.0.1".to_owned()]
            } else {
                self.interface
            },
            ports: parse_ports(self.ports.as_deref().unwrap_or("20000-59999"))?,
            workers: self.workers.unwrap_or(cpus),
            pin: self.pin,
            control_threads: self.control_threads.unwrap_or(1),
            max_calls: self.max_calls,
            setup_timeout: seconds_or_never(self.setup_timeout.unwrap_or(300)),
            silence_timeout: seconds_or_never(self.silence_timeout.unwrap_or(60)),
            call_limit: seconds_or_never(self.call_limit.unwrap_or(86_400)),
            delete_delay: Duration::from_secs(self.delete_delay.unwrap_or(0)),
            port_quarantine: Duration::from_secs(self.port_quarantine.unwrap_or(2)),
            tos: self.tos.unwrap_or(184),
            socket_buffer: self.socket_buffer,
            drain_timeout: Duration::from_secs(self.drain_timeout.unwrap_or(30)),
            masked: self.masked.unwrap_or(false),
            digit_log: DigitLog {
                to: self.dtmf_log_dest,
                over_tcp: self.dtmf_log_ng_tcp.unwrap_or(false),
                in_log: self.log_digits.unwrap_or(false),
            },
            prompts,
            recording,
            phones,
            log: self.log.unwrap_or_else(|| "info".to_owned()),
            log_format: self.log_format.unwrap_or_default(),
        };
        config.check(self.expose.unwrap_or(false))?;
        Ok(config)
    }

    /// Takes the settings of prompts.
    fn prompts(&mut self) -> Result<PromptsConfig, ConfigError> {
        let defaults = PromptsConfig::default();
        let given = std::mem::take(&mut self.prompt_dir);
        if let Some(relative) = given.iter().find(|directory| !directory.is_absolute()) {
            return Err(ConfigError::Value {
                key: "prompt-dir",
                why: format!("{} is not an absolute path", relative.display()),
            });
        }
        let cache_mib = self.prompt_cache.unwrap_or(defaults.cache_bytes >> 20);
        if cache_mib > PROMPT_CACHE_MAX_MIB {
            return Err(ConfigError::Value {
                key: "prompt-cache",
                why: format!("{cache_mib} is more than {PROMPT_CACHE_MAX_MIB}"),
            });
        }
        let seconds = self.prompt_url_timeout;
        let seconds = seconds.unwrap_or(defaults.url_timeout.as_secs());
        if !(1..=PROMPT_URL_TIMEOUT_MAX).contains(&seconds) {
            return Err(ConfigError::Value {
                key: "prompt-url-timeout",
                why: format!("{seconds} is not 1 to {PROMPT_URL_TIMEOUT_MAX}"),
            });
        }
        Ok(PromptsConfig {
            directories: if given.is_empty() {
                defaults.directories
            } else {
                given
            },
            cache_bytes: cache_mib << 20,
            private_urls: self.prompt_private_urls.unwrap_or(defaults.private_urls),
            url_timeout: Duration::from_secs(seconds),
        })
    }
}

impl Config {
    fn check(&self, expose: bool) -> Result<(), ConfigError> {
        let bad = |key, why: String| Err(ConfigError::Value { key, why });
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            return bad(
                "workers",
                format!("{} is not 1 to {WORKERS_MAX}", self.workers),
            );
        }
        if !(1..=WORKERS_MAX).contains(&self.control_threads) {
            return bad(
                "control-threads",
                format!("{} is not 1 to {WORKERS_MAX}", self.control_threads),
            );
        }
        if self.max_calls == Some(0) {
            return bad("max-calls", "0 would refuse every call".to_owned());
        }
        if let Some(to) = self.digit_log.to
            && dtmf_log::destination(&to.to_string()).is_none()
        {
            return bad(
                "dtmf-log-dest",
                format!("{to} is not the address and port of one receiver"),
            );
        }
        if self.digit_log.over_tcp && self.ng_tcp.is_none() {
            let why = "needs ng-tcp, whose connections are told";
            return bad("dtmf-log-ng-tcp", why.to_owned());
        }
        self.check_media()?;
        if let Err(error) = log_filter(&self.log) {
            return bad("log", format!("'{}': {error}", self.log));
        }
        let doors = [
            ("ng", Some(self.ng)),
            ("ng-tcp", self.ng_tcp),
            ("http", Some(self.http)),
        ];
        for (key, address) in doors {
            let Some(address) = address else { continue };
            if !address.ip().is_loopback() && !expose {
                return bad(
                    key,
                    format!(
                        "{address} is not loopback: anyone who reaches it commands the \
                             switch; set expose = true if that is meant"
                    ),
                );
            }
        }
        let token = self.http_token.as_deref().unwrap_or("");
        if (expose || !self.http.ip().is_loopback()) && token.len() < HTTP_TOKEN_MIN {
            return bad(
                "http-token",
                format!("needed with expose, at least {HTTP_TOKEN_MIN} characters"),
            );
        }
        Ok(())
    }
}

impl Config {
    /// Whether interfaces and ports fit together; nothing is bound.
    fn check_media(&self) -> Result<(), ConfigError> {
        let range =
            PortRange::new(self.ports.0, self.ports.1).map_err(|error| ConfigError::Value {
                key: "ports",
                why: error.to_string(),
            })?;
        let specs: Result<Vec<InterfaceSpec>, SpecError> =
            self.interfaces.iter().map(|text| text.parse()).collect();
        specs
            .and_then(|specs| Interfaces::new(specs, range, self.port_quarantine, 0))
            .map(|_| ())
            .map_err(|error| ConfigError::Value {
                key: "interface",
                why: error.to_string(),
            })
    }
}

/// An empty token, as of a variable that is set to nothing, is none.
fn said(token: Option<String>) -> Option<String> {
    token.filter(|token| !token.trim().is_empty())
}

/// Most worker or control threads.
pub const WORKERS_MAX: usize = 256;
/// Largest cache of prompts, in MiB: 1 TiB.
pub const PROMPT_CACHE_MAX_MIB: usize = 1 << 20;
/// Longest timeout of a prompt's URL in seconds, below [`crate::switch::prompts::WAIT_MAX`].
pub const PROMPT_URL_TIMEOUT_MAX: u64 = 55;
/// Shortest accepted HTTP token.
pub const HTTP_TOKEN_MIN: usize = 16;

fn seconds_or_never(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn parse_ports(text: &str) -> Result<(u16, u16), ConfigError> {
    let bad = |why: &str| ConfigError::Value {
        key: "ports",
        why: format!("'{text}' {why}"),
    };
    let (min, max) = text.split_once('-').ok_or_else(|| bad("is not MIN-MAX"))?;
    let number = |s: &str| s.trim().parse::<u16>().map_err(|_| bad("is not MIN-MAX"));
    let (min, max) = (number(min)?, number(max)?);
    if min < 1024 {
        return Err(bad("starts below 1024"));
    }
    let first_even = u32::from(min) + u32::from(min & 1);
    if u32::from(max) < first_even + 3 {
        return Err(bad("holds not even one call (four ports)"));
    }
    Ok((min, max))
}

/// The filter of the log. The SIP stack is never heard: it logs whole messages, in which there are
/// digests and key presses.
///
/// # Errors
/// The filter's own words, or that it is to hear the stack.
pub fn log_filter(text: &str) -> Result<tracing_subscriber::EnvFilter, String> {
    let filter = tracing_subscriber::EnvFilter::try_new(text).map_err(|e| e.to_string())?;
    if text.contains("rsipstack") {
        return Err("rsipstack logs whole messages, with passwords' digests and keys".to_owned());
    }
    let silence = "rsipstack=off".parse().expect("a directive");
    Ok(filter.add_directive(silence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Settings, Box<toml::de::Error>> {
        toml::from_str(text).map_err(Box::new)
    }

    #[test]
    fn runs_without_any_setting() {
        let config = Settings::default().resolve().unwrap();
        assert_eq!(config.ng.to_string(), "127.0.0.1:2223");
        assert_eq!(config.http.to_string(), "127.0.0.1:8080");
        assert_eq!(config.ports, (20_000, 59_999));
        assert_eq!(config.interfaces, ["default/127.0.0.1"]);
    }

    #[test]
    fn unknown_keys_are_refused_by_name_and_line() {
        let message = file("ng = '127.0.0.1:1'\nworkrs = 3\n")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("line 2") && message.contains("workrs"),
            "{message}"
        );
    }

    #[test]
    fn a_flag_beats_the_file() {
        let flags = Settings {
            workers: Some(3),
            ..Settings::default()
        };
        let merged = flags.over(file("workers = 5\nmax-calls = 7\n").unwrap());
        assert_eq!((merged.workers, merged.max_calls), (Some(3), Some(7)));
    }

    #[test]
    fn a_wide_control_address_needs_a_word_and_a_token() {
        let wide = |expose, token: Option<&str>| {
            Settings {
                ng: Some("0.0.0.0:2223".parse().unwrap()),
                expose,
                http_token: token.map(str::to_owned),
                ..Settings::default()
            }
            .resolve()
            .map(|_| ())
            .map_err(|e| e.to_string())
        };
        assert!(
            wide(None, None)
                .unwrap_err()
                .starts_with("ng: 0.0.0.0:2223 is not loopback")
        );
        assert!(
            wide(Some(true), None)
                .unwrap_err()
                .starts_with("http-token")
        );
        assert!(wide(Some(true), Some("fifteen letters")).is_err());
        assert!(wide(Some(true), Some("sixteen letters!")).is_ok());
    }

    #[test]
    fn port_ranges_hold_at_least_a_call() {
        let ports = |p: &str| parse_ports(p).is_ok();
        assert!(ports("2000-2003") && !ports("2000-2002"));
        assert!(ports("2001-2005") && !ports("2001-2004"));
        assert!(ports("1024-2000") && !ports("1023-2000"));
        assert!(!ports("7") && !ports("9-x") && !ports("3000-2000"));
    }

    #[test]
    fn prompts_are_checked_before_the_start() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            let resolved = settings.resolve().map(|config| config.prompts);
            resolved.map_err(|error| error.to_string())
        };
        let prompts = with(|s| s.prompt_dir = vec!["/a".into(), "/b".into()]).unwrap();
        assert_eq!(prompts.directories, [Path::new("/a"), Path::new("/b")]);
        assert!(!prompts.private_urls);
        let error = with(|s| s.prompt_dir = vec!["prompts".into()]).unwrap_err();
        assert_eq!(error, "prompt-dir: prompts is not an absolute path");
        assert!(with(|s| s.prompt_cache = Some(0)).is_ok());
        assert!(with(|s| s.prompt_cache = Some(PROMPT_CACHE_MAX_MIB)).is_ok());
        assert!(with(|s| s.prompt_cache = Some(PROMPT_CACHE_MAX_MIB + 1)).is_err());
        assert!(with(|s| s.prompt_url_timeout = Some(PROMPT_URL_TIMEOUT_MAX)).is_ok());
        assert!(with(|s| s.prompt_url_timeout = Some(PROMPT_URL_TIMEOUT_MAX + 1)).is_err());
        assert!(with(|s| s.prompt_url_timeout = Some(0)).is_err());
    }

    #[test]
    fn media_and_log_are_checked_before_the_start() {
        let refused = |settings: Settings| settings.resolve().unwrap_err().to_string();
        let interface = |all: &[&str]| Settings {
            interface: all.iter().map(|&i| i.to_owned()).collect(),
            ..Settings::default()
        };
        assert!(interface(&["a/127.0.0.1", "b/127.0.0.1"]).resolve().is_ok());
        let error = refused(interface(&["a/127.0.0"]));
        assert!(
            error.starts_with("interface: `127.0.0` is not an IP"),
            "{error}"
        );
        let error = refused(interface(&["a/127.0.0.1", "a/127.0.0.2"]));
        assert!(error.starts_with("interface: "), "{error}");
        let error = refused(Settings {
            log: Some("crosspoint=loud".to_owned()),
            ..Settings::default()
        });
        assert!(error.starts_with("log: 'crosspoint=loud': "), "{error}");
        let error = refused(Settings {
            log: Some("info,rsipstack::transport=debug".to_owned()),
            ..Settings::default()
        });
        assert!(
            error.ends_with("with passwords' digests and keys"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_token_is_none() {
        let token = |token: &str| Settings {
            http_token: Some(token.to_owned()),
            ..Settings::default()
        };
        assert_eq!(token("").resolve().unwrap().http_token, None);
        let merged = token(" ").over(token("of the file"));
        assert_eq!(merged.http_token.as_deref(), Some("of the file"));
    }

    #[test]
    fn thread_counts_have_limits() {
        let workers = |n| {
            Settings {
                workers: Some(n),
                ..Settings::default()
            }
            .resolve()
            .is_ok()
        };
        assert!(workers(1) && workers(WORKERS_MAX));
        assert!(!workers(0) && !workers(WORKERS_MAX + 1));
    }
}
