//! Our own registrations, at trunks that want them.

use std::sync::Arc;

use rsipstack::dialog::authenticate::Credential;
use rsipstack::dialog::registration::{RefreshOutcome, Registration};
use rsipstack::platform::CancellationToken;

use super::config::Trunk;
use super::shared::Core;

/// What is asked for, in seconds; it is refreshed after three quarters of what is granted.
const EXPIRES: u32 = 300;

/// Registers at all trunks that want it, for as long as the endpoint runs.
pub(super) fn register_all(core: &Arc<Core>, stop: &CancellationToken) {
    for trunk in core.config.trunks.iter().filter(|t| t.register) {
        tokio::spawn(register(core.clone(), trunk.clone(), stop.clone()));
    }
}

async fn register(core: Arc<Core>, trunk: Trunk, stop: CancellationToken) {
    let credential = trunk.credential.map(|(username, password)| Credential {
        username,
        password: password.0,
        ..Credential::default()
    });
    let name = trunk.name;
    let endpoint = core.endpoint.clone();
    // Nothing of the endpoint is needed but its stack; a leg is what holds the rest.
    drop(core);
    let mut registration = Registration::new(endpoint, credential);
    let mut is_registered = false;
    let told = |outcome: RefreshOutcome<'_>| match outcome {
        RefreshOutcome::Registered(_) => {
            if !is_registered {
                tracing::info!(trunk = name, "registered");
            }
            is_registered = true;
        }
        RefreshOutcome::Rejected(response) => {
            is_registered = false;
            let code = response.status_code.code();
            tracing::warn!(trunk = name, code, "registration refused");
        }
        RefreshOutcome::Failed(error) => {
            is_registered = false;
            tracing::warn!(trunk = name, %error, "registration failed");
        }
    };
    let keep = registration.keep_alive(trunk.address, EXPIRES, stop.clone(), told);
    tokio::select! {
        () = keep => {}
        () = stop.cancelled() => {}
    }
}
