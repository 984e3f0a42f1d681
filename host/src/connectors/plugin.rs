//! `plugin`: sources and sinks that users write.

use crate::catalog::connector::{CheckedSink, CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::catalog::operator::StreamType;
use crate::data::batch::Batch;
use crate::data::ids::PartitionId;
use crate::data::time::Epoch;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{Encode, Job, PartWriter, Routing, SinkParts, Start, Writer};
use crate::dataflow::source::{PartReader, Piece, Read, Reader, SourceParts};
use crate::dataflow::user_fn::{InstanceCx, OpenSink, OpenSource, Polled, RowError, SinkFn, SourceFn};
use crate::diag::Diagnostics;
use crate::spec::{Node, Spanned};

/// Rows that a source is asked for at a time.
const BATCH: u32 = 8192;

/// The connector `plugin`.
pub(super) struct Plugin;

#[derive(serde::Deserialize)]
struct Args {
    plugin: Spanned<String>,
    config: Option<Node>,
}

impl Connector for Plugin {
    fn name(&self) -> &'static str {
        "plugin"
    }

    fn doc(&self) -> &'static str {
        "Reads or writes with a source or a sink of a plugin.

Each partition runs in an instance of its own, on a thread of its own. A source names its partitions, which are shared
over the workers. A sink names them too, and rows of a key go to one of them; or it names none, and each worker writes one
of its own. Rows that a sink refuses follow the step's `on_error`.

Arguments:

- `plugin`: `\"NAME.FUNCTION\"`, a plugin of the flow and a source or sink in it.
- `config`: what the function is given as its configuration, over that of the plugin.

```toml
[[step]]
name = \"events\"
op = \"input\"
source = { plugin = \"web.simulate\", config = { seed = 1, rows = 1000 } }
```
"
    }

    fn is_source(&self) -> bool {
        true
    }

    fn is_sink(&self) -> bool {
        true
    }

    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        let args: Args = cx.args()?;
        let config = args.config.as_ref().map(Node::to_json);
        let opened = cx.open_source(&args.plugin, config.as_ref())?;
        let down = StreamType::unkeyed(opened.output.clone());
        Ok(CheckedSource { down, parts: Box::new(PluginSource { opened }), notes: Vec::new() })
    }

    fn check_sink(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSink, Diagnostics> {
        let args: Args = cx.args()?;
        let config = args.config.as_ref().map(Node::to_json);
        let opened = cx.open_sink(&args.plugin, config.as_ref())?;
        let schema = &cx.up().schema;
        let reads: Vec<&str> = opened.reads.iter().map(|&column| schema.field(column).name().as_str()).collect();
        let notes = vec![format!("{} reads: {}", args.plugin.value, reads.join(", "))];
        let is_keyed = cx.up().key.is_some();
        Ok(CheckedSink { parts: Box::new(PluginSink { function: args.plugin.value, opened, is_keyed }), notes })
    }
}

struct PluginSource {
    opened: OpenSource,
}

impl SourceParts for PluginSource {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        Ok(self.opened.factory.list_parts()?.iter().map(|name| name.as_str().into()).collect())
    }

    fn open(&self, cx: &InstanceCx, part: &PartitionId, position: Option<&[u8]>) -> Result<PartReader, LogicError> {
        let source = self.opened.factory.build_part(cx, &part.0, position)?;
        Ok(PartReader { reader: Box::new(PluginReader(source)), decoder: None })
    }
}

struct PluginReader(Box<dyn SourceFn>);

impl Reader for PluginReader {
    fn read(&mut self) -> Result<Read, LogicError> {
        Ok(match self.0.next_batch(BATCH)? {
            Polled::Rows(rows) => Read::Piece { data: Piece::Rows(rows), position: self.0.snapshot()? },
            Polled::Idle(until) => Read::Idle(until),
            Polled::End => Read::End,
        })
    }

    fn close(&mut self) -> Result<(), LogicError> {
        self.0.close()
    }
}

struct PluginSink {
    /// As the flow names it.
    function: String,
    opened: OpenSink,
    is_keyed: bool,
}

impl SinkParts for PluginSink {
    fn routing(&self) -> Result<Routing, LogicError> {
        let mut names: Vec<PartitionId> =
            self.opened.factory.list_parts()?.iter().map(|name| name.as_str().into()).collect();
        names.sort();
        match names.as_slice() {
            [] => Ok(Routing::PerWorker),
            [name] => Ok(Routing::One(name.clone())),
            _ if self.is_keyed => Ok(Routing::ByKey(names)),
            _ => {
                let message = format!("{} divides rows over {} partitions by their key", self.function, names.len());
                Err(LogicError::plugin(format!("{message}, and they have none"))
                    .help("put a step before it: op = \"key_on\", key = \"<column>\""))
            }
        }
    }

