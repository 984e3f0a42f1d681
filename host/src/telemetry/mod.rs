//! What a run tells about itself: counters that drivers write and the summary reads.

pub mod meter;
