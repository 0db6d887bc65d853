//! Ogg pages of a file that is too long for memory.

use std::io::{self, Read};

use crate::audio::ogg::{CAPTURE, PAGE_LEN_MAX, Page};

/// Most places that look like a page and are none, or are damaged, in one file: each may cost the
/// checksum of 65 kB.
pub const BAD_PAGES_MAX: usize = 1_024;

/// Finds one page after the other, over what is none. Keeps two pages at most.
#[derive(Debug)]
pub(super) struct PageReader<R> {
    from: R,
    buffer: Vec<u8>,
    /// Where in the buffer the next page is looked for.
    next: usize,
    /// Where in the file the buffer begins.
    offset: u64,
    ended: bool,
    bad: usize,
}

/// A page whose checksum is right, and where it is.
pub(super) struct Found<'a> {
    pub(super) page: Page<'a>,
    pub(super) offset: u64,
    pub(super) len: usize,
}

impl<R: Read> PageReader<R> {
    /// Reads from where `from` stands, which is `offset`.
    pub(super) fn new(from: R, offset: u64) -> Self {
        Self {
            from,
            buffer: Vec::with_capacity(2 * PAGE_LEN_MAX),
            next: 0,
            offset,
            ended: false,
            bad: 0,
        }
    }

    /// Whether it gave up after [`BAD_PAGES_MAX`].
    pub(super) fn gave_up(&self) -> bool {
        self.bad > BAD_PAGES_MAX
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Found<'_>>> {
        while self.find()? {
            // The borrow checker cannot follow a page out of this loop: it is looked at, and then
            // looked at again.
            if Page::parse(&self.buffer[self.next..]).is_some() {
                return Ok(self.take());
            }
            self.bad += 1;
            if self.gave_up() {
                break;
            }
            self.next += CAPTURE.len();
        }
        Ok(None)
    }

    fn take(&mut self) -> Option<Found<'_>> {
        let at = self.next;
        let (page, len) = Page::parse(&self.buffer[at..])?;
        self.next = at + len;
        Some(Found {
            page,
            offset: self.offset + at as u64,
            len,
        })
    }

    /// Goes to the next place that looks like a page, with all of it in the buffer.
    fn find(&mut self) -> io::Result<bool> {
        loop {
            self.fill()?;
            let rest = &self.buffer[self.next..];
            if let Some(at) = rest.windows(CAPTURE.len()).position(|w| w == CAPTURE) {
                self.next += at;
                self.fill()?;
                return Ok(true);
            }
            // The beginning of a capture pattern may be at the end.
            self.next += rest.len().saturating_sub(CAPTURE.len() - 1);
            if self.ended {
                return Ok(false);
            }
        }
    }

    /// Has the longest page in the buffer, or all there is.
    fn fill(&mut self) -> io::Result<()> {
        if self.ended || self.buffer.len() - self.next >= PAGE_LEN_MAX {
            return Ok(());
        }
        self.buffer.drain(..self.next);
        self.offset += self.next as u64;
        self.next = 0;
        let room = (2 * PAGE_LEN_MAX - self.buffer.len()) as u64;
        let read = self
            .from
            .by_ref()
            .take(room)
            .read_to_end(&mut self.buffer)?;
        self.ended = (read as u64) < room;
        Ok(())
    }
}
