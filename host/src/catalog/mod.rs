//! How operators, connectors and functions declare themselves.

pub mod function;
