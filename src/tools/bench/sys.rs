//! The system calls std and socket2 do not offer: waiting on thousands of sockets, the kernel's
//! receive time of a datagram, and this thread's place in the scheduler.

#![allow(
    unsafe_code,
    reason = "a load generator needs epoll, SO_TIMESTAMPNS and scheduling calls; a thread per \
              socket or a receive time taken in user space would measure the generator itself"
)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Most sockets one wait reports.
pub(crate) const READY_MAX: usize = 512;

/// Room for one timestamp as ancillary data (32 bytes), and alignment for its header.
type Control = [u64; 8];

/// A level-triggered readiness queue.
#[derive(Debug)]
pub(crate) struct Poll {
    queue: OwnedFd,
    ready: Vec<libc::epoll_event>,
}

impl Poll {
    /// An empty queue.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is checked below and owned by nobody else.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `fd` was just created and is valid.
        let queue = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            queue,
            ready: vec![libc::epoll_event { events: 0, u64: 0 }; READY_MAX],
        })
    }

    /// Watches `socket` under the name `token` until it is closed.
    pub(crate) fn add(&self, socket: &UdpSocket, token: usize) -> io::Result<()> {
        #[allow(clippy::cast_sign_loss, reason = "a flag constant")]
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token as u64,
        };
        let (queue, fd) = (self.queue.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: both descriptors are open and `event` lives through the call.
        check(unsafe { libc::epoll_ctl(queue, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    /// The sockets that are readable now, waiting up to `patience` for the first.
    pub(crate) fn wait(&mut self, patience: Duration) -> io::Result<impl Iterator<Item = usize>> {
        let wait_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        #[allow(clippy::cast_possible_truncation, reason = "READY_MAX fits")]
        #[allow(clippy::cast_possible_wrap, reason = "READY_MAX fits")]
        let room = self.ready.len() as i32;
        let events = self.ready.as_mut_ptr();
        // SAFETY: `events` points at `room` initialized entries owned by `self`.
        let n = check(unsafe { libc::epoll_wait(self.queue.as_raw_fd(), events, room, wait_ms) })?;
        let n = usize::try_from(n).unwrap_or(0);
        Ok(self.ready[..n]
            .iter()
            .map(|event| usize::try_from(event.u64).unwrap_or(usize::MAX)))
    }
}

/// Asks for the kernel's receive time with every datagram.
pub(crate) fn stamp_arrivals(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    #[allow(clippy::cast_possible_truncation, reason = "four")]
    let length = mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: `on` lives through the call and `length` is its size.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            length,
        )
    })?;
    Ok(())
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Bytes written to the buffer.
    pub(crate) length: usize,
    /// Who sent it.
    pub(crate) from: SocketAddrV4,
    /// When it reached the socket, in nanoseconds of Unix time; `None` without
    /// [`stamp_arrivals`].
    pub(crate) kernel_ns: Option<u64>,
}

/// Receives one datagram of an IPv4 socket without waiting; `Ok(None)` when there is none.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
    let mut from = MaybeUninit::<libc::sockaddr_in>::zeroed();
    let mut control: Control = [0; 8];
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths).
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = from.as_mut_ptr().cast();
    #[allow(clippy::cast_possible_truncation, reason = "sixteen")]
    {
        message.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
    }
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of::<Control>();
    // SAFETY: every pointer in `message` outlives the call and its length is the buffer's own.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(n) else {
        let error = io::Error::last_os_error();
        return match error.kind() {
            // Refused: the switch answered an earlier packet with ICMP; the loss shows as loss.
            io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(error),
        };
    };
    // SAFETY: zero-initialized above, and any bytes are a valid sockaddr_in.
    let from = unsafe { from.assume_init() };
    let ip = Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr));
    let from = SocketAddrV4::new(ip, u16::from_be(from.sin_port));
    Ok(Some(Arrival {
        length,
        from,
        kernel_ns: stamp_of(&message),
    }))
}

fn stamp_of(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: `message` was filled by recvmsg and its control buffer is still alive.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return headers that lie inside the buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            // SAFETY: the kernel writes a timespec for this type; the read makes no assumption
            // about alignment.
            let time: libc::timespec = unsafe {
                libc::CMSG_DATA(header)
                    .cast::<libc::timespec>()
                    .read_unaligned()
            };
            let seconds = u64::try_from(time.tv_sec).ok()?;
            return Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?);
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// Keeps the calling thread on one CPU.
pub(crate) fn pin_to(cpu: usize) -> io::Result<()> {
    // SAFETY: all-zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    if cpu >= 8 * mem::size_of::<libc::cpu_set_t>() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `cpu` is inside the set, checked above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set lives through the call; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) })?;
    Ok(())
}

/// The CPUs the calling thread may run on, ascending.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all-zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    let size = mem::size_of_val(&set);
    // SAFETY: the kernel writes at most `size` bytes into the set; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size, &raw mut set) } < 0 {
        return vec![0];
    }
    // SAFETY: every index is inside the set.
    (0..8 * size)
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
        .collect()
}

/// Puts the calling thread before all ordinary ones (SCHED_FIFO, 1–99) and makes its sleeps exact
/// to about a microsecond. Needs privileges.
pub(crate) fn become_realtime(priority: i32) -> io::Result<()> {
    // SAFETY: no pointers are involved for this option.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000_u64, 0_u64, 0_u64, 0_u64) };
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: `parameters` lives through the call; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) })?;
    Ok(())
}

/// Raises the number of files this process and its children may open to the permitted most, and
/// returns it.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives through the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_arrives_with_its_sender_and_its_time() {
        let (a, b) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        stamp_arrivals(&b).unwrap();
        let mut poll = Poll::new().unwrap();
        poll.add(&b, 7).unwrap();
        let mut buffer = [0; 16];
        assert!(receive(&b, &mut buffer).unwrap().is_none());
        let before = std::time::SystemTime::now();
        a.send_to(b"hello", b.local_addr().unwrap()).unwrap();
        let ready: Vec<_> = poll.wait(Duration::from_secs(2)).unwrap().collect();
        assert_eq!(ready, [7]);
        let arrival = receive(&b, &mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..arrival.length], b"hello");
        assert_eq!(
            std::net::SocketAddr::V4(arrival.from),
            a.local_addr().unwrap()
        );
        let before_ns = before
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        let late_ns = u128::from(arrival.kernel_ns.unwrap()).saturating_sub(before_ns);
        assert!(late_ns < 1_000_000_000, "{late_ns} ns");
    }

    #[test]
    fn a_thread_can_be_kept_on_one_cpu() {
        std::thread::spawn(|| {
            let cpu = *allowed_cpus().last().unwrap();
            pin_to(cpu).unwrap();
            assert_eq!(allowed_cpus(), [cpu]);
            assert!(pin_to(1 << 20).is_err());
        })
        .join()
        .unwrap();
    }
}
