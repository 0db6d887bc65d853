//! Whether a recording is what was recorded.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{SIDECAR_LEN_MAX, Sidecar, Sum, TAIL_BEGIN, TAIL_END, sum};

/// What was found of a recording and its sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What the sidecar says, if it can be read.
    pub sidecar: Option<Sidecar>,
    /// The chain's head, if file and sidecar agree with it: to be compared with what was told when
    /// the recording was complete.
    pub chain: Option<Sum>,
    /// What is wrong; empty: nothing.
    pub problems: Vec<Problem>,
}

impl Report {
    /// File and sidecar agree with all sums.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.problems.is_empty()
    }

    /// There was a sidecar to check against.
    #[must_use]
    pub fn was_checked(&self) -> bool {
        self.sidecar.is_some() || self.is_verified()
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is no sidecar of this path.
    #[error("there is no sidecar {}", .0.display())]
    Missing(PathBuf),
    /// The sidecar cannot be read.
    #[error("the sidecar cannot be read: {0}")]
    NoSidecar(String),
    /// The sidecar is no JSON of the form that is written.
    #[error("the sidecar is not in its form: {0}")]
    Form(String),
    /// The sidecar's text is not what its chain ends in.
    #[error("the sidecar was changed")]
    Sidecar,
    /// The file's length.
    #[error("the file has {is} bytes, not {expected}")]
    Length {
        /// According to the sidecar.
        expected: u64,
        /// Its length.
        is: u64,
    },
    /// Octets before the first segment.
    #[error("the header (bytes 0 to {until}) was changed")]
    Header {
        /// Behind the last octet of it.
        until: u64,
    },
    /// Octets of a segment.
    #[error(
        "segment {index} (bytes {from} to {until}, {:.1} s to {:.1} s) was changed",
        .from_time.as_secs_f32(), .until_time.as_secs_f32()
    )]
    Segment {
        /// Which, from 0.
        index: usize,
        /// First octet.
        from: u64,
        /// Behind its last octet.
        until: u64,
        /// Time in the file where it begins.
        from_time: Duration,
        /// And ends.
        until_time: Duration,
    },
    /// Octets behind the last segment, or missing ones.
    #[error("bytes behind the last segment, from {from}")]
    Behind {
        /// Where they begin.
        from: u64,
    },
}

/// Checks a recording against its sidecar, to the octet. Reads the whole file; memory does not
/// grow with it.
///
/// # Errors
/// The file itself cannot be read. All else is in the [`Report`].
pub fn verify(path: &Path) -> io::Result<Report> {
    let file = File::open(path)?;
    let mut report = Report {
        sidecar: None,
        chain: None,
        problems: Vec::new(),
    };
    let text = match read(&sidecar_path(path)) {
        Ok(text) => text,
        Err(error) => {
            let problem = match error.kind() {
                io::ErrorKind::NotFound => Problem::Missing(sidecar_path(path)),
                _ => Problem::NoSidecar(error.to_string()),
            };
            report.problems.push(problem);
            return Ok(report);
        }
    };
    let sidecar: Sidecar = match serde_json::from_str(&text) {
        Ok(sidecar) => sidecar,
        Err(error) => {
            report.problems.push(Problem::Form(error.to_string()));
            return Ok(report);
        }
    };
    let problems = &mut report.problems;
    let head = check_text(&sidecar, &text, problems);
    check_file(&sidecar, file, problems)?;
    report.chain = head.filter(|_| problems.is_empty());
    report.sidecar = Some(sidecar);
    Ok(report)
}

/// Where the sidecar of a recording lies.
#[must_use]
pub(in crate::record) fn sidecar_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    let len = file.take(SIDECAR_LEN_MAX + 1).read_to_string(&mut text)?;
    if len as u64 > SIDECAR_LEN_MAX {
        return Err(io::Error::other(format!("over {SIDECAR_LEN_MAX} bytes")));
    }
    Ok(text)
}

/// The sidecar's own sum. The head that it must have, if it has it.
fn check_text(sidecar: &Sidecar, text: &str, problems: &mut Vec<Problem>) -> Option<Sum> {
    let parts = text.rsplit_once(TAIL_BEGIN);
    let head = parts.and_then(|(body, tail)| {
        let head = Sum::parse(tail.strip_suffix(TAIL_END)?)?;
        let is = sidecar.last_link().link(Sum::of(body.as_bytes()));
        (is == head).then_some(head)
    });
    if head.is_none() {
        problems.push(Problem::Sidecar);
    }
    head
}

fn check_file(sidecar: &Sidecar, file: File, problems: &mut Vec<Problem>) -> io::Result<()> {
    let sums = sum(file, sidecar.header_len, &sidecar.segments)?;
    if sums.bytes != sidecar.bytes {
        let (expected, is) = (sidecar.bytes, sums.bytes);
        problems.push(Problem::Length { expected, is });
    }
    for index in &sums.wrong {
        let segment = &sidecar.segments[*index];
        let before = index.checked_sub(1).map(|i| sidecar.segments[i].until_us);
        problems.push(Problem::Segment {
            index: *index,
            from: segment.from,
            until: segment.until,
            from_time: Duration::from_micros(before.unwrap_or(0)),
            until_time: Duration::from_micros(segment.until_us),
        });
    }
    let last = sidecar.segments.last();
    let tiled = last.map_or(sidecar.header_len, |last| last.until);
    if sums.bytes > tiled {
        problems.push(Problem::Behind { from: tiled });
    } else if sums.wrong.is_empty() && sums.sha256 != sidecar.sha256 {
        let until = sidecar.header_len;
        problems.push(Problem::Header { until });
    }
    Ok(())
}
