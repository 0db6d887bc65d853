//! `crosspoint recording`: what a recording holds, whether it is what was recorded, and how to
//! close one that a crash left open.

mod plot;
mod show;

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek as _};
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

Exit status 1 if a recording cannot be read, cannot be repaired, or (`verify`) is not what was
recorded or has nothing to be checked against.";

/// What sealed recordings begin with, in octets and in letters (https://age-encryption.org/v1).
const SEALED: [&[u8]; 2] = [
    b"age-encryption.org/v1\n",
    b"-----BEGIN AGE ENCRYPTED FILE-----",
];

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
        What::Show { file, plot, width } => show(file, plot.as_deref(), *width),
        What::Verify { files, chain } => verify_all(files, chain.as_deref()),
        What::Repair { file } => {
            plain(file)?;
            let named = || file.display().to_string();
            match finish_part(file).with_context(named)? {
                Some(finished) => print(&show::finished(file, &finished)),
                None => print(&show::repaired(file, &mend(file).with_context(named)?)),
            }
        }
    }
}

fn show(file: &Path, png: Option<&Path>, width: u32) -> Result<()> {
    let info = open(file)?.info();
    let report = check(file)?;
    print(&show::text(file, &info, &report))?;
    if let Some(png) = png {
        let sidecar = report.sidecar.as_ref();
        let heading = show::heading(file, &info, sidecar);
        plot::draw(&mut open(file)?, sidecar, &heading, width, png)?;
        print(&format!("\nwaveform  {}\n", png.display()))?;
    }
    Ok(())
}

fn open(file: &Path) -> Result<RecordingReader<BufReader<File>>> {
    let opened = plain(file)?;
    RecordingReader::open(BufReader::new(opened)).with_context(|| file.display().to_string())
}

fn check(file: &Path) -> Result<Report> {
    plain(file)?;
    verify(file).with_context(|| file.display().to_string())
}

/// Opens a file, unless it is seen at once that it is no recording, or not one as it was made.
fn plain(file: &Path) -> Result<File> {
    let shown = file.display();
    let named = || file.display().to_string();
    if file.extension().is_some_and(|ending| ending == "json") {
        let of = file.with_extension("");
        bail!("{shown}: a sidecar; name its recording, {}", of.display());
    }
    // Looked at first: a pipe without a writer would be waited for.
    if !fs::metadata(file).with_context(named)?.is_file() {
        bail!("{shown}: not a file");
    }
    let mut opened = File::open(file).with_context(named)?;
    let mut head = Vec::new();
    let longest = SEALED.iter().map(|begin| begin.len()).max().unwrap_or(0);
    Read::by_ref(&mut opened)
        .take(longest as u64)
        .read_to_end(&mut head)
        .with_context(named)?;
    if SEALED.iter().any(|begin| head.starts_with(begin)) {
        let inside = file.with_extension("");
        bail!(
            "{shown}: sealed; whoever has the private key opens it with \
             `age -d -i KEYFILE -o {inside} {shown}`",
            inside = inside.display()
        );
    }
    opened.rewind().with_context(named)?;
    Ok(opened)
}

fn verify_all(files: &[PathBuf], chain: Option<&str>) -> Result<()> {
    if chain.is_some() && files.len() > 1 {
        bail!("--chain belongs to one recording, not to {}", files.len());
    }
    let (mut wrong, mut unread) = (0, None);
    for file in files {
        let report = match check(file) {
            Ok(report) => report,
            // The others are still of interest.
            Err(error) => {
                wrong += 1;
                if files.len() > 1 {
                    print(&format!("{error:#}\n"))?;
                }
                unread = Some(error);
                continue;
            }
        };
        let told = chain.map(str::to_ascii_lowercase);
        let head = report.chain.map(|head| head.to_string());
        let other = told.is_some() && report.is_verified() && told != head;
        wrong += usize::from(other || !report.is_verified());
        print(&show::verdict(file, &report, other))?;
    }
    match (wrong, unread) {
        (0, _) => Ok(()),
        (1, Some(error)) if files.len() == 1 => Err(error),
        (1, None) if files.len() == 1 => bail!("the recording is not verified"),
        (wrong, _) => bail!("{wrong} of {} recordings are not verified", files.len()),
    }
}

fn mend(file: &Path) -> Result<Repaired> {
    let mut opened = OpenOptions::new().read(true).write(true).open(file)?;
    if is_locked(&opened) {
        bail!("it is being recorded");
    }
    Ok(repair(&mut opened)?)
}
