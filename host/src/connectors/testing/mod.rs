//! `testing`: rows and events of a script.

mod script;

use super::format::{SourceFormat, rows_format};
use super::paths;
use crate::catalog::connector::{CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::catalog::operator::StreamType;
use crate::data::ids::PartitionId;
use crate::data::time::Instant;
use crate::dataflow::env::Env;
use crate::dataflow::error::LogicError;
use crate::dataflow::source::{PartReader, Piece, Read, Reader, SourceParts};
use crate::dataflow::user_fn::InstanceCx;
use crate::diag::Diagnostics;
use crate::spec::{Node, Spanned, Value};
use script::Item;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// The connector `testing`.
pub(super) struct Testing;

#[derive(serde::Deserialize)]
struct Args {
    testing: Node,
    schema: Option<Node>,
    batch_size: Option<NonZeroUsize>,
    #[serde(default)]
    pacing: Pacing,
}

/// When the next batch is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Pacing {
    /// As soon as it is asked for.
    #[default]
    Free,
    /// When the one before is through the whole flow.
    Drained,
}

impl Connector for Testing {
    fn name(&self) -> &'static str {
        "testing"
    }

    fn doc(&self) -> &'static str {
        "Gives the rows of a script, one partition on one worker.

The script stands in the flow, or in a file of JSON lines. Besides rows it has events, tables with one key:

- `{ \"@pause\" = \"2s\" }`: nothing comes for so long.
- `{ \"@now\" = \"2024-01-01T00:00:10Z\" }`: nothing comes before this time. Needs a clock that the flow moves, as that of
  `wxhost test`.
- `{ \"@end\" = true }`: the input ends here for this execution; one that resumes goes on behind it.
- `{ \"@abort\" = true }`: the execution ends as in a crash, once; one that resumes goes on.

In `wxhost test` time is the script's, and pauses take none. It stands still while anything is under way. When all
sources wait and everything before is through the flow, it goes on to the earliest time that a step or a source waits
for. There, steps come first; then the first of the sources whose time has come goes on alone until it waits again.

Arguments:

- `testing`: an array of tables (or of plain values, which become the column `value`), or the path of a file.
- `schema`: the columns, as of json in `file`. Default: told from all rows.
- `batch_size` (default 1): rows of a batch.
- `pacing` (default `\"free\"`): with `\"drained\"`, a batch comes when the one before is through the whole flow.

```toml
[[step]]
name = \"events\"
op = \"input\"
source = { testing = [{ user = \"ann\", value = 1.5 }, { \"@pause\" = \"1s\" }, { user = \"bob\", value = 2.0 }] }
```
"
    }

    fn is_source(&self) -> bool {
        true
    }

    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        let args: Args = cx.args()?;
        let (name, items) = match &args.testing.value {
            Value::String(path) => {
                let path = Spanned::new(args.testing.span.clone(), path.clone());
                let file = paths::text_file(cx, &path)?;
                let text = std::fs::read_to_string(&file).map_err(|error| paths::refused(cx, &path, &error))?;
                (path.value.clone(), script::of_text(cx, &path, &text)?)
            }
            Value::Array(nodes) => ("script".to_owned(), script::of_nodes(cx, nodes)?),
            other => return Err(script::wrong(cx, &args.testing.span, &format!("is {}", other.describe())).into()),
        };
        let mut rows = String::new();
        for item in &items {
            if let Item::Row(row) = item {
                rows.push_str(row);
                rows.push('\n');
            }
        }
        let mut notes = Vec::new();
        let format = rows_format(cx, args.schema, &name, rows.as_bytes(), &mut notes)?;
        let down = StreamType::unkeyed(format.schema());
        let batch_size = args.batch_size.map_or(1, NonZeroUsize::get);
        let (pacing, hit) = (args.pacing, Arc::default());
        let source = TestingSource { name, items: items.into(), format, batch_size, pacing, hit };
        Ok(CheckedSource { down, parts: Box::new(source), notes })
    }
}

