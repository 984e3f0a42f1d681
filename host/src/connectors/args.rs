//! Reading arguments that several connectors share.

use crate::catalog::cx::ConnectorCx;
use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::spec::{Table, fields_of, read};
use serde::de::DeserializeOwned;

/// Reads two structs of arguments from one table: the connector's own, and those of what it shares with others, such as
/// a format.
///
/// # Errors
/// All keys that neither of them knows, and everything that is wrong with the others.
pub(super) fn read_both<A: DeserializeOwned, B: DeserializeOwned>(cx: &ConnectorCx<'_>) -> Result<(A, B), Diagnostics> {
    let own = fields_of::<A>().unwrap_or_default();
    let shared = fields_of::<B>().unwrap_or_default();
    let known = || own.iter().chain(shared).copied();
    let mut problems = Diagnostics::new();
    for entry in cx.table.iter().filter(|entry| !known().any(|key| key == entry.key)) {
        let message = format!("unknown key {:?} in {}", entry.key, cx.what());
        let keys = || format!("keys are: {}", known().collect::<Vec<_>>().join(", "));
        let help = suggest(&entry.key, known()).unwrap_or_else(keys);
        problems.push(Diagnostic::new("unknown-key", message).at(entry.key_span.clone()).help(help));
    }
    let part = |fields: &[&str]| -> Table {
        cx.table.iter().filter(|entry| fields.contains(&entry.key.as_str())).cloned().collect()
    };
    let first = problems.take(read(&part(own), cx.span.clone(), &cx.what()));
    let second = problems.take(read(&part(shared), cx.span.clone(), &cx.what()));
    match (first, second) {
        (Some(first), Some(second)) => problems.into_result((first, second)),
        _ => Err(problems),
    }
}
