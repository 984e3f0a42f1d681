//! A partition of a source: read on a thread, decoded on its worker.

use super::answers::answers;
use super::build::Reporter;
use super::dead_letter::{DeadLetter, Kind};
use super::emit::Emit;
use super::env::Env;
use super::error::LogicError;
use super::partitions::Partitions;
use super::script::Wait;
use super::source::{PartReader, Piece, Read};
use super::ticks::Ticks;
use crate::data::batch::{Batch, Origin};
use crate::data::ids::{PartitionId, StepId};
use crate::data::time::Instant;
use crate::formats::Decoder;
use crate::telemetry::meter::StepMeter;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use std::sync::Arc;
use timely::scheduling::SyncActivator;

const AHEAD: usize = 2;

/// A partition on its worker, and the lines to the thread that reads it.
pub(super) struct Part {
    source: StepId,
    name: PartitionId,
    /// Whether the reader may wait for its input for ever.
    is_live: bool,
    decoder: Option<Box<dyn Decoder>>,
    /// About how many bytes or rows are to come, if that is known.
    left: Option<u64>,
    asks: Sender<Ask>,
    answers: Receiver<Result<Read, LogicError>>,
    /// The number of the next source row.
    next_row: u64,
    /// Behind the last row that was handed out, as the reader tells it. None: nothing was handed out.
    position: Option<Vec<u8>>,
    /// How far it was when it was opened, as the store has it.
    saved: Option<Saved>,
    /// What must come before the reader is asked again.
    waiting: Option<Waiting>,
}

/// How far a partition was, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    /// Whether there was nothing more.
    pub has_ended: bool,
    pub next_row: u64,
    /// What the reader said. None: it had handed out nothing.
    pub position: Option<Vec<u8>>,
}

impl Saved {
    /// A byte of flags, the number of the next row, and the reader's own.
    pub fn encode(&self) -> Vec<u8> {
        let flags = u8::from(self.has_ended) | u8::from(self.position.is_some()) << 1;
        let position = self.position.as_deref().unwrap_or_default();
        [&[flags][..], &self.next_row.to_le_bytes(), position].concat()
    }

    /// The way back.
    ///
    /// # Errors
    /// It is not what `encode` makes.
    pub fn decode(bytes: &[u8]) -> Result<Saved, LogicError> {
        let unreadable = || LogicError::internal("a saved position cannot be read");
        let (&flags, rest) = bytes.split_first().ok_or_else(unreadable)?;
        let (&row, position) = rest.split_first_chunk().ok_or_else(unreadable)?;
        let position = (flags & 2 != 0).then(|| position.to_vec());
        Ok(Saved { has_ended: flags & 1 != 0, next_row: u64::from_le_bytes(row), position })
    }
}

/// What a reader waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Until(Instant),
    /// This tick is through the whole flow.
    Through(u64),
}

/// What a worker says to the thread that reads.
enum Ask {
    /// Read ahead; void while the reader waits.
    More,
    /// What the reader waited for has come; read.
    Resume,
}

/// What a look at a partition finds.
pub(super) enum Polled {
    Nothing,
    Piece(Piece),
    End,
}

