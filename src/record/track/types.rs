//! What payload types mean, while parties agree on others.

use crate::engine::{TrackKind, TrackType};

/// Numbers of payload types (RFC 3550 section 5.1).
const TYPES_MAX: usize = 128;

/// The payload types of a party.
#[derive(Debug, Default)]
pub(in crate::record) struct Types {
    /// One for each number at most.
    known: Vec<TrackType>,
}

impl Types {
    /// Takes in what was agreed on; the first of a number counts. Numbers that are not among them
    /// keep their meaning: packets of before are still under way, and in a session a number never
    /// means another codec (RFC 3264 section 8.3.2).
    pub(in crate::record) fn agree(&mut self, types: &[TrackType]) {
        let possible = types.iter().filter(|new| usize::from(new.pt) < TYPES_MAX);
        for new in possible.rev() {
            match self.known.iter_mut().find(|known| known.pt == new.pt) {
                Some(known) => *known = *new,
                None => self.known.push(*new),
            }
        }
    }

    /// Somebody else's numbers come from now on.
    pub(in crate::record) fn forget(&mut self) {
        self.known.clear();
    }

    /// What a number means, if that is known.
    pub(in crate::record) fn kind(&self, pt: u8) -> Option<TrackKind> {
        let known = self.known.iter().find(|known| known.pt == pt);
        known.map(|known| known.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(pt: u8, clock_hz: u32) -> TrackType {
        let kind = TrackKind::Noise { clock_hz };
        TrackType { pt, kind }
    }

    #[test]
    fn numbers_mean_what_was_agreed_on_last_or_first_at_a_time() {
        let mut types = Types::default();
        types.agree(&[noise(1, 10), noise(2, 20), noise(1, 30)]);
        types.agree(&[noise(2, 40)]);
        let expected = [noise(1, 10), noise(2, 40)].map(|known| Some(known.kind));
        assert_eq!([1, 2].map(|pt| types.kind(pt)), expected);
        assert_eq!(types.kind(0), None);
        types.forget();
        assert_eq!(types.kind(1), None);
    }

    #[test]
    fn there_are_no_more_numbers_than_packets_have() {
        let mut types = Types::default();
        for _ in 0..3 {
            let all: Vec<TrackType> = (0..=255).map(|pt| noise(pt, 8_000)).collect();
            types.agree(&all);
        }
        assert_eq!(types.known.len(), TYPES_MAX);
        assert!(types.kind(127).is_some() && types.kind(128).is_none());
    }
}