    fn open(&self, cx: &InstanceCx, part: &PartitionId, _start: &Start<'_>) -> Result<PartWriter, LogicError> {
        let sink = self.opened.factory.build_part(cx, &part.0, None)?;
        let writer = PluginWriter { sink, two_phase: self.opened.two_phase, written: false, epoch: Epoch::FIRST };
        Ok(PartWriter { encoder: Box::new(Whole), writer: Box::new(writer) })
    }
}

/// Hands batches on as they are.
struct Whole;

impl Encode for Whole {
    fn encode(&mut self, batch: &Batch, jobs: &mut Vec<Job>) -> Result<Vec<RowError>, LogicError> {
        jobs.push(Job::Rows(Box::new(batch.clone())));
        Ok(Vec::new())
    }

    fn on_eof(&mut self, _jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        Ok(())
    }
}

struct PluginWriter {
    sink: Box<dyn SinkFn>,
    /// Whether what was written is shown by a commit.
    two_phase: bool,
    /// Whether something was written since the last one.
    written: bool,
    epoch: Epoch,
}

impl PluginWriter {
    fn commit(&mut self, epoch: Epoch) -> Result<(), LogicError> {
        self.epoch = epoch.next();
        if !self.two_phase || !self.written {
            return Ok(());
        }
        self.written = false;
        let staged = self.sink.pre_commit(epoch.0)?;
        self.sink.commit(epoch.0, &staged)
    }
}

impl Writer for PluginWriter {
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        let Job::Rows(batch) = job else {
            return Err(LogicError::internal("a plugin's sink takes rows"));
        };
        self.written = true;
        self.sink.write(batch.rows())
    }

    fn publish(&mut self, epoch: Epoch) -> Result<(), LogicError> {
        self.commit(epoch)
    }

    fn close(&mut self) -> Result<(), LogicError> {
        self.commit(self.epoch)?;
        self.sink.close()
    }

    fn abandon(&mut self) {
        // What was written and not committed is the sink's to forget.
        if let Err(error) = self.sink.close() {
            tracing::warn!(%error, "a sink did not close well");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::RecordBatch;
    use std::sync::{Arc, Mutex};

    /// Notes the calls to it.
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        fn note(&self, call: String) {
            self.0.lock().unwrap().push(call);
        }
    }

    impl SinkFn for Notes {
        fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RowError>, LogicError> {
            self.note(format!("write {}", rows.num_rows()));
            Ok(Vec::new())
        }

        fn snapshot(&mut self) -> Result<Vec<u8>, LogicError> {
            Ok(Vec::new())
        }

        fn pre_commit(&mut self, epoch: u64) -> Result<Vec<u8>, LogicError> {
            self.note(format!("pre-commit {epoch}"));
            Ok(vec![7])
        }

        fn commit(&mut self, epoch: u64, staged: &[u8]) -> Result<(), LogicError> {
            self.note(format!("commit {epoch} {staged:?}"));
            Ok(())
        }

        fn close(&mut self) -> Result<(), LogicError> {
            self.note("close".to_owned());
            Ok(())
        }
    }

    fn calls(two_phase: bool) -> Vec<String> {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let sink = Box::new(Notes(calls.clone()));
        let mut writer = PluginWriter { sink, two_phase, written: false, epoch: Epoch::FIRST };
        let batch = Batch::new(RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())));
        writer.run(Job::Rows(Box::new(batch.clone()))).unwrap();
        writer.publish(Epoch(3)).unwrap();
        writer.publish(Epoch(4)).unwrap();
        writer.run(Job::Rows(Box::new(batch))).unwrap();
        writer.close().unwrap();
        drop(writer);
        Arc::into_inner(calls).unwrap().into_inner().unwrap()
    }

    #[test]
    fn what_was_written_is_committed_at_the_end_of_its_epoch() {
        let wanted = ["write 0", "pre-commit 3", "commit 3 [7]", "write 0", "pre-commit 5", "commit 5 [7]", "close"];
        assert_eq!(calls(true), wanted);
        assert_eq!(calls(false), ["write 0", "write 0", "close"]);
    }
}
