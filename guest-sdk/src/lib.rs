//! Writes wxhost plugins in Rust.
#![warn(missing_docs)]

// The macros write `::wxhost_guest`, also inside this crate.
extern crate self as wxhost_guest;

mod bindings;
pub mod config;
mod error;
mod exports;
mod fold;
mod function;
pub mod host;
mod json;
mod read;
pub mod schema;
mod sink;
mod source;
pub mod state;
mod stateful;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;
mod transform;
mod write;

pub use wxhost_guest_macros::{Config, Row, State, filter, filter_map, flat_map, key_on, map, reduce};

pub use crate::config::Config;
pub use crate::error::{Domain, Error, Result};
pub use crate::fold::{Fold, TryFold};
pub use crate::host::{count, log, now};
pub use crate::json::Json;
pub use crate::read::Read;
pub use crate::sink::{Sink, SinkPart};
pub use crate::source::{Polled, Source, SourcePart};
pub use crate::state::State;
pub use crate::stateful::{Emit, Stateful};
pub use crate::time::{Date, ParseTimeError, Timestamp};
pub use crate::write::Write;

/// What most plugins use.
pub mod prelude {
    pub use crate::{
        Config, Date, Emit, Error, Fold, Json, Polled, Result, Row, Sink, SinkPart, Source, SourcePart, State,
        Stateful, Timestamp, TryFold, count, filter, filter_map, flat_map, key_on, log, map, now, plugin, reduce,
    };
}

/// What the macros write. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use serde;
    pub use wit_bindgen;

    pub use crate::__name as name;
    pub use crate::bindings::wxhost::plugin::types::{Batch, DataType, Field, Schema};
    pub use crate::config::{Config, NoConfig, object_schema};
    pub use crate::error::Result;
    pub use crate::fold::ReduceFunction;
    pub use crate::function::{
        Entry, Plugin, Probe, ProbeFold, ProbeReduce, ProbeSink, ProbeSource, ProbeStateful, ProbeTransform,
    };
    pub use crate::read::{
        Fault, Member, MemberPlaces, Members as ReadMembers, Mismatch, Place, Plan, Read, RowPlan, plan_members,
        wanted_members,
    };
    pub use crate::state::{State, decode, encode, no_migration};
    pub use crate::transform::{
        Applied, Kind, RowFunction, fallible, filter, flat_map, flat_map_output, key_on, key_output, map, map_output,
        no_output,
    };
    pub use crate::write::{Members as WriteMembers, Write, push_field_of};

    /// The generated bindings.
    pub mod bindings {
        pub use crate::bindings::*;
    }
}
