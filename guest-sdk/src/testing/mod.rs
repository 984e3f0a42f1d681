//! Tests.
pub(crate) mod recorder;
