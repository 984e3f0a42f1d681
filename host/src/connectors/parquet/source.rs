//! Reads Parquet files.

use super::hive;
use crate::catalog::connector::CheckedSource;
use crate::catalog::cx::{ConnectorCx, column};
use crate::catalog::operator::StreamType;
use crate::connectors::dir::{matching, part_name};
use crate::connectors::paths;
use crate::data::ids::PartitionId;
use crate::data::schema::{Type, normalise, normalised_schema, schema_of};
use crate::dataflow::error::LogicError;
use crate::dataflow::source::{PartReader, Piece, Read, Reader, SourceParts};
use crate::dataflow::user_fn::InstanceCx;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::Spanned;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::fs::File;
use std::io::{Read as _, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Rows of a batch.
const BATCH: usize = 8192;
/// Bytes at the end of a file by which it is told from others.
const LOOK: u64 = 4 << 10;

#[derive(serde::Deserialize)]
struct Args {
    parquet: Spanned<String>,
    glob: Option<Spanned<String>>,
    columns: Option<Vec<Spanned<String>>>,
}

/// Where a column comes from.
#[derive(Clone, Debug, PartialEq)]
enum Origin {
    File,
    Folders,
}

/// Checks a source of Parquet files.
pub(super) fn check(cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
    let args: Args = cx.args()?;
    let path = cx.path(&args.parquet.value);
    let is_dir = path.is_dir();
    let files = if is_dir { files_of(cx, &args, &path)? } else { vec![file_name(&paths::file(cx, &args.parquet)?)] };
    let root = if is_dir { path } else { path.parent().unwrap_or(Path::new("")).to_owned() };
    if let Some(glob) = args.glob.as_ref().filter(|_| !is_dir) {
        let message =
            format!("{}: {:?} is a file, so that \"glob\" has nothing to choose from", cx.what(), args.parquet.value);
        return Err(Diagnostic::new("wrong-key", message).at(glob.span.clone()).help("leave it out").into());
    }
    let first = root.join(&files[0]);
    let builder = File::open(&first).map_err(|error| paths::refused(cx, &args.parquet, &error));
    let builder = ParquetRecordBatchReaderBuilder::try_new(builder?).map_err(|error| {
        let message = format!("{}: {} cannot be read as Parquet: {error}", cx.what(), first.display());
        let help = "check that it is a Parquet file and was written to its end";
        Diagnostic::new("io-not-parquet", message).at(args.parquet.span.clone()).help(help)
    })?;
    let in_file = normalised_schema(builder.schema());
    let mut columns: Vec<(String, Type, Origin)> =
        in_file.fields().iter().map(|field| (field.name().clone(), Type::of(field), Origin::File)).collect();
    if is_dir {
        let values: Vec<_> = files.iter().map(|file| hive::values(file)).collect();
        for (name, _) in &values[0] {
            if columns.iter().all(|(other, ..)| other != name) {
                let all = values.iter().flatten().filter(|(other, _)| other == name);
                let ty = hive::type_of(all.map(|(_, value)| value.as_deref()));
                columns.push((name.clone(), ty, Origin::Folders));
            }
        }
    }
    if let Some(wanted) = &args.columns {
        columns = choose(cx, columns, wanted)?;
    }
    let schema = schema_of(&columns.iter().map(|(name, ty, _)| (name.clone(), ty.clone())).collect::<Vec<_>>());
    let origins = columns.into_iter().map(|(_, _, origin)| origin).collect();
    let notes = vec![format!("{} Parquet files of {:?}", files.len(), args.parquet.value)];
    let glob = args.glob.map(|glob| glob.value);
    let source = ParquetSource { name: args.parquet.value, root, is_dir, glob, schema: schema.clone(), origins };
    Ok(CheckedSource { down: StreamType::unkeyed(schema), parts: Box::new(source), notes })
}

const ALL: &str = "**/*.parquet";

fn files_of(cx: &ConnectorCx<'_>, args: &Args, dir: &Path) -> Result<Vec<PathBuf>, Diagnostics> {
    let (glob, span) = match &args.glob {
        Some(glob) => (glob.value.as_str(), glob.span.clone()),
        None => (ALL, args.parquet.span.clone()),
    };
    let problem = match matching(dir, glob) {
        Ok(files) if !files.is_empty() => return Ok(files),
        Ok(_) => {
            let message = format!("{}: no file in {:?} matches {glob:?}", cx.what(), args.parquet.value);
            Diagnostic::new("io-not-found", message).help(format!("it is {}", dir.display()))
        }
        Err(error) => {
            let message = format!("{}: {glob:?} is no pattern of names: {error}", cx.what());
            Diagnostic::new("wrong-value", message).help(format!("for example glob = {ALL:?}"))
        }
    };
    Err(problem.at(span).into())
}

fn file_name(path: &Path) -> PathBuf {
    path.file_name().map(PathBuf::from).unwrap_or_default()
}

/// Picks the columns that the flow names.
fn choose(
    cx: &ConnectorCx<'_>,
    columns: Vec<(String, Type, Origin)>,
    wanted: &[Spanned<String>],
) -> Result<Vec<(String, Type, Origin)>, Diagnostics> {
    let all = schema_of(&columns.iter().map(|(name, ty, _)| (name.clone(), ty.clone())).collect::<Vec<_>>());
    let mut problems = Diagnostics::new();
    let mut chosen: Vec<(String, Type, Origin)> = Vec::new();
    for name in wanted {
        let Some((at, _)) = problems.take(column(&all, name, &cx.what())) else { continue };
        if chosen.iter().any(|(other, ..)| *other == name.value) {
            let message = format!("{}: column {:?} is named twice", cx.what(), name.value);
            problems.push(Diagnostic::new("wrong-value", message).at(name.span.clone()).help("leave one out"));
        }
        chosen.push(columns[at].clone());
    }
    problems.into_result(chosen)
}

struct ParquetSource {
    /// The path as written.
    name: String,
    /// The folder that the files are in.
    root: PathBuf,
    is_dir: bool,
    glob: Option<String>,
    schema: SchemaRef,
    /// For each column.
    origins: Vec<Origin>,
}

impl SourceParts for ParquetSource {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        if !self.is_dir {
            return Ok(vec![self.name.as_str().into()]);
        }
        let files = matching(&self.root, self.glob.as_deref().unwrap_or(ALL));
        let files = files.map_err(|error| LogicError::external(format!("cannot list {}: {error}", self.name)))?;
        Ok(files.iter().map(|file| part_name(&self.name, file)).collect())
    }

    fn open(&self, _cx: &InstanceCx, part: &PartitionId, position: Option<&[u8]>) -> Result<PartReader, LogicError> {
        let inside = match self.is_dir {
            true => PathBuf::from(part.0.strip_prefix(self.name.as_str()).unwrap_or(&part.0).trim_start_matches('/')),
            false => file_name(Path::new(&*part.0)),
        };
        let path = self.root.join(&inside);
        let failed = |error| LogicError::io(format!("cannot read {part}"), &error);
        let mut file = File::open(&path).map_err(failed)?;
        let identity = identity(&mut file).map_err(failed)?;
        let (group, row) = read_position(position, part, &identity)?;
        let unreadable = |error| LogicError::user(format!("{part} cannot be read as Parquet: {error}"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
        let in_file: Vec<usize> = self.wanted(builder.schema());
        let read = builder.schema().project(&in_file)?;
        self.expect_types(&normalised_schema(&read), part)?;
        let groups: Vec<u64> = builder.metadata().row_groups().iter().map(|group| group.num_rows() as u64).collect();
        let length = groups.iter().skip(group).sum::<u64>().saturating_sub(row);
        let mask = ProjectionMask::roots(builder.parquet_schema(), in_file);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH)
            .with_row_groups((group..groups.len()).collect())
            .with_offset(usize::try_from(row).unwrap_or(usize::MAX))
            .build()
            .map_err(unreadable)?;
        let folders = if self.is_dir { hive::values(&inside) } else { Vec::new() };
        let folders = self.schema.fields().iter().map(|field| {
            let value = folders.iter().find(|(name, _)| name == field.name());
            value.and_then(|(_, value)| value.clone())
        });
        let reader = ParquetReader {
            part: part.clone(),
            reader,
            schema: self.schema.clone(),
            origins: self.origins.clone(),
            folders: folders.collect(),
            groups,
            group,
            row,
            identity,
        };
        Ok(PartReader { reader: Box::new(reader), decoder: None, length: Some(length) })
    }
}

impl ParquetSource {
    /// The indexes, in a file, of the columns that are read from it.
    fn wanted(&self, in_file: &Schema) -> Vec<usize> {
        let fields = self.schema.fields().iter().zip(&self.origins).filter(|(_, origin)| **origin == Origin::File);
        let mut wanted: Vec<usize> = fields.filter_map(|(field, _)| in_file.index_of(field.name()).ok()).collect();
        wanted.sort_unstable();
        wanted
    }

    fn expect_types(&self, in_file: &Schema, part: &PartitionId) -> Result<(), LogicError> {
        for field in in_file.fields() {
            let found = Type::of(field);
            let wanted = self.schema.field_with_name(field.name()).map(Type::of);
            if let Ok(wanted) = wanted
                && wanted != found
            {
                let message = format!("{part}: column {:?} is {found}, and {wanted} in the first file", field.name());
                let help = "read such files in steps of their own, with \"glob\"";
                return Err(LogicError::user(message).help(help));
            }
        }
        Ok(())
    }
}

/// Tells a file from others: its length, and a checksum of its last bytes, which say where everything in it is.
fn identity(file: &mut File) -> std::io::Result<[u8; 16]> {
    let length = file.metadata()?.len();
    let mut last = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(LOOK)))?;
    file.by_ref().take(LOOK).read_to_end(&mut last)?;
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&length.to_le_bytes());
    identity[8..].copy_from_slice(&xxh3_64(&last).to_le_bytes());
    Ok(identity)
}

