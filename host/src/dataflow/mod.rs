//! The timely toolkit: streams of batches, and the drivers that run operators' logic on them.

pub mod env;
pub mod error;
pub mod user_fn;
