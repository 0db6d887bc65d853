//! Wire formats. No I/O, no clock, and no allocation where packets flow.
