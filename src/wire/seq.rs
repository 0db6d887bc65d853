//! Numbers that wrap: RTP sequence numbers (16 bit) and timestamps (32 bit), RFC 3550 §5.1.
//!
//! Both are serial numbers: "newer" means "less than half the circle ahead". Newtypes keep them
//! from being compared with `<`, which is wrong once in every 65 536 packets.

/// An RTP sequence number, RFC 3550 §5.1. Wraps at 2^16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SequenceNumber(pub u16);

impl SequenceNumber {
    /// The number `n` packets later.
    #[must_use]
    pub fn plus(self, n: u16) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// The next number.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// How far `self` is ahead of `other`, −32 768 to 32 767; negative if it is older.
    #[must_use]
    pub fn ahead_of(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// Whether `self` comes after `other`.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        self.ahead_of(other) > 0
    }

    /// The 32-bit extended number (cycles in the upper half, RFC 3550 appendix A.1) with these low
    /// 16 bits that is nearest to `near`.
    #[must_use]
    pub fn extend(self, near: u32) -> u32 {
        let step = self.ahead_of(Self::of(near));
        near.wrapping_add_signed(i32::from(step))
    }

    /// The low 16 bits of an extended number.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the low half is what is asked for"
    )]
    pub fn of(extended: u32) -> Self {
        Self(extended as u16)
    }
}

/// An RTP timestamp in ticks of the payload's clock, RFC 3550 §5.1. Wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RtpTimestamp(pub u32);

impl RtpTimestamp {
    /// `ticks` later.
    #[must_use]
    pub fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// How far `self` is ahead of `other`, in ticks; negative if it is older.
    #[must_use]
    pub fn ahead_of(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// Whether `self` comes after `other`.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        self.ahead_of(other) > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wraps_at_the_end_of_the_circle() {
        assert_eq!(SequenceNumber(0xffff).next(), SequenceNumber(0));
        assert!(SequenceNumber(0).is_after(SequenceNumber(0xffff)));
        assert_eq!(SequenceNumber(2).extend(0x0001_fffe), 0x0002_0002);
        assert_eq!(SequenceNumber(0xfffe).extend(0x0002_0002), 0x0001_fffe);
        assert!(RtpTimestamp(5).is_after(RtpTimestamp(u32::MAX)));
    }

    proptest! {
        #[test]
        fn sequence_distance_undoes_addition(a: u16, n in 0u16..0x8000) {
            let a = SequenceNumber(a);
            prop_assert_eq!(i32::from(a.plus(n).ahead_of(a)), i32::from(n));
            prop_assert_eq!(a.plus(n).is_after(a), n > 0);
            prop_assert!(!a.is_after(a.plus(n)));
        }

        #[test]
        fn timestamp_distance_undoes_addition(a: u32, n in 0u32..0x8000_0000) {
            let a = RtpTimestamp(a);
            prop_assert_eq!(i64::from(a.plus(n).ahead_of(a)), i64::from(n));
            prop_assert_eq!(a.plus(n).is_after(a), n > 0);
        }

        #[test]
        fn extension_keeps_the_low_bits_and_stays_near(seq: u16, near: u32) {
            let extended = SequenceNumber(seq).extend(near);
            prop_assert_eq!(SequenceNumber::of(extended), SequenceNumber(seq));
            prop_assert!(extended.wrapping_sub(near).cast_signed().abs() <= 0x8000);
        }
    }
}
