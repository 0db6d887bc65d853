//! Prompts: clips to play, from files, URLs and messages, loaded off the packet path and kept.
//!
//! Whoever asks for a prompt waits for it, and nobody else does: files are read, URLs fetched and
//! audio decoded on threads of their own, few of each kind, so that neither a web server that
//! hangs nor a disk that does can delay another prompt, a command or a packet. Any number of
//! callers that ask for the same prompt share one load.
//!
//! What was decoded stays in a cache that is bounded in bytes and drops what was not used for
//! longest. A file is looked at again once a second, a URL when HTTP (RFC 9111) says so.

mod cache;
mod check;
mod fetch;
mod files;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};

use crate::audio::clip::{Clip, ClipError};
use cache::{Cache, Entry, Key, Origin};
use fetch::{Fetched, Fetcher, Freshness};
use files::{Directories, FileState};

pub use fetch::{REDIRECTS_MAX, URL_BYTES_MAX, URL_LEN_MAX, UrlError};

/// Most prompts being loaded at a time, waiting ones included.
pub const LOADS_MAX: usize = 256;
/// Most URLs being fetched at a time, or waiting to be decoded.
pub const FETCHES_MAX: usize = 8;
/// Most files being read at a time, or waiting to be decoded.
pub const READS_MAX: usize = 4;
/// Most clips being decoded or converted at a time: this is computing, and cores have packets to
/// move.
pub const DECODES_MAX: usize = 2;
/// Longest anybody waits for a prompt. Fetching a URL has its own, shorter limit; what remains is
/// a disk that hangs, or a long queue.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a file is believed to be unchanged.
pub const FILE_FRESH: Duration = Duration::from_secs(1);
/// How long a URL is left alone after a failure, while its old content is played.
pub const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Where prompts may come from, and how many are kept.
#[derive(Clone, Debug)]
pub struct PromptsConfig {
    /// Files are read from these directories and what is below them, and from nowhere else.
    pub directories: Vec<PathBuf>,
    /// Most bytes of decoded audio that are kept.
    pub cache_bytes: usize,
    /// Whether URLs may lead to private and loopback addresses. Off by default: who may name a
    /// URL could else have the switch ask services that only it can reach.
    pub private_urls: bool,
    /// Longest time from asking for a URL to its last byte, redirects included.
    pub url_timeout: Duration,
}

impl Default for PromptsConfig {
    fn default() -> Self {
        Self {
            directories: vec![PathBuf::from("/var/lib/crosspoint/prompts")],
            cache_bytes: 256 << 20,
            private_urls: false,
            url_timeout: Duration::from_secs(15),
        }
    }
}

/// Where a prompt comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A file: absolute, or relative to one of the configured directories, the first that has it.
    File(PathBuf),
    /// An `http` or `https` URL.
    Url(String),
    /// A whole file in memory, as it came in a command.
    Bytes(Arc<[u8]>),
}

/// Why there is no prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// It was found, but is not audio that is decoded here.
    #[error("{source_name}: {error}")]
    Clip {
        /// The file or URL.
        source_name: String,
        /// What is wrong with it.
        error: ClipError,
    },
    /// A file that is not below a configured directory.
    #[error("{path}: not below a prompt directory (setting prompt-dir)")]
    Outside {
        /// As it was given.
        path: String,
    },
    /// A file that cannot be read.
    #[error("{path}: {why}")]
    File {
        /// As it was given.
        path: String,
        /// What the system says.
        why: String,
    },
    /// A URL that cannot be fetched.
    #[error("{url}: {error}")]
    Url {
        /// Without its query, which may be secret.
        url: String,
        /// Why.
        error: UrlError,
    },
    /// [`LOADS_MAX`] prompts are being loaded.
    #[error("too many prompts are being loaded")]
    Busy,
    /// Not there after [`WAIT_MAX`].
    #[error("{source_name}: not loaded after {} s", WAIT_MAX.as_secs())]
    TimedOut {
        /// The file or URL.
        source_name: String,
    },
    /// A defect of the switch ended the load.
    #[error("{source_name}: loading failed inside the switch")]
    Lost {
        /// The file or URL.
        source_name: String,
    },
}

