#![doc = include_str!("../ARCHITECTURE.md")]

pub mod catalog;
pub mod cli;
pub mod connectors;
pub mod data;
pub mod dataflow;
pub mod diag;
pub mod formats;
pub mod operators;
pub mod plan;
pub mod plugin;
pub mod recovery;
pub mod run;
pub mod spec;
pub mod telemetry;
pub mod testing;
