//! The table of a plugin's functions.

use crate::exports::kind_name;
use crate::function::Plugin;

/// What the host is told about a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Its name in flows.
    pub name: String,
    /// What it is: `map`, `fold`, `source`, ...
    pub kind: &'static str,
    /// Its doc comment.
    pub doc: String,
    /// The version of its state's encoding; 0 without state.
    pub state_version: u32,
    /// The JSON Schema of its configuration; empty if it takes none.
    pub config_schema: String,
}

/// Returns the functions of the crate's `plugin!`: `functions::<crate::WxhostPlugin>()`.
pub fn functions<P: Plugin>() -> Vec<FunctionInfo> {
    let info = |entry: &crate::function::Entry| {
        let function = entry.function.clone();
        FunctionInfo {
            name: function.name,
            kind: kind_name(function.kind),
            doc: function.doc,
            state_version: function.state_version,
            config_schema: function.config_schema,
        }
    };
    P::entries().iter().map(info).collect()
}
