//! `plugin`: sources and sinks that users write.

use super::plugin_state::{Position, State, positions};
use crate::catalog::connector::{CheckedSink, CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::catalog::operator::StreamType;
use crate::data::batch::Batch;
use crate::data::ids::PartitionId;
use crate::data::time::Epoch;
use crate::dataflow::durable::Manifest;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{Encode, Flush, Job, PartWriter, Routing, SinkParts, Staged, Start, Writer};
use crate::dataflow::source::{PartReader, Piece, Read, Reader, SourceParts};
use crate::dataflow::user_fn::{InstanceCx, OpenSink, OpenSource, Polled, RowError, SinkFn, SourceFn};
use crate::diag::Diagnostics;
use crate::spec::{Node, Spanned};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

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

With recovery, a source goes on from its last durable snapshot. A sink that says that it is two-phase is exactly once: at
the end of an epoch it stages what was written, and commits it when the epoch is durable; rows of later epochs may be
written and staged before that. An execution that goes on gives it its last snapshot, in which nothing that was staged
later counts, and commits again what may not have been. `wxhost plugin test-sink` tries whether a sink keeps to that. Any
other sink is at least once: it is given its last snapshot, and the rows behind it a second time.

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
        Ok(CheckedSink {
            parts: Box::new(PluginSink { function: args.plugin.value, opened, is_keyed, known: Mutex::default() }),
            notes,
        })
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
        Ok(PartReader { reader: Box::new(PluginReader(source)), decoder: None, length: None })
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
    /// Where partitions stand as the execution begins, those too that another one remembers.
    known: Mutex<BTreeMap<String, Position>>,
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

    fn open(&self, cx: &InstanceCx, part: &PartitionId, start: &Start<'_>) -> Result<PartWriter, LogicError> {
        let two_phase = self.opened.two_phase;
        let (state, must_tell) = match start {
            Start::Plain => (State::default(), false),
            Start::Kept { last, orphans, .. } => {
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                (State::begin(part, &mut last.iter().copied().chain(*orphans), &known)?, !orphans.is_empty())
            }
        };
        let position = state.own.as_ref().map(|position| position.snapshot.as_slice());
        let sink = self.opened.factory.build_part(cx, &part.0, position)?;
        let writer = PluginWriter { sink, two_phase, written: false, epoch: Epoch::FIRST, state, must_tell };
        Ok(PartWriter { encoder: Box::new(Whole), writer: Box::new(writer) })
    }

    fn resume(&self, cx: &InstanceCx, manifests: &[Manifest]) -> Result<(), LogicError> {
        let known = positions(&mut manifests.iter())?;
        let mut staged: BTreeMap<&PartitionId, Vec<(Epoch, Vec<u8>)>> = BTreeMap::new();
        for manifest in manifests.iter().filter(|_| self.opened.two_phase) {
            let bytes = State::read(&manifest.manifest)?.staged;
            staged.entry(&manifest.part).or_default().extend(bytes.map(|bytes| (manifest.epoch, bytes)));
        }
        for (part, staged) in staged.into_iter().filter(|(_, staged)| !staged.is_empty()) {
            let position = known.get(&*part.0).map(|position| position.snapshot.as_slice());
            let mut sink = self.opened.factory.build_part(cx, &part.0, position)?;
            staged.iter().try_for_each(|(epoch, bytes)| sink.commit(epoch.0, bytes))?;
            sink.close()?;
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
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
    /// With recovery: where the partition stands, and what it remembers for others.
    state: State,
    /// Whether the next manifest is wanted though nothing was written: it takes over others'.
    must_tell: bool,
}

impl PluginWriter {
    fn show(&mut self, epoch: Epoch) -> Result<(), LogicError> {
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
        self.show(epoch)
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Option<Staged>, LogicError> {
        let must_tell = std::mem::take(&mut self.must_tell);
        let written = std::mem::take(&mut self.written);
        if !written && !must_tell {
            return Ok(None);
        }
        self.state.staged = None;
        if written {
            if self.two_phase {
                self.state.staged = Some(self.sink.pre_commit(epoch.0)?);
            }
            self.state.own = Some(Position { epoch, snapshot: self.sink.snapshot()? });
        }
        Ok(Some(Staged::safe(self.state.write())))
    }

    fn commit(&mut self, epoch: Epoch, manifest: &[u8]) -> Result<Option<Flush>, LogicError> {
        if let Some(staged) = State::read(manifest)?.staged.filter(|_| self.two_phase) {
            self.sink.commit(epoch.0, &staged)?;
        }
        Ok(None)
    }

    fn close(&mut self) -> Result<(), LogicError> {
        self.show(self.epoch)?;
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
    use crate::connectors::tests::kept::{Execution, Fuel, Store};
    use crate::data::schema::{Type, schema_of};
    use crate::dataflow::env::real;
    use crate::dataflow::user_fn::SinkFactory;
    use arrow::array::{AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    /// What is outside of all instances.
    #[derive(Default)]
    struct Outside {
        calls: Vec<String>,
        /// By partition and number.
        staged: BTreeMap<(String, u64), Vec<i64>>,
        visible: Vec<i64>,
        committed: std::collections::BTreeSet<(String, u64)>,
    }

    /// Stages rows in memory that outlives it, as a sink of a plugin would on a disk.
    struct Part {
        name: String,
        two_phase: bool,
        /// How many times it staged; its position.
        next: u64,
        pending: Vec<i64>,
        outside: Arc<Mutex<Outside>>,
    }

    impl Part {
        fn note(&self, call: String) -> std::sync::MutexGuard<'_, Outside> {
            let mut outside = self.outside.lock().unwrap();
            outside.calls.push(call);
            outside
        }
    }

    impl SinkFn for Part {
        fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RowError>, LogicError> {
            let numbers = rows.column(0).as_primitive::<Int64Type>().values();
            let mut outside = self.note(format!("write {}", rows.num_rows()));
            if !self.two_phase {
                outside.visible.extend(numbers);
            }
            drop(outside);
            self.pending.extend(numbers);
            Ok(Vec::new())
        }

        fn snapshot(&mut self) -> Result<Vec<u8>, LogicError> {
            Ok(self.next.to_le_bytes().to_vec())
        }

        fn pre_commit(&mut self, epoch: u64) -> Result<Vec<u8>, LogicError> {
            let (key, rows) = ((self.name.clone(), self.next), std::mem::take(&mut self.pending));
            self.note(format!("pre-commit {epoch}")).staged.insert(key, rows);
            self.next += 1;
            Ok((self.next - 1).to_le_bytes().to_vec())
        }

        fn commit(&mut self, epoch: u64, staged: &[u8]) -> Result<(), LogicError> {
            let key = (self.name.clone(), u64::from_le_bytes(staged.try_into().unwrap()));
            let mut outside = self.note(format!("commit {epoch} {}", key.1));
            if outside.committed.insert(key.clone()) {
                let rows = outside.staged.remove(&key).expect("what is committed was staged");
                outside.visible.extend(rows);
            }
            Ok(())
        }

        fn close(&mut self) -> Result<(), LogicError> {
            drop(self.note("close".to_owned()));
            Ok(())
        }
    }

    struct Factory {
        two_phase: bool,
        outside: Arc<Mutex<Outside>>,
    }

    impl SinkFactory for Factory {
        fn list_parts(&self) -> Result<Vec<String>, LogicError> {
            Ok(Vec::new())
        }

        fn build_part(&self, _: &InstanceCx, name: &str, at: Option<&[u8]>) -> Result<Box<dyn SinkFn>, LogicError> {
            let next = at.map_or(0, |at| u64::from_le_bytes(at.try_into().unwrap()));
            // What was staged behind the position is not wanted.
            self.outside.lock().unwrap().staged.retain(|(part, number), _| part != name || *number < next);
            let outside = self.outside.clone();
            Ok(Box::new(Part { name: name.to_owned(), two_phase: self.two_phase, next, pending: Vec::new(), outside }))
        }
    }

    fn sink(two_phase: bool) -> (PluginSink, Arc<Mutex<Outside>>) {
        let outside = Arc::new(Mutex::new(Outside::default()));
        let factory = Arc::new(Factory { two_phase, outside: outside.clone() });
        let opened = OpenSink { reads: vec![0], two_phase, factory };
        (PluginSink { function: "p.f".to_owned(), opened, is_keyed: false, known: Mutex::default() }, outside)
    }

    fn batch(numbers: impl IntoIterator<Item = i64>) -> Batch {
        let schema = schema_of(&[("n".to_owned(), Type::Int64)]);
        let numbers = Int64Array::from_iter_values(numbers);
        Batch::new(RecordBatch::try_new(schema, vec![Arc::new(numbers)]).unwrap())
    }

    fn calls(two_phase: bool) -> Vec<String> {
        let (sink, outside) = sink(two_phase);
        let cx = crate::connectors::tests::kept::cx(1, 0, &real::env());
        let mut writer = sink.open(&cx, &"0".into(), &Start::Plain).unwrap().writer;
        writer.run(Job::Rows(Box::new(batch([1])))).unwrap();
        writer.publish(Epoch(3)).unwrap();
        writer.publish(Epoch(4)).unwrap();
        writer.run(Job::Rows(Box::new(batch([2])))).unwrap();
        writer.close().unwrap();
        std::mem::take(&mut outside.lock().unwrap().calls)
    }

    #[test]
    fn what_was_written_is_committed_at_the_end_of_its_epoch() {
        let wanted = ["write 1", "pre-commit 3", "commit 3 0", "write 1", "pre-commit 5", "commit 5 1", "close"];
        assert_eq!(calls(true), wanted);
        assert_eq!(calls(false), ["write 1", "write 1", "close"]);
    }

    #[test]
    fn a_two_phase_sink_shows_each_row_once_and_another_one_at_least_once() {
        let input: Vec<Vec<Batch>> = (0..8)
            .map(|epoch| match epoch % 4 {
                2 => vec![],
                _ => vec![batch([epoch * 10]), batch([epoch * 10 + 1]), batch([epoch * 10 + 2])],
            })
            .collect();
        let wanted: Vec<i64> =
            (0..8).filter(|epoch| epoch % 4 != 2).flat_map(|epoch| (0..3).map(move |n| epoch * 10 + n)).collect();
        for two_phase in [true, false] {
            for fuel in 0..50 {
                let (sink, outside) = sink(two_phase);
                let mut store = Store::default();
                for (more, workers) in [2, 1, 3, 1, 1, 2].into_iter().cycle().enumerate() {
                    let lag = more as u64 % 3;
                    let run = Execution { parts: &sink, input: &input, workers, lag, ends: true, env: real::env() };
                    if run.run(&mut store, &mut Fuel(fuel + 3 * more)).unwrap().is_some() {
                        break;
                    }
                }
                let mut seen = outside.lock().unwrap().visible.clone();
                seen.sort_unstable();
                if !two_phase {
                    seen.dedup();
                }
                assert_eq!(seen, wanted, "two-phase {two_phase}, fuel {fuel}");
            }
        }
    }

    #[test]
    fn manifests_are_read_as_they_were_written() {
        let position = |epoch: u64| Position { epoch: Epoch(epoch), snapshot: vec![1, 2] };
        for state in [
            State::default(),
            State { staged: Some(vec![]), own: Some(position(3)), others: BTreeMap::new() },
            State {
                staged: None,
                own: None,
                others: BTreeMap::from([("a".into(), position(1)), ("".into(), position(2))]),
            },
        ] {
            let bytes = state.write();
            assert_eq!(State::read(&bytes).unwrap(), state);
            assert!(State::read(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
