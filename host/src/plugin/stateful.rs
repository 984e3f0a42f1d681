//! Stateful functions over groups of rows.

use super::bindings::{stateful, types, wire};
use super::convert::Columns;
use super::identify::Interface;
use super::instance::Guest;
use super::open::{self, Target};
use super::schema::Visible;
use super::states::{self, Shape, Shared};
use super::validate::{self, Lie, lie};
use crate::data::time::Instant;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{
    Emitted, InstanceCx, MigrateStates, OpenStateful, RowError, StatefulFactory, StatefulFn,
};
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;
use wasmtime::component::TypedFunc;

/// What `notify-at` says of a group that does not want to be woken.
const NEVER: i64 = i64::MAX;

/// Opens a stateful function in a throw-away instance.
///
/// # Errors
/// The function refuses the schema or the configuration, or fails.
pub(super) fn open(target: Target, input: &Schema) -> Result<OpenStateful, LogicError> {
    let visible = Visible::of(input);
    let (_, _, _, shape) = open_in(target.throw_away()?, &target, &visible)?;
    let Shape { output, reads, state_version } = shape.clone();
    let factory = Arc::new(Factory { shared: Arc::new(Shared { target, visible, shape }) });
    Ok(OpenStateful { output, reads, state_version, factory })
}

struct Factory {
    shared: Arc<Shared>,
}

impl MigrateStates for Factory {
    fn migrate(&self, cx: &InstanceCx, from_version: u32, states: &BinaryArray) -> Result<BinaryArray, LogicError> {
        let target = &self.shared.target;
        let (mut guest, calls) = load(target.instance(cx)?, target)?;
        states::migrate(&mut guest, states, |guest, states| {
            guest.ask(|store| calls.call_migrate(store, &target.info.name, from_version, &states))
        })
    }
}

impl StatefulFactory for Factory {
    fn instantiate(&self, cx: &InstanceCx) -> Result<Box<dyn StatefulFn>, LogicError> {
        let Shared { target, visible, shape } = &*self.shared;
        let (mut guest, calls, handle, opened) = open_in(target.instance(cx)?, target, visible)?;
        open::same(shape, &opened).map_err(|lie| guest.caught(lie))?;
        let on_batch = guest.function(Interface::Stateful, "on-batch")?;
        Ok(Box::new(Stateful { guest, calls, on_batch, handle, shared: Arc::clone(&self.shared) }))
    }
}

fn load(mut guest: Guest, target: &Target) -> Result<(Guest, stateful::Guest), LogicError> {
    let indices = target.compiled.stateful.as_ref().expect("the library checked that the interface is exported");
    let calls = guest.load(|store, instance| indices.load(store, instance))?;
    Ok((guest, calls))
}

fn open_in(
    guest: Guest,
    target: &Target,
    visible: &Visible,
) -> Result<(Guest, stateful::Guest, u32, Shape), LogicError> {
    let (mut guest, calls) = load(guest, target)?;
    let opened = guest.ask(|store| calls.call_open(store, &target.info.name, &visible.schema, &target.config))?;
    let handle = opened.handle;
    let said = (opened.output, &*opened.reads, opened.state_version);
    let shape = Shape::of("stateful function", said, visible).map_err(|lie| guest.caught(lie))?;
    Ok((guest, calls, handle, shape))
}

type OnBatch = TypedFunc<(u32, &'static [u32], wire::Batch<'static>, i64), (Result<stateful::Emitted, types::Error>,)>;

struct Stateful {
    guest: Guest,
    calls: stateful::Guest,
    on_batch: OnBatch,
    handle: u32,
    shared: Arc<Shared>,
}

impl Stateful {
    /// Runs `work` and accounts for its time.
    fn measured<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let started = self.guest.started();
        let result = work(self);
        self.guest.account(started);
        result
    }

    /// Checks what a call emitted that was handed groups and no rows.
    fn emitted(&mut self, emitted: stateful::Emitted, groups: &[u32]) -> Result<Emitted, LogicError> {
        check(emitted, groups, false, &self.shared.shape.output).map_err(|lie| self.guest.caught(lie))
    }
}

impl StatefulFn for Stateful {
    fn on_batch(&mut self, groups: &[u32], rows: &RecordBatch, now: Instant) -> Result<Emitted, LogicError> {
        assert_eq!(groups.len(), rows.num_rows(), "every row has a group");
        self.measured(|it| {
            let columns = Columns::of(rows, &it.shared.shape.reads)?;
            let (guest, on_batch, handle) = (&mut it.guest, &it.on_batch, it.handle);
            let emitted =
                columns.lend(|batch| guest.ask(|store| Ok(on_batch.call(store, (handle, groups, batch, now.0))?.0)))?;
            check(emitted, groups, true, &it.shared.shape.output).map_err(|lie| guest.caught(lie))
        })
    }

