//! `wxhost recovery check`.

use super::Print;
use crate::cli::Output;
use crate::cli::exit::Failure;
use crate::recovery::check;
use serde_json::json;
use std::path::Path;

/// Reads all of a store, and says what was read.
///
/// # Errors
/// Something is wrong with it: what, and where.
pub fn check(folder: &Path, output: Output, print: Print<'_>) -> Result<(), Failure> {
    let found = check::check(folder)?;
    let mut problems = found.problems;
    // Of several, all are said; what to do is said of the last one, and what kind of failure it is.
    if let Some(mut last) = problems.pop() {
        if !problems.is_empty() {
            let all = problems.iter().chain([&last]).map(|problem| problem.message.clone()).collect::<Vec<_>>();
            last.message = all.join("\n");
        }
        return Err(last.into());
    }
    let epoch = found.resume.map_or(0, |epoch| epoch.0);
    let check::Findings { parts, blocks, rows, bytes, positions, epochs, .. } = found;
    if output.is_json() {
        let json = json!({
            "files": parts,
            "blocks": blocks,
            "rows": rows,
            "bytes": bytes,
            "positions": positions,
            "epochs": epochs,
            "newest_epoch": epoch,
        });
        return print(&format!("{json:#}\n"));
    }
    print(&format!(
        "{parts} files: pages, tables and the chain of {epochs} epochs\n\
         {blocks} blocks: checksums, and {rows} rows in {bytes} bytes\n\
         {positions} positions and manifests: checksums\n\
         all is sound; an execution goes on after epoch {epoch}\n"
    ))
}
