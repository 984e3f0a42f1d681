//! Writes [wxhost](https://github.com/wxhost/wxhost) plugins in Rust: functions, folds, sources and sinks as a
//! WebAssembly component.
//!
//! You write functions of one row; the macros make the loops over batches of columns. Text is read in place.
//!
//! ```
//! use wxhost_guest::prelude::*;
//!
//! /// The columns that the function reads, by name.
//! #[derive(Row)]
//! struct Event<'a> {
//!     event_timestamp: &'a str,
//! }
//!
//! /// The columns that it adds.
//! #[derive(Row)]
//! struct Day {
//!     year: i32,
//!     month: u32,
//!     day: u32,
//! }
//!
//! /// Adds the columns that partition the Parquet files.
//! #[map(extend)]
//! fn add_date_columns(event: Event<'_>) -> Result<Day> {
//!     let at: Timestamp = event.event_timestamp.parse()?;
//!     Ok(Day { year: at.year(), month: at.month(), day: at.day() })
//! }
//!
//! /// Splits a line into words.
//! #[flat_map]
//! fn tokenize(line: &str) -> impl Iterator<Item = &str> {
//!     line.split_whitespace()
//! }
//!
//! #[derive(Config)]
//! struct Limit {
//!     /// Longer words are dropped.
//!     longest: usize,
//! }
//!
//! /// Drops long words.
//! #[filter]
//! fn is_short(word: &str, limit: &Limit) -> bool {
//!     word.len() <= limit.longest
//! }
//!
//! /// The mean of all values.
//! #[derive(Default, State)]
//! struct Average {
//!     sum: f64,
//!     rows: u64,
//! }
//!
//! impl Fold for Average {
//!     type In<'a> = f64;
//!     type Out = f64;
//!
//!     fn fold(&mut self, value: f64) {
//!         self.sum += value;
//!         self.rows += 1;
//!     }
//!
//!     fn merge(&mut self, other: Self) {
//!         self.sum += other.sum;
//!         self.rows += other.rows;
//!     }
//!
//!     fn finish(&self) -> f64 {
//!         self.sum / self.rows as f64
//!     }
//! }
//!
//! plugin!(add_date_columns, tokenize, is_short, Average as average);
//!
//! // In a test, the same functions run natively:
//! use wxhost_guest::testing;
//!
//! let words = testing::transform::<tokenize>().run(["to be", "or not"]);
//! assert_eq!(words.texts(), ["to", "be", "or", "not"]);
//!
//! let mut average = testing::fold::<Average>();
//! average.update("a key", [1.0, 2.0]);
//! average.resume();
//! average.update("a key", [6.0]);
//! assert_eq!(average.finish("a key"), 3.0);
//! ```
//!
//! # The crate of a plugin
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! wxhost-guest = "0.1"
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the component, `cargo test` tests it.
//!
//! # Rows and columns
//!
//! A struct that derives [`Row`](derive@Row) reads and writes the columns of its fields' names. Anything else is one
//! value: as a parameter it takes the column of the parameter's name, or the only column that there is; as a result
//! it is the column `value`.
//!
//! | column | Rust |
//! |---|---|
//! | `bool` | `bool` |
//! | `int32`, `int64`, `uint32`, `uint64` | `i32`, `i64`, `u32`, `u64`; also from a narrower type that always fits |
//! | `float32`, `float64` | `f32`, `f64`; also from a narrower type that always fits |
//! | `string` | `&str`, `String`, `Cow<str>` |
//! | `binary` | `&[u8]`, `Vec<u8>`; also from text |
//! | `timestamp`, `date` | [`Timestamp`], [`Date`] |
//! | `json` | [`Json<T>`](Json); also from text. `&str` reads the text |
//! | `list<T>` | `Vec<T>` |
//! | `struct<...>` | a struct that derives `Row` |
//! | nulls | `Option<T>`; anywhere else a null is an error of its row |
//!
//! Columns that are missing or of another type are refused before the flow starts.
//!
//! # Errors
//!
//! Any function may return [`Result`]. An error costs its row only, and the flow says what becomes of that
//! (`on_error`); `Error::external` and `Error::internal` stop the flow. Whatever implements `std::error::Error` comes
//! along by `?`. A panic costs the instance. Where no state goes with it, the host finds the row, starts anew and goes
//! on without it; in folds and stateful functions it stops the flow. An error of theirs must leave the state as it was.
#![warn(missing_docs)]

// The macros write `::wxhost_guest`, also inside this crate.
extern crate self as wxhost_guest;

mod bindings;
pub mod columns;
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

pub use wxhost_guest_macros::{
    Config, Row, Saved, State, filter, filter_map, flat_map, key_on, map, reduce, stateful_flat_map, stateful_map,
};

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
        Config, Date, Emit, Error, Fold, Json, Polled, Result, Row, Saved, Sink, SinkPart, Source, SourcePart, State,
        Stateful, Timestamp, TryFold, count, filter, filter_map, flat_map, key_on, log, map, now, plugin, reduce,
        stateful_flat_map, stateful_map,
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
    pub use crate::state::{State, can_be_kept, decode, encode, kept, no_migration, still};
    pub use crate::stateful::{Emit, Stateful};
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
