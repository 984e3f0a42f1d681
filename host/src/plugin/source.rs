//! Sources of plugins: an instance for each partition, on a thread of its own.

use super::bindings::source;
use super::instance::Guest;
use super::open::{self, Target};
use super::schema;
use super::validate::{self, Lie, lie};
use crate::data::time::Instant;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{InstanceCx, OpenSource, Polled, SourceFactory, SourceFn};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Opens a source in a throw-away instance.
///
/// # Errors
/// The source refuses the configuration, or fails.
pub(super) fn open(target: Target) -> Result<OpenSource, LogicError> {
    let (_, _, _, output) = open_in(target.throw_away()?, &target)?;
    let factory = Arc::new(Factory { target, output: Arc::clone(&output) });
    Ok(OpenSource { output, factory })
}

struct Factory {
    target: Target,
    output: SchemaRef,
}

impl SourceFactory for Factory {
    fn list_parts(&self) -> Result<Vec<String>, LogicError> {
        let (mut guest, calls, handle, _) = open_in(self.target.throw_away()?, &self.target)?;
        let parts = guest.ask(|store| calls.call_list_parts(store, handle))?;
        validate::parts(parts).map_err(|lie| guest.caught(lie))
    }

    fn build_part(
        &self,
        cx: &InstanceCx,
        name: &str,
        position: Option<&[u8]>,
    ) -> Result<Box<dyn SourceFn>, LogicError> {
        let (mut guest, calls, handle, output) = open_in(self.target.instance(cx)?, &self.target)?;
        open::same(&self.output, &output).map_err(|lie| guest.caught(lie))?;
        let part = guest.ask(|store| calls.call_build_part(store, handle, name, position))?;
        Ok(Box::new(Source { guest, calls, part, output }))
    }
}

fn open_in(mut guest: Guest, target: &Target) -> Result<(Guest, source::Guest, u32, SchemaRef), LogicError> {
    let indices = target.compiled.source.as_ref().expect("the library checked that the interface is exported");
    let calls = guest.load(|store, instance| indices.load(store, instance))?;
    let opened = guest.ask(|store| calls.call_open(store, &target.info.name, &target.config))?;
    let output = schema::schema(opened.output).map_err(|lie| guest.caught(lie))?;
    Ok((guest, calls, opened.handle, output))
}

struct Source {
    guest: Guest,
    calls: source::Guest,
    part: u32,
    output: SchemaRef,
}

impl SourceFn for Source {
    fn next_batch(&mut self, max_rows: u32) -> Result<Polled, LogicError> {
        let started = self.guest.started();
        let polled = self.guest.ask(|store| self.calls.call_next_batch(store, self.part, max_rows));
        let polled =
            polled.and_then(|polled| check(polled, max_rows, &self.output).map_err(|lie| self.guest.caught(lie)));
        self.guest.account(started);
        polled
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, LogicError> {
        self.guest.ask(|store| self.calls.call_snapshot(store, self.part))
    }

    fn close(&mut self) -> Result<(), LogicError> {
        self.guest.ask(|store| self.calls.call_close(store, self.part))
    }
}

fn check(polled: source::Polled, max_rows: u32, output: &SchemaRef) -> Result<Polled, Lie> {
    Ok(match polled {
        source::Polled::Data(batch) => match batch.rows {
            0 => return lie!("a batch without rows; `idle` says that there is nothing"),
            rows if rows > max_rows => return lie!("{rows} rows where at most {max_rows} were asked for"),
            _ => Polled::Rows(validate::rows(batch, output)?),
        },
        source::Polled::Idle(until) => Polled::Idle(Instant(until)),
        source::Polled::End => Polled::End,
    })
}
