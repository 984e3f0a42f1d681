//! What a run tells about itself: counters that drivers write, and the progress line and summary that read them.

pub mod meter;
pub mod progress;
pub mod summary;
mod units;
