//! The values that flow; no behaviour beyond their own invariants.

mod notation;
pub mod schema;
