//! What the process may have: open files, which limit how many calls it can hold, and pages.

use std::io;

use super::sys;

/// Descriptors of a plain call: two parties with an RTP and an RTCP port each.
pub const FILES_PER_CALL: u64 = 4;

/// Descriptors kept for everything else: control connections, logs, epoll, eventfds.
pub const FILES_RESERVED: u64 = 512;

/// How many files this process may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit in force (`RLIMIT_NOFILE`).
    pub max: u64,
}

/// Keeps the kernel from giving this process huge pages, which the allocator asks for: its memory
/// would grow by two megabytes at a time, and each would be cleared at once, in the middle of a
/// command. Where the kernel does not know how, nothing changes.
pub fn refuse_huge_pages() {
    // SAFETY: takes no pointers.
    let _unknown = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// The limit of open files cannot carry what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The system refused to tell or to raise the limit.
    #[error("raising the limit of open files: {0}")]
    System(#[from] io::Error),
    /// Too few files for the calls that are configured.
    #[error(
        "{calls} calls need {need} open files, but the hard limit is {max}, enough for {possible} \
         calls; raise it (LimitNOFILE= in the systemd unit, or `ulimit -Hn`) or allow fewer calls"
    )]
    TooLow {
        /// Calls asked for.
        calls: u64,
        /// Files they need.
        need: u64,
        /// Files there may be.
        max: u64,
        /// Calls those allow.
        possible: u64,
    },
}

impl OpenFiles {
    /// Raises the limit to the hard limit, as far as a process may by itself.
    ///
    /// # Errors
    /// [`LimitError::System`].
    pub fn raise() -> Result<Self, LimitError> {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the struct is valid and outlives the call.
        sys::check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
        if limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            // SAFETY: as above.
            sys::check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
        }
        Ok(Self {
            max: limit.rlim_cur,
        })
    }

    /// Plain calls that fit.
    #[must_use]
    pub fn calls_max(self) -> u64 {
        self.max.saturating_sub(FILES_RESERVED) / FILES_PER_CALL
    }

    /// Refuses a number of calls that does not fit.
    ///
    /// # Errors
    /// [`LimitError::TooLow`].
    pub fn require(self, calls: u64) -> Result<(), LimitError> {
        let possible = self.calls_max();
        if calls <= possible {
            return Ok(());
        }
        let need = calls
            .saturating_mul(FILES_PER_CALL)
            .saturating_add(FILES_RESERVED);
        Err(LimitError::TooLow {
            calls,
            need,
            max: self.max,
            possible,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raises_to_the_hard_limit() {
        let first = OpenFiles::raise().unwrap();
        assert_eq!(OpenFiles::raise().unwrap(), first);
        assert!(first.max > 0);
    }

    #[test]
    fn refuses_one_call_too_many() {
        let files = OpenFiles {
            max: FILES_RESERVED + 40 * FILES_PER_CALL + 3,
        };
        assert_eq!(files.calls_max(), 40);
        assert!(files.require(40).is_ok());
        let error = files.require(41).unwrap_err().to_string();
        assert!(error.contains("41 calls need 676 open files"), "{error}");
        assert_eq!(OpenFiles { max: 3 }.calls_max(), 0);
    }
}
