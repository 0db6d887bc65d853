//! The embedded signalling layer in a running switch: who listens, what becomes of calls, and where
//! they are written down.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::config::PhoneSettings;
use super::http;
use super::serve::ServeError;
use crate::flow::board::Board;
use crate::flow::demo;
use crate::flow::folder::FlowFolder;
use crate::flow::records::{Options, Store};
use crate::flow::run::Runner;
use crate::flow::run::ledger::{Ledger, Log};
use crate::sip::{Incoming, UserAgent};
use crate::switch::Switch;

/// How long the end of the switch waits for calls to be hung up.
const HANG_UP: Duration = Duration::from_secs(2);

/// How long it waits until they are written down.
const WRITE: Duration = Duration::from_secs(5);

/// What answers the phone.
#[derive(Debug)]
pub(super) struct Phones {
    agent: Arc<UserAgent>,
    board: Arc<Board>,
    runner: Runner,
    records: Option<Arc<Store>>,
}

impl Phones {
    /// Starts all of it; `None` where it is switched off, or where nobody asked for it and its
    /// usual port is taken, which the log says.
    ///
    /// # Errors
    /// [`ServeError`]: a flow that is wrong, an address or a database that cannot be had.
    pub(super) async fn start(
        settings: &PhoneSettings,
        switch: &Arc<Switch>,
    ) -> Result<Option<Self>, ServeError> {
        let Some(sip) = settings.sip.clone() else {
            return Ok(None);
        };
        let flows = flows(settings)?;
        let (agent, calls) = match UserAgent::start(sip, switch.max_calls()).await {
            Ok(started) => started,
            Err(error) if settings.asked => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "no SIP: sip-listen says where else, or \"off\"");
                return Ok(None);
            }
        };
        let records = records(settings)?.map(Arc::new);
        let ledger: Arc<dyn Ledger> = match &records {
            Some(store) => Arc::clone(store) as _,
            None => Arc::new(Log),
        };
        let board = Arc::new(Board::before(ledger));
        let ledger: Arc<dyn Ledger> = Arc::clone(&board) as _;
        let runner = match flows {
            Some(folder) => {
                tokio::spawn(folder.clone().watch());
                Runner::new(Arc::clone(switch), Arc::clone(&agent), folder, ledger)
            }
            None => {
                let numbers = demo::numbers().map_err(ServeError::Flows)?;
                Runner::new(Arc::clone(switch), Arc::clone(&agent), numbers, ledger)
            }
        };
        tokio::spawn(take_all(runner.clone(), calls));
        let listens: Vec<String> = agent.listens().iter().map(ToString::to_string).collect();
        tracing::info!(sip = %listens.join(","), "phones");
        Ok(Some(Self {
            agent,
            board,
            runner,
            records,
        }))
    }

    pub(super) fn agent(&self) -> &Arc<UserAgent> {
        &self.agent
    }

    /// What of it is seen over HTTP.
    pub(super) fn seen(&self) -> http::Phones {
        http::Phones {
            agent: Arc::clone(&self.agent),
            board: Arc::clone(&self.board),
            records: self.records.clone(),
        }
    }

    /// Hangs up all calls, and writes down what became of them.
    pub(super) async fn close(self) {
        if !self.runner.shutdown(HANG_UP).await {
            tracing::warn!("calls are left that did not hang up in time");
        }
        if let Some(records) = self.records {
            let written = tokio::task::spawn_blocking(move || records.flush());
            if tokio::time::timeout(WRITE, written).await.is_err() {
                tracing::warn!("what became of the last calls is not written down");
            }
        }
    }
}

/// The directory of flows, if there is one.
fn flows(settings: &PhoneSettings) -> Result<Option<FlowFolder>, ServeError> {
    let Some(directory) = &settings.flows else {
        return Ok(None);
    };
    let folder = FlowFolder::open(directory, &settings.prompts).map_err(ServeError::Flows)?;
    for odd in folder.warnings() {
        tracing::warn!("{odd}");
    }
    Ok(Some(folder))
}

/// The database of calls, where there is to be one and can be.
fn records(settings: &PhoneSettings) -> Result<Option<Store>, ServeError> {
    let Some(path) = &settings.records else {
        return Ok(None);
    };
    let options = Options {
        secret: settings.secret.clone(),
        ..Options::default()
    };
    match Store::open(path, options) {
        Ok(store) => Ok(Some(store)),
        Err(error) if settings.records_asked => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "calls are told to the log alone: call-records says where else");
            Ok(None)
        }
    }
}

async fn take_all(runner: Runner, mut calls: mpsc::Receiver<Incoming>) {
    while let Some(call) = calls.recv().await {
        runner.take(call);
    }
}
