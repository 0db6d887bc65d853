//! Keys in the voice band: how many of them a receiver finds, and how many that are none.
//!
//! A corpus of more than 50,000 bursts is computed ([`corpus`]), each with what the recommendations
//! demand of a receiver, and played to the switch's own receiver and to others ([`peer`]) in the
//! same run. With [`DtmfArgs::talk`] they also listen to recorded speech and music, in which there
//! is nothing to be found ([`talk_off`]).

mod bars;
mod corpus;
mod detect;
mod line;
mod ours;
mod peer;
mod reject;
mod score;
mod sound;
mod sweep;
mod table;
mod talk_off;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use self::corpus::{Corpus, Extent, Label};
pub(super) use self::peer::Peer;
use self::score::{Report, Score};
use super::super::print;
use super::machine;

/// `crosspoint bench dtmf`.
#[derive(Clone, Debug, clap::Args)]
pub struct DtmfArgs {
    /// Another receiver to compare with: a command that reads raw 16-bit samples of 8 kHz and
    /// prints a line `digit report_ms` per digit
    #[arg(long, value_name = "NAME=COMMAND")]
    pub peer: Vec<Peer>,
    /// One that listens to the corpus only, for it would take too long over the recordings
    #[arg(long, value_name = "NAME=COMMAND")]
    pub slow_peer: Vec<Peer>,
    /// Recorded speech without any key, raw 16-bit samples of 8 kHz: a file, or a folder of them
    #[arg(long, value_name = "PATH")]
    pub talk: Option<PathBuf>,
    /// Recorded music, in the same form
    #[arg(long, value_name = "PATH")]
    pub music: Option<PathBuf>,
    /// Also write the tables into this file, between its markers
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
    /// What to write above each of those tables, such as when and where they were measured
    #[arg(long, value_name = "TEXT", default_value = "", requires = "into")]
    pub heading: String,
    /// Also write raw results to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the corpus to this file as raw 16-bit samples of 8 kHz, and measure nothing
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Name each press that this class (as in the table) got wrong from our receiver
    #[arg(long, value_name = "CLASS")]
    pub explain: Option<String>,
    /// Fail (exit status 1) when a bar is missed
    #[arg(long)]
    pub check: bool,
}

/// Samples of a millisecond at 8 kHz.
const MILLISECOND: usize = 8;

/// A receiver and how it did.
struct Subject {
    name: String,
    score: Score,
    talk: Vec<talk_off::Count>,
}

