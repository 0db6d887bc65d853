//! Small wrappers around system calls that several modules share.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Turns -1 into the thread's errno.
pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The thread's errno after a failed call.
pub(super) fn errno() -> i32 {
    // SAFETY: the address is this thread's own errno, always valid.
    unsafe { *libc::__errno_location() }
}

/// A timeout for poll and epoll: rounded up, so that a timer is due when the wait ends.
pub(super) fn timeout_ms(timeout: Option<Duration>) -> libc::c_int {
    match timeout {
        None => -1,
        Some(t) => libc::c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
    }
}

/// Waits for events, at most `timeout`, exact to the kernel's high-resolution timers: frames of
/// audio are due to a fraction of a millisecond. Kernels before 5.11 wait in whole milliseconds.
pub(super) fn epoll_wait(
    epoll: BorrowedFd<'_>,
    events: &mut [libc::epoll_event],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    static EXACT: AtomicBool = AtomicBool::new(true);
    let max = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
    if EXACT.load(Ordering::Relaxed) {
        let spec = timeout.map(timespec);
        let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the events are writable for `max` entries, the time is null or valid, there is
        // no signal mask, and all outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                epoll.as_raw_fd(),
                events.as_mut_ptr(),
                max,
                spec,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        if result >= 0 {
            return Ok(usize::try_from(result).unwrap_or(0));
        }
        if errno() != libc::ENOSYS {
            return Err(io::Error::last_os_error());
        }
        EXACT.store(false, Ordering::Relaxed);
    }
    let wait_ms = timeout_ms(timeout);
    // SAFETY: the events are writable for `max` entries and outlive the call.
    let result = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), max, wait_ms) };
    check(result).map(|n| usize::try_from(n).unwrap_or(0))
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(time.subsec_nanos().cast_signed()),
    }
}

/// A new epoll instance, closed in children.
pub(super) fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are involved; the descriptor is new, checked, and owned by nobody else.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::epoll_create1(
            libc::EPOLL_CLOEXEC,
        ))?))
    }
}

/// Watches `fd` for something to read, level-triggered, under the name `token`.
pub(super) fn epoll_add(epoll: &OwnedFd, fd: RawFd, token: u64) -> io::Result<()> {
    #[allow(clippy::cast_sign_loss, reason = "a flag constant")]
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: token,
    };
    let (epoll, add) = (epoll.as_raw_fd(), libc::EPOLL_CTL_ADD);
    // SAFETY: `event` lives through the call; the kernel checks the descriptors.
    check(unsafe { libc::epoll_ctl(epoll, add, fd, &raw mut event) }).map(drop)
}

/// Keeps the calling thread on one CPU.
pub(super) fn stay_on_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: a cpu_set_t is a plain bit array, for which zero is the empty set; the bit set lies
    // within it, as checked above; pid 0 is the calling thread.
    unsafe {
        let mut set = mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(cpu, &mut set);
        check(libc::sched_setaffinity(
            0,
            mem::size_of_val(&set),
            &raw const set,
        ))?;
    }
    Ok(())
}

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub(super) struct RawAddr {
    storage: Storage,
    len: libc::socklen_t,
}

/// Only the families we bind; much smaller than `sockaddr_storage`, which would be zeroed per use.
#[derive(Clone, Copy)]
#[repr(C)]
union Storage {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddr {
    /// Room for the kernel to write into.
    pub(super) fn empty() -> Self {
        // SAFETY: all-zero bytes are a valid value of every member (plain C integers).
        let storage = unsafe { mem::zeroed::<Storage>() };
        Self {
            storage,
            len: Self::CAPACITY,
        }
    }

    /// An address that disconnects a UDP socket (connect(2), AF_UNSPEC).
    pub(super) fn unspecified() -> Self {
        let mut raw = Self::empty();
        raw.storage.family = AF_UNSPEC;
        raw
    }

    /// Pointer and capacity for the kernel to write a peer's address; resets the length.
    pub(super) fn as_out(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        self.len = Self::CAPACITY;
        ((&raw mut self.storage).cast(), &raw mut self.len)
    }

    /// Pointer and length for the kernel to read.
    pub(super) fn as_in(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }

    /// The address, if it is IPv4 or IPv6.
    pub(super) fn parse(&self) -> Option<SocketAddr> {
        // SAFETY: the storage was zeroed at first and then only written by the kernel or by `From`,
        // so every byte is initialised; all members are integers, valid for any bytes. The family,
        // common to all members, tells which one was written.
        unsafe {
            match self.storage.family {
                AF_INET => {
                    let v4 = self.storage.v4;
                    let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                    Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
                }
                AF_INET6 => {
                    let v6 = self.storage.v6;
                    let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                    // The flow label is noise here: two packets of one peer must compare equal.
                    let port = u16::from_be(v6.sin6_port);
                    Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "28 bytes")]
    /// Bytes the kernel may write.
    pub(super) const CAPACITY: libc::socklen_t = mem::size_of::<Storage>() as libc::socklen_t;
}

impl From<SocketAddr> for RawAddr {
    fn from(addr: SocketAddr) -> Self {
        let mut raw = Self::empty();
        match addr {
            SocketAddr::V4(v4) => {
                raw.storage.v4 = libc::sockaddr_in {
                    sin_family: AF_INET,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from(*v4.ip()).to_be(),
                    },
                    sin_zero: [0; 8],
                };
                raw.len = V4_LEN;
            }
            SocketAddr::V6(v6) => {
                raw.storage.v6 = libc::sockaddr_in6 {
                    sin6_family: AF_INET6,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
            }
        }
        raw
    }
}

#[allow(clippy::cast_possible_truncation, reason = "16 bytes")]
const V4_LEN: libc::socklen_t = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the ABI's own type"
)]
const AF_INET: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the ABI's own type"
)]
const AF_INET6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the ABI's own type"
)]
const AF_UNSPEC: libc::sa_family_t = libc::AF_UNSPEC as libc::sa_family_t;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernel_form() {
        for text in [
            "127.0.0.1:5004",
            "255.1.2.3:65535",
            "[::1]:1",
            "[2001:db8::7]:40000",
        ] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddr::from(addr).parse(), Some(addr));
        }
        assert_eq!(RawAddr::unspecified().parse(), None);
    }

    #[test]
    fn timeouts_round_up() {
        assert_eq!(timeout_ms(None), -1);
        assert_eq!(timeout_ms(Some(Duration::ZERO)), 0);
        assert_eq!(timeout_ms(Some(Duration::from_micros(1))), 1);
        assert_eq!(timeout_ms(Some(Duration::from_millis(10))), 10);
        assert_eq!(timeout_ms(Some(Duration::MAX)), i32::MAX);
    }
}
