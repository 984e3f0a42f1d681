//! One file an operator, or a family of them, declared once.

mod alarms;
mod branch;
mod cast;
mod collect;
mod columns;
mod count_final;
mod enrich_cached;
mod event_time;
mod extreme_final;
mod filter;
mod filter_map;
mod flat_map;
mod flatten;
mod fold_final;
mod groups;
mod input;
mod inspect;
mod join;
mod key_on;
mod key_rm;
mod keying;
mod map;
mod merge;
mod order;
mod output;
mod parse;
mod raises;
mod redistribute;
mod rows;
mod select;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod transform;
mod ttl;
mod window;

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
    &flatten::Flatten,
    &branch::Branch,
    &merge::Merge,
    &key_on::KeyOn,
    &key_rm::KeyRm,
    &redistribute::Redistribute,
    &inspect::Inspect,
    &inspect::InspectDebug,
    &raises::Raises,
    &enrich_cached::EnrichCached,
    &select::Select,
    &parse::Parse,
    &collect::Collect,
    &count_final::CountFinal,
    &fold_final::ReduceFinal,
    &fold_final::FoldFinal,
    &extreme_final::MaxFinal,
    &extreme_final::MinFinal,
    &join::Join,
    &join::JoinWindow,
    &join::IntervalJoin,
    &order::Order,
];