    fn on_notify(&mut self, groups: &[u32], now: Instant) -> Result<Emitted, LogicError> {
        self.measured(|it| {
            let emitted = it.guest.ask(|store| it.calls.call_on_notify(store, it.handle, groups, now.0))?;
            it.emitted(emitted, groups)
        })
    }

    fn on_eof(&mut self, groups: &[u32], now: Instant) -> Result<Emitted, LogicError> {
        self.measured(|it| {
            let emitted = it.guest.ask(|store| it.calls.call_on_eof(store, it.handle, groups, now.0))?;
            it.emitted(emitted, groups)
        })
    }

    fn merge(&mut self, into: &[u32], from: &[u32], now: Instant) -> Result<Emitted, LogicError> {
        assert_eq!(into.len(), from.len(), "one group merges into one");
        self.measured(|it| {
            let emitted = it.guest.ask(|store| it.calls.call_merge(store, it.handle, into, from, now.0))?;
            it.emitted(emitted, into)
        })
    }

    fn notify_at(&mut self, groups: &[u32]) -> Result<Vec<Option<Instant>>, LogicError> {
        self.measured(|it| {
            let times = it.guest.ask(|store| it.calls.call_notify_at(store, it.handle, groups))?;
            if times.len() != groups.len() {
                return Err(it.guest.caught(Lie(format!("{} times for {} groups", times.len(), groups.len()))));
            }
            Ok(times.into_iter().map(|at| Some(Instant(at)).filter(|at| at.0 != NEVER)).collect())
        })
    }

    fn snapshot(&mut self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        self.measured(|it| {
            let states = it.guest.ask(|store| it.calls.call_snapshot(store, it.handle, groups))?;
            validate::states(states, groups.len()).map_err(|lie| it.guest.caught(lie))
        })
    }

    fn restore(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        self.measured(|it| {
            states::in_calls(groups, states, |groups, states| {
                it.guest.ask(|store| it.calls.call_restore(store, it.handle, groups, &states))
            })
        })
    }

    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError> {
        self.measured(|it| it.guest.call(|store| it.calls.call_release(store, it.handle, groups)))
    }
}

/// Checks what a call emitted. `groups` are those of the rows that were handed in, or those that were called by
/// themselves.
fn check(emitted: stateful::Emitted, groups: &[u32], are_of_rows: bool, output: &SchemaRef) -> Result<Emitted, Lie> {
    let errors = validate::row_errors(emitted.errors, groups.len())?;
    let rows = validate::rows(emitted.rows, output)?;
    if rows.num_rows() != emitted.groups.len() {
        return lie!("{} rows and {} groups", rows.num_rows(), emitted.groups.len());
    }
    match &emitted.parents {
        Some(_) if !are_of_rows => return lie!("`parents` from a call without rows"),
        Some(parents) => check_parents(parents, &emitted.groups, groups, &errors)?,
        None => {}
    }
    let are_known = emitted.parents.is_some() || emitted.groups.is_empty();
    if !are_known || !emitted.discarded.is_empty() {
        let mut known = groups.to_vec();
        known.sort_unstable();
        let is_unknown = |group: &&u32| known.binary_search(group).is_err();
        if let Some(group) = emitted.groups.iter().find(|group| !are_known && is_unknown(group)) {
            return lie!("a row of group {group}, which was not handed in");
        }
        if let Some(group) = emitted.discarded.iter().find(is_unknown) {
            return lie!("that it discarded group {group}, which was not handed in");
        }
        let mut discarded = emitted.discarded.clone();
        discarded.sort_unstable();
        if let Some(pair) = discarded.windows(2).find(|pair| pair[0] == pair[1]) {
            return lie!("that it discarded group {} twice", pair[0]);
        }
    }
    let stateful::Emitted { groups, parents, discarded, .. } = emitted;
    Ok(Emitted { rows, groups, parents, discarded, errors })
}

/// Checks that parents are rows that were handed in, never fall, did not fail, and are of the groups of their rows.
fn check_parents(parents: &[u32], of_rows: &[u32], groups: &[u32], errors: &[RowError]) -> Result<(), Lie> {
    if parents.len() != of_rows.len() {
        return lie!("{} rows and {} `parents`", of_rows.len(), parents.len());
    }
    if let Some(at) = parents.windows(2).position(|pair| pair[1] < pair[0]) {
        return lie!("`parents` that go from {} to {}", parents[at], parents[at + 1]);
    }
    if let Some(&last) = parents.last()
        && last as usize >= groups.len()
    {
        return lie!("a parent {last} of {} rows", groups.len());
    }
    if let Some(at) = parents.iter().zip(of_rows).position(|(parent, group)| groups[*parent as usize] != *group) {
        let parent = parents[at];
        return lie!("a row of group {} from row {parent}, which is of group {}", of_rows[at], groups[parent as usize]);
    }
    match errors.iter().find(|error| parents.binary_search(&error.row).is_ok()) {
        Some(error) => lie!("rows from row {}, and an error for it", error.row),
        None => Ok(()),
    }
}
