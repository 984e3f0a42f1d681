//! Native aggregates: `count`, `sum`, `min`, `max`, `mean`, `first` and `last`, several at once over many groups.
//!
//! They are a fold as a plugin's is, so that whatever runs folds runs them. A group's states stand in plain arrays, one
//! array an aggregate, and each takes in a whole batch in one loop.

mod accumulator;
mod bytes;
mod chosen;
mod counts;
mod notation;
mod set;
#[cfg(test)]
mod tests;
mod totals;

#[cfg(test)]
pub(super) use accumulator::Function;
pub(super) use notation::{aggregate_doc, parse, values_doc};
pub(super) use set::{Aggregate, Aggregates, Of, keeps, open, schema};
