//! Plays a script: hands out its rows, and waits where it says so.

use super::super::format::SourceFormat;
use super::script::Item;
use crate::data::ids::PartitionId;
use crate::data::time::Instant;
use crate::dataflow::env::Env;
use crate::dataflow::error::LogicError;
use crate::dataflow::source::{PartReader, Piece, Read, Reader, SourceParts};
use crate::dataflow::user_fn::InstanceCx;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// When the next batch is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pacing {
    /// As soon as it is asked for.
    #[default]
    Free,
    /// When the one before is through the whole flow.
    Drained,
}

/// A source that plays a script, in one partition.
pub struct Script {
    name: String,
    items: Arc<[Item]>,
    format: SourceFormat,
    batch_size: usize,
    pacing: Pacing,
    /// The places of aborts that an execution of this plan has met.
    hit: Arc<Mutex<BTreeSet<usize>>>,
}

impl Script {
    /// Makes a source of items whose rows are of a format.
    pub(super) fn new(
        name: String,
        items: Arc<[Item]>,
        format: SourceFormat,
        batch_size: usize,
        pacing: Pacing,
    ) -> Script {
        Script { name, items, format, batch_size, pacing, hit: Arc::default() }
    }

    /// Makes a source of items whose rows have the columns of a schema.
    pub fn of_rows(name: &str, items: Arc<[Item]>, schema: &SchemaRef, batch_size: usize, pacing: Pacing) -> Script {
        Script::new(name.to_owned(), items, SourceFormat::Json(schema.clone()), batch_size, pacing)
    }
}

impl SourceParts for Script {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        Ok(vec![self.name.as_str().into()])
    }

    fn open(&self, cx: &InstanceCx, _part: &PartitionId, position: Option<&[u8]>) -> Result<PartReader, LogicError> {
        if cx.env.script.is_none() && self.items.iter().any(|item| matches!(item, Item::Now(_))) {
            let message =
                format!("{} sets the clock with \"@now\", and this execution has that of the machine", self.name);
            return Err(LogicError::user(message).help("run it as a test, or write \"@pause\" in its place"));
        }
        let next = match position.map(<[u8; 8]>::try_from) {
            None => 0,
            Some(Ok(next)) => usize::try_from(u64::from_le_bytes(next)).unwrap_or(usize::MAX),
            Some(Err(_)) => return Err(LogicError::internal("the stored position is not that of a script")),
        };
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
        Ok(PartReader { reader: Box::new(reader), decoder: Some(self.format.decoder(None)?), length: None })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ids::WorkerIndex;
    use crate::data::schema::{Type, schema_of};
    use crate::data::time::Instant;
    use crate::dataflow::env::scripted;

    /// What a reader does from a position on, until it ends: rows, `end`, `abort`.
    fn read(script: &Script, position: u64) -> Vec<String> {
        let env = scripted::env(Instant(0));
        let (step, worker, run_id, meter) = ("s".into(), WorkerIndex(0), "run".into(), Arc::default());
        let cx = InstanceCx { step, worker, run_id, env, meter, migration: None };
        let part = script.open(&cx, &"script".into(), Some(&position.to_le_bytes())).unwrap();
        let mut reader = part.reader;
        let mut done = Vec::new();
        loop {
            match reader.read().unwrap() {
                Read::Piece { data: Piece::Bytes(bytes), .. } => done.push(String::from_utf8(bytes).unwrap()),
                Read::Piece { .. } | Read::Idle(_) | Read::Drained => {}
                Read::End => break done.push("end".to_owned()),
                Read::Abort => break done.push("abort".to_owned()),
            }
        }
        done
    }

    #[test]
    fn an_abort_is_hit_once_and_passed_by_who_resumes_behind_it() {
        let row = |n: u32| Item::Row(n.to_string());
        let items = [row(1), Item::Abort, row(2), Item::Abort, row(3), Item::End, row(4)];
        let schema = schema_of(&[("n".to_owned(), Type::Int64)]);
        let script = || Script::of_rows("s", items.clone().into(), &schema, 1, Pacing::Free);
        let first = script();
        assert_eq!(read(&first, 0), ["1\n", "abort"]);
        assert_eq!(read(&first, 0), ["1\n", "2\n", "abort"]);
        assert_eq!(read(&first, 0), ["1\n", "2\n", "3\n", "end"]);
        assert_eq!(read(&first, 6), ["4\n", "end"]);
        assert_eq!(read(&script(), 2), ["2\n", "abort"]);
    }
}
