//! Keys that the others are not to get.

use super::*;
use crate::engine::digits::{Mask, MaskMode, Masked, names_key};
use crate::wire::event::EVENT_LEN;
use crate::wire::rtp::RtpPacket;

/// Digits that stand for a key at random: 0 to 9.
const RANDOM_DIGITS: u8 = 10;

/// Commands.
impl Call {
    pub(super) fn set_mask(
        &mut self,
        _now: Micros,
        ix: StreamIx,
        mask: Option<Box<Mask>>,
    ) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        if let Some(mask) = &mask {
            mask.check().map_err(|why| ChangeError::Mask(ix, why))?;
            if stream.config.payload != Payload::Rtp {
                return Err(ChangeError::Codec(ix));
            }
        }
        stream.mask = mask.map(|mask| Box::new(Masked::new(*mask)));
        let mode = stream.mask.as_ref().map(|masked| &masked.mode);
        stream.flags.hides_keys = mode.is_some_and(MaskMode::hides);
        Ok(())
    }
}

/// Packets.
impl Call {
    /// A telephone-event of a party whose keys are masked: whether it goes to nobody. If not, it is
    /// edited for all who hear it.
    #[cold]
    pub(super) fn mask_event(
        &mut self,
        now: Micros,
        ix: StreamIx,
        packet: &mut RtpPacket<'_>,
    ) -> bool {
        let stream = &mut self.streams[usize::from(ix.0)];
        let mut lot = stream.lot(now);
        let Some(masked) = stream.mask.as_deref_mut() else {
            return false;
        };
        let header = *packet.header();
        let key = (header.ssrc, header.timestamp.0);
        let Masked { mode, puts, .. } = masked;
        let payload = packet.payload_mut();
        match mode {
            MaskMode::Pass => false,
            _ if !names_key(payload) => false,
            MaskMode::ZeroDigit | MaskMode::RandomDigit if payload.len() < EVENT_LEN => true,
            MaskMode::ZeroDigit => {
                puts.replace(key, payload, || 0);
                false
            }
            MaskMode::RandomDigit => {
                puts.replace(key, payload, || lot.u8(..RANDOM_DIGITS));
                false
            }
            MaskMode::Absorb | MaskMode::Silence | MaskMode::Tone { .. } | MaskMode::Convert => {
                true
            }
        }
    }
}
