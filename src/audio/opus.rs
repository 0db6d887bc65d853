//! Opus (RFC 6716) in RTP (RFC 7587): parameters, the shape of packets, encoder and decoder.
//!
//! The RTP clock is 48 kHz and SDP says two channels whatever is sent. Encoder and decoder run at
//! the rate they are asked for and know one channel: libopus mixes a stereo stream to mono while
//! it decodes, at no extra cost.
//!
//! libopus does the coding, behind [`Encoder`] and [`Decoder`]. Without the cargo feature `opus`
//! those cannot be made ([`CodecError::OpusNotBuilt`]); all else here stays.

use std::fmt;

use super::codec::CodecError;

#[cfg(feature = "opus")]
mod libopus;
#[cfg(feature = "opus")]
pub use libopus::{Decoder, Encoder, MultistreamDecoder, MultistreamEncoder};

#[cfg(not(feature = "opus"))]
mod absent;
#[cfg(not(feature = "opus"))]
pub use absent::{Decoder, Encoder, MultistreamDecoder, MultistreamEncoder};

/// RTP clock rate in Hz, whatever the audio (RFC 7587 section 4.1).
pub const CLOCK_HZ: u32 = 48_000;

/// Microseconds by which decoded audio is behind what was coded, as libopus has it unless its delay
/// is restricted: 312 samples of 48 kHz.
pub const DELAY_US: u32 = 6_500;

/// Longest packet in milliseconds (RFC 6716 section 3.2.5, R5).
pub const PACKET_MS_MAX: u32 = 120;

/// Longest frame in octets (RFC 6716 section 3.2.1), and longest payload we send. Received
/// payloads of several frames may be longer; each frame is held to it.
pub const FRAME_OCTETS_MAX: usize = 1_275;

/// Least room that [`Encoder::encode`] wants: where the rate asks for more, libopus squeezes a
/// frame into what there is, and so little would be a caller's mistake.
pub const OUTPUT_OCTETS_MIN: usize = 100;

/// Lowest and highest bit rate in bit/s (RFC 7587 section 6.1, `maxaveragebitrate`).
pub const BITRATES: [u32; 2] = [6_000, 510_000];

/// From this loss on, in permille, redundancy is sent.
pub const FEC_ON_PERMILLE: u16 = 25;

/// Below this loss it is given up again; in between it stays as it is.
pub const FEC_OFF_PERMILLE: u16 = 15;

/// Below this rate redundancy takes more from the speech than it gives back: measured at
/// 16 kbit/s it changes nothing at any loss; at 24 kbit/s it costs 0.5 of PESQ-LQO without loss
/// and gains 0.2 at 3 % and 0.9 at 10 %.
pub const FEC_BITRATE_MIN: u32 = 20_000;

/// Most parameters read of an `fmtp` line; what follows is ignored.
pub const FMTP_PARAMETERS_MAX: usize = 32;

/// How encoder and decoder run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusConfig {
    /// Rate of the PCM inside in Hz: 8,000, 16,000, 24,000 or 48,000.
    pub pcm_hz: u32,
    /// Average bit rate in bit/s; brought into [`BITRATES`].
    pub bitrate_bps: u32,
    /// 0 to 10 (more is taken as 10): what the encoder may cost.
    pub complexity: u8,
    /// Whether redundancy may be sent; when it is, [`Encoder::set_loss`] decides.
    pub fec: bool,
    /// Whether the encoder may send nothing in silence.
    pub dtx: bool,
    /// Constant instead of variable bit rate.
    pub cbr: bool,
    /// The peer plays no more than this rate in Hz; what lies above is not sent.
    pub max_playback_rate_hz: u32,
}

impl Default for OpusConfig {
    fn default() -> Self {
        Self::at(16_000)
    }
}

impl OpusConfig {
    /// Good speech at `pcm_hz`: bit rates by RFC 7587 section 3.1.1, and a complexity beyond which
    /// speech gains little.
    #[must_use]
    pub fn at(pcm_hz: u32) -> Self {
        let bitrate_bps = match pcm_hz {
            0..=8_000 => 16_000,
            8_001..=16_000 => 24_000,
            16_001..=24_000 => 28_000,
            _ => 32_000,
        };
        Self {
            pcm_hz,
            bitrate_bps,
            complexity: 5,
            fec: true,
            dtx: false,
            cbr: false,
            max_playback_rate_hz: CLOCK_HZ,
        }
    }

    /// What to send to a peer whose `fmtp` says `wants`: at most what it can use.
    #[must_use]
    pub fn for_peer(pcm_hz: u32, wants: &Fmtp) -> Self {
        let own = Self::at(pcm_hz);
        let bitrate = wants.max_average_bitrate_bps.unwrap_or(own.bitrate_bps);
        Self {
            bitrate_bps: own.bitrate_bps.min(bitrate),
            fec: wants.use_inband_fec,
            dtx: wants.use_dtx,
            cbr: wants.cbr,
            max_playback_rate_hz: wants.max_playback_rate_hz.unwrap_or(CLOCK_HZ),
            ..own
        }
    }

