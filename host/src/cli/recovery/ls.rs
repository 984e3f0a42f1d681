//! `wxhost recovery ls`.

use super::table::Table;
use super::{Print, bytes_to_json, cut, to_hex, to_text};
use crate::cli::Output;
use crate::cli::exit::Failure;
use crate::recovery::look::{Kept, View, time_text};
use crate::recovery::savepoint;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The beginning of a position that is shown in a table.
const POSITION: usize = 48;

/// Lists what is in a store.
///
/// # Errors
/// The store is in use, damaged or not there.
pub fn ls(folder: &Path, output: Output, print: Print<'_>) -> Result<(), Failure> {
    let view = View::open(folder)?;
    if output.is_json() { print(&format!("{:#}\n", to_json(&view)?)) } else { to_text_tables(&view, print) }
}

fn to_text_tables(view: &View, print: Print<'_>) -> Result<(), Failure> {
    let (floor, newest) = (view.epochs().start(), view.epochs().end());
    print(&format!("flow    {}\n", view.flow()))?;
    print(&format!("store   {}, {} files, {} bytes\n", view.folder().display(), view.parts(), view.size()?))?;
    print(&format!("epochs  newest durable {newest}, floor {floor}\n"))?;

    let titles = [">number", "started", ">workers", ">resumed from", "wxhost"];
    let mut table = titled("executions", &titles, print)?;
    for execution in view.executions() {
        let numbers = [execution.number, execution.workers, execution.resume.0].map(|number| number.to_string());
        let [number, workers, resume] = numbers;
        table.push(vec![number, time_text(execution.started_at), workers, resume, execution.wxhost], print)?;
    }
    table.flush(print)?;

    let mut table = titled("steps", &["step", "kind", ">keys", ">bytes", ">stored", ">newest epoch"], print)?;
    for step in view.steps() {
        let sums = view.sums(&step.id)?;
        let numbers = [sums.keys, sums.bytes, sums.stored, sums.newest.0].map(|number| number.to_string());
        table.push([step.id.to_string(), step.kind.clone()].into_iter().chain(numbers).collect(), print)?;
    }
    table.flush(print)?;

    let titles = ["step", "partition", ">epoch", ">bytes", "position", ""];
    let mut table = titled("sources", &titles, print)?;
    for step in view.steps() {
        for Kept { part, epoch, bytes } in view.sources(&step.id)? {
            let (hex, text) = (cut(to_hex(&bytes), POSITION), cut(to_text(&bytes), POSITION));
            let size = bytes.len().to_string();
            table.push(vec![step.id.to_string(), part.to_string(), epoch.to_string(), size, hex, text], print)?;
        }
    }
    table.flush(print)?;

    let mut table = titled("sinks", &["step", "partition", ">manifests", "of epochs"], print)?;
    for step in view.steps() {
        for (part, epochs) in epochs_of(&view.sinks(&step.id)?) {
            let range = match (epochs.first(), epochs.last()) {
                (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
                (first, _) => first.map(u64::to_string).unwrap_or_default(),
            };
            table.push(vec![step.id.to_string(), part, epochs.len().to_string(), range], print)?;
        }
    }
    table.flush(print)?;

    let savepoints = savepoint::list(view.folder())?;
    if !savepoints.is_empty() {
        let mut table = titled("savepoints", &["name", ">epoch", "made", "wxhost"], print)?;
        for (name, made) in savepoints {
            table.push(vec![name, made.epoch.to_string(), made.made_at, made.wxhost], print)?;
        }
        table.flush(print)?;
    }
    Ok(())
}

fn titled<'a>(title: &str, titles: &[&'a str], print: Print<'_>) -> Result<Table<'a>, Failure> {
    print(&format!("\n{title}\n"))?;
    Ok(Table::new("  ", titles))
}

/// The epochs of the manifests of each partition.
fn epochs_of(manifests: &[Kept]) -> BTreeMap<String, Vec<u64>> {
    let mut epochs: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for manifest in manifests {
        epochs.entry(manifest.part.to_string()).or_default().push(manifest.epoch.0);
    }
    epochs
}

fn to_json(view: &View) -> Result<Value, Failure> {
    let (mut steps, mut sources, mut sinks) = (Vec::new(), Vec::new(), Vec::new());
    for step in view.steps() {
        let (id, sums) = (&*step.id.0, view.sums(&step.id)?);
        steps.push(json!({
            "step": id,
            "kind": step.kind,
            "fingerprint": to_hex(&step.fingerprint),
            "keys": sums.keys,
            "bytes": sums.bytes,
            "stored": sums.stored,
            "newest_epoch": sums.newest.0,
        }));
        for Kept { part, epoch, bytes } in view.sources(&step.id)? {
            let position = bytes_to_json(&bytes);
            sources.push(json!({ "step": id, "part": &*part.0, "epoch": epoch.0, "position": position }));
        }
        for (part, epochs) in epochs_of(&view.sinks(&step.id)?) {
            sinks.push(json!({ "step": id, "part": part, "epochs": epochs }));
        }
    }
    let executions = view.executions().into_iter().map(|execution| {
        json!({
            "number": execution.number,
            "started_at": time_text(execution.started_at),
            "workers": execution.workers,
            "resumed_from": execution.resume.0,
            "wxhost": execution.wxhost,
        })
    });
    let savepoints = savepoint::list(view.folder())?.into_iter().map(|(name, made)| {
        let mut json = made.to_json();
        json["name"] = name.into();
        json
    });
    Ok(json!({
        "flow": &*view.flow().0,
        "store": view.id(),
        "folder": view.folder().display().to_string(),
        "parts": view.parts(),
        "size": view.size()?,
        "newest_epoch": view.epochs().end().0,
        "floor": view.epochs().start().0,
        "executions": executions.collect::<Vec<_>>(),
        "steps": steps,
        "sources": sources,
        "sinks": sinks,
        "savepoints": savepoints.collect::<Vec<_>>(),
    }))
}
