pub mod catalog;
pub mod data;
pub mod dataflow;
pub mod formats;
pub mod telemetry;