    /// What to tell a peer: that we play `pcm_hz`, in mono, and make use of redundancy.
    #[must_use]
    pub fn fmtp(&self) -> Fmtp {
        let limited = (self.pcm_hz < CLOCK_HZ).then_some(self.pcm_hz);
        Fmtp {
            max_playback_rate_hz: limited,
            sprop_max_capture_rate_hz: limited,
            use_inband_fec: self.fec,
            use_dtx: self.dtx,
            cbr: self.cbr,
            ..Fmtp::default()
        }
    }

    /// Refuses rates that Opus does not have.
    fn check(&self) -> Result<(), CodecError> {
        match self.pcm_hz {
            8_000 | 16_000 | 24_000 | 48_000 => Ok(()),
            _ => Err(CodecError::Rate),
        }
    }
}

/// Parameters of `a=fmtp` (RFC 7587 section 6.1): what their sender would like to receive, but for
/// the two `sprop-` ones, which say what it may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fmtp {
    /// `maxplaybackrate` in Hz, within 8,000–48,000.
    pub max_playback_rate_hz: Option<u32>,
    /// `sprop-maxcapturerate` in Hz, within 8,000–48,000.
    pub sprop_max_capture_rate_hz: Option<u32>,
    /// `maxaveragebitrate` in bit/s, within [`BITRATES`].
    pub max_average_bitrate_bps: Option<u32>,
    /// `stereo`: prefers two channels.
    pub stereo: bool,
    /// `sprop-stereo`: is likely to send two channels.
    pub sprop_stereo: bool,
    /// `useinbandfec`: can make use of redundancy.
    pub use_inband_fec: bool,
    /// `usedtx`: prefers that nothing is sent in silence.
    pub use_dtx: bool,
    /// `cbr`: prefers a constant bit rate.
    pub cbr: bool,
    /// `ptime` in ms, 3–120. SDP has an attribute of its own for it (section 7), but is met here.
    pub ptime_ms: Option<u8>,
    /// `maxptime` in ms, 3–120. As above.
    pub maxptime_ms: Option<u8>,
}

impl Fmtp {
    /// Reads the parameters after the payload type. Names are matched in any case; unknown ones,
    /// and values that are none, are ignored; rates are brought into their range. Of a name that
    /// comes twice the last counts.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut fmtp = Self::default();
        for parameter in text.split(';').take(FMTP_PARAMETERS_MAX) {
            if let Some((name, value)) = parameter.split_once('=') {
                fmtp.set(name.trim(), value.trim());
            }
        }
        fmtp
    }

    fn set(&mut self, name: &str, value: &str) {
        let Ok(value) = value.parse::<u32>() else {
            return;
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let rate = value.clamp(8_000, CLOCK_HZ);
        let time = u8::try_from(value).ok().filter(|ms| (3..=120).contains(ms));
        let flag = |known: &mut bool| *known = value == 1;
        match () {
            () if is("maxplaybackrate") => self.max_playback_rate_hz = Some(rate),
            () if is("sprop-maxcapturerate") => self.sprop_max_capture_rate_hz = Some(rate),
            () if is("maxaveragebitrate") => {
                self.max_average_bitrate_bps = Some(value.clamp(BITRATES[0], BITRATES[1]));
            }
            () if is("stereo") => flag(&mut self.stereo),
            () if is("sprop-stereo") => flag(&mut self.sprop_stereo),
            () if is("useinbandfec") => flag(&mut self.use_inband_fec),
            () if is("usedtx") => flag(&mut self.use_dtx),
            () if is("cbr") => flag(&mut self.cbr),
            () if is("ptime") => self.ptime_ms = time.or(self.ptime_ms),
            () if is("maxptime") => self.maxptime_ms = time.or(self.maxptime_ms),
            () => {}
        }
    }
}

/// Writes what differs from the defaults, in the order of RFC 7587; empty if nothing does.
impl fmt::Display for Fmtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |set: bool| set.then_some(1);
        let parameters = [
            ("maxplaybackrate", self.max_playback_rate_hz),
            ("sprop-maxcapturerate", self.sprop_max_capture_rate_hz),
            ("maxptime", self.maxptime_ms.map(u32::from)),
            ("ptime", self.ptime_ms.map(u32::from)),
            ("maxaveragebitrate", self.max_average_bitrate_bps),
            ("stereo", flag(self.stereo)),
            ("sprop-stereo", flag(self.sprop_stereo)),
            ("cbr", flag(self.cbr)),
            ("useinbandfec", flag(self.use_inband_fec)),
            ("usedtx", flag(self.use_dtx)),
        ];
        let mut separator = "";
        for (name, value) in parameters {
            if let Some(value) = value {
                write!(f, "{separator}{name}={value}")?;
                separator = ";";
            }
        }
        Ok(())
    }
}

