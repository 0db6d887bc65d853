//! Why a description is refused.

use sdp_types::ParserError;

use super::{SDP_BYTES_MAX, SDP_FORMATS_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX};

/// Why a session description is refused, and where (lines count from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Longer than [`SDP_BYTES_MAX`].
    #[error("the SDP has {bytes} bytes, more than {SDP_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// More lines than [`SDP_LINES_MAX`].
    #[error("the SDP has {lines} lines, more than {SDP_LINES_MAX}")]
    TooManyLines {
        /// How many.
        lines: usize,
    },
    /// More `m=` lines than [`SDP_MEDIA_MAX`].
    #[error("line {line}: more than {SDP_MEDIA_MAX} m= lines")]
    TooManyMedia {
        /// The first one too many.
        line: usize,
    },
    /// More formats in one `m=` line than [`SDP_FORMATS_MAX`].
    #[error("line {line}: more than {SDP_FORMATS_MAX} formats in an m= line")]
    TooManyFormats {
        /// That `m=` line.
        line: usize,
    },
    /// Does not begin with `v=0`.
    #[error("line 1: an SDP begins with v=0")]
    NoVersion,
    /// A line, or a field of it, cannot be understood.
    #[error("line {line}: {field} {fault}")]
    Syntax {
        /// Which line.
        line: usize,
        /// What of it, as in "Media port".
        field: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a line or field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not written as RFC 8866 section 9 says.
    Malformed,
    /// It is not there.
    Missing,
    /// There is more after its last field.
    TrailingData,
    /// It appears a second time.
    Repeated,
    /// It is neither an IP address nor a host name.
    NoAddress,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is malformed",
            Self::Missing => "is missing",
            Self::TrailingData => "has trailing data",
            Self::Repeated => "is there twice",
            Self::NoAddress => "is neither an IP address nor a host name",
        })
    }
}

impl From<ParserError> for SdpError {
    fn from(error: ParserError) -> Self {
        use Fault::{Malformed, Missing, Repeated, TrailingData};
        let (line, field, fault) = match error {
            ParserError::NoVersion | ParserError::InvalidVersion(..) => return Self::NoVersion,
            ParserError::InvalidLineFormat(line, _) => (line, "the line", Malformed),
            ParserError::InvalidFieldEncoding(line, field)
            | ParserError::InvalidFieldFormat(line, field) => (line, field, Malformed),
            ParserError::MissingField(line, field) => (line, field, Missing),
            ParserError::FieldTrailingData(line, field) => (line, field, TrailingData),
            ParserError::MultipleVersions(line) => (line, "v=", Repeated),
            ParserError::MultipleOrigins(line) => (line, "o=", Repeated),
            ParserError::MultipleSessionNames(line) => (line, "s=", Repeated),
            ParserError::MultipleSessionDescription(line)
            | ParserError::MultipleMediaTitles(line) => (line, "i=", Repeated),
            ParserError::MultipleUris(line) => (line, "u=", Repeated),
            ParserError::MultipleConnections(line) => (line, "c=", Repeated),
            ParserError::MultipleTimeZones(line) => (line, "z=", Repeated),
            ParserError::MultipleKeys(line) => (line, "k=", Repeated),
            ParserError::RepeatWithoutTime(line) => (line, "t= before r=", Missing),
            // Variants the parser no longer makes.
            _ => (1, "the SDP", Malformed),
        };
        Self::Syntax { line, field, fault }
    }
}
