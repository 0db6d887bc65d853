//! Who listens to a stream besides those who talk with it, and what a listener hears.

use smallvec::SmallVec;

use super::api::{StreamIx, TAPS_MAX};
use super::stream::Types;

/// The listeners of a stream, in the order in which they came.
pub(super) type Taps = SmallVec<[StreamIx; TAPS_MAX]>;

/// What one who only listens hears.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// Whom, if anybody now.
    pub(super) source: Option<StreamIx>,
    /// What of it, by the numbers of who is listened to.
    pub(super) types: Types,
}