/// Reads a position back: a row group, and a row in it.
fn read_position(bytes: Option<&[u8]>, part: &PartitionId, now: &[u8; 16]) -> Result<(usize, u64), LogicError> {
    let Some(bytes) = bytes else { return Ok((0, 0)) };
    let wrong = || LogicError::internal("the stored position is not that of a Parquet file");
    let (group, rest) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
    let (row, before) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
    if before.len() != now.len() {
        return Err(wrong());
    }
    if before != now {
        let message = format!("{part} was replaced: it is not the file of which rows were read before");
        let help = "put the file back; or, to read what is there now from its beginning, give it another name or begin \
                    with a new store";
        return Err(LogicError::user(message).help(help));
    }
    Ok((u32::from_le_bytes(*group) as usize, u64::from_le_bytes(*row)))
}

struct ParquetReader {
    part: PartitionId,
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    origins: Vec<Origin>,
    /// For each column the value that the file's folders carry.
    folders: Vec<Option<String>>,
    /// The rows of each row group.
    groups: Vec<u64>,
    /// Where the next batch begins.
    group: usize,
    row: u64,
    identity: [u8; 16],
}

impl ParquetReader {
    fn advance(&mut self, rows: u64) {
        self.row += rows;
        while let Some(&count) = self.groups.get(self.group).filter(|&&count| self.row >= count) {
            self.row -= count;
            self.group += 1;
        }
    }