impl Part {
    /// Starts the thread that reads; it wakes the operator.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn start(
        source: StepId,
        name: PartitionId,
        part: PartReader,
        saved: Option<&Saved>,
        env: &Env,
        operator: SyncActivator,
    ) -> Result<Part, LogicError> {
        // Room for those that a waiting reader has yet to pass over.
        let (asks, asked) = bounded::<Ask>(2 * AHEAD + 2);
        let (answer, answers) = answers(operator);
        let mut reader = part.reader;
        let is_live = reader.is_live();
        let surroundings = env.clone();
        let body = Box::new(move || {
            let mut waits = false;
            while let Ok(ask) = surroundings.receive(&asked) {
                if waits && matches!(ask, Ask::More) {
                    continue;
                }
                let read = reader.read();
                waits = matches!(read, Ok(Read::Idle(_) | Read::Drained));
                let last = !matches!(read, Ok(Read::Piece { .. } | Read::Idle(_) | Read::Drained));
                let taken = answer.send(read);
                if last || !taken {
                    break;
                }
            }
            if let Err(error) = reader.close() {
                tracing::warn!(%error, "a source did not close well");
            }
        });
        let thread = format!("read {name}");
        env.spawner.spawn(&thread, body).map_err(|error| LogicError::io("cannot start a thread", &error))?;
        for _ in 0..AHEAD {
            // There is room for as many.
            asks.try_send(Ask::More).ok();
        }
        let next_row = saved.map_or(0, |saved| saved.next_row);
        let saved = saved.cloned();
        let position = saved.as_ref().and_then(|saved| saved.position.clone());
        Ok(Part {
            source,
            name,
            is_live,
            decoder: part.decoder,
            left: part.length,
            asks,
            answers,
            next_row,
            position,
            saved,
            waiting: None,
        })
    }

    /// Tells others that the partition has ended by a tick, and the store.
    pub fn say_ended(&self, partitions: &Partitions, ticks: &mut Ticks) {
        partitions.ended(&self.source, &self.name, ticks.time());
        self.note(true, ticks);
    }

    /// Notes how far the partition is.
    pub fn note(&self, has_ended: bool, ticks: &mut Ticks) {
        if ticks.positions().are_kept() {
            let now = Saved { has_ended, next_row: self.next_row, position: self.position.clone() };
            // One that has given nothing and was at its end before has not moved.
            if self.saved.as_ref() != Some(&now) {
                ticks.positions().note(&self.name, now.encode());
            }
        }
    }

    /// Has a reader that waits go on.
    pub fn resume(&mut self) {
        if self.waiting.take().is_some() {
            self.asks.try_send(Ask::Resume).ok();
            for _ in 1..AHEAD {
                self.asks.try_send(Ask::More).ok();
            }
        }
    }

    /// About how many bytes or rows are to come, if that is known.
    pub fn left(&self) -> Option<u64> {
        self.left
    }

    /// What the reader waits for by its own word.
    pub fn waiting(&self) -> Option<Waiting> {
        self.waiting
    }

    /// What the partition waits for; none if something may come at once.
    pub fn wait(&self, now: Instant) -> Option<Wait> {
        match self.waiting {
            Some(Waiting::Until(until)) => Some(Wait::Until(until)),
            Some(Waiting::Through(_)) => Some(Wait::Until(now)),
            None => (self.is_live && self.answers.is_empty()).then_some(Wait::Input),
        }
    }

    /// Looks for what the reader has handed out.
    pub fn poll(&mut self, ticks: &Ticks, reporter: &Reporter) -> Polled {
        if self.waiting.is_some() {
            return Polled::Nothing;
        }
        match self.answers.try_recv() {
            Ok(Ok(Read::Piece { data, position })) => {
                self.position = Some(position);
                self.asks.try_send(Ask::More).ok();
                Polled::Piece(data)
            }
            Ok(Ok(Read::Idle(until))) => {
                self.waiting = Some(Waiting::Until(until));
                Polled::Nothing
            }
            Ok(Ok(Read::Drained)) => {
                self.waiting = Some(Waiting::Through(ticks.time()));
                Polled::Nothing
            }
            Ok(Ok(Read::End)) => Polled::End,
            Ok(Ok(Read::Abort)) => {
                reporter.abort();
                Polled::End
            }
            Ok(Err(error)) => {
                let place = error.place.clone().unwrap_or_else(|| self.name.to_string());
                reporter.fail(error.at(Some(place)));
                Polled::End
            }
            Err(TryRecvError::Empty) => Polled::Nothing,
            Err(TryRecvError::Disconnected) => {
                reporter
                    .fail(LogicError::internal(format!("the thread that reads {} ended without a word", self.name)));
                Polled::End
            }
        }
    }

    /// Decodes a piece.
    ///
    /// # Errors
    /// It cannot be decoded, or the step's policy is to stop at rows that cannot.
    pub fn decode(&mut self, data: Piece, meter: &StepMeter, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let first_row = self.next_row;
        let passed = match &data {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Rows(rows) => rows.num_rows(),
        };
        self.left = self.left.map(|left| left.saturating_sub(passed as u64));
        let (rows, lines, errors) = match (data, &mut self.decoder) {
            (Piece::Rows(rows), _) => {
                self.next_row += rows.num_rows() as u64;
                (rows, None, Vec::new())
            }
            (Piece::Bytes(bytes), Some(decoder)) => {
                meter.moved(bytes.len() as u64);
                let decoded = decoder.decode(&bytes).map_err(|error| LogicError::user(error.to_string()))?;
                self.next_row += u64::from(decoded.line_count);
                (decoded.rows, decoded.lines, decoded.errors)
            }
            (Piece::Bytes(_), None) => return Err(LogicError::internal("a reader of bytes has a decoder")),
        };
        meter.took(rows.num_rows() as u64 + errors.len() as u64);
        let (source, partition) = (self.source.clone(), self.name.clone());
        let origin = Origin { source, partition, first_row, rows: lines.map(Arc::from) };
        out.give(0, Batch::new(rows).from_origin(Some(origin)));
        let letters = errors.into_iter().map(|bad| DeadLetter {
            kind: Kind::Parse,
            message: bad.message,
            partition: Some(self.name.clone()),
            position: Some(first_row + u64::from(bad.line) + 1),
            row: serde_json::Value::String(bad.raw).to_string(),
        });
        out.fail_letters(letters.collect())
    }
}
