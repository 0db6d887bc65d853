//! HTTP and WebSocket: ng with and without a cookie, `/metrics`, `/healthz`, calls, recordings and
//! the CLI.

mod calls;
mod recordings;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::{IncomingStream, Listener};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::metrics;
use super::ng::NgService;
use crate::flow::board::Board;
use crate::flow::records::Store;
use crate::sip::UserAgent;

/// Longest body of a request, longest WebSocket message.
pub const HTTP_BODY_MAX: usize = 256 * 1024;
/// WebSocket connections at a time.
pub const WEBSOCKETS_MAX: usize = 64;
/// Connections at a time, WebSockets among them; further ones wait in the kernel's backlog.
pub const HTTP_CONNECTIONS_MAX: usize = 128;
/// A connection on which nothing was answered for so long is closed: it is idle, or sends its
/// request too slowly, or does not take the response.
pub const HTTP_IDLE: Duration = Duration::from_secs(30);
/// A WebSocket without any message for so long is closed.
pub const WEBSOCKET_IDLE: Duration = Duration::from_secs(3600);
/// A WebSocket client that does not take a reply for so long is let go.
pub const WEBSOCKET_WRITE: Duration = Duration::from_secs(10);

const NG: &str = "ng.rtpengine.com";
const NG_PLAIN: &str = "ng-plain.rtpengine.com";
const CLI: &str = "cli.rtpengine.com";
const ECHO: &str = "echo.rtpengine.com";
const NG_TYPE: &str = "application/x-rtpengine-ng";
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug)]
struct App {
    service: Arc<NgService>,
    registry: Arc<Registry>,
    board: Option<Arc<Board>>,
    token: Option<Arc<str>>,
    websockets: Arc<Semaphore>,
    /// Those who read recordings.
    readers: Arc<Semaphore>,
}

/// What answers the phone, as it is seen over HTTP.
#[derive(Clone, Debug)]
pub struct Phones {
    /// What it counts.
    pub agent: Arc<UserAgent>,
    /// The calls that it carries.
    pub board: Arc<Board>,
    /// The records of them, if any are kept.
    pub records: Option<Arc<Store>>,
}

/// Serves for ever; every path but `/healthz` and `/ping` needs the token when there is one.
/// `/metrics` has what `phones` count, too.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    service: Arc<NgService>,
    phones: Option<Phones>,
    token: Option<String>,
) -> io::Result<()> {
    let board = phones.as_ref().map(|phones| Arc::clone(&phones.board));
    let registry = Arc::new(metrics::registry(Arc::clone(&service), phones));
    let app = App {
        service,
        registry,
        board,
        token: token.map(Into::into),
        websockets: Arc::new(Semaphore::new(WEBSOCKETS_MAX)),
        readers: Arc::new(Semaphore::new(recordings::READERS_MAX)),
    };
    let listener = Door {
        listener,
        permits: Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX)),
    };
    let router = router(app).into_make_service_with_connect_info::<Patience>();
    axum::serve(listener, router).await
}

/// Accepts connections as long as there are permits.
#[derive(Debug)]
struct Door {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener for Door {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("nobody closes the semaphore");
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => return (Guarded::new(stream, HTTP_IDLE, Some(permit)), from),
                Err(error) => {
                    tracing::warn!(%error, "http accept");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Whether a connection became a WebSocket, which has time limits of its own.
#[derive(Clone, Debug, Default)]
struct Patience(Arc<AtomicBool>);

impl Connected<IncomingStream<'_, Door>> for Patience {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().patience.clone()
    }
}

/// A connection that fails when nothing could be written for `idle`. Only writing counts,
/// as a request that trickles in would otherwise hold its connection for ever.
#[derive(Debug)]
struct Guarded {
    stream: TcpStream,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    patience: Patience,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Guarded {
    fn new(stream: TcpStream, idle: Duration, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            stream,
            idle,
            deadline: Box::pin(sleep(idle)),
            patience: Patience::default(),
            _permit: permit,
        }
    }

