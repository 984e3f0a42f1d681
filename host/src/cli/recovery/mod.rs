//! `wxhost recovery`: what is in a recovery store, while no flow runs on it. Nothing here needs the flow, or changes the
//! store.

mod check;
mod export;
mod ls;
mod show;
mod sql;
mod table;
#[cfg(test)]
mod tests;

use super::exit::Failure;
use super::{Output, print};
use crate::data::ids::StepId;
use crate::data::time::Epoch;
use crate::dataflow::env::Env;
use crate::diag::suggest;
use crate::formats::base64;
use crate::recovery::look::View;
use crate::recovery::{look, savepoint};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// The folder of the store
    #[arg(long, value_name = "DIR", env = "WXHOST_RECOVERY", hide_env_values = true, global = true)]
    recovery: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List what is in a store: executions, steps, sources, sinks, savepoints
    ///
    /// Keys, and the bytes of their states, are counted by reading all states: of a key that changed there are several in
    /// the files.
    Ls,
    /// Show the states of a step, the positions of a source, or the manifests of a sink
    ///
    /// States are bytes that only the step understands; they are shown in hexadecimal, and as text where they are some.
    /// Of a long state the beginning is shown; all of it where a key is given, and with --format json, which writes an
    /// object a line.
    Show(show::Args),
    /// Read all of a store and say whether it is sound
    Check,
    /// Write states to a Parquet file or to lines of JSON
    ///
    /// A row has the columns step, key, epoch (of the last change) and bytes: the state, in JSON as base64.
    Export(export::Args),
    /// Ask a store a question in SQL
    #[command(after_help = sql::HELP)]
    Sql(sql::Args),
    /// Copy a store, for "wxhost run --from-savepoint"
    ///
    /// The store is checked first, and the copy gets its name when all of it is on disk. It is in DIR/savepoints, and can
    /// be looked into like a store. Outputs are not in it: to go back to it, bring back outputs of the same time, too.
    Savepoint(SavepointArgs),
}

#[derive(clap::Args)]
struct SavepointArgs {
    /// Its name; needed unless --to is given
    #[arg(required_unless_present = "to")]
    name: Option<String>,

    /// The folder to make, instead of one in DIR/savepoints
    #[arg(long, value_name = "PATH", conflicts_with = "name")]
    to: Option<PathBuf>,
}

/// Where what a command says goes to.
type Print<'a> = &'a mut dyn FnMut(&str) -> Result<(), Failure>;

/// Looks into a store.
///
/// # Errors
/// The store is in use, damaged or not there; or the command does not fit to what is in it.
pub fn recovery(args: &Args, env: &Env, output: Output) -> Result<(), Failure> {
    execute(args, env, output, &mut |text| print(text))
}

fn execute(args: &Args, env: &Env, output: Output, print: Print<'_>) -> Result<(), Failure> {
    let Some(folder) = &args.recovery else {
        let help = "write --recovery DIR, or set WXHOST_RECOVERY".to_owned();
        return Err(Failure::Usage { message: "the folder of the store is not given".to_owned(), help });
    };
    match &args.command {
        Command::Ls => ls::ls(folder, output, print),
        Command::Show(args) => show::show(folder, args, output, print),
        Command::Check => check::check(folder, output, print),
        Command::Export(args) => export::export(folder, args, output, print),
        Command::Sql(args) => sql::sql(folder, args, output, print),
        Command::Savepoint(args) => make_savepoint(folder, args, env, output, print),
    }
}

fn make_savepoint(
    folder: &Path,
    args: &SavepointArgs,
    env: &Env,
    output: Output,
    print: Print<'_>,
) -> Result<(), Failure> {
    let to = match (&args.to, &args.name) {
        (Some(to), _) => to.clone(),
        (None, name) => savepoint::path_of(folder, name.as_deref().unwrap_or_default())?,
    };
    let made = savepoint::make(folder, &to, env)?;
    if output.is_json() {
        let mut json = made.to_json();
        json["path"] = to.display().to_string().into();
        return print(&format!("{json:#}\n"));
    }
    print(&format!("savepoint of flow \"{}\" at epoch {}: {}\n", made.flow, made.epoch, to.display()))
}

/// Opens a store to look at an epoch, by default the newest.
fn open(folder: &Path, epoch: Option<u64>) -> Result<View, Failure> {
    let view = View::open(folder)?;
    let Some(epoch) = epoch else { return Ok(view) };
    view.at(Epoch(epoch))
        .map_err(|error| Failure::Usage { message: error.message, help: error.help.unwrap_or_default() })
}

/// Finds a step by its name.
fn find(view: &View, name: &str) -> Result<StepId, Failure> {
    let names = || view.steps().map(|step| &*step.id.0);
    if names().any(|known| known == name) {
        return Ok(name.into());
    }
    let all: Vec<String> = names().map(|known| format!("\"{known}\"")).collect();
    let list = match all.is_empty() {
        true => "no step has kept anything in it".to_owned(),
        false => format!("there are {}", all.join(", ")),
    };
    let help = suggest(name, names()).unwrap_or(list);
    Err(Failure::Usage { message: format!("there is no step \"{name}\" in the store"), help })
}

/// Bytes as programs read them: base64, and text where they are some.
fn bytes_to_json(bytes: &[u8]) -> Value {
    json!({ "base64": to_base64(bytes), "text": look::printable(bytes) })
}

fn to_base64(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    base64::encode(bytes, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
    }
    text
}

/// Bytes as text in quotes, if a person can read it.
fn to_text(bytes: &[u8]) -> String {
    look::printable(bytes).filter(|text| !text.is_empty()).map(|text| format!("{text:?}")).unwrap_or_default()
}

/// The beginning of a text that is long.
fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
