//! The terminal: it is taken, drawn on, and given back whatever happens.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};

use super::app::App;
use super::ask::{Asker, Seen, Wishes};
use super::draw::draw;

/// How long a key may wait for what else is looked after.
const TICK: Duration = Duration::from_millis(100);

/// How often the picture is drawn where nothing happens: ages of what is old.
const REDRAW: Duration = Duration::from_secs(1);

/// Shows `app` until the user has seen enough, or the process is told to end.
///
/// # Errors
/// If the terminal cannot be used.
pub(super) fn show(asker: Asker, app: App) -> Result<()> {
    let is_ended = end_of_process()?;
    let wishes = Wishes::default();
    wishes.set(&app.wish);
    let (answers, seen) = sync_channel(1);
    let watched = wishes.clone();
    let watch = move || asker.watch(&watched, &answers);
    let threads = std::thread::Builder::new().name("ask".into());
    threads.spawn(watch).context("cannot start a thread")?;
    // From here on a panic gives the terminal back, too.
    let mut terminal = ratatui::try_init().context("this terminal cannot be used")?;
    let _given_back = GivenBack;
    run(&mut terminal, app, &wishes, &seen, &is_ended)
}

struct GivenBack;

impl Drop for GivenBack {
    fn drop(&mut self) {
        // It may be gone itself.
        let _gone = ratatui::try_restore();
    }
}

fn run(
    terminal: &mut DefaultTerminal,
    mut app: App,
    wishes: &Wishes,
    seen: &Receiver<Result<Seen>>,
    is_ended: &AtomicBool,
) -> Result<()> {
    let mut drawn: Option<Instant> = None;
    while !app.is_over && !is_ended.load(Ordering::Relaxed) {
        if drawn.is_none_or(|at| at.elapsed() >= REDRAW) {
            terminal.draw(|frame| draw(&mut app, frame))?;
            wishes.set(&app.wish);
            drawn = Some(Instant::now());
        }
        if let Some(answer) = next(seen)? {
            app.take(answer);
            drawn = None;
        } else if waits_for_event()? {
            // Of other events, a new size is found when it is drawn.
            if let Event::Key(key) = event::read()? {
                app.key(key);
            }
            drawn = None;
        }
    }
    Ok(())
}

fn next(seen: &Receiver<Result<Seen>>) -> Result<Option<Result<Seen>>> {
    match seen.try_recv() {
        Ok(answer) => Ok(Some(answer)),
        Err(TryRecvError::Empty) => Ok(None),
        Err(TryRecvError::Disconnected) => bail!("whoever asks the switch has ended"),
    }
}

/// Whether the user did something within a tick.
fn waits_for_event() -> io::Result<bool> {
    match event::poll(TICK) {
        // A signal: the loop looks after it.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        other => other,
    }
}

/// Becomes true when a signal asks the process to end.
fn end_of_process() -> Result<Arc<AtomicBool>> {
    let is_ended = Arc::<AtomicBool>::default();
    let told = Arc::clone(&is_ended);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let wait = async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        io::Result::Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        })
    };
    let ended = runtime.block_on(wait)?;
    let threads = std::thread::Builder::new().name("signals".into());
    threads.spawn(move || {
        runtime.block_on(ended);
        told.store(true, Ordering::Relaxed);
    })?;
    Ok(is_ended)
}