/// What became of requests; each only grows.
#[derive(Debug, Default)]
pub struct PromptCounters {
    /// Answered with what was decoded before.
    pub hits: AtomicU64,
    /// Waited for a file to be read, fetched, decoded or converted.
    pub misses: AtomicU64,
    /// Clips dropped from the cache for want of room.
    pub evictions: AtomicU64,
    /// Loads that failed.
    pub failures: AtomicU64,
    /// URLs and files found unchanged.
    pub revalidated: AtomicU64,
    /// Old content played because its URL failed.
    pub stale: AtomicU64,
    /// Requests refused with [`PromptError::Busy`].
    pub refused: AtomicU64,
}

/// What the cache holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptUsage {
    /// Clips, the same at another rate counted again.
    pub clips: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// Loads going on.
    pub loads: usize,
}

/// Loads and keeps prompts. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Prompts {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directories: Directories,
    fetcher: Fetcher,
    cache: Mutex<Cache>,
    flights: Mutex<HashMap<Key, Flight>>,
    counters: PromptCounters,
    fetches: Semaphore,
    reads: Semaphore,
    decodes: Semaphore,
    hashers: [RandomState; 2],
    next_id: AtomicU64,
}

/// A clip, and what names it in the cache; none if it is not kept.
type Loaded = (Arc<Clip>, Option<u64>);
type Outcome = Result<Loaded, PromptError>;
/// A load that others may wait for too.
type Flight = watch::Receiver<Option<Outcome>>;

/// What a load is to do.
enum Job {
    File(PathBuf),
    Url(String),
    Bytes(Arc<[u8]>),
    Convert { clip: Arc<Clip>, rate_hz: u32 },
}

impl Prompts {
    /// Nothing is read or fetched yet; a directory that is missing is noticed when it is needed.
    #[must_use]
    pub fn new(config: PromptsConfig) -> Self {
        let shared = Shared {
            directories: Directories::new(config.directories),
            fetcher: Fetcher::new(config.private_urls, config.url_timeout),
            cache: Mutex::new(Cache::new(config.cache_bytes)),
            flights: Mutex::default(),
            counters: PromptCounters::default(),
            fetches: Semaphore::new(FETCHES_MAX),
            reads: Semaphore::new(READS_MAX),
            decodes: Semaphore::new(DECODES_MAX),
            hashers: [RandomState::new(), RandomState::new()],
            next_id: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The prompt as it was recorded. Must be called inside of a tokio runtime. A caller that
    /// goes away does not end the load.
    ///
    /// # Errors
    /// Any [`PromptError`].
    pub async fn clip(&self, source: &Source) -> Result<Arc<Clip>, PromptError> {
        Ok(self.load(source).await?.0)
    }

    /// The prompt at a rate, so that playing costs nothing. Conversions are kept like files.
    ///
    /// # Errors
    /// Any [`PromptError`].
    pub async fn clip_at(&self, source: &Source, rate_hz: u32) -> Result<Arc<Clip>, PromptError> {
        let (clip, id) = self.load(source).await?;
        if clip.rate_hz() == rate_hz {
            return Ok(clip);
        }
        // What is not kept is not shared either: its key is used once.
        let id = id.unwrap_or_else(|| self.shared.new_id());
        let key = Key::Converted { id, rate_hz };
        if let Some(entry) = locked(&self.shared.cache).get(&key) {
            return Ok(entry.clip);
        }
        let job = Job::Convert { clip, rate_hz };
        Ok(self.fly(key, job, &source.name()).await?.0)
    }

    /// What became of requests.
    #[must_use]
    pub fn counters(&self) -> &PromptCounters {
        &self.shared.counters
    }

    /// What is kept, and what is being loaded.
    #[must_use]
    pub fn usage(&self) -> PromptUsage {
        let cache = locked(&self.shared.cache);
        PromptUsage {
            clips: cache.len(),
            bytes: cache.bytes(),
            loads: locked(&self.shared.flights).len(),
        }
    }

    async fn load(&self, source: &Source) -> Outcome {
        let shared = &self.shared;
        let (key, job) = match source {
            Source::File(path) => (Key::File(path.clone()), Job::File(path.clone())),
            Source::Url(url) => {
                fetch::check_url(url).map_err(|error| url_error(url, error))?;
                // The fragment is the client's own.
                let url = url.split('#').next().unwrap_or_default();
                (Key::Url(url.to_owned()), Job::Url(url.to_owned()))
            }
            Source::Bytes(bytes) => {
                // Two keyed hashes: nobody can make content that is taken for other content.
                let hash = [0, 1].map(|n: usize| shared.hashers[n].hash_one(bytes));
                let key = Key::Bytes(hash, bytes.len());
                (key, Job::Bytes(Arc::clone(bytes)))
            }
        };
        let kept = locked(&shared.cache).get(&key);
        if let Some(entry) = kept.filter(|entry| entry.is_fresh(Instant::now())) {
            count(&shared.counters.hits);
            return Ok((entry.clip, Some(entry.id)));
        }
        self.fly(key, job, &source.name()).await
    }

    /// Joins the load of `key`, or begins it.
    async fn fly(&self, key: Key, job: Job, name: &str) -> Outcome {
        let mut flight = self.join_or_begin(key, job, name)?;
        let lost = || PromptError::Lost {
            source_name: name.to_owned(),
        };
        let landed = flight.wait_for(Option::is_some);
        match tokio::time::timeout(WAIT_MAX, landed).await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or_else(|| Err(lost())),
            Ok(Err(_)) => Err(lost()),
            Err(_) => Err(PromptError::TimedOut {
                source_name: name.to_owned(),
            }),
        }
    }

    fn join_or_begin(&self, key: Key, job: Job, name: &str) -> Result<Flight, PromptError> {
        let mut flights = locked(&self.shared.flights);
        if let Some(flight) = flights.get(&key) {
            count(&self.shared.counters.misses);
            return Ok(flight.clone());
        }
        if flights.len() >= LOADS_MAX {
            count(&self.shared.counters.refused);
            return Err(PromptError::Busy);
        }
        let (sender, flight) = watch::channel(None);
        flights.insert(key.clone(), flight.clone());
        let landing = Landing {
            shared: Arc::clone(&self.shared),
            key,
        };
        let name = name.to_owned();
        tokio::spawn(async move {
            let outcome = landing.shared.run(&landing.key, job, name).await;
            if outcome.is_err() {
                count(&landing.shared.counters.failures);
            }
            // The flight ends first: who comes now finds the cache filled.
            drop(landing);
            sender.send_replace(Some(outcome));
        });
        Ok(flight)
    }
}

/// Ends a flight, whatever ends its task.
struct Landing {
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        locked(&self.shared.flights).remove(&self.key);
    }
}

