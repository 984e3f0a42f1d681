//! The timely toolkit: streams of batches, and the drivers that run operators' logic on them.
//!
//! What every driver keeps to:
//! - Every worker builds the same operators in the same order, whatever partitions it has.
//! - Failures go to the [`failure::FailureSlot`]; after that a driver drops what it holds and does nothing more.
//! - Nothing in an operator blocks. What may block runs on a thread of its own and wakes the operator.
//! - Rows are counted where they enter and leave a step, by drivers alone.

mod ahead;
mod alarm;
mod answers;
pub mod build;
#[cfg(test)]
mod clock_tests;
pub mod dead_letter;
mod disk_line;
#[cfg(test)]
mod driver_tests;
pub mod durable;
pub mod emit;
pub mod env;
pub mod epochs;
pub mod error;
pub mod exchange;
pub mod failure;
mod forecast;
pub mod hand_in;
pub mod idle;
pub mod keyed;
mod last_epoch;
pub mod migration;
pub mod packet;
mod part;
pub mod partitions;
pub mod progress;
pub mod script;
pub mod sink;
mod sink_part;
pub mod source;
pub mod stateless;
#[cfg(test)]
pub mod testing;
mod ticks;
mod timer;
pub mod user_fn;
pub mod wire;
pub mod writers;
