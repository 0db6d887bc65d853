//! The thread that sends callbacks.

use std::error::Error;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, io};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use tokio::runtime::Builder;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use super::{ANSWER_MAX, EVENT_ID, SIGNATURE, Secret};
use crate::flow::records::keeper::{Inbox, Question};
use crate::flow::records::outbox::{Delivery, Due, Outcome};
use crate::flow::records::{Clock, Options};
use crate::record::vault::http_client;
use crate::seldom::Seldom;

/// Longest time from one look into the outbox to the next while something waits there: the clock
/// may have been set.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// Time after which it is asked again where the outbox could not be read.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What sends callbacks.
#[derive(Debug)]
pub(crate) struct Sender {
    inbox: Arc<Inbox>,
    bell: Arc<Notify>,
    post: Post,
}

/// What each request needs.
#[derive(Clone, Debug)]
struct Post {
    /// Made for the first request: where there are no certificates there is none, and a switch
    /// that tells nobody needs none.
    client: Option<Client>,
    attempt: Duration,
    secret: Option<Secret>,
    clock: Clock,
    /// Hosts of which the log was told that they take none.
    warned: Arc<Seldom<String>>,
}

impl Sender {
    /// `bell` rings when there may be something to send.
    pub(crate) fn new(options: &Options, inbox: Arc<Inbox>, bell: Arc<Notify>) -> Self {
        let post = Post {
            client: None,
            attempt: options.retry.attempt,
            secret: options.secret.clone(),
            clock: options.clock.clone(),
            warned: Arc::default(),
        };
        Self { inbox, bell, post }
    }

    /// Starts it; it ends when what it gives is dropped.
    pub(crate) fn start(mut self) -> io::Result<(oneshot::Sender<()>, JoinHandle<()>)> {
        let (over, when_over) = oneshot::channel();
        let (told, began) = mpsc::channel();
        let thread = std::thread::Builder::new().name("callbacks".into());
        let thread = thread.spawn(move || {
            // Made here: in a runtime's own thread another one must not be dropped.
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(told.send(error)),
            };
            drop(told);
            runtime.block_on(async {
                tokio::select! {
                    _over = when_over => {}
                    () = send_all(&self.inbox, &self.bell, &mut self.post) => {}
                }
            });
            // A look-up of a name may take long, and need not be waited for.
            runtime.shutdown_background();
        })?;
        match began.recv() {
            Ok(error) => Err(error),
            Err(_began) => Ok((over, thread)),
        }
    }
}

/// Sends what is due, until the store has ended.
async fn send_all(inbox: &Arc<Inbox>, bell: &Notify, post: &mut Post) {
    let mut requests = JoinSet::new();
    loop {
        let (reply, due) = oneshot::channel();
        if !inbox.ask(Question::Due(reply)) {
            return;
        }
        let due = due.await;
        let pause = match &due {
            Ok(due) => pause(due, post.clock.now_ms()),
            Err(_not_answered) => Some(ASK_AGAIN),
        };
        let due = due.unwrap_or_default().now;
        if !due.is_empty() {
            post.prepare();
        }
        for delivery in due {
            let (inbox, post) = (Arc::clone(inbox), post.clone());
            requests.spawn(async move {
                let outcome = post.send(&delivery).await;
                inbox.settled(delivery.id, outcome);
            });
        }
        while requests.try_join_next().is_some() {}
        match pause {
            None => bell.notified().await,
            Some(pause) => {
                let _rang = tokio::time::timeout(pause, bell.notified()).await;
            }
        }
    }
}

fn pause(due: &Due, now: i64) -> Option<Duration> {
    let wait = u64::try_from(due.next_ms?.saturating_sub(now)).unwrap_or(0);
    Some(Duration::from_millis(wait).min(LOOK_MAX))
}

impl Post {
    /// Makes the client, if there is none; without it each request fails, and is tried again.
    fn prepare(&mut self) {
        if self.client.is_none() {
            match http_client(self.attempt) {
                Ok(client) => self.client = Some(client),
                Err(error) => tracing::warn!(?error, "no status callback can be sent"),
            }
        }
    }

    async fn send(&self, delivery: &Delivery) -> Outcome {
        let kind = match delivery.json {
            true => "application/json",
            false => "application/x-www-form-urlencoded",
        };
        let Some(client) = &self.client else {
            return Outcome::Failed;
        };
        let request = client.post(&delivery.url).header(CONTENT_TYPE, kind);
        let mut request = request.header(EVENT_ID, delivery.id);
        if let Some(secret) = &self.secret {
            let unix_s = self.clock.now_ms().div_euclid(1_000);
            request = request.header(SIGNATURE, secret.sign(unix_s, delivery.body.as_bytes()));
        }
        let (id, host) = (delivery.id, &delivery.host);
        match request.body(delivery.body.clone()).send().await {
            Ok(answer) => {
                let status = answer.status();
                let outcome = outcome(status);
                if outcome != Outcome::Delivered {
                    tracing::debug!(id, %host, %status, "status callback not taken");
                    self.warn(host, format_args!("it answers {status}"));
                }
                read_out(answer).await;
                outcome
            }
            Err(error) => {
                let error = error.without_url();
                tracing::debug!(id, %host, ?error, "status callback not sent");
                self.warn(host, why(&error));
                Outcome::Failed
            }
        }
    }

    /// Says that a host takes no callbacks, once in a while.
    fn warn(&self, host: &str, why: impl fmt::Display) {
        if let Some(more) = self.warned.ask(host.to_owned(), Instant::now()) {
            tracing::warn!(%host, %why, more, "status callbacks are not taken");
        }
    }
}

/// Why a request came to nothing: of a chain of causes the last one says it.
fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// What a status says: of those of class 4, only that it took too long, came too early or too often
/// may be otherwise another time (RFC 9110 section 15.5.9, RFC 8470, RFC 6585 section 4).
fn outcome(status: StatusCode) -> Outcome {
    match status.as_u16() {
        200..=299 => Outcome::Delivered,
        408 | 425 | 429 => Outcome::Failed,
        400..=499 => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

/// Reads a short answer, so that its connection can be used again.
async fn read_out(mut answer: reqwest::Response) {
    let mut left = ANSWER_MAX;
    while let Ok(Some(piece)) = answer.chunk().await {
        match left.checked_sub(piece.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
