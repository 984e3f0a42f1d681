//! `file`: one file of text.

use super::args::read_both;
use super::blocks::{BLOCK, BlockReader, Fill};
use super::format::{SinkFormat, SinkFormatArgs, SourceFormat, SourceFormatArgs, sink_format_doc, source_format_doc};
use super::identity::Place;
use super::paths;
use super::text_files::{TextFiles, followed};
use super::text_kept::KeptWriter;
use super::text_sink::{CHUNK, FileWriter, Target, TextEncode, writable};
use crate::catalog::connector::{CheckedSink, CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::catalog::operator::StreamType;
use crate::data::ids::PartitionId;
use crate::dataflow::durable::Manifest;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{PartWriter, Routing, SinkParts, Start, Writer};
use crate::dataflow::source::{PartReader, SourceParts};
use crate::dataflow::user_fn::InstanceCx;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{Size, Spanned};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The connector `file`.
pub(super) struct FileConnector;

#[derive(serde::Deserialize)]
struct SourceArgs {
    file: Spanned<String>,
    chunk: Option<Spanned<Size>>,
}

#[derive(serde::Deserialize)]
struct SinkArgs {
    file: Spanned<String>,
}

impl Connector for FileConnector {
    fn name(&self) -> &'static str {
        "file"
    }

    fn doc(&self) -> &'static str {
        concat!(
            "Reads or writes one file of text.

Paths start from the flow's folder. As a source, the file is one partition, read in blocks by one worker; for more
workers, see `dir`. As a sink, all rows go through one worker into one file. It is written under a temporary name beside it
(`.NAME.RUN.part`) and gets its own when the first epoch closes or the input ends, in place of an older file; from then on
only whole records are appended. If the flow fails before that, an older file stays as it was. Folders are made.

With recovery, a source goes on where the execution before stopped, also in a file that has grown since. One that was cut,
replaced or changed before that place is refused, as is one whose last line had no end when it was read, and is longer now.
Of a pipe, whatever comes is read: rows that were not durable are lost in a crash.

With recovery, each row that is written is in the file exactly once, through any crash. The rows of an epoch wait in a
hidden file beside it (`.NAME.RUN.NUMBER.part`) until the epoch is durable; only then they are appended. The first ones
replace an older file. A file that somebody else cut, replaced or wrote to is refused when the flow starts again. Devices and
pipes get rows at once, and after a crash those of epochs that were not durable a second time (at least once).

Arguments of the source:

- `file`: the path.
",
            source_format_doc!(),
            "- `chunk` (default `\"512KiB\"`): bytes that are read at a time, and become one batch.

```toml
[[step]]
name = \"events\"
op = \"input\"
source = { file = \"events.jsonl\", schema = { user = \"string\", value = \"float64\" } }
```

Arguments of the sink:

- `file`: the path.
",
            sink_format_doc!(),
            "
```toml
[[step]]
name = \"out\"
op = \"output\"
sink = { file = \"out.jsonl\" }
```
"
        )
    }

    fn is_source(&self) -> bool {
        true
    }

    fn is_sink(&self) -> bool {
        true
    }

    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        let (args, format_args) = read_both::<SourceArgs, SourceFormatArgs>(cx)?;
        let path = paths::text_file(cx, &args.file)?;
        let mut notes = Vec::new();
        let sample = Some(path.as_path()).filter(|path| path.is_file());
        let format = format_args.resolve(cx, &args.file.value, sample, &mut notes)?;
        let block = block(cx, args.chunk.as_ref())?;
        let down = StreamType::unkeyed(format.schema());
        let source = FileSource { name: args.file.value, path, format, block };
        Ok(CheckedSource { down, parts: Box::new(source), notes })
    }

    fn check_sink(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSink, Diagnostics> {
        let (args, format_args) = read_both::<SinkArgs, SinkFormatArgs>(cx)?;
        let target = paths::file_to_write(cx, &args.file)?;
        let format = format_args.resolve(cx, &args.file.value)?;
        let text = TextSink { format, up: cx.up().clone(), files: TextFiles::default() };
        let sink = FileSink { name: args.file.value.as_str().into(), target, text };
        Ok(CheckedSink { parts: Box::new(sink), notes: Vec::new() })
    }
}

/// Reads the argument `chunk`.
pub(super) fn block(cx: &ConnectorCx<'_>, chunk: Option<&Spanned<Size>>) -> Result<usize, Diagnostics> {
    let Some(chunk) = chunk else { return Ok(BLOCK) };
    match usize::try_from(chunk.value.0) {
        Ok(bytes @ 1..=0x1000_0000) => Ok(bytes),
        _ => {
            let message = format!("{}: a chunk has from 1B to 256MiB, not {}", cx.what(), chunk.value);
            Err(Diagnostic::new("wrong-value", message).at(chunk.span.clone()).into())
        }
    }
}

struct FileSource {
    name: String,
    path: PathBuf,
    format: SourceFormat,
    block: usize,
}

impl SourceParts for FileSource {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        Ok(vec![self.name.as_str().into()])
    }

    fn open(&self, _cx: &InstanceCx, part: &PartitionId, at: Option<&[u8]>) -> Result<PartReader, LogicError> {
        open(&self.path, part, &self.format, self.block, at)
    }
}

