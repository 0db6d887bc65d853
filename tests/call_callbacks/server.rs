//! An application on loopback that is told of calls, and fails as it is told to.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crosspoint::flow::callback::{EVENT_ID, SIGNATURE};

/// What the application does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Answers with this status.
    Status(u16),
    /// Sends it elsewhere: a status, and the port on loopback.
    Redirect(u16, u16),
    /// Closes the connection instead.
    Cut,
    /// Never answers.
    Hang,
    /// Answers 200 with so many octets behind it.
    Long(usize),
}

/// A request that was read whole.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) signature: Option<String>,
    pub(crate) body: String,
    /// What became of it.
    pub(crate) answer: Answer,
}

impl Request {
    /// A field of a form.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut fields = url::form_urlencoded::parse(self.body.as_bytes());
        let found = fields.find(|(field, _)| field == name);
        found.map(|(_, value)| value.into_owned())
    }

    /// Call, event and, of a call as a whole, a star.
    pub(crate) fn what(&self) -> String {
        let field = |name| self.field(name).unwrap_or_default();
        let leg = self.field("LegSid").unwrap_or_else(|| "*".to_owned());
        format!("{} {leg} {}", field("CallSid"), field("EventType"))
    }
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<Answer>,
    told: Vec<Request>,
    /// Octets of the last long answer that went out.
    sent: usize,
}

/// The application.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Application {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(&near, &state));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// The next requests are answered so, one each; all others with 200.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().answers.extend(answers);
    }

    pub(crate) fn told(&self) -> Vec<Request> {
        self.state.lock().unwrap().told.clone()
    }

    pub(crate) fn sent(&self) -> usize {
        self.state.lock().unwrap().sent
    }

    /// Waits until it was told so often.
    pub(crate) fn wait(&self, count: usize) -> Vec<Request> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let told = self.told();
            if told.len() >= count {
                return told;
            }
            assert!(Instant::now() < end, "{} of {count}: {told:#?}", told.len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Requests of one connection, until it ends or a fault ends it.
fn serve(near: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(near);
    while let Some(mut request) = read(&mut reader) {
        let answer = {
            let mut state = state.lock().unwrap();
            request.answer = state.answers.pop_front().unwrap_or(Answer::Status(200));
            state.told.push(request.clone());
            request.answer
        };
        let mut out = near;
        let head = match answer {
            Answer::Status(code) => format!("HTTP/1.1 {code} x\r\ncontent-length: 2\r\n\r\nok"),
            Answer::Redirect(code, port) => {
                let to = format!("location: http://127.0.0.1:{port}/\r\n");
                format!("HTTP/1.1 {code} x\r\n{to}content-length: 0\r\n\r\n")
            }
            Answer::Cut => return,
            Answer::Hang => return std::thread::sleep(Duration::from_secs(60)),
            Answer::Long(octets) => {
                format!("HTTP/1.1 200 x\r\ncontent-length: {octets}\r\n\r\n")
            }
        };
        if out.write_all(head.as_bytes()).is_err() {
            return;
        }
        if let Answer::Long(octets) = answer {
            while state.lock().unwrap().sent < octets && out.write_all(&[b'x'; 4_096]).is_ok() {
                state.lock().unwrap().sent += 4_096;
            }
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let mut body = vec![0; header("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        path,
        kind: header("content-type")?,
        id: header(EVENT_ID)?,
        signature: header(SIGNATURE),
        body: String::from_utf8(body).ok()?,
        answer: Answer::Cut,
    })
}