struct TestingSource {
    name: String,
    items: Arc<[Item]>,
    format: SourceFormat,
    batch_size: usize,
    pacing: Pacing,
    /// The places of aborts that an execution of this plan has met.
    hit: Arc<Mutex<BTreeSet<usize>>>,
}

impl SourceParts for TestingSource {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        Ok(vec![self.name.as_str().into()])
    }

    fn open(&self, cx: &InstanceCx, _part: &PartitionId, position: Option<&[u8]>) -> Result<PartReader, LogicError> {
        if cx.env.script.is_none() && self.items.iter().any(|item| matches!(item, Item::Now(_))) {
            let message =
                format!("{} sets the clock with \"@now\", and this execution has that of the machine", self.name);
            return Err(LogicError::user(message).help("run it as a test, or write \"@pause\" in its place"));
        }
        let next = usize::try_from(super::blocks::position(position)?).unwrap_or(usize::MAX);
        let reader = ScriptReader {
            items: self.items.clone(),
            next,
            batch_size: self.batch_size,
            pacing: self.pacing,
            env: cx.env.clone(),
            // Where the flow moves the clock, sources begin one after the other.
            is_drained: cx.env.script.is_none(),
            hit: self.hit.clone(),
        };
        Ok(PartReader { reader: Box::new(reader), decoder: Some(self.format.decoder(None)?) })
    }
}

struct ScriptReader {
    items: Arc<[Item]>,
    next: usize,
    batch_size: usize,
    pacing: Pacing,
    env: Env,
    /// Whether everything that was handed out is through the flow.
    is_drained: bool,
    hit: Arc<Mutex<BTreeSet<usize>>>,
}

impl ScriptReader {
    fn rows(&mut self) -> Read {
        let mut bytes = Vec::new();
        let rows = self.items[self.next..].iter().map_while(|item| match item {
            Item::Row(row) => Some(row),
            _ => None,
        });
        for row in rows.take(self.batch_size) {
            bytes.extend_from_slice(row.as_bytes());
            bytes.push(b'\n');
            self.next += 1;
        }
        self.is_drained = false;
        Read::Piece { data: Piece::Bytes(bytes), position: self.position().to_le_bytes().to_vec() }
    }

    /// Where an execution that resumes goes on: behind an end that comes before other rows.
    fn position(&self) -> u64 {
        let events = self.items[self.next..].iter().take_while(|item| !matches!(item, Item::Row(_)));
        let end = events.enumerate().filter(|(_, item)| matches!(item, Item::End | Item::Abort)).last();
        (self.next + end.map_or(0, |(at, _)| at + 1)) as u64
    }

    /// Nothing before `until`. Where the flow moves the clock, it does so when everything is through.
    fn idle(&mut self, until: Instant) -> Read {
        self.next += 1;
        self.is_drained = self.env.script.is_some();
        Read::Idle(until)
    }
}

impl Reader for ScriptReader {
    fn read(&mut self) -> Result<Read, LogicError> {
        while let Some(item) = self.items.get(self.next) {
            let is_paced = self.pacing == Pacing::Drained && matches!(item, Item::Row(_) | Item::Abort);
            if is_paced && !self.is_drained {
                self.is_drained = true;
                return Ok(Read::Drained);
            }
            let now = self.env.clock.now();
            match item {
                Item::Row(_) => return Ok(self.rows()),
                Item::End => return Ok(Read::End),
                // Whoever resumes before it would else crash for ever.
                Item::Abort if self.hit.lock().unwrap_or_else(PoisonError::into_inner).insert(self.next) => {
                    return Ok(Read::Abort);
                }
                Item::Abort => self.next += 1,
                Item::Pause(pause) => return Ok(self.idle(now.after(*pause))),
                Item::Now(until) => return Ok(self.idle(*until)),
            }
        }
        Ok(Read::End)
    }
}