    /// Waits on, unless the time is over.
    fn pending<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.patience.0.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let over = |()| Err(io::ErrorKind::TimedOut.into());
        self.deadline.as_mut().poll(cx).map(over)
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // First the time: a sender of a byte now and then would never leave us pending.
        if let Poll::Ready(over) = self.pending(cx) {
            return Poll::Ready(over);
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.pending(cx),
            Poll::Ready(written) => {
                let deadline = Instant::now() + self.idle;
                self.deadline.as_mut().reset(deadline);
                Poll::Ready(written)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn router(app: App) -> Router {
    let guarded = Router::new()
        .route("/ng", post(ng))
        .route("/ng-plain", post(ng_plain))
        .route("/metrics", get(scrape))
        .route("/cli", post(cli))
        .route("/cli/{*words}", get(cli_words))
        .route("/", get(websocket))
        .route("/ws", get(websocket))
        .merge(calls::routes())
        .merge(recordings::routes())
        .layer(middleware::from_fn_with_state(app.clone(), authorize));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/ping", get(|| async { "pong\n" }))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(HTTP_BODY_MAX))
        .with_state(app)
}

async fn authorize(State(app): State<App>, request: Request, next: Next) -> Response {
    if !same_origin(request.headers()) {
        return (
            StatusCode::FORBIDDEN,
            "requests of other sites' pages are refused\n",
        )
            .into_response();
    }
    let Some(token) = &app.token else {
        if !own_host(request.headers()) {
            let why = "without http-token, ask by IP address or localhost\n";
            return (StatusCode::FORBIDDEN, why).into_response();
        }
        return next.run(request).await;
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    if given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) {
        next.run(request).await
    } else {
        (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer")],
            "token needed\n",
        )
            .into_response()
    }
}

/// A browser names the site whose page asks. Only our own address may be that site, or any page
/// somebody opens on this machine could command the switch.
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let site = origin
        .to_str()
        .ok()
        .and_then(|o| o.split_once("://"))
        .map(|(_, site)| site);
    site.is_some() && site == headers.get(header::HOST).and_then(|h| h.to_str().ok())
}

/// Whether `Host` is an IP address or `localhost`. A name could be one whose owner lets it lead to
/// this machine, so that a page of his passes [`same_origin`] (DNS rebinding).
fn own_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) {
        return true;
    }
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if bracketed.is_some_and(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6())) {
        return true;
    }
    let name = match host.split_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost")
}

/// Compares without telling by its time how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

async fn healthz(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.service.switch().is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn scrape(State(app): State<App>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, METRICS_TYPE)],
        metrics::text(&app.registry),
    )
}

async fn ng(State(app): State<App>, body: Bytes) -> Response {
    match app.service.message(&body).await {
        Some(reply) => ([(header::CONTENT_TYPE, NG_TYPE)], reply.to_vec()).into_response(),
        None => (
            StatusCode::BAD_REQUEST,
            "no cookie, or its first request is still running\n",
        )
            .into_response(),
    }
}

async fn ng_plain(State(app): State<App>, body: Bytes) -> Response {
    let kind = if body.first() == Some(&b'{') {
        "application/json"
    } else {
        NG_TYPE
    };
    (
        [(header::CONTENT_TYPE, kind)],
        app.service.plain(&body).await,
    )
        .into_response()
}

async fn cli(State(app): State<App>, body: String) -> String {
    app.service.cli(&body).await + "\n"
}

/// A GET only reads: what ends a call is a POST.
async fn cli_words(State(app): State<App>, Path(words): Path<String>) -> Response {
    let line = words.replacen('/', " ", 1);
    if !only_reads(&line) {
        return (StatusCode::METHOD_NOT_ALLOWED, "POST it to /cli\n").into_response();
    }
    (app.service.cli(&line).await + "\n").into_response()
}

/// Whether the line's verb, found as [`NgService::cli`] finds it, is known to change nothing.
fn only_reads(line: &str) -> bool {
    let verb = line.trim().split(' ').next().unwrap_or_default();
    ["list", "query", "why", "stats", "statistics"].contains(&verb)
}

