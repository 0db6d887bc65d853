//! `block DTMF`, `unblock DTMF`, and what offers and answers say of it: keys that the others are
//! not to get.

use smallvec::SmallVec;

use super::mask_triggers::MaskTriggers;
use super::request::Request;
use super::service::{Refused, participants, text};
use super::{Value, ok};
use crate::engine::{LOOK_BACK_MS, MASK_LEVEL_DBM0, MASK_TONES_MAX, Mask, MaskMode};
use crate::switch::{Participants, Switch};

/// The tone of `DTMF-security=tone`, where nothing is said of it.
const TONE_HZ: u16 = 400;
const TONE_DBM0: i8 = -10;

/// Keys of a request about masking.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MaskKeys {
    /// `DTMF-security`.
    pub security: Option<Security>,
    /// `frequency` in Hz, one or several: at most [`MASK_TONES_MAX`].
    pub hz: SmallVec<[u16; MASK_TONES_MAX]>,
    /// `volume` of the tone in dBm0; a positive one is taken as negative.
    pub volume: Option<i16>,
    /// `delay-buffer` or `DTMF-delay` in milliseconds.
    pub delay_ms: Option<u16>,
    /// `trigger` and what belongs to it.
    pub triggers: MaskTriggers,
}

/// A mode of `DTMF-security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// `off`: others get the keys.
    Off,
    /// `drop`: nothing.
    Drop,
    /// `silence`.
    Silence,
    /// `tone`.
    Tone,
    /// `random`: other keys.
    Random,
    /// `zero`: the key 0.
    Zero,
    /// `DTMF`: the key itself, as a telephone-event.
    Dtmf,
}

impl Security {
    /// Reads a mode; `None`: there is none of this name.
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        let word = value.str().unwrap_or_default().to_ascii_lowercase();
        Some(match word.as_str() {
            "off" | "no" => Self::Off,
            "drop" => Self::Drop,
            "silence" => Self::Silence,
            "tone" => Self::Tone,
            "random" => Self::Random,
            "zero" => Self::Zero,
            "dtmf" => Self::Dtmf,
            _ => return None,
        })
    }
}

impl MaskKeys {
    /// Reads a mode; `false` if there is none of this name.
    pub(super) fn security(&mut self, value: &Value<'_>) -> bool {
        let mode = Security::read(value);
        self.security = mode.or(self.security);
        mode.is_some()
    }

    /// Reads the look-back: at least what a key takes to be known, at most the longest there is; 0
    /// is the least.
    pub(super) fn delay(&mut self, value: &Value<'_>) -> bool {
        let ms = value.int().and_then(|ms| u16::try_from(ms).ok());
        let within = ms.filter(|ms| ms <= LOOK_BACK_MS.end());
        self.delay_ms = within.or(self.delay_ms);
        within.is_some()
    }

    /// Reads one frequency or a list.
    pub(super) fn frequency(&mut self, value: &Value<'_>) -> bool {
        let one = std::slice::from_ref(value);
        let list = match value {
            Value::List(list) => list.as_slice(),
            _ => one,
        };
        let hz = list.iter().map(|hz| u16::try_from(hz.int()?).ok());
        let hz: Option<SmallVec<[u16; MASK_TONES_MAX]>> = hz.take(MASK_TONES_MAX + 1).collect();
        match hz {
            Some(hz) if (1..=MASK_TONES_MAX).contains(&hz.len()) => {
                self.hz = hz;
                true
            }
            _ => false,
        }
    }

    /// The mask they say. Without a mode only telephone-events are dropped: the audio passes as it
    /// is, without delay. `id` names what it triggers.
    pub(super) fn mask(&self, id: u64) -> Option<Mask> {
        if self.security == Some(Security::Off) && !self.triggers.is_set() {
            return None;
        }
        let said = self.security.map(|said| self.mode(said));
        let plain = said.clone().unwrap_or(MaskMode::Absorb);
        // Until a trigger begins it keys pass, unless the trigger has a mode of its own.
        let before = said.filter(|_| self.triggers.begins_other());
        let modes = [before.unwrap_or(MaskMode::Pass), plain];
        let triggers = self
            .triggers
            .triggers(id, modes.clone(), |said| self.mode(said));
        let [before, plain] = modes;
        let mode = if triggers.is_some() { before } else { plain };
        let least = *LOOK_BACK_MS.start();
        Some(Mask {
            mode,
            in_band: self.security.is_some() || self.triggers.says_mode(),
            look_back_ms: self.delay_ms.unwrap_or(least).max(least),
            triggers: triggers.map(Box::new),
        })
    }

    /// Whether they say anything of masking.
    pub(super) fn asks(&self) -> bool {
        self.security.is_some() || self.triggers.is_set()
    }

    fn mode(&self, security: Security) -> MaskMode {
        match security {
            Security::Off => MaskMode::Pass,
            Security::Drop => MaskMode::Absorb,
            Security::Silence => MaskMode::Silence,
            Security::Random => MaskMode::RandomDigit,
            Security::Zero => MaskMode::ZeroDigit,
            Security::Dtmf => MaskMode::Convert,
            Security::Tone => self.tone(),
        }
    }

