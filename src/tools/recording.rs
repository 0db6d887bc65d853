//! `crosspoint recording`: what a recording holds, whether it is what was recorded, and how to
//! close one that a crash left open.

mod plot;
mod show;

use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::print;
use crate::record::disk::storage::is_locked;
use crate::record::file::read::RecordingReader;
use crate::record::file::repair::{Repaired, repair};
use crate::record::finish::finish_part;
use crate::record::sidecar::{Report, verify};

/// What comes after the options in the help.
const HELP: &str = "\
  crosspoint recording show recordings/2026-11-23/call.wav --plot call.png
  crosspoint recording verify recordings/2026-11-23/*.wav --chain 5b1c…
  crosspoint recording repair recordings/2026-11-23/.call.wav.part

Exit status 1 if a recording cannot be read, is not what was recorded, or cannot be repaired.";

/// `crosspoint recording`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct RecordingArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// What a recording holds: length, channels, what was lost, paused or masked, and its checks
    Show {
        /// The recording; what lies beside it, NAME.json, says the rest
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Draws the sound of each channel, with what is not simply sound shaded, as a PNG
        #[arg(long, value_name = "PNG")]
        plot: Option<PathBuf>,
        /// Width of the drawing in pixels
        #[arg(long, default_value_t = 1_600, value_name = "PIXELS",
              value_parser = clap::value_parser!(u32).range(400..=16_000))]
        width: u32,
    },
    /// Checks sums and chain of recordings: every changed byte shows
    Verify {
        /// The recordings
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The chain's head that was told when the (one) recording was complete
        #[arg(long, value_name = "SHA256")]
        chain: Option<String>,
    },
    /// Closes a file that a crash or a full disk left: .NAME.part with .NAME.journal beside it
    /// becomes NAME with its sidecar, as at a start of the switch; any other is closed in its place
    Repair {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs it.
///
/// # Errors
/// What could not be read, was not verified, or was not repaired.
pub fn run(args: &RecordingArgs) -> Result<()> {
    match &args.what {
        What::Show { file, plot, width } => {
            let report = check(file)?;
            print(&show::text(file, &open(file)?.info(), &report))?;
            if let Some(png) = plot {
                plot::draw(&mut open(file)?, report.sidecar.as_ref(), *width, png)?;
                print(&format!("\nwaveform  {}\n", png.display()))?;
            }
            Ok(())
        }
        What::Verify { files, chain } => verify_all(files, chain.as_deref()),
        What::Repair { file } => {
            let named = || file.display().to_string();
            match finish_part(file).with_context(named)? {
                Some(finished) => print(&show::finished(file, &finished)),
                None => print(&show::repaired(file, &mend(file).with_context(named)?)),
            }
        }
    }
}

fn open(file: &Path) -> Result<RecordingReader<BufReader<File>>> {
    let named = || file.display().to_string();
    let opened = File::open(file).with_context(named)?;
    RecordingReader::open(BufReader::new(opened)).with_context(named)
}

fn check(file: &Path) -> Result<Report> {
    verify(file).with_context(|| file.display().to_string())
}

fn verify_all(files: &[PathBuf], chain: Option<&str>) -> Result<()> {
    if chain.is_some() && files.len() > 1 {
        bail!("--chain belongs to one recording, not to {}", files.len());
    }
    let mut wrong = 0;
    for file in files {
        let report = check(file)?;
        let told = chain.map(str::to_ascii_lowercase);
        let head = report.chain.map(|head| head.to_string());
        let other = told.is_some() && report.is_verified() && told != head;
        wrong += usize::from(other || !report.is_verified());
        print(&show::verdict(file, &report, other))?;
    }
    match wrong {
        0 => Ok(()),
        1 if files.len() == 1 => bail!("the recording is not what was recorded"),
        wrong => bail!(
            "{wrong} of {} recordings are not what was recorded",
            files.len()
        ),
    }
}

fn mend(file: &Path) -> Result<Repaired> {
    let mut opened = OpenOptions::new().read(true).write(true).open(file)?;
    if is_locked(&opened) {
        bail!("it is being recorded");
    }
    Ok(repair(&mut opened)?)
}
