//! What the host offers: log lines, counters, the time.
//!
//! Under `cargo test` there is no host; `testing::Recorder` keeps what was logged and counted, and sets the time.

use crate::time::Timestamp;

/// Writes lines to the host's log, with the step and worker that they come from.
pub mod log {
    use crate::bindings::wxhost::plugin::host::Level;

    /// Writes what only a search for a fault needs to know in full.
    pub fn trace(message: impl AsRef<str>) {
        super::host_log(Level::Trace, message.as_ref());
    }

    /// Writes what helps to search for a fault.
    pub fn debug(message: impl AsRef<str>) {
        super::host_log(Level::Debug, message.as_ref());
    }

    /// Writes what is good to know.
    pub fn info(message: impl AsRef<str>) {
        super::host_log(Level::Info, message.as_ref());
    }

    /// Writes what somebody should look at.
    pub fn warn(message: impl AsRef<str>) {
        super::host_log(Level::Warn, message.as_ref());
    }

    /// Writes what went wrong.
    pub fn error(message: impl AsRef<str>) {
        super::host_log(Level::Error, message.as_ref());
    }
}

/// Adds to a counter of the plugin's own, which appears in the run's summary and metrics.
pub fn count(name: &str, by: u64) {
    host_count(name, by);
}

/// Returns the system time by the host's clock.
pub fn now() -> Timestamp {
    Timestamp::from_micros(host_now())
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::wxhost::plugin::host::{count as host_count, log as host_log, now as host_now};
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::recorder::{count as host_count, log as host_log, now as host_now};