    fn tone(&self) -> MaskMode {
        let level = self.volume.map_or(TONE_DBM0, |db| {
            let db = i8::try_from(-i32::from(db).abs()).unwrap_or(i8::MIN);
            db.clamp(*MASK_LEVEL_DBM0.start(), *MASK_LEVEL_DBM0.end())
        });
        let hz = match self.hz.is_empty() {
            true => SmallVec::from_slice(&[TONE_HZ]),
            false => self.hz.clone(),
        };
        MaskMode::Tone { hz, level }
    }
}

/// Whether what a request says of masking can be.
pub(super) fn check(r: &Request<'_>) -> Result<(), Refused> {
    let unused = r.mask.triggers.unused();
    unused.map_or(Ok(()), |why| Err(Refused::Text(why.into())))
}

/// Carries `block DTMF` or `unblock DTMF` out.
pub(super) fn block(
    switch: &Switch,
    r: &Request<'_>,
    call_id: &str,
    on: bool,
) -> Result<Value<'static>, Refused> {
    check(r)?;
    let (tag, label) = (text(r.from_tag.as_ref()), text(r.label.as_ref()));
    let named = r.flags.directional || tag.is_some() || label.is_some() || r.address.is_some();
    let who = match named {
        true => participants(r, tag.as_deref(), label.as_deref())?,
        false => Participants::All,
    };
    // A command begins anew, even where it says the same as the one before.
    let mask = r.mask.mask(fastrand::u64(1..)).filter(|_| on);
    let warnings = switch.mask(call_id, who, mask)?;
    Ok(match warnings.is_empty() {
        true => ok(),
        false => ok().with("warning", warnings.join("; ")),
    })
}

/// What an offer or answer says of the keys of the party whose SDP it is, `tag`. Returns what the
/// client should know.
pub(super) fn negotiated(
    switch: &Switch,
    r: &Request<'_>,
    call_id: &str,
    tag: Option<&str>,
) -> Result<Vec<String>, Refused> {
    let asks = r.flags.block_dtmf || r.mask.asks();
    Ok(match tag.filter(|_| asks) {
        Some(tag) => switch.mask(call_id, Participants::Tag(tag), r.mask.mask(0))?,
        None => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(json: &str) -> (MaskKeys, Vec<String>) {
        let message = format!(r#"{{"command":"block DTMF","call-id":"c"{json}}}"#);
        let (_, request) = Request::decode(message.as_bytes());
        let request = request.expect("a request");
        (request.mask.clone(), request.ignored().to_vec())
    }

    #[test]
    fn a_plain_block_drops_events_and_a_mode_masks_tones_too() {
        let mask = |json: &str| keys(json).0.mask(0);
        let plain = mask("").expect("a mask");
        assert_eq!((plain.mode, plain.in_band), (MaskMode::Absorb, false));
        let drop = mask(r#","DTMF-security":"drop""#);
        assert_eq!(drop, Some(Mask::of(MaskMode::Absorb)));
        assert_eq!(mask(r#","DTMF-security":"off""#), None);
        let convert = mask(r#","DTMF-security":"DTMF""#);
        assert_eq!(convert, Some(Mask::of(MaskMode::Convert)));
        let zero = mask(r#","DTMF-security":"zero","delay-buffer":80"#).expect("a mask");
        assert_eq!((zero.mode, zero.look_back_ms), (MaskMode::ZeroDigit, 80));
        let short = mask(r#","DTMF-security":"random","DTMF-delay":5"#).expect("a mask");
        assert_eq!(short.look_back_ms, *LOOK_BACK_MS.start());
    }

    #[test]
    fn tones_have_frequencies_and_a_level() {
        let tone = |hz: &[u16], level| MaskMode::Tone {
            hz: hz.iter().copied().collect(),
            level,
        };
        let mode = |json: &str| {
            let json = format!(r#","DTMF-security":"tone"{json}"#);
            keys(&json).0.mask(0).expect("a mask").mode
        };
        assert_eq!(mode(""), tone(&[400], -10));
        assert_eq!(
            mode(r#","frequency":1000,"volume":20"#),
            tone(&[1_000], -20)
        );
        assert_eq!(
            mode(r#","frequency":[500,600],"volume":-5"#),
            tone(&[500, 600], -5)
        );
        let many = r#","frequency":[1,1,1,1,1,1,1,1,1]"#;
        assert_eq!(mode(many), tone(&[400], -10));
        assert_eq!(keys(many).1, ["frequency"]);
    }

    #[test]
    fn what_is_no_mode_is_told() {
        let (keys, ignored) = keys(r#","DTMF-security":"loud","delay-buffer":501"#);
        assert_eq!(keys, MaskKeys::default());
        assert_eq!(ignored.len(), 2, "{ignored:?}");
    }
}
