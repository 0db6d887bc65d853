//! How others command the switch: ng over UDP, TCP, HTTP and WebSocket; metrics; settings.

pub mod config;
pub mod http;
pub mod metrics;
pub mod ng;
pub mod serve;
