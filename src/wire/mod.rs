//! Wire formats. No I/O, no clock, and no allocation where packets flow.

pub mod bencode;
pub mod demux;
pub mod event;
pub mod ng;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod seq;
