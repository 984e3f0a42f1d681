//! `dir`: a folder of files of text.

use super::args::read_both;
use super::file::{TextSink, block, open};
use super::format::{SinkFormatArgs, SourceFormat, SourceFormatArgs, sink_format_doc, source_format_doc};
use super::paths;
use super::text_files::TextFiles;
use crate::catalog::connector::{CheckedSink, CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::catalog::operator::StreamType;
use crate::data::ids::PartitionId;
use crate::dataflow::durable::Manifest;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{PartWriter, Routing, SinkParts, Start};
use crate::dataflow::source::{PartReader, SourceParts};
use crate::dataflow::user_fn::InstanceCx;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{Size, Spanned};
use std::path::{Path, PathBuf};

/// The connector `dir`.
pub(super) struct Dir;

#[derive(serde::Deserialize)]
struct SourceArgs {
    dir: Spanned<String>,
    glob: Option<Spanned<String>>,
    chunk: Option<Spanned<Size>>,
}

#[derive(serde::Deserialize)]
struct SinkArgs {
    dir: Spanned<String>,
    files: Option<Spanned<u32>>,
    name: Option<Spanned<String>>,
}

impl Connector for Dir {
    fn name(&self) -> &'static str {
        "dir"
    }

    fn doc(&self) -> &'static str {
        concat!(
            "Reads or writes a folder of files of text.

As a source, each file that matches is a partition, and they are shared over the workers; files of one flow have one
format and the same columns. Which files there are is found out when the flow starts. As a sink, each worker writes a
file of its own, or, with `files`, rows of a key go to one of so many files. Files get their names as those of `file` do.

With recovery, files are read on, and have each row exactly once, as those of `file`. If there are fewer workers than before,
the files of those that are gone stay as they are; if there are more again, they are written on.

Arguments of the source:

- `dir`: the folder.
- `glob` (default `\"*\"`): which files; `**/*.jsonl` looks in folders below too. Folders that match are skipped.
",
            source_format_doc!(),
            "- `chunk` (default `\"512KiB\"`): bytes that are read at a time, and become one batch.

```toml
[[step]]
name = \"events\"
op = \"input\"
source = { dir = \"events\", glob = \"*.jsonl\", schema = { user = \"string\", value = \"float64\" } }
```

Arguments of the sink:

- `dir`: the folder; it is made.
- `files`: how many files there are, by key. Default: one for each worker.
- `name` (default `\"part-{}.jsonl\"`, with the ending of the format): what files are called; `{}` is their number, from 0.
",
            sink_format_doc!(),
            "
```toml
[[step]]
name = \"out\"
op = \"output\"
sink = { dir = \"out\", format = \"csv\" }
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
        let dir = paths::folder(cx, &args.dir)?;
        let glob = args.glob.as_ref().map_or("*", |glob| &glob.value);
        let glob_span = args.glob.as_ref().map_or(args.dir.span.clone(), |glob| glob.span.clone());
        let refused = |code, message: String, help: String| {
            let message = format!("{}: {message}", cx.what());
            Diagnostics::from(Diagnostic::new(code, message).at(glob_span.clone()).help(help))
        };
        let files = matching(&dir, glob).map_err(|error| {
            let help = "for example glob = \"*.jsonl\"; a bracket itself is written [[]".to_owned();
            refused("wrong-value", format!("{glob:?} is no pattern of names: {error}"), help)
        })?;
        let Some(first) = files.first() else {
            let message = format!("no file in {:?} matches {glob:?}", args.dir.value);
            return Err(refused("io-not-found", message, format!("it is {}", dir.display())));
        };
        let mut notes = vec![format!("{} files of {:?}", files.len(), args.dir.value)];
        let name = part_name(&args.dir.value, first);
        let format = format_args.resolve(cx, &name.0, Some(&dir.join(first)), &mut notes)?;
        let source = DirSource {
            name: args.dir.value.clone(),
            dir,
            glob: glob.to_owned(),
            format,
            block: block(cx, args.chunk.as_ref())?,
        };
        let down = StreamType::unkeyed(source.format.schema());
        Ok(CheckedSource { down, parts: Box::new(source), notes })
    }

    fn check_sink(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSink, Diagnostics> {
        let (args, format_args) = read_both::<SinkArgs, SinkFormatArgs>(cx)?;
        let dir = paths::folder_to_write(cx, &args.dir)?;
        let name = args.name.as_ref().map_or("", |name| &name.value);
        let format = format_args.resolve(cx, name)?;
        let mut problems = Diagnostics::new();
        if let Some(name) = args.name.as_ref().filter(|name| !name.contains("{}") || name.contains('/')) {
            let message = format!("{}: the name {:?} has no place for the number of the file", cx.what(), name.value);
            let help = format!("for example name = \"part-{{}}.{}\", without folders", format.ending());
            problems.push(Diagnostic::new("wrong-value", message).at(name.span.clone()).help(help));
        }
        if let Some(files) = &args.files {
            if !(1..=10_000).contains(&files.value) {
                let message = format!("{}: there are from 1 to 10000 files, not {}", cx.what(), files.value);
                problems.push(Diagnostic::new("wrong-value", message).at(files.span.clone()));
            }
            if cx.up().key.is_none() {
                let message = format!("{}: \"files\" divides rows by their key, and they have none", cx.what());
                let help = "put a step before it: op = \"key_on\", key = \"<column>\"; or leave \"files\" out";
                problems.push(Diagnostic::new("no-key", message).at(files.span.clone()).help(help));
            }
        }
        problems.into_result(())?;
        let name = if name.is_empty() { format!("part-{{}}.{}", format.ending()) } else { name.to_owned() };
        let text = TextSink { format, up: cx.up().clone(), files: TextFiles::default() };
        let sink = DirSink { dir, name, files: args.files.map(|files| files.value), text };
        Ok(CheckedSink { parts: Box::new(sink), notes: Vec::new() })
    }
}

/// Finds the files below a folder whose path in it matches a pattern, in order. Hidden ones are left out: they are most
/// often unfinished.
///
/// # Errors
/// The pattern is none, or the folder cannot be read.
pub(super) fn matching(dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
    let all = format!("{}/{pattern}", glob::Pattern::escape(&dir.to_string_lossy()));
    let found = glob::glob_with(&all, options).map_err(|error| error.msg.to_owned())?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|error| error.to_string())?;
        if !path.is_dir() {
            files.push(path.strip_prefix(dir).unwrap_or(&path).to_owned());
        }
    }
    files.sort();
    Ok(files)
}

struct DirSource {
    /// The folder as written.
    name: String,
    dir: PathBuf,
    glob: String,
    format: SourceFormat,
    block: usize,
}

impl SourceParts for DirSource {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        let files = matching(&self.dir, &self.glob);
        let files = files.map_err(|error| LogicError::external(format!("cannot list {}: {error}", self.name)))?;
        Ok(files.iter().map(|file| part_name(&self.name, file)).collect())
    }

    fn open(&self, _cx: &InstanceCx, part: &PartitionId, at: Option<&[u8]>) -> Result<PartReader, LogicError> {
        let name = part.0.strip_prefix(self.name.as_str()).unwrap_or(&part.0);
        open(&self.dir.join(name.trim_start_matches('/')), part, &self.format, self.block, at)
    }
}

/// The name of a partition that is a file of a folder: its path from where the flow stands.
pub(super) fn part_name(dir: &str, file: &Path) -> PartitionId {
    PartitionId::from(format!("{}/{}", dir.trim_end_matches('/'), file.display()).as_str())
}

struct DirSink {
    dir: PathBuf,
    name: String,
    files: Option<u32>,
    text: TextSink,
}

impl DirSink {
    fn target(&self, part: &str) -> PathBuf {
        self.dir.join(self.name.replace("{}", part))
    }

    /// Whether a file is called as those of partitions are.
    fn is_ours(&self, name: &str) -> bool {
        let number = self.name.split_once("{}").and_then(|(before, _)| {
            let rest = name.strip_prefix(before)?;
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            Some(&rest[..digits])
        });
        number.is_some_and(|number| !number.is_empty() && self.name.replace("{}", number) == name)
    }
}

impl SinkParts for DirSink {
    fn routing(&self) -> Result<Routing, LogicError> {
        Ok(match self.files {
            None => Routing::PerWorker,
            Some(files) => Routing::ByKey((0..files).map(|file| file.to_string().as_str().into()).collect()),
        })
    }

    fn open(&self, cx: &InstanceCx, part: &PartitionId, start: &Start<'_>) -> Result<PartWriter, LogicError> {
        self.text.open(cx, part, &self.target(&part.0), start)
    }

    fn verify(&self, manifests: &[Manifest]) -> Result<(), LogicError> {
        TextFiles::verify(manifests, &|part| self.target(part))
    }

    fn resume(&self, cx: &InstanceCx, manifests: &[Manifest]) -> Result<(), LogicError> {
        self.text.files.resume(cx, manifests, &|part| self.target(part), &|name| self.is_ours(name))
    }
}
