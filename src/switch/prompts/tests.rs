use super::*;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;

/// 16-bit mono at 8 kHz, of `samples` times the same value.
fn wav(samples: usize, value: i16) -> Vec<u8> {
    let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    bytes.extend(8000u32.to_le_bytes());
    bytes.extend(16_000u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data\xff\xff\xff\xff");
    bytes.extend(std::iter::repeat_n(value.to_le_bytes(), samples).flatten());
    bytes
}

fn blob(samples: usize, value: i16) -> Source {
    Source::Bytes(wav(samples, value).into())
}

/// A directory that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("prompts-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn config(directories: &[&Path]) -> PromptsConfig {
    PromptsConfig {
        directories: directories.iter().map(|d| d.to_path_buf()).collect(),
        private_urls: true,
        url_timeout: Duration::from_millis(700),
        ..PromptsConfig::default()
    }
}

fn file(path: impl Into<PathBuf>) -> Source {
    Source::File(path.into())
}

fn counted(prompts: &Prompts) -> [u64; 4] {
    let c = prompts.counters();
    [&c.hits, &c.misses, &c.revalidated, &c.failures].map(|c| c.load(Ordering::Relaxed))
}

#[tokio::test]
async fn blobs_are_decoded_once() {
    let prompts = Prompts::new(config(&[]));
    let first = prompts.clip(&blob(100, 5)).await.unwrap();
    let again = prompts.clip(&blob(100, 5)).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again) && first.samples() == [5; 100]);
    assert_eq!(prompts.clip(&blob(100, 6)).await.unwrap().samples()[0], 6);
    assert_eq!(counted(&prompts), [1, 2, 0, 0]);
    let bad = Source::Bytes(b"<html>".as_slice().into());
    let error = prompts.clip(&bad).await.unwrap_err().to_string();
    assert!(error.starts_with("blob of 6 bytes: not WAV"), "{error}");
    assert_eq!(counted(&prompts)[3], 1);
}

#[tokio::test]
async fn conversions_are_kept_beside_their_clip() {
    let prompts = Prompts::new(config(&[]));
    let wide = prompts.clip_at(&blob(800, 1000), 48_000).await.unwrap();
    assert_eq!((wide.rate_hz(), wide.samples().len()), (48_000, 4800));
    let again = prompts.clip_at(&blob(800, 1000), 48_000).await.unwrap();
    assert!(Arc::ptr_eq(&wide, &again));
    let plain = prompts.clip_at(&blob(800, 1000), 8000).await.unwrap();
    assert!(Arc::ptr_eq(
        &plain,
        &prompts.clip(&blob(800, 1000)).await.unwrap()
    ));
    assert_eq!(prompts.usage().clips, 2);
    assert!(matches!(
        prompts.clip_at(&blob(800, 1000), 0).await,
        Err(PromptError::Clip {
            error: ClipError::Rate { hz: 0 },
            ..
        })
    ));
}

#[tokio::test]
async fn the_cache_stays_within_its_bytes() {
    let cache_bytes = 10_000;
    let prompts = Prompts::new(PromptsConfig {
        cache_bytes,
        ..config(&[])
    });
    for value in 0..20 {
        prompts.clip(&blob(1000, value)).await.unwrap();
        assert!(prompts.usage().bytes <= cache_bytes);
    }
    assert_eq!(prompts.usage().clips, 3);
    assert_eq!(prompts.counters().evictions.load(Ordering::Relaxed), 17);
    // Larger than all of the cache: played, not kept.
    assert!(prompts.clip(&blob(6000, 1)).await.is_ok());
    assert!(prompts.clip_at(&blob(6000, 1), 16_000).await.is_ok());
    assert_eq!(prompts.usage().clips, 3);
}

