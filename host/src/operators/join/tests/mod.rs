//! Joins against what they ought to give, row by row.

mod by_key;
mod pairs;
mod window;
