//! Telling an application over HTTP that a recording is available.

use std::sync::OnceLock;
use std::time::Duration;

use serde::Serialize;

use super::{Stored, VaultError};

/// Longest URL of a callback.
pub const CALLBACK_LEN_MAX: usize = 2_048;

/// Longest time a callback takes.
const CALLBACK_MAX: Duration = Duration::from_secs(15);

/// The body of a callback, as JSON.
#[derive(Debug, Serialize)]
struct Body<'a> {
    event: &'static str,
    call_id: &'a str,
    recording: &'a str,
    url: &'a str,
    sha256: &'a str,
    chain: &'a str,
}

/// A client for callbacks: a request takes at most `longest`, and redirects are not followed. Its
/// connections live in the runtime that first used them.
pub(crate) fn http_client(longest: Duration) -> reqwest::Result<reqwest::Client> {
    let _chosen_before = rustls::crypto::ring::default_provider().install_default();
    let made = reqwest::Client::builder().timeout(longest);
    made.redirect(reqwest::redirect::Policy::none()).build()
}

/// POSTs to `url` that a recording is available; any status of success is a yes.
pub(super) async fn call(url: &str, path: &str, stored: &Stored) -> Result<(), VaultError> {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    let body = Body {
        event: "recording_available",
        call_id: &stored.call_id,
        recording: path,
        url: &stored.url,
        sha256: &stored.sha256,
        chain: &stored.chain,
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let failed = |error: reqwest::Error| VaultError::Callback(error.without_url().to_string());
    let client = match CLIENT.get() {
        Some(client) => client,
        None => {
            let made = http_client(CALLBACK_MAX).map_err(failed)?;
            CLIENT.get_or_init(|| made)
        }
    };
    let request = client.post(url).header("content-type", "application/json");
    let answer = request.body(body).send().await.map_err(failed)?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(VaultError::Callback(format!("the server says {status}"))),
    }
}
