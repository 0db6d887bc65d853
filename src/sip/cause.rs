//! What a status code means for a call.

#[cfg(test)]
mod tests;

/// Why a leg ended: a SIP status code (RFC 3261 section 21) in which 200 is an ordinary hang-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause(pub u16);

impl Cause {
    /// An ordinary hang-up.
    pub const HANG_UP: Self = Self(200);
    /// Nobody answered in time, or the other end fell silent.
    pub const TIMEOUT: Self = Self(408);
    /// It was cancelled before it was answered.
    pub const CANCELLED: Self = Self(487);

    /// What became of a leg that ended so, and that had been `answered` or not.
    ///
    /// Whoever refuses a call with 603 pressed the key for it: that is `busy`, as with 486. One
    /// that hears nothing, or is not there (480), is `no-answer`.
    #[must_use]
    pub const fn status(self, answered: bool) -> LegStatus {
        if answered {
            return LegStatus::Completed;
        }
        match self.0 {
            486 | 600 | 603 => LegStatus::Busy,
            408 | 480 => LegStatus::NoAnswer,
            // Hung up before the answer, by either end.
            200 | 487 => LegStatus::Canceled,
            _ => LegStatus::Failed,
        }
    }
}

/// Who ended a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The party itself.
    Party,
    /// We, on command of the call's flow or of the other party.
    Us,
    /// A timer or the network: no answer, no ACK, session expired.
    Nobody,
}

/// The state of a leg or a call, in the platform's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegStatus {
    /// `ringing`.
    Ringing,
    /// `in-progress`.
    InProgress,
    /// `completed`.
    Completed,
    /// `busy`.
    Busy,
    /// `no-answer`.
    NoAnswer,
    /// `failed`.
    Failed,
    /// `canceled`.
    Canceled,
}

impl LegStatus {
    /// As records, callbacks and metrics spell it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}