/// Opens a file of text as a partition.
///
/// # Errors
/// It cannot be opened, or is not the file of the position.
pub(super) fn open(
    path: &Path,
    part: &PartitionId,
    format: &SourceFormat,
    block: usize,
    at: Option<&[u8]>,
) -> Result<PartReader, LogicError> {
    let failed = |error| LogicError::io(format!("cannot read {part}"), &error);
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let is_file = metadata.is_file();
    // A pipe cannot be read again; what comes now is new.
    let place = match at.filter(|_| is_file) {
        Some(at) => Place::resume(&mut file, part, at)?,
        None => Place::default(),
    };
    let fill = if is_file { Fill::Block } else { Fill::Present };
    let length = is_file.then(|| metadata.len().saturating_sub(place.offset));
    let decoder = format.decoder((place.offset > 0).then_some(path))?;
    let reader = BlockReader::new(file, part.to_string(), format.framer(), fill, block, place);
    Ok(PartReader { reader: Box::new(reader), decoder: Some(decoder), length })
}

struct FileSink {
    name: PartitionId,
    target: PathBuf,
    text: TextSink,
}

impl SinkParts for FileSink {
    fn routing(&self) -> Result<Routing, LogicError> {
        Ok(Routing::One(self.name.clone()))
    }

    fn open(&self, cx: &InstanceCx, part: &PartitionId, start: &Start<'_>) -> Result<PartWriter, LogicError> {
        self.text.open(cx, part, &self.target, start)
    }

    fn verify(&self, manifests: &[Manifest]) -> Result<(), LogicError> {
        TextFiles::verify(manifests, &|_| self.target.clone())
    }

    fn resume(&self, cx: &InstanceCx, manifests: &[Manifest]) -> Result<(), LogicError> {
        let name = followed(&self.target).file_name().map(|name| name.to_string_lossy().into_owned());
        let is_ours = |target: &str| Some(target) == name.as_deref();
        self.text.files.resume(cx, manifests, &|_| followed(&self.target), &is_ours)
    }
}

/// What sinks of text files have in common.
pub(super) struct TextSink {
    pub format: SinkFormat,
    pub up: StreamType,
    pub files: TextFiles,
}

impl TextSink {
    /// Opens a file of text to write.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(
        &self,
        cx: &InstanceCx,
        part: &PartitionId,
        target: &Path,
        start: &Start<'_>,
    ) -> Result<PartWriter, LogicError> {
        let encoder = self.format.encoder(&self.up.schema, self.up.key.as_deref());
        let encoder = encoder.map_err(|error| LogicError::internal(error.to_string()))?;
        let encoder = TextEncode::new(encoder, CHUNK);
        let (encoder, writer): (_, Box<dyn Writer>) = match (start, writable(target)?) {
            (Start::Kept { last, orphans, .. }, Target::File(target)) => {
                let state = self.files.begin(part, *last, orphans)?;
                let encoder = if state.file.is_some() { encoder.continued() } else { encoder };
                let writer = KeptWriter::create(target, cx.run_id.clone(), state, !orphans.is_empty())?;
                (encoder, Box::new(writer))
            }
            // A device keeps nothing that could be gone on from.
            _ => (encoder, Box::new(FileWriter::create(target, &cx.run_id)?)),
        };
        Ok(PartWriter { encoder: Box::new(encoder), writer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::schema::{Type, schema_of};
    use crate::dataflow::source::{Piece, Read};
    use crate::formats::csv::Dialect;

    /// Reads a partition from a position to its end: the rows of each piece, and the position behind it.
    fn read(path: &Path, format: &SourceFormat, at: Option<&[u8]>) -> Vec<(usize, Vec<u8>)> {
        let PartReader { mut reader, decoder, .. } = open(path, &"x".into(), format, 16, at).unwrap();
        let mut decoder = decoder.unwrap();
        let mut pieces = Vec::new();
        while let Read::Piece { data: Piece::Bytes(bytes), position } = reader.read().unwrap() {
            let decoded = decoder.decode(&bytes).unwrap();
            assert_eq!(decoded.errors, []);
            pieces.push((decoded.rows.num_rows(), position));
        }
        pieces
    }

    #[test]
    fn reading_goes_on_from_every_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.csv");
        let rows: String = (0..20).map(|n| format!("{n},name {n}\n")).collect();
        std::fs::write(&path, format!("id,name\n{rows}")).unwrap();
        let schema = schema_of(&[("name".to_owned(), Type::String)]);
        let csv = SourceFormat::Csv { schema, dialect: Dialect::default(), has_header: true };
        for (format, total) in [(csv, 20), (SourceFormat::Lines, 21)] {
            let all = read(&path, &format, None);
            assert!(all.len() > 5);
            for (at, (_, position)) in all.iter().enumerate() {
                let before: usize = all[..=at].iter().map(|(rows, _)| rows).sum();
                let after: usize = read(&path, &format, Some(position)).iter().map(|(rows, _)| rows).sum();
                assert_eq!(before + after, total);
            }
        }
        let position = &read(&path, &SourceFormat::Lines, None)[3].1;
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let Err(error) = open(&path, &"x".into(), &SourceFormat::Lines, 16, Some(position)) else {
                panic!("another file is not read on")
            };
            error.message
        };
        assert_eq!(refused("id,name\n"), "x has 8 bytes, and 62 were read before: it was cut or replaced");
        let other = format!("no,name\n{rows}");
        assert_eq!(refused(&other), "x was replaced: its beginning is not what was read before");
    }

    #[test]
    fn a_file_that_has_grown_is_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.txt");
        for (first, second) in [("1\n2\n", "3\n4\n"), ("1\n2", "\n3\n4"), ("", "1\n2\n3\n4\n")] {
            std::fs::write(&path, first).unwrap();
            let before = read(&path, &SourceFormat::Lines, None);
            std::fs::write(&path, format!("{first}{second}")).unwrap();
            let position = before.last().map(|(_, position)| position.as_slice());
            let after = read(&path, &SourceFormat::Lines, position);
            let rows: usize = before.iter().chain(&after).map(|(rows, _)| rows).sum();
            assert_eq!(rows, 4, "{first:?} and {second:?}");
        }
    }
}