async fn websocket(
    State(app): State<App>,
    ConnectInfo(patience): ConnectInfo<Patience>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(permit) = Arc::clone(&app.websockets).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many WebSockets\n").into_response();
    };
    upgrade
        .protocols([NG, NG_PLAIN, CLI, ECHO])
        .max_message_size(HTTP_BODY_MAX)
        .max_frame_size(HTTP_BODY_MAX)
        .on_upgrade(move |socket| async move {
            patience.0.store(true, Ordering::Relaxed);
            converse(app, socket).await;
            drop(permit);
        })
}

async fn converse(app: App, mut socket: WebSocket) {
    let protocol = socket
        .protocol()
        .and_then(|p| p.to_str().ok())
        .unwrap_or(NG_PLAIN)
        .to_owned();
    while let Ok(Some(Ok(message))) = timeout(WEBSOCKET_IDLE, socket.recv()).await {
        let (bytes, is_text) = match &message {
            Message::Text(text) => (text.as_bytes(), true),
            Message::Binary(bytes) => (bytes.as_ref(), false),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        let reply = match protocol.as_str() {
            NG => match app.service.message(bytes).await {
                Some(reply) => reply.to_vec(),
                None => continue,
            },
            CLI => app
                .service
                .cli(&String::from_utf8_lossy(bytes))
                .await
                .into_bytes(),
            ECHO => bytes.to_vec(),
            _ => app.service.plain(bytes).await,
        };
        let reply = match String::from_utf8(reply) {
            Ok(text) if is_text => Message::Text(text.into()),
            Ok(text) => Message::Binary(text.into_bytes().into()),
            Err(binary) => Message::Binary(binary.into_bytes().into()),
        };
        let sent = timeout(WEBSOCKET_WRITE, socket.send(reply)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_may_ask() {
        let headers = |origin: Option<&str>| {
            let mut h = HeaderMap::new();
            h.insert(header::HOST, "127.0.0.1:8080".parse().unwrap());
            if let Some(origin) = origin {
                h.insert(header::ORIGIN, origin.parse().unwrap());
            }
            h
        };
        assert!(same_origin(&headers(None)));
        assert!(same_origin(&headers(Some("http://127.0.0.1:8080"))));
        assert!(!same_origin(&headers(Some("http://evil.example"))));
        assert!(!same_origin(&headers(Some("null"))));
    }

    #[test]
    fn a_name_of_another_leads_nowhere() {
        let own = |host: &str| {
            let mut h = HeaderMap::new();
            h.insert(header::HOST, host.parse().unwrap());
            own_host(&h)
        };
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8080",
            "localhost",
            "LocalHost:8080",
        ] {
            assert!(own(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:x",
            "[evil]",
            "",
        ] {
            assert!(!own(host), "{host}");
        }
        assert!(!own_host(&HeaderMap::new()));
    }

    #[test]
    fn reading_verbs_are_told_however_they_are_spaced() {
        assert!(only_reads("list") && only_reads(" why x") && only_reads("query a b"));
        assert!(!only_reads(" kill x") && !only_reads("kill x") && !only_reads("\tkill x"));
        assert!(!only_reads("") && !only_reads("list\tx") && !only_reads("KILL x"));
    }

    #[tokio::test]
    async fn a_trickling_request_is_cut_off() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let idle = Duration::from_millis(200);
        let mut guarded = Guarded::new(listener.accept().await.unwrap().0, idle, None);
        let begin = Instant::now();
        let error = loop {
            client.write_all(b"x").await.unwrap();
            match guarded.read_u8().await {
                Ok(_) => sleep(Duration::from_millis(10)).await,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let lasted = begin.elapsed();
        assert!(lasted >= idle && lasted < HTTP_IDLE, "{lasted:?}");
    }

    #[test]
    fn tokens_compare_whole() {
        assert!(same(b"secret", b"secret"));
        assert!(!same(b"secret", b"secreT") && !same(b"secre", b"secret") && !same(b"", b"s"));
    }
}