#[tokio::test]
async fn files_are_read_below_their_directories_only() {
    let (inside, outside) = (Folder::new("inside"), Folder::new("outside"));
    let path = inside.write("menu/hello.wav", &wav(10, 1));
    let secret = outside.write("secret.wav", &wav(10, 2));
    let linked = inside.0.join("link.wav");
    std::os::unix::fs::symlink(&secret, &linked).unwrap();
    std::os::unix::fs::symlink(&path, inside.0.join("good.wav")).unwrap();
    std::os::unix::fs::symlink(&outside.0, inside.0.join("folder")).unwrap();
    let prompts = Prompts::new(config(&[&inside.0]));
    for good in [
        path.as_path(),
        Path::new("menu/hello.wav"),
        Path::new("./good.wav"),
    ] {
        let clip = prompts.clip(&file(good)).await.unwrap();
        assert_eq!(clip.samples(), [1; 10], "{}", good.display());
    }
    let up = inside
        .0
        .join("..")
        .join(outside.0.file_name().unwrap())
        .join("secret.wav");
    let siblings = format!("{}2/x.wav", inside.0.display());
    let refused = [
        secret.clone(),
        linked,
        up,
        inside.0.join("folder/secret.wav"),
        inside.0.join("menu/../menu/hello.wav"),
        PathBuf::from("../secret.wav"),
        PathBuf::from("/etc/passwd"),
        PathBuf::from("/etc/not-there"),
        PathBuf::from(siblings),
    ];
    for path in refused {
        let error = prompts.clip(&file(&path)).await.unwrap_err();
        assert!(matches!(error, PromptError::Outside { .. }), "{error}");
    }
    for (path, why) in [
        ("not-there.wav", "No such file"),
        ("menu", "not a regular file"),
    ] {
        let error = prompts.clip(&file(path)).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(matches!(error, PromptError::File { .. }));
    }
    let nowhere = Prompts::new(config(&[]));
    let error = nowhere.clip(&file(&path)).await.unwrap_err().to_string();
    assert!(error.contains("prompt-dir"), "{error}");
}

#[tokio::test]
async fn the_first_directory_that_has_a_file_wins() {
    let (own, common) = (Folder::new("own"), Folder::new("common"));
    own.write("a.wav", &wav(1, 1));
    common.write("a.wav", &wav(1, 2));
    common.write("b.wav", &wav(1, 3));
    let prompts = Prompts::new(config(&[&own.0, &common.0]));
    assert_eq!(prompts.clip(&file("a.wav")).await.unwrap().samples(), [1]);
    assert_eq!(prompts.clip(&file("b.wav")).await.unwrap().samples(), [3]);
    let inside_second = file(common.0.join("a.wav"));
    assert_eq!(prompts.clip(&inside_second).await.unwrap().samples(), [2]);
}

#[tokio::test]
async fn a_fifo_does_not_block() {
    let folder = Folder::new("fifo");
    let path = folder.0.join("pipe.wav");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let prompts = Prompts::new(config(&[&folder.0]));
    let pipe = file(&path);
    let asked = tokio::time::timeout(Duration::from_secs(5), prompts.clip(&pipe));
    let error = asked.await.expect("at once").unwrap_err().to_string();
    assert!(error.ends_with("not a regular file"), "{error}");
}

#[tokio::test]
async fn a_changed_file_is_read_again() {
    let folder = Folder::new("changed");
    let path = folder.write("a.wav", &wav(10, 1));
    let prompts = Prompts::new(config(&[&folder.0]));
    let first = prompts.clip(&file(&path)).await.unwrap();
    prompts.clip(&file(&path)).await.unwrap();
    assert_eq!(counted(&prompts), [1, 1, 0, 0]);
    tokio::time::sleep(FILE_FRESH + Duration::from_millis(50)).await;
    let same = prompts.clip(&file(&path)).await.unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    assert_eq!(counted(&prompts), [2, 1, 1, 0]);
    folder.write("a.wav", &wav(11, 2));
    tokio::time::sleep(FILE_FRESH + Duration::from_millis(50)).await;
    assert_eq!(prompts.clip(&file(&path)).await.unwrap().samples(), [2; 11]);
    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(FILE_FRESH + Duration::from_millis(50)).await;
    assert!(prompts.clip(&file(&path)).await.is_err());
    assert_eq!(prompts.usage().clips, 0);
}

