//! Where recordings are: their names, and what is done with those that are complete.

pub mod pattern;
pub mod shelf;
