//! Functions of plugins as the plan sees them: found by name, opened for a schema. The plugin layer implements this.

use crate::dataflow::user_fn::{OpenFold, OpenSink, OpenSource, OpenStateful, OpenTransform};
use arrow::datatypes::Schema;
use std::fmt;
use std::time::Duration;

/// What a function is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    Map,
    Filter,
    FilterMap,
    FlatMap,
    KeyOn,
    Fold,
    Stateful,
    Source,
    Sink,
}

impl fmt::Display for FunctionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FunctionKind::Map => "map",
            FunctionKind::Filter => "filter",
            FunctionKind::FilterMap => "filter_map",
            FunctionKind::FlatMap => "flat_map",
            FunctionKind::KeyOn => "key_on",
            FunctionKind::Fold => "fold",
            FunctionKind::Stateful => "stateful",
            FunctionKind::Source => "source",
            FunctionKind::Sink => "sink",
        })
    }
}

/// What a component says of one of its functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    pub name: String,
    pub kind: FunctionKind,
    pub doc: String,
    /// 0 for functions without state.
    pub state_version: u32,
    /// A JSON Schema; empty if the function takes no configuration.
    pub config_schema: String,
}

/// Why a function cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    pub message: String,
    pub help: Option<String>,
}

/// What a step allows its instance of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// Linear memory in bytes. None: no limit.
    pub memory: Option<u64>,
    /// Time for one call. None: no deadline, and code without the checks for one.
    pub time_per_batch: Option<Duration>,
}

impl Default for StepLimits {
    fn default() -> Self {
        StepLimits { memory: Some(512 << 20), time_per_batch: Some(Duration::from_secs(30)) }
    }
}

/// The functions of all plugins of a flow.
pub trait FunctionLibrary {
    /// Finds `plugin.function`.
    ///
    /// # Errors
    /// No such plugin or function, or the plugin itself is refused.
    fn find(&self, reference: &str) -> Result<FunctionInfo, FunctionError>;

    /// Opens a stateless function for rows of the schema `input`; `config` is JSON text, empty for none.
    ///
    /// # Errors
    /// As for `find`; the function refuses the schema or the configuration.
    fn open_transform(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenTransform, FunctionError>;

    /// Opens a fold.
    ///
    /// # Errors
    /// As for `open_transform`.
    fn open_fold(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenFold, FunctionError>;

    /// Opens a stateful function.
    ///
    /// # Errors
    /// As for `open_transform`.
    fn open_stateful(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenStateful, FunctionError>;

    /// Opens a source.
    ///
    /// # Errors
    /// As for `open_transform`.
    fn open_source(&self, reference: &str, config: &str, limits: &StepLimits) -> Result<OpenSource, FunctionError>;

    /// Opens a sink.
    ///
    /// # Errors
    /// As for `open_transform`.
    fn open_sink(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenSink, FunctionError>;
}
