//! Folds over groups of rows.

use super::bindings::{fold, types, wire};
use super::convert::Columns;
use super::identify::Interface;
use super::instance::Guest;
use super::open::{self, Target};
use super::schema::Visible;
use super::states::{self, Shape, Shared};
use super::validate::{self, Lie, lie};
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{Finished, FoldFactory, FoldFn, InstanceCx, MigrateStates, OpenFold, RowError};
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;
use wasmtime::component::TypedFunc;

/// Opens a fold in a throw-away instance.
///
/// # Errors
/// The fold refuses the schema or the configuration, or fails.
pub(super) fn open(target: Target, input: &Schema) -> Result<OpenFold, LogicError> {
    let visible = Visible::of(input);
    let (_, _, _, shape) = open_in(target.throw_away()?, &target, &visible)?;
    let Shape { output, reads, state_version } = shape.clone();
    let factory = Arc::new(Factory { shared: Arc::new(Shared { target, visible, shape }) });
    Ok(OpenFold { output, reads, state_version, factory })
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

impl FoldFactory for Factory {
    fn instantiate(&self, cx: &InstanceCx) -> Result<Box<dyn FoldFn>, LogicError> {
        let Shared { target, visible, shape } = &*self.shared;
        let (mut guest, calls, handle, opened) = open_in(target.instance(cx)?, target, visible)?;
        open::same(shape, &opened).map_err(|lie| guest.caught(lie))?;
        let update = guest.function(Interface::Fold, "update")?;
        Ok(Box::new(Fold { guest, calls, update, handle, shared: Arc::clone(&self.shared) }))
    }
}

fn load(mut guest: Guest, target: &Target) -> Result<(Guest, fold::Guest), LogicError> {
    let indices = target.compiled.fold.as_ref().expect("the library checked that the interface is exported");
    let calls = guest.load(|store, instance| indices.load(store, instance))?;
    Ok((guest, calls))
}

fn open_in(guest: Guest, target: &Target, visible: &Visible) -> Result<(Guest, fold::Guest, u32, Shape), LogicError> {
    let (mut guest, calls) = load(guest, target)?;
    let opened = guest.ask(|store| calls.call_open(store, &target.info.name, &visible.schema, &target.config))?;
    let handle = opened.handle;
    let said = (opened.output, &*opened.reads, opened.state_version);
    let shape = Shape::of("fold", said, visible).map_err(|lie| guest.caught(lie))?;
    Ok((guest, calls, handle, shape))
}

type Update = TypedFunc<
    (u32, &'static [u32], Option<&'static [u32]>, wire::Batch<'static>),
    (Result<Vec<types::RowError>, types::Error>,),
>;

struct Fold {
    guest: Guest,
    calls: fold::Guest,
    update: Update,
    handle: u32,
    shared: Arc<Shared>,
}

impl Fold {
    /// Runs `work` and accounts for its time.
    fn measured<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let started = self.guest.started();
        let result = work(self);
        self.guest.account(started);
        result
    }
}

impl FoldFn for Fold {
    fn update(
        &mut self,
        groups: &[u32],
        index: Option<&[u32]>,
        rows: &RecordBatch,
    ) -> Result<Vec<RowError>, LogicError> {
        self.measured(|fold| {
            let columns = Columns::of(rows, &fold.shared.shape.reads)?;
            let (guest, update, handle) = (&mut fold.guest, &fold.update, fold.handle);
            let errors =
                columns.lend(|batch| guest.ask(|store| Ok(update.call(store, (handle, groups, index, batch))?.0)))?;
            validate::row_errors(errors, groups.len()).map_err(|lie| guest.caught(lie))
        })
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<(), LogicError> {
        self.measured(|fold| fold.guest.ask(|store| fold.calls.call_merge(store, fold.handle, into, from)))
    }

    fn finish(&mut self, groups: &[u32]) -> Result<Finished, LogicError> {
        self.measured(|fold| {
            let finished = fold.guest.ask(|store| fold.calls.call_finish(store, fold.handle, groups))?;
            check(finished, groups.len(), &fold.shared.shape.output).map_err(|lie| fold.guest.caught(lie))
        })
    }

    fn snapshot(&mut self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        self.measured(|fold| {
            let states = fold.guest.ask(|store| fold.calls.call_snapshot(store, fold.handle, groups))?;
            validate::states(states, groups.len()).map_err(|lie| fold.guest.caught(lie))
        })
    }

    fn restore(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        self.measured(|fold| {
            states::in_calls(groups, states, |groups, states| {
                fold.guest.ask(|store| fold.calls.call_restore(store, fold.handle, groups, &states))
            })
        })
    }

    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError> {
        self.measured(|fold| fold.guest.call(|store| fold.calls.call_release(store, fold.handle, groups)))
    }
}

fn check(finished: fold::Finished, groups: usize, output: &SchemaRef) -> Result<Finished, Lie> {
    let errors = validate::row_errors(finished.errors, groups)?;
    let rows = validate::rows(finished.rows, output)?;
    if rows.num_rows() != groups - errors.len() {
        return lie!("{} rows for {groups} groups of which {} failed", rows.num_rows(), errors.len());
    }
    Ok(Finished { rows, errors })
}
