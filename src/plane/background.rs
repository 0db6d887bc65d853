//! Threads that may come later than those of media.

use std::io;

use super::sys;

/// By how much niceness grows: a third of the share of a CPU, where both want it.
const NICENESS: libc::c_int = 5;

/// The calling thread lets others go first: it gets nicer, and where the process runs in real time
/// (sched(7)) this thread does so no longer. Threads that it starts are as nice.
///
/// # Errors
/// The system's; what could be done was done.
pub fn step_back() -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling thread.
    let policy = sys::check(unsafe { libc::sched_getscheduler(0) })?;
    let in_real_time = matches!(
        policy & !libc::SCHED_RESET_ON_FORK,
        libc::SCHED_FIFO | libc::SCHED_RR
    );
    if in_real_time {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: `parameters` lives through the call; 0 is the calling thread.
        sys::check(unsafe {
            libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters)
        })?;
    }
    let niceness = niceness()?.saturating_add(NICENESS);
    // SAFETY: no pointers; 0 is, on Linux, the calling thread and not the process.
    sys::check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) }).map(drop)
}

/// The calling thread's.
fn niceness() -> io::Result<libc::c_int> {
    // -1 is a niceness, and no error if errno says so.
    // SAFETY: the address is this thread's own errno, always valid.
    unsafe { *libc::__errno_location() = 0 };
    // SAFETY: no pointers; 0 is the calling thread.
    let niceness = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    match sys::errno() {
        0 => Ok(niceness),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asks_for_it_steps_back() {
        let before = niceness().unwrap();
        let stepped = std::thread::spawn(|| {
            step_back().unwrap();
            niceness().unwrap()
        });
        // Niceness ends at 19.
        assert_eq!(stepped.join().unwrap(), (before + NICENESS).min(19));
        assert_eq!(niceness().unwrap(), before);
    }
}