/// The first octet of a packet (RFC 6716 section 3.1).
#[derive(Clone, Copy)]
struct Toc(u8);

impl Toc {
    /// Length of a frame in samples at 48 kHz, table 2.
    fn frame(self) -> u32 {
        let size = self.0 >> 3 & 3;
        match self.0 >> 3 {
            0..12 => [480, 960, 1_920, 2_880][usize::from(size)],
            12..16 => [480, 960][usize::from(size & 1)],
            _ => 120 << size,
        }
    }

    fn is_stereo(self) -> bool {
        self.0 & 4 != 0
    }

    /// SILK alone or with CELT: only those carry redundancy.
    fn has_silk(self) -> bool {
        self.0 >> 3 < 16
    }
}

/// Samples in a packet at `pcm_hz`, from its first two octets.
///
/// # Errors
///
/// [`CodecError::Empty`]; [`CodecError::Malformed`] without or with zero frames;
/// [`CodecError::TooLong`] over [`PACKET_MS_MAX`].
pub fn samples(payload: &[u8], pcm_hz: u32) -> Result<usize, CodecError> {
    let toc = Toc(*payload.first().ok_or(CodecError::Empty)?);
    let frames = match toc.0 & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(payload.get(1).ok_or(CodecError::Malformed)? & 0x3f),
    };
    match frames * toc.frame() {
        0 => Err(CodecError::Malformed),
        all if all > PACKET_MS_MAX * CLOCK_HZ / 1_000 => Err(CodecError::TooLong),
        all => Ok((all / (CLOCK_HZ / pcm_hz.clamp(8_000, CLOCK_HZ))) as usize),
    }
}

/// Whether a packet carries a second, coarser copy of the frame before its first (RFC 6716
/// section 4.2.4).
#[must_use]
pub fn has_fec(payload: &[u8]) -> bool {
    let Some(toc) = payload
        .first()
        .copied()
        .map(Toc)
        .filter(|toc| toc.has_silk())
    else {
        return false;
    };
    let Some(first) = first_frame(payload).and_then(<[u8]>::first) else {
        return false;
    };
    // A SILK frame starts with a bit of voice activity per 20 ms, then the bit asked for; the
    // other channel's follow. The range coder stores even odds as plain bits.
    let activity = (toc.frame() / 960).max(1);
    let mid = first >> (7 - activity) & 1;
    let side = first >> (6 - 2 * activity) & 1;
    mid == 1 || (toc.is_stereo() && side == 1)
}

