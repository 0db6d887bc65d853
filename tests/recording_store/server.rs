//! An S3 server on loopback, and a line to it that fails as it is told to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

pub(crate) const BUCKET: &str = "recordings";
const KEY: &str = "tester";
const SECRET: &str = "not a secret";

/// What the line does to the connections that are yet to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Cuts the connection after so many octets of a request.
    Cut(usize),
    /// Answers every request with 500 without asking the server.
    Error500,
    /// Changes one octet of what the server answers to a GET of an object.
    Damage,
}

/// A server, and the line.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    faults: Arc<Mutex<Vec<Fault>>>,
    pub(crate) parts: Arc<AtomicU32>,
}

impl Line {
    /// A server whose buckets are directories of `root`, with one bucket.
    pub(crate) fn to_a_server_in(root: &Path) -> Self {
        std::fs::create_dir_all(root.join(BUCKET)).unwrap();
        let server = serve(root);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Self {
            address: listener.local_addr().unwrap(),
            faults: Arc::default(),
            parts: Arc::default(),
        };
        let (faults, parts) = (Arc::clone(&line.faults), Arc::clone(&line.parts));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (faults, parts) = (Arc::clone(&faults), Arc::clone(&parts));
                std::thread::spawn(move || {
                    let _cut = carry(near, server, &faults, &parts);
                });
            }
        });
        line
    }

    /// The next requests meet these faults, one each.
    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub(crate) fn faults_left(&self) -> usize {
        self.faults.lock().unwrap().len()
    }

    /// What a store must be told to use this server.
    pub(crate) fn options(&self) -> Vec<(String, String)> {
        [
            ("aws_endpoint", format!("http://{}", self.address)),
            ("aws_access_key_id", KEY.into()),
            ("aws_secret_access_key", SECRET.into()),
            ("aws_region", "us-east-1".into()),
            ("allow_http", "true".into()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

fn serve(root: &Path) -> SocketAddr {
    let files = s3s_fs::FileSystem::new(root).unwrap();
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let served = builder.serve_connection(TokioIo::new(stream), service);
                    let _cut = served.await;
                });
            }
        });
    });
    address
}

/// Carries one connection, a request and its answer at a time: every request gets a connection of
/// its own to the server, so that a fault meets one request.
fn carry(
    mut near: TcpStream,
    server: SocketAddr,
    faults: &Mutex<Vec<Fault>>,
    parts: &AtomicU32,
) -> std::io::Result<()> {
    near.set_read_timeout(Some(Duration::from_secs(10)))?;
    loop {
        let mut head = Vec::new();
        let mut octet = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if near.read(&mut octet)? == 0 {
                return Ok(());
            }
            head.push(octet[0]);
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        let gets = text.starts_with("get ");
        let is_part = text.starts_with("put ") && text.contains("partnumber=");
        let fault = {
            let mut faults = faults.lock().unwrap();
            let meets = match faults.first() {
                Some(Fault::Cut(_)) => is_part,
                Some(Fault::Damage) => gets,
                Some(Fault::Error500) => true,
                None => false,
            };
            meets.then(|| faults.remove(0))
        };
        let mut body = vec![0; length];
        if let Some(Fault::Cut(after)) = fault {
            near.read_exact(&mut body[..after.min(length)])?;
            near.shutdown(Shutdown::Both)?;
            return Ok(());
        }
        near.read_exact(&mut body)?;
        if fault == Some(Fault::Error500) {
            near.write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        }
        if is_part {
            parts.fetch_add(1, Ordering::Relaxed);
        }
        // Who asks learns from the answer that this connection is not to be used again.
        head.truncate(head.len() - 2);
        head.extend_from_slice(b"connection: close\r\n\r\n");
        let mut far = TcpStream::connect(server)?;
        far.write_all(&head)?;
        far.write_all(&body)?;
        let mut answer = Vec::new();
        far.read_to_end(&mut answer)?;
        if fault == Some(Fault::Damage)
            && let Some(last) = answer.last_mut()
        {
            *last ^= 1;
        }
        near.write_all(&answer)?;
        near.shutdown(Shutdown::Write)?;
        return Ok(());
    }
}
