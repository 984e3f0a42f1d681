//! One file an operator, or a family of them, declared once.

mod aggregate;
mod aggregate_final;
mod aggregate_running;
mod aggregate_window;
mod alarms;
mod branch;
mod cast;
mod collect;
mod collect_window;
mod columns;
mod count_final;
mod distinct;
mod enrich_cached;
mod event_time;
mod extreme;
mod extreme_final;
mod extreme_window;
mod filter;
mod filter_map;
mod flat_map;
mod flatten;
mod fold_final;
mod fold_window;
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
mod stateful;
mod stateful_window;
mod states;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod times;
mod transform;
mod ttl;
mod window;

use crate::catalog::operator::Operator;

/// Keys of a column, as `key_on` makes them.
pub(crate) use text::{is_writable as can_be_key, write as keys_of};

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
    &stateful::Stateful,
    &stateful::StatefulBatch,
    &stateful::StatefulMap,
    &stateful::StatefulFlatMap,
    &aggregate_running::AggregateRunning,
    &collect::Collect,
    &count_final::CountFinal,
    &fold_final::ReduceFinal,
    &fold_final::FoldFinal,
    &extreme_final::MaxFinal,
    &extreme_final::MinFinal,
    &aggregate_final::AggregateFinal,
    &stateful_window::Window,
    &fold_window::FoldWindow,
    &fold_window::ReduceWindow,
    &aggregate_window::AggregateWindow,
    &aggregate_window::CountWindow,
    &extreme_window::MaxWindow,
    &extreme_window::MinWindow,
    &collect_window::CollectWindow,
    &join::Join,
    &join::JoinWindow,
    &join::IntervalJoin,
    &order::Order,
];
