//! Other receivers: programs that read 16-bit samples of 8 kHz on standard input and print a line
//! `digit report_ms` for each digit they declare.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::score::Report;
use crate::wire::event::Digit;

/// A program and what to call it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Head of its column.
    pub name: String,
    /// For `sh -c`.
    command: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, command)) if !name.is_empty() && !command.is_empty() => Ok(Self {
                name: name.to_owned(),
                command: command.to_owned(),
            }),
            _ => Err("expected NAME=COMMAND".to_owned()),
        }
    }
}

impl Peer {
    /// Has it listen to a recording.
    pub(super) fn listen(&self, pcm: &[i16]) -> Result<Vec<Report>> {
        let name = &self.name;
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut input = child.stdin.take().context("its standard input")?;
        let output = child.stdout.take().context("its standard output")?;
        let reports = std::thread::scope(|scope| {
            // Beside, or both would wait for each other when the pipes are full. A program that
            // stops reading fails below, by its exit status.
            scope.spawn(move || {
                for block in pcm.chunks(1 << 16) {
                    let octets: Vec<u8> = block.iter().flat_map(|s| s.to_le_bytes()).collect();
                    if input.write_all(&octets).is_err() {
                        break;
                    }
                }
            });
            BufReader::new(output)
                .lines()
                .map(|line| parse(&line.context("cannot read")?))
                .collect::<Result<Vec<_>>>()
        });
        let status = child.wait()?;
        ensure!(status.success(), "{name} ended with {status}");
        reports.with_context(|| format!("{name}: bad output"))
    }
}

fn parse(line: &str) -> Result<Report> {
    let mut words = line.split_whitespace();
    let digit = words.next().and_then(|word| word.parse().ok());
    let at_ms = words.next().and_then(|word| word.parse().ok());
    let digit = digit.and_then(Digit::from_char);
    let (Some(digit), Some(at_ms)) = (digit, at_ms) else {
        return Err(anyhow!("expected `digit report_ms`: {line:?}"));
    };
    Ok(Report {
        digit,
        at_ms,
        span_ms: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named() {
        let peer: Peer = "a=b --c=d".parse().unwrap();
        assert_eq!(
            (peer.name.as_str(), peer.command.as_str()),
            ("a", "b --c=d")
        );
        for bad in ["", "a", "=b", "a="] {
            assert!(bad.parse::<Peer>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_program_hears_everything_and_its_lines_are_read() {
        let peer: Peer = "count=wc -c | sed 's/^/7 /'".parse().unwrap();
        let reports = peer.listen(&vec![1; 200_000]).unwrap();
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].digit.as_char(), '7');
        assert!((reports[0].at_ms - 400_000.0).abs() < 0.5);
    }

    #[test]
    fn a_program_that_fails_or_babbles_is_an_error() {
        for bad in [
            "exit 3",
            "cat >/dev/null; echo x 1",
            "cat >/dev/null; echo 1",
        ] {
            let peer: Peer = format!("bad={bad}").parse().unwrap();
            assert!(peer.listen(&[0; 8]).is_err(), "{bad}");
        }
    }
}
