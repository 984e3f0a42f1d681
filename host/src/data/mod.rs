//! The values that flow. No behaviour beyond their own invariants; knows Arrow, and nothing of timely or wasmtime.

pub mod batch;
pub mod fingerprint;
pub mod ids;
pub mod key;
mod notation;
pub mod schema;
pub mod time;
