//! How others command the switch: ng over UDP, TCP, HTTP and WebSocket; metrics; settings;
//! phones, where they are not switched off.

pub mod config;
pub mod http;
pub mod live;
pub mod metrics;
pub mod ng;
mod phones;
pub mod serve;
