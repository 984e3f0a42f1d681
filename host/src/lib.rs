pub mod catalog;
pub mod data;
pub mod dataflow;
pub mod plugin;
pub mod telemetry;
