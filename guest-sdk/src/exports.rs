//! The component's exports: calls find their function in the table and their state by its handle.
//!
//! An instance has one thread, so what is open lives in a thread-local.

use std::cell::RefCell;

use crate::bindings::exports::wxhost::plugin::{fold, functions, sink, source, stateful, transform};
use crate::bindings::wxhost::plugin::types::{Batch, Error as WitError, RowError, Schema, VarSize};
use crate::error::{Error, Result, to_wit};
use crate::fold::OpenFold;
use crate::function::{Entry, Kind, Open, Plugin};
use crate::sink::{OpenSink, OpenSinkPart};
use crate::source::{OpenSource, OpenSourcePart};
use crate::stateful::OpenStateful;
use crate::transform::OpenTransform;

enum Live {
    Transform(OpenTransform),
    Fold(OpenFold),
    Stateful(OpenStateful),
    Source(Box<dyn OpenSource>),
    SourcePart(Box<dyn OpenSourcePart>),
    Sink(Box<dyn OpenSink>),
    SinkPart(Box<dyn OpenSinkPart>),
    Closed,
}

thread_local! {
    static LIVE: RefCell<Vec<Live>> = const { RefCell::new(Vec::new()) };
}

fn keep(live: Live) -> u32 {
    LIVE.with_borrow_mut(|all| {
        all.push(live);
        all.len() as u32 - 1
    })
}

/// Calls `f` with what a handle names.
fn with<T>(handle: u32, f: impl FnOnce(&mut Live) -> Option<Result<T>>) -> Result<T, WitError> {
    let stale = || Error::internal(format!("the host named the handle {handle}, which is not open for this call"));
    LIVE.with_borrow_mut(|all| all.get_mut(handle as usize).and_then(f).unwrap_or_else(|| Err(stale()))).map_err(to_wit)
}

/// Makes a function that calls with the open thing of one kind.
macro_rules! with_kind {
    ($name:ident, $variant:ident, $type:ty) => {
        fn $name<T>(handle: u32, f: impl FnOnce(&mut $type) -> Result<T>) -> Result<T, WitError> {
            with(handle, |live| match live {
                Live::$variant(open) => Some(f(open)),
                _ => None,
            })
        }
    };
}

with_kind!(with_transform, Transform, OpenTransform);
with_kind!(with_fold, Fold, OpenFold);
with_kind!(with_stateful, Stateful, OpenStateful);
with_kind!(with_source, Source, Box<dyn OpenSource>);
with_kind!(with_source_part, SourcePart, Box<dyn OpenSourcePart>);
with_kind!(with_sink, Sink, Box<dyn OpenSink>);
with_kind!(with_sink_part, SinkPart, Box<dyn OpenSinkPart>);

fn close(part: u32) {
    LIVE.with_borrow_mut(|all| {
        if let Some(live) = all.get_mut(part as usize) {
            *live = Live::Closed;
        }
    });
}

/// Finds a function by name and opens it; messages say which function it was.
fn open<P: Plugin, T>(
    name: &str,
    wanted: &str,
    f: impl FnOnce(&'static Entry) -> Option<Result<T>>,
) -> Result<T, WitError> {
    let entries = P::entries();
    let Some(entry) = entries.iter().find(|entry| entry.function.name == name) else {
        let names: Vec<_> = entries.iter().map(|entry| entry.function.name.as_str()).collect();
        return Err(to_wit(Error::user(format!("no function {name:?}; functions: {}", names.join(", ")))));
    };
    f(entry)
        .unwrap_or_else(|| Err(Error::user(format!("is a {}, not a {wanted}", kind_name(entry.function.kind)))))
        .map_err(|error| to_wit(error.context(format!("function {name:?}"))))
}

pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Map => "map",
        Kind::Filter => "filter",
        Kind::FilterMap => "filter_map",
        Kind::FlatMap => "flat_map",
        Kind::KeyOn => "key_on",
        Kind::Fold => "fold",
        Kind::Stateful => "stateful",
        Kind::Source => "source",
        Kind::Sink => "sink",
    }
}