/// The octets from the start of a packet's first frame on (RFC 6716 section 3.2); they may hold
/// more than that frame. `None` if there is none or it is empty.
fn first_frame(payload: &[u8]) -> Option<&[u8]> {
    let (toc, rest) = payload.split_first()?;
    let length_octets = |first: u8| if first < 252 { 1 } else { 2 };
    let frame = match toc & 3 {
        0 | 1 => rest,
        2 => {
            let first = *rest.first()?;
            if first == 0 {
                return None;
            }
            rest.get(length_octets(first)..)?
        }
        _ => {
            let (count, mut rest) = rest.split_first()?;
            if count & 0x40 != 0 {
                // Each octet of padding length that says 255 is followed by another.
                let more = rest.iter().take_while(|octet| **octet == 255).count();
                rest = rest.get(more + 1..)?;
            }
            if count & 0x80 != 0 {
                if *rest.first()? == 0 {
                    return None;
                }
                for _ in 1..count & 0x3f {
                    rest = rest.get(length_octets(*rest.first()?)..)?;
                }
            }
            rest
        }
    };
    (!frame.is_empty()).then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fmtp_is_read_as_rfc_7587_writes_it() {
        // The offer of section 7.1, in other case and spacing.
        let text = "maxplaybackrate=16000; sprop-maxcapturerate=16000;maxaveragebitrate=20000; \
                    stereo=1; UseInbandFEC=1; useDTX=0;x-new=7;;=;cbr;ptime=2;maxptime=40";
        let fmtp = Fmtp::parse(text);
        let expected = Fmtp {
            max_playback_rate_hz: Some(16_000),
            sprop_max_capture_rate_hz: Some(16_000),
            max_average_bitrate_bps: Some(20_000),
            stereo: true,
            use_inband_fec: true,
            maxptime_ms: Some(40),
            ..Fmtp::default()
        };
        assert_eq!(fmtp, expected);
        assert_eq!(
            fmtp.to_string(),
            "maxplaybackrate=16000;sprop-maxcapturerate=16000;maxptime=40;\
             maxaveragebitrate=20000;stereo=1;useinbandfec=1"
        );
        assert_eq!(Fmtp::parse(&fmtp.to_string()), fmtp);
        assert_eq!(Fmtp::parse("").to_string(), "");
    }

    #[test]
    fn fmtp_values_are_held_to_their_ranges() {
        let read = |text: &str| Fmtp::parse(text);
        assert_eq!(
            read("maxaveragebitrate=1").max_average_bitrate_bps,
            Some(6_000)
        );
        assert_eq!(
            read("maxaveragebitrate=999999").max_average_bitrate_bps,
            Some(510_000)
        );
        assert_eq!(
            read("maxplaybackrate=4294967295").max_playback_rate_hz,
            Some(48_000)
        );
        assert_eq!(
            read("maxplaybackrate=4294967296").max_playback_rate_hz,
            None
        );
        assert_eq!(read("maxplaybackrate=-1").max_playback_rate_hz, None);
        assert_eq!(
            (read("ptime=3").ptime_ms, read("ptime=121").ptime_ms),
            (Some(3), None)
        );
        assert!(!read("usedtx=2;cbr=yes").use_dtx);
        let at_limit = "x=1;".repeat(FMTP_PARAMETERS_MAX - 1) + "cbr=1";
        let above = "x=1;".repeat(FMTP_PARAMETERS_MAX) + "cbr=1";
        assert!(read(&at_limit).cbr && !read(&above).cbr);
    }

    #[test]
    fn a_peer_gets_no_more_than_it_wants() {
        let wants = Fmtp::parse("maxaveragebitrate=12000;maxplaybackrate=8000;usedtx=1;cbr=1");
        let config = OpusConfig::for_peer(48_000, &wants);
        assert_eq!(
            (config.bitrate_bps, config.max_playback_rate_hz),
            (12_000, 8_000)
        );
        assert!(config.dtx && config.cbr && !config.fec);
        let config = OpusConfig::for_peer(16_000, &Fmtp::parse("maxaveragebitrate=510000"));
        assert_eq!(config.bitrate_bps, OpusConfig::at(16_000).bitrate_bps);
        assert_eq!(
            OpusConfig::at(16_000).fmtp().to_string(),
            "maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1"
        );
        assert_eq!(OpusConfig::at(48_000).fmtp().to_string(), "useinbandfec=1");
    }

    #[test]
    fn length_is_what_table_2_says() {
        // Configurations 0–3, 12, 13, 16–19 with one frame.
        for (config, tenths_ms) in [
            (0, 100),
            (1, 200),
            (2, 400),
            (3, 600),
            (12, 100),
            (13, 200),
            (15, 200),
            (16, 25),
            (17, 50),
            (31, 200),
        ] {
            for pcm_hz in [8_000, 16_000, 24_000, 48_000] {
                let expected = tenths_ms * pcm_hz as usize / 10_000;
                assert_eq!(samples(&[config << 3], pcm_hz), Ok(expected));
                assert_eq!(samples(&[config << 3 | 3, 0x82], pcm_hz), Ok(2 * expected));
            }
        }
        assert_eq!(samples(&[], 8_000), Err(CodecError::Empty));
        assert_eq!(samples(&[3], 8_000), Err(CodecError::Malformed));
        assert_eq!(samples(&[3, 0x40], 8_000), Err(CodecError::Malformed));
        // 120 ms in six frames of 20 ms; one more is too long; so are three of 60 ms.
        assert_eq!(samples(&[1 << 3 | 3, 6], 8_000), Ok(960));
        assert_eq!(samples(&[1 << 3 | 3, 7], 8_000), Err(CodecError::TooLong));
        assert_eq!(samples(&[3 << 3 | 3, 3], 8_000), Err(CodecError::TooLong));
    }

    #[test]
    fn first_frames_are_found_in_every_packing() {
        let frame = |payload: &'static [u8]| first_frame(payload);
        assert_eq!(frame(&[0, 9, 8]), Some(&[9, 8][..]));
        assert_eq!(frame(&[1, 9, 8]), Some(&[9, 8][..]));
        assert_eq!(frame(&[2, 1, 9, 8]), Some(&[9, 8][..]));
        assert_eq!(frame(&[2, 252, 0, 9]), Some(&[9][..]));
        assert_eq!(frame(&[3, 2, 9, 8]), Some(&[9, 8][..]));
        assert_eq!(frame(&[3, 0xc2, 255, 1, 1, 9, 8]), Some(&[9, 8][..]));
        for none in [
            &[0][..],
            &[2],
            &[2, 0, 1],
            &[3],
            &[3, 0x82],
            &[3, 0x82, 0, 1],
        ] {
            assert_eq!(first_frame(none), None, "{none:?}");
        }
        assert_eq!(frame(&[3, 0xff, 255, 255]), None);
    }
}
