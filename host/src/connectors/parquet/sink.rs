//! Writes Parquet files, by the values of columns into folders.

use super::encode::{Layout, ParquetEncode, Roll};
use super::hive::can_name;
use super::kept;
use super::manifest::{self, State};
use crate::catalog::connector::CheckedSink;
use crate::catalog::cx::{ConnectorCx, column};
use crate::connectors::dir::matching;
use crate::connectors::paths;
use crate::connectors::staged::{Staged, cannot_write, make_folder, make_safe_folder};
use crate::data::ids::PartitionId;
use crate::data::schema::{Type, describe, schema_of};
use crate::dataflow::durable::Manifest;
use crate::dataflow::error::{Domain, LogicError};
use crate::dataflow::sink::{Job, PartWriter, Routing, SinkParts, Start, Writer};
use crate::dataflow::user_fn::{InstanceCx, RowError};
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{DurationText, Size, Spanned};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Rows and bytes of a row group at most, unless the flow says otherwise.
const GROUP_ROWS: usize = 1 << 20;
const GROUP_BYTES: usize = 128 << 20;

#[derive(serde::Deserialize)]
struct Args {
    parquet: Spanned<String>,
    #[serde(default)]
    partition_by: Vec<Spanned<String>>,
    #[serde(default)]
    compression: Compression,
    roll_rows: Option<NonZeroU64>,
    roll_size: Option<Size>,
    roll_time: Option<DurationText>,
    row_group_rows: Option<NonZeroUsize>,
    #[serde(default)]
    if_exists: IfExists,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Compression {
    #[default]
    Snappy,
    Zstd,
    Lz4,
    Gzip,
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum IfExists {
    #[default]
    Append,
    Fail,
    Replace,
}

/// Checks a sink of Parquet files.
pub(super) fn check(cx: &ConnectorCx<'_>) -> Result<CheckedSink, Diagnostics> {
    let args: Args = cx.args()?;
    let root = paths::folder_to_write(cx, &args.parquet)?;
    let layout = layout(cx, &args)?;
    let notes = vec![format!("columns of the files: {}", describe(&layout.schema))];
    let sink = ParquetSink { root, layout: Arc::new(layout), if_exists: args.if_exists, replaces: Mutex::default() };
    Ok(CheckedSink { parts: Box::new(sink), notes })
}

fn layout(cx: &ConnectorCx<'_>, args: &Args) -> Result<Layout, Diagnostics> {
    let up = cx.up();
    let key = up.key.as_deref().filter(|key| up.schema.column_with_name(key).is_none());
    let own = up.schema.fields().iter().map(|field| (field.name().clone(), Type::of(field)));
    let all: Vec<(String, Type)> = key.map(|key| (key.to_owned(), Type::String)).into_iter().chain(own).collect();
    let partition_by = partition_by(cx, args, &all)?;
    let inside: Vec<usize> = (0..all.len()).filter(|at| partition_by.iter().all(|(_, by)| by != at)).collect();
    let refused = |message: String| {
        let diagnostic = Diagnostic::new("wrong-type", format!("{}: {message}", cx.what())).at(cx.span.clone());
        Diagnostics::from(diagnostic.help("put a step before it that selects or makes other columns: op = \"select\""))
    };
    if inside.is_empty() {
        return Err(refused("all columns name folders, so that none is left for the files".to_owned()));
    }
    let schema = schema_of(&inside.iter().map(|&at| all[at].clone()).collect::<Vec<_>>());
    let codec = match args.compression {
        Compression::Snappy => Codec::SNAPPY,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::None => Codec::UNCOMPRESSED,
    };
    let properties = WriterProperties::builder()
        .set_created_by(concat!("wxhost ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_max_row_group_row_count(Some(args.row_group_rows.map_or(GROUP_ROWS, NonZeroUsize::get)))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .build();
    ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.clone()))
        .map_err(|error| refused(format!("Parquet has no form for {}: {error}", describe(&schema))))?;
    let roll = Roll {
        rows: args.roll_rows.map(NonZeroU64::get),
        bytes: args.roll_size.map(|size| size.0),
        age: args.roll_time.map(|time| time.0),
    };
    Ok(Layout { schema, columns: inside, partition_by, has_key: key.is_some(), properties, roll })
}

fn partition_by(
    cx: &ConnectorCx<'_>,
    args: &Args,
    all: &[(String, Type)],
) -> Result<Vec<(String, usize)>, Diagnostics> {
    let schema = schema_of(all);
    let mut problems = Diagnostics::new();
    let mut found: Vec<(String, usize)> = Vec::new();
    for name in &args.partition_by {
        let Some((at, ty)) = problems.take(column(&schema, name, &cx.what())) else { continue };
        if !can_name(&ty) {
            let message = format!("{}: column {:?} is {ty}, which cannot name folders", cx.what(), name.value);
            let help = "folders are named by strings, integers, booleans, dates and timestamps";
            problems.push(Diagnostic::new("wrong-type", message).at(name.span.clone()).help(help));
        } else if found.iter().any(|(other, _)| *other == name.value) {
            let message = format!("{}: column {:?} names folders twice", cx.what(), name.value);
            problems.push(Diagnostic::new("wrong-value", message).at(name.span.clone()).help("leave one out"));
        } else {
            found.push((name.value.clone(), at));
        }
    }
    problems.into_result(found)
}

struct ParquetSink {
    root: PathBuf,
    layout: Arc<Layout>,
    if_exists: IfExists,
    /// With recovery, in the first execution of a store: the list of files that are replaced.
    replaces: Mutex<Option<String>>,
}

impl ParquetSink {
    /// Refuses files of other executions, if the flow says so.
    fn refuse_files(&self, run: &str) -> Result<(), LogicError> {
        let is_other = |file: &PathBuf| !is_of(file, run);
        if self.if_exists != IfExists::Fail
            || !matching(&self.root, "**/*.parquet").unwrap_or_default().iter().any(is_other)
        {
            return Ok(());
        }
        let message = format!("there are Parquet files in {}", self.root.display());
        Err(LogicError::new(Domain::Io, message).help("move them away, or write if_exists = \"append\" or \"replace\""))
    }
}

impl SinkParts for ParquetSink {
    fn routing(&self) -> Result<Routing, LogicError> {
        Ok(Routing::PerWorker)
    }

    fn open(&self, cx: &InstanceCx, part: &PartitionId, start: &Start<'_>) -> Result<PartWriter, LogicError> {
        make_safe_folder(&self.root)?;
        // Made and removed again: that it cannot be written should be known before the first rows are ready.
        Staged::create(&self.root, &format!("probe-{}-{part}", cx.step), &cx.run_id)?;
        let is_plain = matches!(start, Start::Plain);
        let writer = FolderWriter {
            root: self.root.clone(),
            run: cx.run_id.clone(),
            part: part.clone(),
            staged: BTreeMap::new(),
            made: BTreeSet::new(),
            // One worker is enough to remove what was there before.
            replace: is_plain && self.if_exists == IfExists::Replace && cx.worker.0 == 0,
        };
        if let Start::Kept { last, orphans, .. } = start {
            let replaces = self.replaces.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return kept::open(&self.layout, cx, writer, (part, *last, orphans), replaces);
        }
        self.refuse_files(&cx.run_id)?;
        let encoder = ParquetEncode::new(self.layout.clone(), cx, false);
        Ok(PartWriter { encoder: Box::new(encoder), writer: Box::new(writer) })
    }

    fn verify(&self, manifests: &[Manifest]) -> Result<(), LogicError> {
        if manifests.is_empty() { self.refuse_files("") } else { manifest::verify(&self.root, manifests) }
    }

    fn resume(&self, cx: &InstanceCx, manifests: &[Manifest]) -> Result<(), LogicError> {
        let mut newest = BTreeMap::new();
        for manifest in manifests {
            let state = State::read(&manifest.manifest)?;
            manifest::commit(&self.root, &state)?;
            newest.insert(&*manifest.part.0, state);
        }
        manifest::sweep(&self.root, &cx.run_id, &newest)?;
        let is_first = manifests.is_empty() && self.if_exists == IfExists::Replace;
        let replaces = is_first.then(|| manifest::list_old(&self.root, &cx.run_id)).transpose()?;
        *self.replaces.lock().unwrap_or_else(PoisonError::into_inner) = replaces;
        Ok(())
    }
}

/// Whether a file is of an execution.
fn is_of(file: &Path, run: &str) -> bool {
    !run.is_empty() && file.file_name().is_some_and(|name| name.to_string_lossy().contains(run))
}

/// Writes files below a folder. They are in it under temporary names, and move to their own place when they are whole.
pub(super) struct FolderWriter {
    root: PathBuf,
    run: Arc<str>,
    part: PartitionId,
    staged: BTreeMap<u64, Staged>,
    /// Folders that are there for sure.
    made: BTreeSet<PathBuf>,
    replace: bool,
}

impl FolderWriter {
    /// The sink's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Hands over a file that nothing more comes to.
    ///
    /// # Errors
    /// There is none.
    pub fn take_staged(&mut self, file: u64) -> Result<Staged, LogicError> {
        let staged = self.staged.remove(&file);
        staged.ok_or_else(|| LogicError::internal("a file is finished that was never written"))
    }

    /// Removes files that are not whole.
    pub fn forget_staged(&mut self) {
        self.staged.clear();
    }

    /// Appends to a file that has no name yet.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&mut self, file: u64, bytes: &[u8]) -> Result<(), LogicError> {
        // Not kept open: there may be hundreds, and a whole row group comes at a time.
        let mut open = match self.staged.get(&file) {
            Some(staged) => staged.reopen()?,
            None => {
                let name = format!("part-{}-{file}.parquet", self.part);
                let (staged, open) = Staged::create(&self.root, &name, &self.run)?;
                self.staged.insert(file, staged);
                open
            }
        };
        open.write_all(bytes).map_err(|error| cannot_write(self.staged[&file].path(), &error))
    }

    fn finish(&mut self, file: u64, name: &str) -> Result<(), LogicError> {
        let staged = self.take_staged(file)?;
        let target = self.root.join(name);
        let folder = target.parent().expect("a file is in a folder").to_owned();
        if !self.made.contains(&folder) {
            make_folder(&folder)?;
            self.made.insert(folder);
        }
        if target.exists() {
            let message = format!("{} is written by another step of this flow", target.display());
            return Err(LogicError::new(Domain::Io, message).help("let each sink write its own folder"));
        }
        staged.publish(&target)
    }

    /// Removes the files of earlier executions, and folders that are empty then.
    fn remove_others(&self) -> Result<(), LogicError> {
        let failed = |error: String| {
            LogicError::new(Domain::Io, format!("cannot replace what is in {}: {error}", self.root.display()))
        };
        for file in matching(&self.root, "**/*.parquet").map_err(failed)? {
            if is_of(&file, &self.run) {
                continue;
            }
            fs::remove_file(self.root.join(&file)).map_err(|error| failed(error.to_string()))?;
            for folder in file.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
                // Fails where something is left in it, and so are those above.
                if fs::remove_dir(self.root.join(folder)).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Writer for FolderWriter {
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        match job {
            Job::Append { file, bytes } => self.append(file, &bytes)?,
            Job::Finish { file, name } => self.finish(file, &name)?,
            Job::Rows(_) | Job::Keep { .. } => {
                return Err(LogicError::internal("rows are encoded before they are written"));
            }
        }
        Ok(Vec::new())
    }

    fn close(&mut self) -> Result<(), LogicError> {
        if self.replace { self.remove_others() } else { Ok(()) }
    }

    fn abandon(&mut self) {
        self.staged.clear();
    }
}
