//! What a measuring client needs of the system: sockets that tell when a datagram arrived, waiting
//! on thousands of them, and a place in the scheduler where it disturbs nobody.
//!
//! The switch itself uses none of this. It stands here because all `unsafe` does: the load
//! generator and the call driver in [`tools`](crate::tools) are built of it. A thread per socket,
//! or a receive time taken in user space, would measure the generator instead of the switch.

use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use super::sys::{self, RawAddr};

/// Most sockets one [`Poll::wait`] reports.
pub const READY_MAX: usize = 512;

/// A level-triggered readiness queue.
#[derive(Debug)]
pub struct Poll {
    queue: OwnedFd,
    ready: Vec<libc::epoll_event>,
}

impl Poll {
    /// An empty queue.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            queue: sys::epoll()?,
            ready: vec![libc::epoll_event { events: 0, u64: 0 }; READY_MAX],
        })
    }

    /// Watches `socket` under the name `token` until it is closed.
    ///
    /// # Errors
    /// When it is watched already, or the user watches too many.
    pub fn add(&self, socket: &UdpSocket, token: usize) -> io::Result<()> {
        sys::epoll_add(&self.queue, socket.as_raw_fd(), token as u64)
    }

    /// The sockets that are readable now, at most [`READY_MAX`], waiting up to `patience` for the
    /// first.
    ///
    /// # Errors
    /// When a signal ends the wait.
    pub fn wait(&mut self, patience: Duration) -> io::Result<impl Iterator<Item = usize>> {
        let n = sys::epoll_wait(self.queue.as_fd(), &mut self.ready, Some(patience))?;
        let tokens = self.ready.iter().take(n);
        Ok(tokens.map(|event| usize::try_from(event.u64).unwrap_or(usize::MAX)))
    }
}

/// Asks for the kernel's receive time with every datagram (SO_TIMESTAMPNS, socket(7)).
///
/// # Errors
/// When the kernel does not know it.
pub fn stamp_arrivals(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    #[allow(clippy::cast_possible_truncation, reason = "four")]
    let length = mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: `on` lives through the call and `length` is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            length,
        )
    };
    sys::check(result).map(drop)
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Bytes written to the buffer; a longer datagram was cut.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// When it reached the socket, in nanoseconds of Unix time; `None` without
    /// [`stamp_arrivals`].
    pub kernel_ns: Option<u64>,
}

/// Receives one datagram without waiting; `Ok(None)` when there is none, and when an earlier send
/// was refused by ICMP, for that loss is counted where the packet is missed.
///
/// # Errors
/// Any other of the socket's.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
    let mut from = RawAddr::empty();
    let mut control: Control = [0; 8];
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths).
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = from.as_out().0.cast();
    message.msg_namelen = RawAddr::CAPACITY;
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of::<Control>();
    // SAFETY: every pointer in `message` outlives the call, with the length of what it points at.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(n) else {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(error),
        };
    };
    let kernel_ns = stamp_of(&message);
    let from = from.parse().ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(Arrival {
        length,
        from,
        kernel_ns,
    }))
}

/// Room for one timestamp as ancillary data (32 bytes), aligned for its header.
type Control = [u64; 8];

/// `message` must have been filled by recvmsg, and its control buffer be alive: see [`receive`].
fn stamp_of(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: the only caller keeps what is said above.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return headers that lie inside the buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            // SAFETY: the kernel writes a timespec for this type; the read assumes no alignment.
            let time: libc::timespec = unsafe {
                libc::CMSG_DATA(header)
                    .cast::<libc::timespec>()
                    .read_unaligned()
            };
            let seconds_ns = u64::try_from(time.tv_sec)
                .ok()?
                .checked_mul(1_000_000_000)?;
            return seconds_ns.checked_add(u64::try_from(time.tv_nsec).ok()?);
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// Keeps the calling thread on one CPU.
///
/// # Errors
/// When there is no such CPU, or the thread may not run on it.
pub fn stay_on_cpu(cpu: usize) -> io::Result<()> {
    sys::stay_on_cpu(cpu)
}

/// The CPUs the calling thread may run on, ascending; the first one where that cannot be read.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all-zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    let size = mem::size_of_val(&set);
    // SAFETY: the kernel writes at most `size` bytes into the set; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size, &raw mut set) } < 0 {
        return vec![0];
    }
    // SAFETY: every index is inside the set.
    let is_allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    (0..8 * size).filter(is_allowed).collect()
}

/// Puts the calling thread before all ordinary ones (SCHED_FIFO, sched(7)) and makes its sleeps
/// exact to about a microsecond.
///
/// # Errors
/// Without the privilege, and when `priority` is not 1 to 99.
pub fn become_realtime(priority: i32) -> io::Result<()> {
    const SLACK_NS: libc::c_ulong = 1_000;
    let unused: libc::c_ulong = 0;
    // SAFETY: no pointers are involved for this option.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS, unused, unused, unused) };
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: `parameters` lives through the call; 0 is the calling thread.
    sys::check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn a_datagram_arrives_with_its_sender_and_its_time() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = (UdpSocket::bind(ip).unwrap(), UdpSocket::bind(ip).unwrap());
            stamp_arrivals(&b).unwrap();
            let mut poll = Poll::new().unwrap();
            poll.add(&b, 7).unwrap();
            let mut buffer = [0; 16];
            assert!(receive(&b, &mut buffer).unwrap().is_none());
            let before = SystemTime::now();
            a.send_to(b"hello", b.local_addr().unwrap()).unwrap();
            let ready: Vec<_> = poll.wait(Duration::from_secs(2)).unwrap().collect();
            assert_eq!(ready, [7]);
            let arrival = receive(&b, &mut buffer).unwrap().unwrap();
            assert_eq!(&buffer[..arrival.length], b"hello");
            assert_eq!(arrival.from, a.local_addr().unwrap());
            let before_ns = before.duration_since(UNIX_EPOCH).unwrap().as_nanos();
            let late_ns = u128::from(arrival.kernel_ns.unwrap()).saturating_sub(before_ns);
            assert!(late_ns < 1_000_000_000, "{late_ns} ns");
        }
    }

    #[test]
    fn what_was_refused_is_not_an_error_and_what_is_too_long_is_cut() {
        let (a, b) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        b.connect(a.local_addr().unwrap()).unwrap();
        a.send_to(&[1; 20], b.local_addr().unwrap()).unwrap();
        let arrival = receive(&b, &mut [0; 16]).unwrap().unwrap();
        assert_eq!((arrival.length, arrival.kernel_ns), (16, None));
        drop(a);
        b.send(b"nobody listens").unwrap();
        assert!(receive(&b, &mut [0; 16]).unwrap().is_none());
    }

    #[test]
    fn a_thread_can_be_kept_on_one_cpu() {
        std::thread::spawn(|| {
            let cpu = *allowed_cpus().last().unwrap();
            stay_on_cpu(cpu).unwrap();
            assert_eq!(allowed_cpus(), [cpu]);
            assert!(stay_on_cpu(1 << 20).is_err());
        })
        .join()
        .unwrap();
    }
}
