//! `wxhost operators` and `wxhost connectors`: reference text from the declarations.

use super::exit::Failure;
use super::{CATALOG, Output, print, print_json};
use crate::diag::suggest;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Args {
    /// Explain this one
    name: Option<String>,
}

/// An operator or connector, as far as its reference text goes.
struct Entry {
    name: &'static str,
    doc: &'static str,
    /// What kind it is, where that is not clear.
    kind: Option<&'static str>,
}

/// Lists the operators, or explains one.
///
/// # Errors
/// There is none of that name.
pub fn operators(args: &Args, output: Output) -> Result<(), Failure> {
    let entry = |operator: &&'static dyn crate::catalog::operator::Operator| Entry {
        name: operator.name(),
        doc: operator.doc(),
        kind: None,
    };
    refer(args, output, "operator", CATALOG.operators.iter().map(entry).collect())
}

/// Lists the connectors, or explains one.
///
/// # Errors
/// There is none of that name.
pub fn connectors(args: &Args, output: Output) -> Result<(), Failure> {
    let entry = |connector: &&'static dyn crate::catalog::connector::Connector| Entry {
        name: connector.name(),
        doc: connector.doc(),
        kind: Some(match (connector.is_source(), connector.is_sink()) {
            (true, true) => "source, sink",
            (true, false) => "source",
            _ => "sink",
        }),
    };
    refer(args, output, "connector", CATALOG.connectors.iter().map(entry).collect())
}

fn refer(args: &Args, output: Output, what: &str, entries: Vec<Entry>) -> Result<(), Failure> {
    let Some(name) = &args.name else {
        return if output.is_json() {
            print_json(&entries.iter().map(Entry::to_json).collect())
        } else {
            print(list(&entries, what))
        };
    };
    let Some(entry) = entries.iter().find(|entry| entry.name == name) else {
        let names = || entries.iter().map(|entry| entry.name);
        return Err(Failure::Usage {
            message: format!("no {what} \"{name}\""),
            help: suggest(name, names()).unwrap_or_else(|| format!("\"wxhost {what}s\" lists them")),
        });
    };
    if output.is_json() {
        return print_json(&entry.to_json());
    }
    let kind = entry.kind.map_or(String::new(), |kind| format!(" ({kind})"));
    print(format!("# {}{kind}\n\n{}\n", entry.name, entry.doc.trim_end()))
}

fn list(entries: &[Entry], what: &str) -> String {
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    let kinds = entries.iter().map(|entry| entry.kind.unwrap_or_default().len()).max().unwrap_or(0);
    let mut text = String::new();
    for Entry { name, kind, doc } in entries {
        let line = match kind {
            Some(kind) => format!("{name:width$}  {kind:kinds$}  {}", first_line(doc)),
            None => format!("{name:width$}  {}", first_line(doc)),
        };
        text += &format!("{}\n", line.trim_end());
    }
    text + &format!("\n\"wxhost {what}s NAME\" explains one.\n")
}

fn first_line(doc: &str) -> &str {
    doc.lines().next().unwrap_or_default()
}

impl Entry {
    fn to_json(&self) -> Value {
        let mut entry = json!({ "name": self.name, "summary": first_line(self.doc), "doc": self.doc });
        if let Some(kind) = self.kind {
            entry["kind"] = kind.split(", ").collect();
        }
        entry
    }
}
