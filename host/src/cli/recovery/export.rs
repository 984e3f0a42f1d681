//! `wxhost recovery export`.

use super::{Print, find, open, to_base64};
use crate::cli::Output;
use crate::cli::exit::Failure;
use crate::connectors::parquet::table::TableWriter;
use crate::data::ids::StepId;
use crate::recovery::look::{State, View};
use arrow::array::{ArrayRef, BinaryBuilder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows, and bytes of states, of a batch at most.
const ROWS: usize = 8192;
const BYTES: usize = 4 << 20;

#[derive(clap::Args)]
pub struct Args {
    /// The steps [default: all]
    #[arg(value_name = "STEP")]
    steps: Vec<String>,

    /// The file to write: FILE.parquet or FILE.jsonl
    #[arg(long, value_name = "FILE")]
    to: PathBuf,

    /// As they were at the end of this epoch [default: the newest that is durable]
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
}

/// Writes states to a file, which gets its name when it is complete.
///
/// # Errors
/// The store is in use, damaged or not there; it has no such step or epoch; the file cannot be written.
pub fn export(folder: &Path, args: &Args, output: Output, print: Print<'_>) -> Result<(), Failure> {
    let is_parquet = match args.to.extension().and_then(|extension| extension.to_str()) {
        Some("parquet") => true,
        Some("jsonl") => false,
        _ => {
            let message = format!("{}: the name of the file does not say in which form to write", args.to.display());
            return Err(Failure::Usage { message, help: "end it with .parquet or .jsonl".to_owned() });
        }
    };
    let view = open(folder, args.epoch)?;
    let steps = match args.steps.is_empty() {
        true => view.steps().map(|step| step.id.clone()).collect(),
        false => args.steps.iter().map(|name| find(&view, name)).collect::<Result<Vec<_>, _>>()?,
    };
    let mut new = args.to.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let file = if is_parquet { to_parquet(&new)? } else { to_lines(&new)? };
    let rows = write(&view, &steps, file).inspect_err(|_| drop(std::fs::remove_file(&new)))?;
    std::fs::rename(&new, &args.to).map_err(|error| Failure::io(&args.to, &error))?;
    if output.is_json() {
        let json = json!({ "path": args.to.display().to_string(), "rows": rows, "epoch": view.epoch().0 });
        return print(&format!("{json:#}\n"));
    }
    print(&format!("{rows} states at the end of epoch {}: {}\n", view.epoch(), args.to.display()))
}

/// Writes the states of some steps; returns how many there were.
fn write(view: &View, steps: &[StepId], mut file: Box<dyn Target>) -> Result<u64, Failure> {
    let mut rows = 0;
    for step in steps {
        view.states(step, None, &mut |state| {
            rows += 1;
            file.write(&step.0, &state)
        })?;
    }
    file.end()?;
    Ok(rows)
}

/// A file that states are written to.
trait Target {
    fn write(&mut self, step: &str, state: &State<'_>) -> Result<(), Failure>;

    fn end(self: Box<Self>) -> Result<(), Failure>;
}

struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

fn to_lines(path: &Path) -> Result<Box<dyn Target>, Failure> {
    let file = File::create(path).map_err(|error| Failure::io(path, &error))?;
    Ok(Box::new(Lines { path: path.to_owned(), file: BufWriter::new(file) }))
}

impl Target for Lines {
    fn write(&mut self, step: &str, state: &State<'_>) -> Result<(), Failure> {
        let bytes = to_base64(state.value);
        let row = json!({ "step": step, "key": state.key, "epoch": state.epoch.0, "bytes": bytes });
        writeln!(self.file, "{row}").map_err(|error| Failure::io(&self.path, &error))
    }

    fn end(self: Box<Self>) -> Result<(), Failure> {
        let Lines { path, file } = *self;
        let synced = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| Failure::io(&path, &error))
    }
}

struct Rows {
    path: PathBuf,
    file: TableWriter,
    schema: SchemaRef,
    steps: StringBuilder,
    keys: StringBuilder,
    epochs: Int64Builder,
    values: BinaryBuilder,
    rows: usize,
}

fn to_parquet(path: &Path) -> Result<Box<dyn Target>, Failure> {
    let file = File::create(path).map_err(|error| Failure::io(path, &error))?;
    let field = |name: &str, ty: DataType| Field::new(name, ty, false);
    let schema = Arc::new(Schema::new(vec![
        field("step", DataType::Utf8),
        field("key", DataType::Utf8),
        field("epoch", DataType::Int64),
        field("bytes", DataType::Binary),
    ]));
    let file = TableWriter::new(file, schema.clone()).map_err(|error| Failure::io(path, &error))?;
    let (path, rows) = (path.to_owned(), 0);
    let (steps, keys, epochs, values) = Default::default();
    Ok(Box::new(Rows { path, file, schema, steps, keys, epochs, values, rows }))
}

impl Rows {
    fn flush(&mut self) -> Result<(), Failure> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.steps.finish()),
            Arc::new(self.keys.finish()),
            Arc::new(self.epochs.finish()),
            Arc::new(self.values.finish()),
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns).expect("columns are as the schema says");
        self.file.write(&batch).map_err(|error| Failure::io(&self.path, &error))
    }
}

impl Target for Rows {
    fn write(&mut self, step: &str, state: &State<'_>) -> Result<(), Failure> {
        self.steps.append_value(step);
        self.keys.append_value(state.key);
        self.epochs.append_value(state.epoch.0.cast_signed());
        self.values.append_value(state.value);
        self.rows += 1;
        let is_full = self.rows >= ROWS || self.values.values_slice().len() >= BYTES;
        if is_full { self.flush() } else { Ok(()) }
    }

    fn end(mut self: Box<Self>) -> Result<(), Failure> {
        self.flush()?;
        let Rows { path, file, .. } = *self;
        file.end().map_err(|error| Failure::io(&path, &error))
    }
}