/// What the test server counts and is told.
#[derive(Default)]
struct Site {
    asked: AtomicUsize,
    sent: AtomicUsize,
    failing: AtomicUsize,
    value: AtomicUsize,
}

async fn clip_with_tag(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    site.asked.fetch_add(1, Ordering::Relaxed);
    let failing = site.failing.load(Ordering::Relaxed);
    if failing != 0 {
        let status = StatusCode::from_u16(u16::try_from(failing).unwrap()).unwrap();
        return status.into_response();
    }
    let value = site.value.load(Ordering::Relaxed);
    let tag = format!("\"{value}\"");
    let control = (header::CACHE_CONTROL, "max-age=0");
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|t| *t == tag)
    {
        return (StatusCode::NOT_MODIFIED, [control]).into_response();
    }
    site.sent.fetch_add(1, Ordering::Relaxed);
    let tag = (header::ETAG, HeaderValue::from_str(&tag).unwrap());
    let body = wav(10, i16::try_from(value).unwrap());
    ([control], [tag], body).into_response()
}

async fn slow_clip(State(site): State<Arc<Site>>) -> Vec<u8> {
    site.asked.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    wav(10, 3)
}

async fn dated(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let date = "Mon, 23 Nov 2026 10:00:00 GMT";
    site.asked.fetch_add(1, Ordering::Relaxed);
    let control = (header::CACHE_CONTROL, "no-cache");
    if headers
        .get(header::IF_MODIFIED_SINCE)
        .is_some_and(|d| d == date)
    {
        return (StatusCode::NOT_MODIFIED, [control]).into_response();
    }
    ([control, (header::LAST_MODIFIED, date)], wav(10, 4)).into_response()
}

/// A web server on a port of its own.
async fn serve() -> (SocketAddr, Arc<Site>) {
    let site = Arc::new(Site::default());
    let app = Router::new()
        .route("/tagged.wav", get(clip_with_tag))
        .route("/slow.wav", get(slow_clip))
        .route("/dated.wav", get(dated))
        .route("/plain.wav", get(|| async { wav(10, 1) }))
        .route(
            "/no-store.wav",
            get(|| async { ([(header::CACHE_CONTROL, "no-store")], wav(10, 1)) }),
        )
        .route("/page", get(|| async { "<html>Sorry</html>" }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/near", get(|| async { Redirect::permanent("/plain.wav") }))
        .route(
            "/to-gopher",
            get(|| async { Redirect::temporary("gopher://127.0.0.1/x") }),
        )
        .route(
            "/to-metadata",
            get(|| async { Redirect::temporary("http://169.254.169.254/") }),
        )
        .route(
            "/to-file",
            get(|| async { Redirect::temporary("file:///etc/passwd") }),
        )
        .route("/huge", get(|| async { vec![0; URL_BYTES_MAX + 1] }))
        .route(
            "/largest",
            get(|| async {
                let mut bytes = wav(0, 0);
                bytes.resize(URL_BYTES_MAX, 0);
                bytes
            }),
        )
        .with_state(Arc::clone(&site));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, site)
}

fn url(address: SocketAddr, path: &str) -> Source {
    Source::Url(format!("http://{address}{path}"))
}

/// A server that reads a request and then does as it is told with the connection.
fn misbehaving(then: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let _some = stream.read(&mut [0; 4096]);
                then(stream);
            });
        }
    });
    address
}