    fn position(&self) -> Vec<u8> {
        let group = u32::try_from(self.group).unwrap_or(u32::MAX);
        [&group.to_le_bytes()[..], &self.row.to_le_bytes(), &self.identity].concat()
    }

    /// Puts the columns of the file and those of its folders in order.
    fn arrange(&self, batch: &RecordBatch) -> Result<RecordBatch, LogicError> {
        let rows = batch.num_rows();
        let columns =
            self.schema.fields().iter().zip(&self.origins).zip(&self.folders).map(|((field, origin), value)| {
                let ty = Type::of(field);
                match (origin, batch.column_by_name(field.name())) {
                    (Origin::File, Some(column)) => Ok(column.clone()),
                    (Origin::File, None) => Ok(new_null_array(field.data_type(), rows)),
                    (Origin::Folders, _) => hive::column(value.as_deref(), &ty, rows).map_err(|error| {
                        LogicError::user(format!("{}: column {:?}: {error}", self.part, field.name()))
                    }),
                }
            });
        let columns = columns.collect::<Result<Vec<ArrayRef>, LogicError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

impl Reader for ParquetReader {
    fn read(&mut self) -> Result<Read, LogicError> {
        let Some(batch) = self.reader.next() else { return Ok(Read::End) };
        let batch = batch.and_then(normalise);
        let batch = batch.map_err(|error| LogicError::user(format!("{} cannot be read: {error}", self.part)))?;
        self.advance(batch.num_rows() as u64);
        Ok(Read::Piece { data: Piece::Rows(self.arrange(&batch)?), position: self.position() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::env::real;
    use arrow::array::{AsArray, Int64Array, LargeStringArray};
    use arrow::datatypes::Int64Type;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use std::sync::Arc;

    fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, group: usize) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
        let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
    }

    fn cx() -> InstanceCx {
        InstanceCx {
            step: "step".into(),
            worker: crate::data::ids::WorkerIndex(0),
            run_id: "run".into(),
            env: real::env(),
            meter: Arc::default(),
            migration: None,
        }
    }

    fn source(root: &Path, columns: &[(&str, Type, Origin)]) -> ParquetSource {
        let named: Vec<(String, Type)> = columns.iter().map(|(name, ty, _)| ((*name).to_owned(), ty.clone())).collect();
        ParquetSource {
            name: "in".into(),
            root: root.to_owned(),
            is_dir: true,
            glob: None,
            schema: schema_of(&named),
            origins: columns.iter().map(|(.., origin)| origin.clone()).collect(),
        }
    }

    fn read(source: &ParquetSource, part: &str, at: Option<&[u8]>) -> Vec<(RecordBatch, Vec<u8>)> {
        let mut reader = source.open(&cx(), &part.into(), at).unwrap().reader;
        let mut batches = Vec::new();
        while let Read::Piece { data: Piece::Rows(rows), position } = reader.read().unwrap() {
            batches.push((rows, position));
        }
        batches
    }

    #[test]
    fn reading_goes_on_from_every_position() {
        let dir = tempfile::tempdir().unwrap();
        let count = 3 * i64::try_from(BATCH).unwrap() + 17;
        write(&dir.path().join("a.parquet"), vec![("n", Arc::new(Int64Array::from_iter(0..count)))], 5000);
        let source = source(dir.path(), &[("n", Type::Int64, Origin::File)]);
        let all = read(&source, "in/a.parquet", None);
        assert_eq!(all.iter().map(|(rows, _)| rows.num_rows() as i64).sum::<i64>(), count);
        let mut before = 0;
        for (rows, position) in &all {
            before += rows.num_rows() as i64;
            let rest = read(&source, "in/a.parquet", Some(position));
            let numbers: Vec<i64> = rest
                .iter()
                .flat_map(|(rows, _)| rows.column(0).as_primitive::<Int64Type>().values().to_vec())
                .collect();
            assert!(numbers.into_iter().eq(before..count), "from {before}");
        }
        write(&dir.path().join("a.parquet"), vec![("n", Arc::new(Int64Array::from_iter(1..=count)))], 5000);
        let Err(error) = source.open(&cx(), &"in/a.parquet".into(), Some(&all[0].1)) else { panic!("refused") };
        assert_eq!(error.message, "in/a.parquet was replaced: it is not the file of which rows were read before");
    }

    #[test]
    fn files_may_lack_columns_and_order_and_spell_types_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let texts: ArrayRef = Arc::new(LargeStringArray::from(vec!["x", "y"]));
        write(&dir.path().join("day=1/a.parquet"), vec![("n", numbers.clone()), ("s", texts.clone())], 10);
        write(&dir.path().join("day=2/b.parquet"), vec![("s", texts.clone()), ("n", numbers.clone())], 10);
        write(&dir.path().join("day=3/c.parquet"), vec![("n", numbers)], 10);
        write(&dir.path().join("day=4/d.parquet"), vec![("n", texts)], 10);
        let columns = [
            ("day", Type::Int64, Origin::Folders),
            ("n", Type::Int64, Origin::File),
            ("s", Type::String, Origin::File),
        ];
        let source = source(dir.path(), &columns);
        let parts: Vec<String> = source.list().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(parts, ["in/day=1/a.parquet", "in/day=2/b.parquet", "in/day=3/c.parquet", "in/day=4/d.parquet"]);
        for (day, part) in (1..).zip(&parts[..3]) {
            let (rows, _) = read(&source, part, None).remove(0);
            assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[day, day]);
            assert_eq!(rows.column(1).as_primitive::<Int64Type>().values(), &[1, 2]);
            assert_eq!(rows.column(2).null_count(), if day == 3 { 2 } else { 0 });
        }
        let Err(error) = source.open(&cx(), &parts[3].as_str().into(), None) else { panic!("other types are refused") };
        assert_eq!(error.message, "in/day=4/d.parquet: column \"n\" is string, and int64 in the first file");
    }
}
