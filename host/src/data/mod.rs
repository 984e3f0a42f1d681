//! The values that flow; no behaviour beyond their own invariants.

pub mod schema;