/// The error, and that it came in time.
async fn url_refused(prompts: &Prompts, source: &Source) -> UrlError {
    let asked = tokio::time::timeout(Duration::from_secs(5), prompts.clip(source));
    match asked.await.expect("bounded") {
        Err(PromptError::Url { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unchanged_url_is_not_sent_again() {
    let (address, site) = serve().await;
    let prompts = Prompts::new(config(&[]));
    let source = url(address, "/tagged.wav");
    let first = prompts.clip(&source).await.unwrap();
    let second = prompts.clip(&source).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(site.asked.load(Ordering::Relaxed), 2);
    assert_eq!(site.sent.load(Ordering::Relaxed), 1);
    assert_eq!(counted(&prompts), [1, 1, 1, 0]);
    site.value.store(9, Ordering::Relaxed);
    assert_eq!(prompts.clip(&source).await.unwrap().samples(), [9; 10]);
    let dated = url(address, "/dated.wav");
    let first = prompts.clip(&dated).await.unwrap();
    assert!(Arc::ptr_eq(&first, &prompts.clip(&dated).await.unwrap()));
}

#[tokio::test]
async fn a_fresh_url_is_not_asked_for_again() {
    let (address, site) = serve().await;
    let prompts = Prompts::new(config(&[]));
    let source = url(address, "/slow.wav");
    let fragment = url(address, "/slow.wav#t=1");
    for source in [&source, &fragment, &source] {
        prompts.clip(source).await.unwrap();
    }
    assert_eq!(site.asked.load(Ordering::Relaxed), 1);
    let no_store = url(address, "/no-store.wav");
    prompts.clip(&no_store).await.unwrap();
    prompts.clip_at(&no_store, 16_000).await.unwrap();
    assert_eq!(counted(&prompts)[..2], [2, 4]);
}

#[tokio::test]
async fn callers_share_one_load() {
    let (address, site) = serve().await;
    let prompts = Prompts::new(config(&[]));
    let source = url(address, "/slow.wav");
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let (prompts, source) = (prompts.clone(), source.clone());
            tokio::spawn(async move { prompts.clip(&source).await })
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap().samples(), [3; 10]);
    }
    assert_eq!(site.asked.load(Ordering::Relaxed), 1);
    assert_eq!(prompts.usage().loads, 0);
}

#[tokio::test]
async fn old_content_plays_while_its_server_fails() {
    let (address, site) = serve().await;
    let prompts = Prompts::new(config(&[]));
    let source = url(address, "/tagged.wav");
    let first = prompts.clip(&source).await.unwrap();
    site.failing.store(503, Ordering::Relaxed);
    for _ in 0..3 {
        let stale = prompts.clip(&source).await.unwrap();
        assert!(Arc::ptr_eq(&first, &stale));
    }
    // It is not asked again for some seconds.
    assert_eq!(site.asked.load(Ordering::Relaxed), 2);
    assert_eq!(prompts.counters().stale.load(Ordering::Relaxed), 1);
    let never_seen = Prompts::new(config(&[]));
    assert_eq!(
        url_refused(&never_seen, &source).await,
        UrlError::Status(503)
    );
}

#[tokio::test]
async fn content_that_is_gone_is_gone() {
    let (address, site) = serve().await;
    let prompts = Prompts::new(config(&[]));
    let source = url(address, "/tagged.wav");
    prompts.clip(&source).await.unwrap();
    site.failing.store(404, Ordering::Relaxed);
    assert_eq!(url_refused(&prompts, &source).await, UrlError::Status(404));
    assert_eq!(prompts.usage().clips, 0);
}

#[tokio::test]
async fn redirects_are_followed_up_to_a_limit() {
    let (address, _) = serve().await;
    let prompts = Prompts::new(config(&[]));
    assert!(prompts.clip(&url(address, "/near")).await.is_ok());
    let endless = url_refused(&prompts, &url(address, "/loop")).await;
    assert_eq!(endless, UrlError::Redirects);
    // Not another scheme, and not where a URL itself could not lead.
    for path in ["/to-file", "/to-gopher"] {
        url_refused(&prompts, &url(address, path)).await;
    }
    let metadata = url_refused(&prompts, &url(address, "/to-metadata")).await;
    assert!(matches!(metadata, UrlError::Private { .. }), "{metadata}");
}

#[tokio::test]
async fn what_is_not_audio_is_said_to_be() {
    let (address, _) = serve().await;
    let prompts = Prompts::new(config(&[]));
    let error = prompts.clip(&url(address, "/page?token=secret")).await;
    let error = error.unwrap_err().to_string();
    let expected =
        format!("http://{address}/page: not WAV, MP3 or Ogg Opus (begins with \"<html>So\")");
    assert_eq!(error, expected);
}

#[tokio::test]
async fn bodies_are_taken_up_to_their_limit() {
    let (address, _) = serve().await;
    let mut config = config(&[]);
    config.url_timeout = Duration::from_secs(20);
    let prompts = Prompts::new(config);
    assert!(prompts.clip(&url(address, "/largest")).await.is_ok());
    let huge = url_refused(&prompts, &url(address, "/huge")).await;
    assert_eq!(huge, UrlError::TooLarge);
    // One that does not say how large it is.
    let endless = misbehaving(|mut stream| {
        let _closed = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[0; 65_536]).is_ok() {}
    });
    assert_eq!(
        url_refused(&prompts, &url(endless, "/")).await,
        UrlError::TooLarge
    );
}

#[tokio::test]
async fn servers_that_hang_or_trickle_time_out() {
    let prompts = Prompts::new(config(&[]));
    let silent = misbehaving(|stream| {
        std::thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let header_trickle = misbehaving(|mut stream| {
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let body_trickle = misbehaving(|mut stream| {
        let _closed = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n");
        while stream.write_all(b"R").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    for address in [silent, body_trickle] {
        let error = url_refused(&prompts, &url(address, "/")).await;
        assert!(matches!(error, UrlError::TimedOut(_)), "{error}");
    }
    // Not HTTP from its second byte on, or too slow: an error either way.
    let error = url_refused(&prompts, &url(header_trickle, "/")).await;
    assert!(error.is_passing(), "{error}");
}

#[tokio::test]
async fn a_body_cut_short_is_not_kept() {
    let prompts = Prompts::new(config(&[]));
    let cut = misbehaving(|mut stream| {
        let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n");
        let _sent = stream.write_all(&wav(100, 1));
    });
    let error = url_refused(&prompts, &url(cut, "/")).await;
    assert!(matches!(error, UrlError::Transport(_)), "{error}");
    assert_eq!(prompts.usage().clips, 0);
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let (address, site) = serve().await;
    let prompts = Prompts::new(PromptsConfig {
        private_urls: false,
        ..config(&[])
    });
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let source = Source::Url(format!("http://{host}:{}/plain.wav", address.port()));
        let error = url_refused(&prompts, &source).await;
        let refused = matches!(error, UrlError::Private { .. });
        assert!(refused, "{host}: {error}");
    }
    // Where clouds keep credentials, never.
    let metadata = Source::Url("http://169.254.169.254/latest/".to_owned());
    let error = url_refused(&Prompts::new(config(&[])), &metadata).await;
    assert!(matches!(error, UrlError::Private { .. }), "{error}");
    assert_eq!(site.asked.load(Ordering::Relaxed), 0);
    let closed = Source::Url("http://127.0.0.1:1/".to_owned());
    let error = url_refused(&Prompts::new(config(&[])), &closed).await;
    assert!(matches!(error, UrlError::Transport(_)), "{error}");
}

#[tokio::test]
async fn loads_are_refused_beyond_their_limit() {
    let silent = misbehaving(|stream| {
        std::thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let prompts = Prompts::new(config(&[]));
    let source = |n: usize| url(silent, &format!("/{n}"));
    for n in 0..LOADS_MAX {
        let (prompts, source) = (prompts.clone(), source(n));
        tokio::spawn(async move { prompts.clip(&source).await });
    }
    while prompts.usage().loads < LOADS_MAX {
        tokio::task::yield_now().await;
    }
    let refused = prompts.clip(&source(LOADS_MAX)).await;
    assert_eq!(refused, Err(PromptError::Busy));
    // Joining one of them is not another load.
    let known = source(0);
    let joined = tokio::time::timeout(Duration::from_millis(10), prompts.clip(&known));
    assert!(joined.await.is_err());
    assert_eq!(prompts.usage().loads, LOADS_MAX);
}

#[tokio::test]
async fn no_more_files_are_read_than_may_wait_to_be_decoded() {
    let folder = Folder::new("undecoded");
    let prompts = Prompts::new(config(&[&folder.0]));
    let busy = prompts
        .shared
        .decodes
        .acquire_many(DECODES_MAX.try_into().expect("a few"))
        .await;
    let loads: Vec<_> = (0..=READS_MAX)
        .map(|n| {
            let path = folder.write(&format!("{n}.wav"), &wav(10, 1));
            let prompts = prompts.clone();
            tokio::spawn(async move { prompts.clip(&file(path)).await })
        })
        .collect();
    let read = || prompts.shared.counters.misses.load(Ordering::Relaxed);
    while read() < READS_MAX as u64 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(read(), READS_MAX as u64, "one more waits");
    drop(busy);
    for load in loads {
        assert!(load.await.expect("no panic").is_ok());
    }
}

#[tokio::test]
async fn servers_that_hang_do_not_delay_files() {
    let silent = misbehaving(|stream| {
        std::thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let folder = Folder::new("undelayed");
    let path = folder.write("a.wav", &wav(10, 1));
    let prompts = Prompts::new(config(&[&folder.0]));
    for n in 0..2 * FETCHES_MAX {
        let (prompts, source) = (prompts.clone(), url(silent, &format!("/{n}")));
        tokio::spawn(async move { prompts.clip(&source).await });
    }
    while prompts.usage().loads < 2 * FETCHES_MAX {
        tokio::task::yield_now().await;
    }
    let local = file(&path);
    let asked = tokio::time::timeout(Duration::from_millis(500), prompts.clip(&local));
    assert!(asked.await.expect("at once").is_ok());
    assert_eq!(prompts.usage().loads, 2 * FETCHES_MAX);
}

#[test]
fn secrets_of_urls_are_not_shown() {
    let shown = |url: &str| format!("{:?}", Source::Url(url.to_owned()));
    assert_eq!(
        shown("https://a.example/b.wav?key=1#c"),
        "https://a.example/b.wav"
    );
    assert_eq!(shown("http://user:word@a:80/@b"), "http://a:80/@b");
    assert_eq!(shown("user:word@a"), "a");
}

#[test]
fn a_prompt_is_checked_before_anybody_hears_it() {
    let folder = Folder::new("check");
    folder.write("tone.wav", &wav(80, 1000));
    folder.write("text.wav", b"no audio");
    let roots = [folder.0.clone()];
    let check = |name: &str| file(name).check(&roots);
    check("tone.wav").unwrap();
    assert!(matches!(check("text.wav"), Err(PromptError::Clip { .. })));
    assert!(matches!(check("gone.wav"), Err(PromptError::File { .. })));
    assert!(matches!(
        check("/etc/passwd"),
        Err(PromptError::Outside { .. })
    ));

    let of_bytes = |bytes: Vec<u8>| Source::Bytes(bytes.into()).check(&[]);
    of_bytes(wav(80, 1000)).unwrap();
    assert!(matches!(
        of_bytes(Vec::new()),
        Err(PromptError::Clip { .. })
    ));

    let of_url = |url: &str| Source::Url(url.to_owned()).check(&[]);
    of_url("https://example.com/a.wav").unwrap();
    assert!(matches!(
        of_url("ftp://example.com/a.wav"),
        Err(PromptError::Url { .. })
    ));
}
