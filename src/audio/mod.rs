//! Signal maths. Knows nothing of packets, sockets or calls.

pub mod clip;
pub mod codec;
pub mod comfort;
pub mod conceal;
pub mod dtmf;
pub mod g711;
pub mod g722;
pub mod l16;
pub mod level;
pub mod mix;
pub(crate) mod ogg;
pub mod opus;
pub mod progress;
pub mod resample;
pub mod stretch;
pub mod tone;
