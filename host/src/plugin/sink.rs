//! Sinks of plugins: an instance for each partition, on a thread of its own.

use super::bindings::{sink, types, wire};
use super::convert::Columns;
use super::identify::Interface;
use super::instance::Guest;
use super::open::{self, Target};
use super::schema::Visible;
use super::validate;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{InstanceCx, OpenSink, RowError, SinkFactory, SinkFn};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use std::sync::Arc;
use wasmtime::component::TypedFunc;

/// Opens a sink in a throw-away instance.
///
/// # Errors
/// The sink refuses the schema or the configuration, or fails.
pub(super) fn open(target: Target, input: &Schema) -> Result<OpenSink, LogicError> {
    let visible = Visible::of(input);
    let (_, _, _, shape) = open_in(target.throw_away()?, &target, &visible)?;
    let Shape { reads, two_phase } = shape.clone();
    let factory = Arc::new(Factory { target, visible, shape });
    Ok(OpenSink { reads, two_phase, factory })
}

/// What a sink said of itself when it was opened.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    reads: Vec<usize>,
    two_phase: bool,
}

struct Factory {
    target: Target,
    visible: Visible,
    shape: Shape,
}

impl SinkFactory for Factory {
    fn list_parts(&self) -> Result<Vec<String>, LogicError> {
        let (mut guest, calls, handle, _) = open_in(self.target.throw_away()?, &self.target, &self.visible)?;
        let parts = guest.ask(|store| calls.call_list_parts(store, handle))?;
        validate::parts(parts).map_err(|lie| guest.caught(lie))
    }

    fn build_part(&self, cx: &InstanceCx, name: &str, position: Option<&[u8]>) -> Result<Box<dyn SinkFn>, LogicError> {
        let (mut guest, calls, handle, shape) = open_in(self.target.instance(cx)?, &self.target, &self.visible)?;
        open::same(&self.shape, &shape).map_err(|lie| guest.caught(lie))?;
        let write = guest.function(Interface::Sink, "write")?;
        let part = guest.ask(|store| calls.call_build_part(store, handle, name, position))?;
        Ok(Box::new(Sink { guest, calls, write, part, reads: shape.reads }))
    }
}

fn open_in(
    mut guest: Guest,
    target: &Target,
    visible: &Visible,
) -> Result<(Guest, sink::Guest, u32, Shape), LogicError> {
    let indices = target.compiled.sink.as_ref().expect("the library checked that the interface is exported");
    let calls = guest.load(|store, instance| indices.load(store, instance))?;
    let opened = guest.ask(|store| calls.call_open(store, &target.info.name, &visible.schema, &target.config))?;
    let reads = visible.reads(&opened.reads).map_err(|lie| guest.caught(lie))?;
    Ok((guest, calls, opened.handle, Shape { reads, two_phase: opened.two_phase }))
}

type Write = TypedFunc<(u32, wire::Batch<'static>), (Result<Vec<types::RowError>, types::Error>,)>;

struct Sink {
    guest: Guest,
    calls: sink::Guest,
    write: Write,
    part: u32,
    reads: Vec<usize>,
}

impl SinkFn for Sink {
    fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RowError>, LogicError> {
        let started = self.guest.started();
        let columns = Columns::of(rows, &self.reads)?;
        let (guest, write, part) = (&mut self.guest, &self.write, self.part);
        let errors = columns.lend(|batch| guest.ask(|store| Ok(write.call(store, (part, batch))?.0)));
        guest.account(started);
        validate::row_errors(errors?, rows.num_rows()).map_err(|lie| guest.caught(lie))
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, LogicError> {
        self.guest.ask(|store| self.calls.call_snapshot(store, self.part))
    }

    fn pre_commit(&mut self, epoch: u64) -> Result<Vec<u8>, LogicError> {
        self.guest.ask(|store| self.calls.call_pre_commit(store, self.part, epoch))
    }

    fn commit(&mut self, epoch: u64, staged: &[u8]) -> Result<(), LogicError> {
        self.guest.ask(|store| self.calls.call_commit(store, self.part, epoch, staged))
    }

    fn close(&mut self) -> Result<(), LogicError> {
        self.guest.ask(|store| self.calls.call_close(store, self.part))
    }
}
