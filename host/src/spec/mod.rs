//! What the user wrote: `flow.toml` as values that remember where they stand.
//!
//! ```text
//! toml      text -> Table              the syntax, and all that knows the TOML library
//! variables `${env:NAME}` in strings   after the syntax, so that a value can never become configuration
//! grammar   Table -> Spec              the keys that every flow has
//! de, read  Table -> any type          for the keys that only an operator or a connector knows
//! ```
//!
//! No operator is known here: the arguments of a step stay a [`Table`] until the plan asks the operator to read them.

mod access;
mod de;
mod error;
mod grammar;
mod node;
mod read;
mod spanned;
#[cfg(test)]
mod tests;
mod toml;
mod units;
mod variables;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;

pub use de::Reader;
pub use error::{DeError, Fault};
pub use grammar::{is_name, parse, parse_tests};
pub use node::{Entry, Node, Table, Value};
pub use read::{fields_of, read, read_both};
use serde::Deserialize;
pub use spanned::Spanned;
pub use units::{DurationText, Size, TimestampText};

/// A flow as it is written: every name is still a string, nothing is resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The name of the flow: letters, digits, `_` and `-`.
    pub flow: Spanned<String>,
    /// The plugins in the order of the file; names are unique, as TOML keys are.
    pub plugins: Vec<PluginSpec>,
    /// The steps in the order of the file; at least one, names may still repeat.
    pub steps: Vec<StepSpec>,
    pub run: RunSpec,
    /// `[recovery]`, read by whoever runs the flow.
    pub recovery: Option<Spanned<Table>>,
    /// Each `[[test]]`, read by whoever runs the tests.
    pub tests: Vec<Spanned<Table>>,
}

/// `[plugins.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSpec {
    pub name: Spanned<String>,
    /// A project directory or a `.wasm` file, as written: relative to the flow file.
    pub path: Spanned<String>,
    pub config: Option<Node>,
    pub allow: Allow,
    pub limits: Limits,
    /// The table's header.
    pub span: Range<usize>,
}

/// What a plugin may reach outside; nothing unless it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, expecting = "a table such as { tcp = [\"127.0.0.1:5432\"] }")]
pub struct Allow {
    /// `host:port` to connect to.
    pub tcp: Vec<Spanned<String>>,
    /// Hosts to send HTTP requests to.
    pub http: Vec<Spanned<String>>,
    /// Environment variables to see.
    pub env: Vec<Spanned<String>>,
    /// Directories to use.
    pub dirs: Vec<Spanned<String>>,
}

/// What a plugin may use up; what is left out has the engine's default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, expecting = "a table such as { memory = \"256MiB\" }")]
pub struct Limits {
    pub memory: Option<Limit<Size>>,
    pub time_per_batch: Option<Limit<DurationText>>,
    pub stack: Option<Size>,
}

/// A limit that can be switched off with `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    Off,
    At(T),
}

/// One `[[step]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSpec {
    pub name: Spanned<String>,
    pub op: Spanned<String>,
    pub from: From,
    pub on_error: Option<Spanned<OnError>>,
    /// How many rows may fail before the flow does, under `skip` and `dead_letter`.
    pub max_errors: Option<u64>,
    pub limits: Option<Limits>,
    /// The name that the step's state is stored under so far.
    pub renamed_from: Option<Spanned<String>>,
    /// All other keys of the step, as written: the operator knows them.
    pub args: Table,
    /// The table's header.
    pub span: Range<usize>,
}

/// Where a step's rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Left out: the step above.
    Above,
    /// `"a"` or `"a.late"`.
    One(PortRef),
    /// `["a", "b"]`, at least one.
    Many(Vec<PortRef>),
    /// `{ left = "a", right = "b.late" }`, at least one.
    Named(Vec<(Spanned<String>, PortRef)>),
}

/// An output of a step: `step` or `step.port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRef {
    pub step: String,
    /// The port, where one is named.
    pub port: Option<String>,
    pub span: Range<usize>,
}

/// What becomes of a row that a step cannot process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The flow fails.
    #[default]
    Fail,
    /// The row is counted and left out.
    Skip,
    /// The row goes to the port `errors`.
    DeadLetter,
}

/// `[run]`: settings that the command line and the environment may override.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RunSpec {
    /// Worker threads in each process.
    pub workers: Option<Spanned<NonZeroUsize>>,
    /// The epoch interval.
    pub epoch: Option<Spanned<DurationText>>,
    /// Rows that a source puts in a batch at most.
    pub batch_rows: Option<Spanned<NonZeroUsize>>,
}

/// Writes the reference as it is written in a flow.
impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.port {
            Some(port) => write!(f, "{}.{port}", self.step),
            None => write!(f, "{}", self.step),
        }
    }
}
