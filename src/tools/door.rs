//! The HTTP port of a running switch, as its tools ask it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use super::text::clean;

/// Longest reason of a refusal that is shown, in octets.
const REASON_MAX: u64 = 4_096;

/// Where the switch is.
#[derive(Clone, Debug, Args)]
pub(super) struct HttpArgs {
    /// The switch's HTTP address
    #[arg(
        long,
        env = "CROSSPOINT_HTTP",
        default_value = "127.0.0.1:8080",
        value_name = "ADDR:PORT"
    )]
    pub(super) http: SocketAddr,
    /// Its token, if it has one
    #[arg(
        long,
        env = "CROSSPOINT_HTTP_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    http_token: Option<String>,
}

/// A way to ask it.
#[derive(Debug)]
pub(super) struct Door {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl Door {
    /// `patience`: how long the switch may take to begin its answer.
    pub(super) fn new(args: &HttpArgs, patience: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .build();
        let token = args.http_token.clone();
        Self {
            agent: config.into(),
            url: format!("http://{}", args.http),
            token: token.filter(|token| !token.trim().is_empty()),
        }
    }

    /// `path` begins with a slash.
    pub(super) fn get(&self, path: &str) -> RequestBuilder<WithoutBody> {
        self.told(self.agent.get(format!("{}{path}", self.url)))
    }

    /// As [`Self::get`].
    pub(super) fn delete(&self, path: &str) -> RequestBuilder<WithoutBody> {
        self.told(self.agent.delete(format!("{}{path}", self.url)))
    }

    fn told(&self, request: RequestBuilder<WithoutBody>) -> RequestBuilder<WithoutBody> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// The answer, unless it is a refusal.
    pub(super) fn ask(&self, request: RequestBuilder<WithoutBody>) -> Result<Response<Body>> {
        self.accepted(self.sent(request)?)
    }

    /// What the answer's JSON says, of at most so many octets.
    pub(super) fn ask_json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder<WithoutBody>,
        len_max: u64,
    ) -> Result<T> {
        self.json(self.ask(request)?, len_max)
    }

    /// The same; `None`: what was asked for is not there.
    pub(super) fn ask_json_if_there<T: DeserializeOwned>(
        &self,
        request: RequestBuilder<WithoutBody>,
        len_max: u64,
    ) -> Result<Option<T>> {
        let answer = self.sent(request)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.json(self.accepted(answer)?, len_max).map(Some)
    }

    fn sent(&self, request: RequestBuilder<WithoutBody>) -> Result<Response<Body>> {
        let ask = || format!("is a switch listening on {}?", self.url);
        request.call().with_context(ask)
    }

    fn accepted(&self, mut answer: Response<Body>) -> Result<Response<Body>> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let body = answer.body_mut().with_config().limit(REASON_MAX);
        let why = body.read_to_string().unwrap_or_default();
        bail!("{}: {}: {}", self.url, answer.status(), clean(why.trim()))
    }

    fn json<T: DeserializeOwned>(&self, mut answer: Response<Body>, len_max: u64) -> Result<T> {
        let body = answer.body_mut().with_config().limit(len_max);
        let unread = || format!("{}: not what a switch of this version says", self.url);
        serde_json::from_slice(&body.read_to_vec()?).with_context(unread)
    }
}
