//! `stdin` and `stdout`: text from and to the process's own ends.

use super::args::read_both;
use super::blocks::{BlockReader, Fill};
use super::format::{SinkFormat, SinkFormatArgs, SourceFormat, SourceFormatArgs, sink_format_doc, source_format_doc};
use super::identity::Place;
use super::text_sink::TextEncode;
use crate::catalog::connector::{CheckedSink, CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::catalog::operator::StreamType;
use crate::data::ids::PartitionId;
use crate::dataflow::error::{Domain, LogicError};
use crate::dataflow::sink::{Job, PartWriter, Routing, SinkParts, Start, Writer};
use crate::dataflow::source::{PartReader, SourceParts};
use crate::dataflow::user_fn::{InstanceCx, RowError};
use crate::diag::Diagnostics;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

/// Bytes that are read at a time: what a pipe holds.
const BLOCK: usize = 64 << 10;

/// The connector `stdin`.
pub(super) struct Stdin;

#[derive(serde::Deserialize)]
struct StdinArgs {
    #[serde(rename = "stdin")]
    _stdin: bool,
}

impl Connector for Stdin {
    fn name(&self) -> &'static str {
        "stdin"
    }

    fn doc(&self) -> &'static str {
        concat!(
            "Reads text from standard input.

One worker reads it, what is there at a time, until it ends. `source = \"stdin\"` is short for `source = { stdin = true }`,
which reads lines.

Nothing of it can be read twice. So with recovery a flow that starts again reads whatever its new standard input has, and
rows that were read, but were not durable when it crashed, are lost: they come at most once. Put them into a file where
that matters.

Arguments:

- `stdin`: true.
",
            source_format_doc!(),
            "
Standard input cannot be read ahead, so json needs a `schema`, and so does csv.

```toml
[[step]]
name = \"events\"
op = \"input\"
source = { stdin = true, format = \"json\", schema = { user = \"string\", value = \"float64\" } }
```
"
        )
    }

    fn is_source(&self) -> bool {
        true
    }

    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        let (_, format) = read_both::<StdinArgs, SourceFormatArgs>(cx)?;
        let format = format.resolve(cx, "stdin", None, &mut Vec::new())?;
        let down = StreamType::unkeyed(format.schema());
        Ok(CheckedSource { down, parts: Box::new(StdinSource { format }), notes: Vec::new() })
    }
}

struct StdinSource {
    format: SourceFormat,
}

impl SourceParts for StdinSource {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        Ok(vec!["stdin".into()])
    }

    fn open(&self, _cx: &InstanceCx, part: &PartitionId, _at: Option<&[u8]>) -> Result<PartReader, LogicError> {
        // It cannot be read again; what comes now is new.
        let framer = self.format.framer();
        let fill = if is_file() { Fill::Block } else { Fill::Present };
        let reader = BlockReader::new(std::io::stdin(), part.to_string(), framer, fill, BLOCK, Place::default());
        Ok(PartReader { reader: Box::new(reader), decoder: Some(self.format.decoder(None)?), length: None })
    }
}

/// Whether standard input is a file, which has all its rows and is never waited for as a pipe is.
fn is_file() -> bool {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    stdin.is_ok_and(|stdin| File::from(stdin).metadata().is_ok_and(|metadata| metadata.is_file()))
}

/// The connector `stdout`.
pub(super) struct Stdout;

#[derive(serde::Deserialize)]
struct StdoutArgs {
    #[serde(rename = "stdout")]
    _stdout: bool,
}

impl Connector for Stdout {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn doc(&self) -> &'static str {
        concat!(
            "Writes rows as text to standard output.

All rows go through one worker, are written at once, and in whole records. `sink = \"stdout\"` is short for
`sink = { stdout = true }`, which writes JSON lines.

With recovery, too, rows are written at once: after a crash, those of epochs that were not durable come a second time (at
least once).

Arguments:

- `stdout`: true.
",
            sink_format_doc!(),
            "
```toml
[[step]]
name = \"out\"
op = \"output\"
sink = { stdout = true, format = \"csv\" }
```
"
        )
    }

    fn is_sink(&self) -> bool {
        true
    }

    fn check_sink(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSink, Diagnostics> {
        let (_, format) = read_both::<StdoutArgs, SinkFormatArgs>(cx)?;
        let format = format.resolve(cx, "stdout")?;
        let sink = StdoutSink { format, up: cx.up().clone() };
        Ok(CheckedSink { parts: Box::new(sink), notes: Vec::new() })
    }
}

struct StdoutSink {
    format: SinkFormat,
    up: StreamType,
}

impl SinkParts for StdoutSink {
    fn routing(&self) -> Result<Routing, LogicError> {
        Ok(Routing::One("stdout".into()))
    }

    fn open(&self, _cx: &InstanceCx, _part: &PartitionId, _start: &Start<'_>) -> Result<PartWriter, LogicError> {
        let encoder = self.format.encoder(&self.up.schema, self.up.key.as_deref());
        let encoder = encoder.map_err(|error| LogicError::internal(error.to_string()))?;
        Ok(PartWriter { encoder: Box::new(TextEncode::new(encoder, 0)), writer: Box::new(StdoutWriter) })
    }
}

struct StdoutWriter;

impl Writer for StdoutWriter {
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        let Job::Append { bytes, .. } = job else {
            return Err(LogicError::internal("standard output is only appended to"));
        };
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
        written.map_err(|error| failed(&error)).map(|()| Vec::new())
    }

    fn close(&mut self) -> Result<(), LogicError> {
        Ok(())
    }
}

fn failed(error: &std::io::Error) -> LogicError {
    match error.kind() {
        ErrorKind::BrokenPipe => LogicError::new(Domain::Io, "the reader of stdout went away"),
        _ => LogicError::io("cannot write to stdout", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_said_in_words() {
        assert_eq!(failed(&ErrorKind::BrokenPipe.into()).message, "the reader of stdout went away");
        assert!(failed(&ErrorKind::StorageFull.into()).message.starts_with("cannot write to stdout: "));
    }
}