impl<P: Plugin> functions::Guest for P {
    fn list_functions() -> Vec<functions::Function> {
        P::entries().iter().map(|entry| entry.function.clone()).collect()
    }
}

impl<P: Plugin> transform::Guest for P {
    fn open(function: String, input: Schema, config: String) -> Result<transform::Opened, WitError> {
        let open = open::<P, _>(&function, "stateless function", |entry| match entry.open {
            Open::Transform(open) => Some(open(&input, &config)),
            _ => None,
        })?;
        let (output, reads, extends) = (open.output.clone(), open.reads.clone(), open.extends);
        Ok(transform::Opened { handle: keep(Live::Transform(open)), output, reads, extends })
    }

    fn apply(handle: u32, input: Batch) -> Result<transform::Applied, WitError> {
        with_transform(handle, |open| (open.apply)(input))
    }
}

impl<P: Plugin> fold::Guest for P {
    fn open(function: String, input: Schema, config: String) -> Result<fold::Opened, WitError> {
        let (open, state_version) = open::<P, _>(&function, "fold", |entry| match entry.open {
            Open::Fold(open, _) => Some(open(&input, &config).map(|open| (open, entry.function.state_version))),
            _ => None,
        })?;
        let (output, reads) = (open.output.clone(), open.reads.clone());
        Ok(fold::Opened { handle: keep(Live::Fold(open)), output, reads, state_version })
    }

    fn update(handle: u32, groups: Vec<u32>, index: Option<Vec<u32>>, rows: Batch) -> Result<Vec<RowError>, WitError> {
        with_fold(handle, |open| open.groups.update(&groups, index.as_deref(), &rows))
    }

    fn merge(handle: u32, into: Vec<u32>, from: Vec<u32>) -> Result<(), WitError> {
        with_fold(handle, |open| open.groups.merge(&into, &from))
    }

    fn finish(handle: u32, groups: Vec<u32>) -> Result<fold::Finished, WitError> {
        with_fold(handle, |open| open.groups.finish(&groups))
    }

    fn snapshot(handle: u32, groups: Vec<u32>) -> Result<VarSize, WitError> {
        with_fold(handle, |open| open.groups.snapshot(&groups))
    }

    fn restore(handle: u32, groups: Vec<u32>, states: VarSize) -> Result<(), WitError> {
        with_fold(handle, |open| open.groups.restore(&groups, &states))
    }

    fn release(handle: u32, groups: Vec<u32>) {
        LIVE.with_borrow_mut(|all| {
            if let Some(Live::Fold(open)) = all.get_mut(handle as usize) {
                open.groups.release(&groups);
            }
        });
    }

    fn migrate(function: String, from_version: u32, states: VarSize) -> Result<VarSize, WitError> {
        open::<P, _>(&function, "fold", |entry| match entry.open {
            Open::Fold(_, migrate) => Some(migrate(from_version, &states)),
            _ => None,
        })
    }
}

impl<P: Plugin> stateful::Guest for P {
    fn open(function: String, input: Schema, config: String) -> Result<stateful::Opened, WitError> {
        let (open, state_version) = open::<P, _>(&function, "stateful function", |entry| match entry.open {
            Open::Stateful(open, _) => Some(open(&input, &config).map(|open| (open, entry.function.state_version))),
            _ => None,
        })?;
        let (output, reads) = (open.output.clone(), open.reads.clone());
        Ok(stateful::Opened { handle: keep(Live::Stateful(open)), output, reads, state_version })
    }

    fn on_batch(handle: u32, groups: Vec<u32>, rows: Batch, now: i64) -> Result<stateful::Emitted, WitError> {
        with_stateful(handle, |open| open.groups.on_batch(&groups, &rows, now))
    }

    fn on_notify(handle: u32, groups: Vec<u32>, now: i64) -> Result<stateful::Emitted, WitError> {
        with_stateful(handle, |open| open.groups.on_notify(&groups, now))
    }

    fn on_eof(handle: u32, groups: Vec<u32>, now: i64) -> Result<stateful::Emitted, WitError> {
        with_stateful(handle, |open| open.groups.on_eof(&groups, now))
    }