impl Shared {
    async fn run(self: &Arc<Self>, key: &Key, job: Job, name: String) -> Outcome {
        let known = locked(&self.cache).get(key);
        match job {
            Job::File(path) => self.run_file(key, path, known, name).await,
            Job::Url(url) => self.run_url(key, url, known, name).await,
            Job::Bytes(bytes) => {
                count(&self.counters.misses);
                let clip = self.decode(name, move || Clip::decode(&bytes)).await?;
                Ok(self.keep(key, clip, Origin::Constant))
            }
            Job::Convert { clip, rate_hz } => {
                count(&self.counters.misses);
                let clip = self.decode(name, move || clip.at_rate(rate_hz)).await?;
                Ok(self.keep(key, clip, Origin::Constant))
            }
        }
    }

    async fn run_file(
        self: &Arc<Self>,
        key: &Key,
        path: PathBuf,
        known: Option<Entry>,
        name: String,
    ) -> Outcome {
        let state = known.as_ref().and_then(|entry| match &entry.origin {
            Origin::File { state, .. } => Some(*state),
            _ => None,
        });
        let shared = Arc::clone(self);
        // The place is kept until what was read is decoded: so many files are in memory at most.
        let (read, _place) = self
            .on_thread(&self.reads, &name, move || {
                shared.directories.read(&path, state.as_ref())
            })
            .await?;
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                locked(&self.cache).remove(key);
                return Err(error);
            }
        };
        let origin = |state| Origin::File {
            state,
            fresh_until: Instant::now() + FILE_FRESH,
        };
        match (read, known, state) {
            (None, Some(entry), Some(state)) => {
                count(&self.counters.hits);
                count(&self.counters.revalidated);
                Ok(self.keep_on(key, entry, origin(state)))
            }
            (Some((bytes, state)), ..) => {
                count(&self.counters.misses);
                let clip = self.decode(name, move || Clip::decode(&bytes)).await?;
                Ok(self.keep(key, clip, origin(state)))
            }
            (None, ..) => Err(PromptError::Lost { source_name: name }),
        }
    }

    async fn run_url(
        self: &Arc<Self>,
        key: &Key,
        url: String,
        known: Option<Entry>,
        name: String,
    ) -> Outcome {
        let validators = known.as_ref().and_then(|entry| match &entry.origin {
            Origin::Url { validators, .. } => Some(validators.clone()),
            _ => None,
        });
        let (shared, asked) = (Arc::clone(self), url.clone());
        // As for files.
        let (fetched, _place) = self
            .on_thread(&self.fetches, &name, move || {
                shared.fetcher.fetch(&asked, validators.as_ref())
            })
            .await?;
        match (fetched, known) {
            (Ok(Fetched::Unchanged(freshness)), Some(entry)) => {
                count(&self.counters.hits);
                count(&self.counters.revalidated);
                let origin = entry.origin.clone().refreshed(freshness);
                Ok(self.keep_on(key, entry, origin))
            }
            (Ok(Fetched::Unchanged(_)), None) => Err(url_error(&url, UrlError::Status(304))),
            (Ok(Fetched::Body(body)), _) => {
                count(&self.counters.misses);
                let (freshness, validators) = (body.freshness, body.validators);
                let decoded = self.decode(name, move || Clip::decode(&body.bytes)).await;
                if decoded.is_err() || freshness.no_store {
                    locked(&self.cache).remove(key);
                }
                let clip = decoded?;
                if freshness.no_store {
                    return Ok((Arc::new(clip), None));
                }
                Ok(self.keep(key, clip, Origin::url(validators, freshness)))
            }
            (Err(error), Some(entry)) if error.is_passing() && entry.may_be_stale() => {
                let url = shown_url(&url);
                tracing::warn!(%error, %url, "prompt not revalidated: the old one plays");
                count(&self.counters.stale);
                let origin = entry.origin.clone().retry_at(Instant::now() + RETRY_AFTER);
                Ok(self.keep_on(key, entry, origin))
            }
            (Err(error), _) => {
                if !error.is_passing() {
                    locked(&self.cache).remove(key);
                }
                Err(url_error(&url, error))
            }
        }
    }

    async fn decode(
        self: &Arc<Self>,
        name: String,
        work: impl FnOnce() -> Result<Clip, ClipError> + Send + 'static,
    ) -> Result<Clip, PromptError> {
        let (result, _place) = self.on_thread(&self.decodes, &name, work).await?;
        result.map_err(|error| PromptError::Clip {
            source_name: name,
            error,
        })
    }

    /// Does blocking work on a thread of its own, once there is a place, which comes back with the
    /// result. Not on the runtime's blocking pool, whose threads a shutdown would wait for.
    async fn on_thread<'p, T: Send + 'static>(
        &self,
        places: &'p Semaphore,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, SemaphorePermit<'p>), PromptError> {
        let lost = || PromptError::Lost {
            source_name: name.to_owned(),
        };
        let place = places.acquire().await.map_err(|_| lost())?;
        let (sender, done) = oneshot::channel();
        std::thread::Builder::new()
            .name("prompt".to_owned())
            .spawn(move || sender.send(work()).map_err(drop))
            .map_err(|_| PromptError::Busy)?;
        let result = done.await.map_err(|_| lost())?;
        Ok((result, place))
    }

    /// Puts a new clip into the cache.
    fn keep(&self, key: &Key, clip: Clip, origin: Origin) -> Loaded {
        let entry = Entry {
            clip: Arc::new(clip),
            id: self.new_id(),
            origin,
        };
        self.insert(key, entry)
    }

    /// Keeps a clip that is still right.
    fn keep_on(&self, key: &Key, entry: Entry, origin: Origin) -> Loaded {
        self.insert(key, Entry { origin, ..entry })
    }

    fn insert(&self, key: &Key, entry: Entry) -> Loaded {
        let (clip, id) = (Arc::clone(&entry.clip), entry.id);
        let (kept, evicted) = locked(&self.cache).insert(key.clone(), entry);
        self.counters
            .evictions
            .fetch_add(evicted as u64, Ordering::Relaxed);
        (clip, kept.then_some(id))
    }

    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

impl Source {
    /// What messages call it: no query of a URL, no content.
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => shown_url(url),
            Self::Bytes(bytes) => format!("blob of {} bytes", bytes.len()),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

fn url_error(url: &str, error: UrlError) -> PromptError {
    PromptError::Url {
        url: shown_url(url),
        error,
    }
}

/// A URL without what may be secret: user, password and query.
fn shown_url(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url: String = url[..end].chars().take(URL_LEN_MAX).collect();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    match scheme {
        "" => format!("{host}{path}"),
        _ => format!("{scheme}://{host}{path}"),
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Both maps are whole after every step under their locks.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
