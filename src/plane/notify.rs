//! An eventfd: how one thread wakes another that waits in epoll, without ever blocking itself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::sys;

/// A wake-up call that can be waited for with epoll, poll or tokio's `AsyncFd`.
#[derive(Debug)]
pub struct Notify {
    fd: OwnedFd,
}

impl Notify {
    /// Makes one; close-on-exec and non-blocking.
    ///
    /// # Errors
    /// The process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; a non-negative result is a descriptor nobody owns yet.
        let fd = unsafe {
            let fd = sys::check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self { fd })
    }

    /// Makes the descriptor readable. Calls before the reader looks fold into one.
    pub fn notify(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` is 8 readable bytes, as eventfd wants. The only failure, EAGAIN at 2^64-2
        // unread calls, leaves the descriptor readable, which is all we want.
        let _ = unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes the descriptor unreadable again; true if it was readable.
    pub fn clear(&self) -> bool {
        let mut count = [0u8; 8];
        // SAFETY: `count` is 8 writable bytes, as eventfd wants.
        let n = unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        n == 8
    }

    /// Blocks until notified or `timeout` (rounded up to a millisecond) has passed, and clears.
    /// True if notified. For threads; async code registers the descriptor instead.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut poll = libc::pollfd {
            fd: self.fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd, and the count says one.
        unsafe { libc::poll(&raw mut poll, 1, sys::timeout_ms(Some(timeout))) };
        self.clear()
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Notify {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_fold_and_clear() {
        let notify = Notify::new().unwrap();
        assert!(!notify.wait(Duration::ZERO));
        notify.notify();
        notify.notify();
        assert!(notify.wait(Duration::from_secs(5)));
        assert!(!notify.clear());
    }
}
