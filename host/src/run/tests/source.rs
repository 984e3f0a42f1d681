//! A source that can be read again from any row, in pieces of other sizes each time.

use super::random::Chance;
use crate::catalog::connector::{CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::catalog::operator::StreamType;
use crate::data::ids::PartitionId;
use crate::dataflow::env::Clock;
use crate::dataflow::error::LogicError;
use crate::dataflow::source::{PartReader, Piece, Read, Reader, SourceParts};
use crate::dataflow::user_fn::InstanceCx;
use crate::diag::Diagnostics;
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The rows of each partition of `source = { simulated = "<name>" }`; readers differ from one opening to the next.
pub struct Source {
    pub partitions: BTreeMap<&'static str, Arc<Vec<Partition>>>,
    pub seed: u64,
    /// Which of the rounds it is.
    pub round: Arc<AtomicUsize>,
    pub opened: Arc<AtomicU64>,
}

/// The rows of a partition.
#[derive(Clone)]
pub struct Partition {
    pub rows: RecordBatch,
    /// How many of them there are in the first round. In the second all are there.
    pub first: usize,
}

impl Partition {
    /// The rows that are there in a round.
    pub fn until(&self, round: usize) -> RecordBatch {
        if round == 0 { self.rows.slice(0, self.first) } else { self.rows.clone() }
    }

    /// The rows that a round brings.
    pub fn of(&self, round: usize) -> RecordBatch {
        let before = round.checked_sub(1).map_or(0, |before| self.until(before).num_rows());
        let all = self.until(round);
        all.slice(before, all.num_rows() - before)
    }
}

#[derive(serde::Deserialize)]
pub struct Args {
    pub simulated: String,
}

impl Source {
    pub fn check(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        let partitions = self.partitions[cx.args::<Args>()?.simulated.as_str()].clone();
        let down = StreamType::unkeyed(partitions[0].rows.schema());
        let parts = Parts { partitions, seed: self.seed, round: self.round.clone(), opened: self.opened.clone() };
        Ok(CheckedSource { down, parts: Box::new(parts), notes: Vec::new() })
    }
}

struct Parts {
    partitions: Arc<Vec<Partition>>,
    seed: u64,
    round: Arc<AtomicUsize>,
    opened: Arc<AtomicU64>,
}

impl SourceParts for Parts {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        Ok((0..self.partitions.len()).map(|part| part.to_string().as_str().into()).collect())
    }

    fn open(&self, cx: &InstanceCx, part: &PartitionId, position: Option<&[u8]>) -> Result<PartReader, LogicError> {
        let at = position.map_or(0, |position| u64::from_le_bytes(position.try_into().unwrap()));
        let index: usize = part.0.parse().unwrap();
        let opened = self.opened.fetch_add(1, Ordering::Relaxed);
        let mut chance = Chance::new(self.seed ^ opened, "reader");
        let reader = Rows {
            rows: self.partitions[index].until(self.round.load(Ordering::Relaxed)),
            at: usize::try_from(at).unwrap(),
            most: chance.between(1, 12),
            pause: chance.one_of(&[0, 0, 100, 3_000]),
            clock: cx.env.clock.clone(),
            chance,
        };
        // Some can tell how much is to come, so that the last epoch begins early.
        let left = (reader.rows.num_rows() - reader.at) as u64;
        let length = self.seed.is_multiple_of(2).then_some(left);
        Ok(PartReader { reader: Box::new(reader), decoder: None, length })
    }
}

struct Rows {
    rows: RecordBatch,
    at: usize,
    most: u64,
    /// The longest pause, in microseconds.
    pause: u64,
    clock: Arc<dyn Clock>,
    chance: Chance,
}

impl Reader for Rows {
    fn read(&mut self) -> Result<Read, LogicError> {
        let left = self.rows.num_rows() - self.at;
        if self.pause > 0 && self.chance.once_in(6) {
            let pause = Duration::from_micros(self.chance.below(self.pause));
            return Ok(Read::Idle(self.clock.now().after(pause)));
        }
        if self.chance.once_in(40) {
            return Ok(Read::Drained);
        }
        if left == 0 {
            return Ok(Read::End);
        }
        let count = self.chance.between(1, self.most).min(left as u64);
        let count = usize::try_from(count).unwrap();
        let rows = self.rows.slice(self.at, count);
        self.at += count;
        Ok(Read::Piece { data: Piece::Rows(rows), position: (self.at as u64).to_le_bytes().to_vec() })
    }
}

/// `simulated`, a source and a sink.
pub struct Simulated {
    pub source: Source,
    pub sink: super::sink::Sink,
}

impl Connector for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn doc(&self) -> &'static str {
        "Rows of a simulation."
    }

    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        self.source.check(cx)
    }

    fn check_sink(&self, cx: &ConnectorCx<'_>) -> Result<crate::catalog::connector::CheckedSink, Diagnostics> {
        self.sink.check(cx)
    }
}
