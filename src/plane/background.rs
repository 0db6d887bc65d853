//! Threads that may come later than those of media.

use std::io;

use super::sys;

/// Before all other ordinary threads.
const NICENESS_MIN: libc::c_int = -20;

/// The calling thread, and those it starts, let others go first: when it wakes up it interrupts
/// nobody (`SCHED_BATCH`, sched(7)), but it keeps its share of a CPU. Where the process runs in
/// real time, this thread does so no longer; it goes before ordinary ones, if that is permitted.
///
/// # Errors
/// The system's; nothing has changed.
pub fn step_back() -> io::Result<()> {
    let was_in_real_time = matches!(policy()?, libc::SCHED_FIFO | libc::SCHED_RR);
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` lives through the call; 0 is the calling thread.
    sys::check(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) })?;
    if was_in_real_time {
        // Without the privilege it stays as nice as it is.
        // SAFETY: no pointers; 0 is, on Linux, the calling thread and not the process.
        let _refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS_MIN) };
    }
    Ok(())
}

/// The calling thread's.
fn policy() -> io::Result<libc::c_int> {
    // SAFETY: no pointers; 0 is the calling thread.
    let policy = sys::check(unsafe { libc::sched_getscheduler(0) })?;
    Ok(policy & !libc::SCHED_RESET_ON_FORK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::probe::become_realtime;

    #[test]
    fn only_the_thread_that_asks_for_it_steps_back() {
        let before = policy().unwrap();
        for in_real_time in [false, true] {
            let stepped = std::thread::spawn(move || {
                // Not everybody may run in real time.
                if in_real_time && become_realtime(1).is_ok() {
                    assert_eq!(policy().unwrap(), libc::SCHED_FIFO);
                }
                step_back().unwrap();
                let started = std::thread::spawn(|| policy().unwrap());
                (policy().unwrap(), started.join().unwrap())
            });
            let batch = libc::SCHED_BATCH;
            assert_eq!(stepped.join().unwrap(), (batch, batch));
        }
        assert_eq!(policy().unwrap(), before);
    }
}