pub(super) fn run(args: &DtmfArgs) -> Result<()> {
    let corpus = Corpus::generate(Extent::Full)?;
    eprintln!(
        "{} bursts that must be detected, {} that must not, {} in between; {:.0} minutes",
        corpus.count(Label::Detect),
        corpus.count(Label::Reject),
        corpus.count(Label::Grey),
        sound::float(corpus.pcm.len()) / sound::RATE_HZ / 60.0,
    );
    if let Some(path) = &args.save {
        let octets: Vec<u8> = corpus.pcm.iter().flat_map(|s| s.to_le_bytes()).collect();
        return std::fs::write(path, octets).context("cannot write the corpus");
    }
    let recordings = talk_off::Recordings::find(args.talk.as_deref(), args.music.as_deref())?;
    let mut subjects = vec![subject("Crosspoint", &corpus, &recordings, |pcm| {
        ours::listen(pcm, MILLISECOND)
    })?];
    if let Some(class) = &args.explain {
        return explain(&corpus, class);
    }
    for peer in &args.peer {
        subjects.push(subject(&peer.name, &corpus, &recordings, |pcm| {
            peer.listen(pcm)
        })?);
    }
    let none = talk_off::Recordings::default();
    for peer in &args.slow_peer {
        subjects.push(subject(&peer.name, &corpus, &none, |pcm| peer.listen(pcm))?);
    }
    let tables = table::all(&corpus, &subjects);
    for table in &tables {
        print(&format!("{}\n\n{}\n", table.name, table.text))?;
    }
    if let Some(path) = &args.into {
        table::write_into(path, &tables, &args.heading)?;
    }
    if let Some(path) = &args.json {
        let document = json!({
            "bench": "dtmf",
            "program": concat!("crosspoint ", env!("CARGO_PKG_VERSION")),
            "machine": machine(),
            "seed": corpus::SEED,
            "subjects": table::raw(&corpus, &subjects),
        });
        let text = serde_json::to_string_pretty(&document)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut missed = bars::missed(&corpus, &subjects[0].score);
    missed.extend(bars::missed_beside(&corpus, &subjects));
    for bar in &missed {
        eprintln!("missed: {bar}");
    }
    ensure!(
        !args.check || missed.is_empty(),
        "{} bars missed",
        missed.len()
    );
    Ok(())
}

fn subject(
    name: &str,
    corpus: &Corpus,
    recordings: &talk_off::Recordings,
    listen: impl Fn(&[i16]) -> Result<Vec<Report>>,
) -> Result<Subject> {
    let started = std::time::Instant::now();
    let reports = listen(&corpus.pcm)?;
    eprintln!(
        "{name}: {} digits reported, {:.1} s",
        reports.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(Subject {
        name: name.to_owned(),
        score: Score::of(corpus, &reports),
        talk: recordings.count(listen)?,
    })
}

/// Prints where in the corpus each burst lies that was not treated as its label wants.
fn explain(corpus: &Corpus, class: &str) -> Result<()> {
    let reports = ours::listen(&corpus.pcm, MILLISECOND)?;
    for (event, heard) in score::by_event(corpus, &reports) {
        let of = &corpus.classes[event.class];
        if of.name != class || score::is_right(of.label, event, heard) {
            continue;
        }
        let key = event.digit.map_or('-', |digit| digit.as_char());
        let heard: Vec<_> = heard
            .iter()
            .map(|r| format!("{} at {:.1}", r.digit, r.at_ms))
            .collect();
        print(&format!(
            "{key} {:.2} to {:.2} ms: {}\n",
            event.start / 8.0,
            event.end / 8.0,
            if heard.is_empty() {
                "nothing".to_owned()
            } else {
                heard.join(", ")
            },
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// Every class of the corpus, one stream in so many. Made once: it takes a second without
    /// optimisation.
    static PART: LazyLock<Corpus> =
        LazyLock::new(|| Corpus::generate(Extent::OneIn(150)).expect("codecs"));

    #[test]
    fn the_bars_hold_on_a_part_of_the_corpus() {
        let corpus = &*PART;
        assert!(corpus.count(Label::Detect) >= 400, "a part worth a test");
        assert!(corpus.count(Label::Reject) >= 100, "a part worth a test");
        let reports = ours::listen(&corpus.pcm, MILLISECOND).unwrap();
        let missed = bars::missed(corpus, &Score::of(corpus, &reports));
        assert!(missed.is_empty(), "{missed:#?}");
    }

    #[test]
    fn how_sound_is_fed_changes_no_key() {
        let pcm = &PART.pcm[..PART.pcm.len() / 4];
        let listen = |piece| {
            let mut reports = ours::listen(pcm, piece).unwrap();
            reports.iter_mut().for_each(|report| report.at_ms = 0.0);
            reports
        };
        let by_milliseconds = listen(MILLISECOND);
        assert!(by_milliseconds.len() > 100);
        for piece in [37, 160, pcm.len()] {
            assert!(listen(piece) == by_milliseconds, "fed by {piece} samples");
        }
    }

    #[test]
    fn bars_that_are_missed_are_named() {
        let corpus = &*PART;
        let nothing = bars::missed(corpus, &Score::of(corpus, &[]));
        assert!(nothing.iter().any(|bar| bar.starts_with("corner: 0.00 %")));
        assert!(nothing.iter().any(|bar| bar.starts_with("report with")));
        // One digit each 10 ms, whatever is played.
        let babble: Vec<_> = (0..corpus.pcm.len() / 80)
            .map(|n| Report {
                digit: crate::wire::event::Digit::ALL[n % 16],
                at_ms: sound::float(n) * 10.0,
                span_ms: None,
            })
            .collect();
        let babble = bars::missed(corpus, &Score::of(corpus, &babble));
        assert!(
            babble
                .iter()
                .any(|bar| bar.starts_with("all that must not"))
        );
    }
}
