//! One file an operator, or a family of them, declared once.

mod branch;
mod cast;
mod columns;
mod count_final;
mod filter;
mod filter_map;
mod flat_map;
mod groups;
mod input;
mod key_on;
mod keying;
mod map;
mod merge;
mod output;
mod select;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod transform;

use crate::catalog::operator::Operator;

/// All operators, in documentation order.
pub const OPERATORS: &[&dyn Operator] = &[
    &input::Input,
    &output::Output,
    &map::Map,
    &map::MapValue,
    &filter::Filter,
    &filter::FilterValue,
    &flat_map::FlatMap,
    &flat_map::FlatMapValue,
    &flat_map::FlatMapBatch,
    &filter_map::FilterMap,
    &filter_map::FilterMapValue,
    &branch::Branch,
    &merge::Merge,
    &key_on::KeyOn,
    &select::Select,
    &count_final::CountFinal,
];
