//! Call flows: what becomes of a call, applet by applet, on top of the switch.
//!
//! | part | what it does |
//! |---|---|
//! | [`script`] | flows as TOML files, checked when they are loaded |
//! | [`folder`], [`numbers`] | a directory of them, which may change, and which number leads where |
//! | [`demo`] | flows and sounds that are built in |
//! | [`run`] | carries calls through their flows |
//! | [`board`] | every call and leg that lives, for those who watch |
//! | [`records`] | every call and leg, in an embedded store |
//! | [`callback`] | tells applications by HTTP what becomes of calls |

pub mod board;
pub mod callback;
pub mod demo;
pub mod folder;
pub mod numbers;
pub mod records;
pub mod run;
pub mod script;
