//! Joins: rows of several streams that have one key, beside each other.
//!
//! A *joiner* knows which rows come out and when. It works on *slots*: `join` numbers keys, `join_window` windows.
//! `interval_join` pairs rows by their times. Rows are kept as references into the batches they came in, and copied
//! once, when they come out.

mod by_key;
mod interval;
mod joiner;
mod pairs;
mod sides;
mod state;
#[cfg(test)]
mod tests;
mod window;

pub(super) use by_key::Join;
pub(super) use interval::IntervalJoin;
pub(super) use window::JoinWindow;