    fn merge(handle: u32, into: Vec<u32>, from: Vec<u32>, now: i64) -> Result<stateful::Emitted, WitError> {
        with_stateful(handle, |open| open.groups.merge(&into, &from, now))
    }

    fn notify_at(handle: u32, groups: Vec<u32>) -> Result<Vec<i64>, WitError> {
        with_stateful(handle, |open| open.groups.notify_at(&groups))
    }

    fn snapshot(handle: u32, groups: Vec<u32>) -> Result<VarSize, WitError> {
        with_stateful(handle, |open| open.groups.snapshot(&groups))
    }

    fn restore(handle: u32, groups: Vec<u32>, states: VarSize) -> Result<(), WitError> {
        with_stateful(handle, |open| open.groups.restore(&groups, &states))
    }

    fn release(handle: u32, groups: Vec<u32>) {
        LIVE.with_borrow_mut(|all| {
            if let Some(Live::Stateful(open)) = all.get_mut(handle as usize) {
                open.groups.release(&groups);
            }
        });
    }

    fn migrate(function: String, from_version: u32, states: VarSize) -> Result<VarSize, WitError> {
        open::<P, _>(&function, "stateful function", |entry| match entry.open {
            Open::Stateful(_, migrate) => Some(migrate(from_version, &states)),
            _ => None,
        })
    }
}

impl<P: Plugin> source::Guest for P {
    fn open(function: String, config: String) -> Result<source::Opened, WitError> {
        let open = open::<P, _>(&function, "source", |entry| match entry.open {
            Open::Source(open) => Some(open(&config)),
            _ => None,
        })?;
        let output = open.output();
        Ok(source::Opened { handle: keep(Live::Source(open)), output })
    }

    fn list_parts(handle: u32) -> Result<Vec<String>, WitError> {
        with_source(handle, |open| open.list_parts())
    }

    fn build_part(handle: u32, name: String, position: Option<Vec<u8>>) -> Result<u32, WitError> {
        with_source(handle, |open| open.build_part(&name, position.as_deref())).map(|part| keep(Live::SourcePart(part)))
    }

    fn next_batch(part: u32, max_rows: u32) -> Result<source::Polled, WitError> {
        with_source_part(part, |open| open.next_batch(max_rows))
    }

    fn snapshot(part: u32) -> Result<Vec<u8>, WitError> {
        with_source_part(part, |open| open.snapshot())
    }

    fn close(part: u32) -> Result<(), WitError> {
        let closed = with_source_part(part, |open| open.close());
        close(part);
        closed
    }
}

impl<P: Plugin> sink::Guest for P {
    fn open(function: String, input: Schema, config: String) -> Result<sink::Opened, WitError> {
        let open = open::<P, _>(&function, "sink", |entry| match entry.open {
            Open::Sink(open) => Some(open(&input, &config)),
            _ => None,
        })?;
        let (reads, two_phase) = (open.reads().to_vec(), open.two_phase());
        Ok(sink::Opened { handle: keep(Live::Sink(open)), reads, two_phase })
    }

    fn list_parts(handle: u32) -> Result<Vec<String>, WitError> {
        with_sink(handle, |open| open.list_parts())
    }

    fn build_part(handle: u32, name: String, position: Option<Vec<u8>>) -> Result<u32, WitError> {
        with_sink(handle, |open| open.build_part(&name, position.as_deref())).map(|part| keep(Live::SinkPart(part)))
    }

    fn write(part: u32, rows: Batch) -> Result<Vec<RowError>, WitError> {
        with_sink_part(part, |open| open.write(&rows))
    }

    fn snapshot(part: u32) -> Result<Vec<u8>, WitError> {
        with_sink_part(part, |open| open.snapshot())
    }

    fn pre_commit(part: u32, epoch: u64) -> Result<Vec<u8>, WitError> {
        with_sink_part(part, |open| open.pre_commit(epoch))
    }

    fn commit(part: u32, epoch: u64, staged: Vec<u8>) -> Result<(), WitError> {
        with_sink_part(part, |open| open.commit(epoch, &staged))
    }

    fn close(part: u32) -> Result<(), WitError> {
        let closed = with_sink_part(part, |open| open.close());
        close(part);
        closed
    }
}
