pub mod diag;
pub mod spec;
