//! `wxhost recovery show`.

use super::table::Table;
use super::{Print, bytes_to_json, cut, find, open, to_hex, to_text};
use crate::cli::Output;
use crate::cli::exit::Failure;
use crate::recovery::look::{Kept, State};
use serde_json::json;
use std::path::Path;

/// The beginning of a value that is shown in a table, in characters.
const VALUE: usize = 64;

#[derive(clap::Args)]
pub struct Args {
    /// The step
    step: String,

    /// Only this key, or this partition of a source or sink
    key: Option<String>,

    /// As it was at the end of this epoch [default: the newest that is durable]
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
}

/// Something with a value: what it is, whose, since when.
struct Row<'a> {
    what: &'static str,
    name: &'a str,
    epoch: u64,
    value: &'a [u8],
}

/// Shows what a step has kept.
///
/// # Errors
/// The store is in use, damaged or not there; it has no such step, key or epoch.
pub fn show(folder: &Path, args: &Args, output: Output, print: Print<'_>) -> Result<(), Failure> {
    let view = open(folder, args.epoch)?;
    let step = find(&view, &args.step)?;
    let mut shown = Shown { step: &args.step, output, is_one: args.key.is_some(), table: None, any: false };
    let is_asked = |name: &str| args.key.as_deref().is_none_or(|key| key == name);
    view.states(&step, args.key.as_deref(), &mut |State { key, epoch, value }| {
        shown.row(&Row { what: "key", name: key, epoch: epoch.0, value }, print)
    })?;
    for (what, kept) in [("position", view.sources(&step)?), ("manifest", view.sinks(&step)?)] {
        for Kept { part, epoch, bytes } in kept.iter().filter(|kept| is_asked(&kept.part.0)) {
            shown.row(&Row { what, name: &part.0, epoch: epoch.0, value: bytes }, print)?;
        }
    }
    shown.end(print)?;
    match &args.key {
        Some(key) if !shown.any => Err(Failure::Usage {
            message: format!("step \"{step}\" has nothing for {key:?} at the end of epoch {}", view.epoch()),
            help: format!("\"wxhost recovery show {step}\" shows all that it has"),
        }),
        _ => Ok(()),
    }
}

struct Shown<'a> {
    step: &'a str,
    output: Output,
    /// Whether a single one is asked for, of which all is shown.
    is_one: bool,
    table: Option<(&'static str, Table<'static>)>,
    any: bool,
}

impl Shown<'_> {
    fn row(&mut self, row: &Row<'_>, print: Print<'_>) -> Result<(), Failure> {
        self.any = true;
        let Row { what, name, epoch, value } = *row;
        if self.output.is_json() {
            let mut json = json!({ "step": self.step, "epoch": epoch, "bytes": value.len() });
            json[if what == "key" { "key" } else { "part" }] = name.into();
            json[if what == "key" { "value" } else { what }] = bytes_to_json(value);
            return print(&format!("{json}\n"));
        }
        if self.is_one {
            let title = if what == "key" { what } else { "part" };
            print(&format!("{title:8}  {name}\nepoch     {epoch}\nbytes     {}\n", value.len()))?;
            let title = if what == "key" { "value" } else { what };
            print(&format!("{title:8}  {}\n", to_hex(value)))?;
            let text = to_text(value);
            return if text.is_empty() { Ok(()) } else { print(&format!("text      {text}\n")) };
        }
        if self.table.as_ref().is_none_or(|(of, _)| *of != what) {
            self.end(print)?;
            let titles = match what {
                "key" => ["key", ">epoch", ">bytes", "value", ""],
                "position" => ["partition", ">epoch", ">bytes", "position", ""],
                _ => ["partition", ">epoch", ">bytes", "manifest", ""],
            };
            self.table = Some((what, Table::new("", &titles)));
        }
        let Some((_, table)) = &mut self.table else { return Ok(()) };
        let size = value.len().to_string();
        // A long value is not written out for the beginning of it.
        let (hex, text) = (to_hex(&value[..value.len().min(VALUE)]), to_text(value));
        table.push(vec![name.to_owned(), epoch.to_string(), size, cut(hex, VALUE), cut(text, VALUE)], print)
    }

    fn end(&mut self, print: Print<'_>) -> Result<(), Failure> {
        match &mut self.table {
            Some((_, table)) => table.flush(print),
            None => Ok(()),
        }
    }
}
