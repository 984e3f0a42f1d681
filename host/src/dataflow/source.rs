//! Driver of sources: reads partitions on their own threads, cuts time into ticks, holds back while the flow is full.
//!
//! A worker asks for at most `AHEAD` pieces in advance, decodes what comes (that is work, and scales with workers),
//! and sends it at the current tick. A tick ends after `TICK_ROWS` rows or `TICK_TIME`; no more is sent while
//! `TICKS` of this worker's ticks are unfinished anywhere in the flow, or more than `BYTES` of theirs. That bounds
//! memory whatever is downstream, as timely's own queues do not.

use super::answers::answers;
use super::build::{BuildCx, Reporter, Stream};
use super::dead_letter::{DeadLetter, Kind};
use super::emit::Emit;
use super::env::Env;
use super::epochs::Epochs;
use super::error::LogicError;
use super::packet::Packet;
use super::progress::Progress;
use super::user_fn::InstanceCx;
use crate::data::batch::{Batch, Origin};
use crate::data::ids::PartitionId;
use crate::data::time::{Epoch, Instant, Tick};
use crate::formats::Decoder;
use arrow::array::RecordBatch;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

const AHEAD: usize = 2;
const TICK_ROWS: usize = 65_536;
const TICK_TIME: Duration = Duration::from_millis(10);
const TICKS: usize = 4;
const BYTES: usize = 64 << 20;
/// Pieces handled in one turn before the rest of the dataflow gets its own.
const TURN: usize = 4;

/// A source that the plan has checked.
pub trait SourceParts: Send + Sync {
    /// The names of all partitions. Called once, when an execution starts.
    ///
    /// # Errors
    /// They cannot be found out.
    fn list(&self) -> Result<Vec<PartitionId>, LogicError>;

    /// Opens a partition, at a position or at its beginning. Called on the worker that reads it.
    ///
    /// # Errors
    /// It cannot be opened, or the position is not one of it.
    fn open(&self, cx: &InstanceCx, part: &PartitionId, position: Option<&[u8]>) -> Result<PartReader, LogicError>;
}

/// A partition, opened.
pub struct PartReader {
    /// Moves to a thread of its own.
    pub reader: Box<dyn Reader>,
    /// Stays on the worker. None if the reader hands out rows.
    pub decoder: Option<Box<dyn Decoder>>,
}

/// Reads a partition, on a thread where it may block.
pub trait Reader: Send {
    /// The next piece.
    ///
    /// # Errors
    /// Nothing more can be read, which stops the flow.
    fn read(&mut self) -> Result<Read, LogicError>;

    /// Ends the reading, at the end or when the flow stops.
    ///
    /// # Errors
    /// It cannot be ended well, which is logged.
    fn close(&mut self) -> Result<(), LogicError> {
        Ok(())
    }
}

/// What a reader has to offer.
pub enum Read {
    /// Whole records, and the position behind them.
    Piece { data: Piece, position: Vec<u8> },
    /// Nothing now; asked again at this system time.
    Idle(Instant),
    /// Asked again when everything handed out so far is through the whole flow.
    Drained,
    /// Nothing more in this execution.
    End,
    /// The execution ends as in a crash. For tests.
    Abort,
}

/// What a piece holds.
pub enum Piece {
    /// For the decoder.
    Bytes(Vec<u8>),
    /// At least one row, of the source's schema.
    Rows(RecordBatch),
}

/// Builds the source operator of a step. Partitions go to workers in turn, in the order of their names.
///
/// # Errors
/// A partition cannot be opened.
pub fn source<'s>(cx: &BuildCx<'s>, parts: &dyn SourceParts) -> Result<Vec<Stream<'s>>, LogicError> {
    let mut names = parts.list()?;
    names.sort();
    let instance = cx.instance();
    // Opened before the operator is begun: one that is begun must be built, whatever cannot be opened.
    let mine = names.into_iter().skip(cx.worker().0).step_by(cx.workers());
    let readers = mine.map(|name| parts.open(&instance, &name, None).map(|reader| (name, reader)));
    let readers = readers.collect::<Result<Vec<_>, LogicError>>()?;
    let mut builder = OperatorBuilder::new(cx.step.to_string(), cx.scope);
    let ports = 1 + usize::from(cx.row_errors.port.is_some());
    let (outputs, streams): (Vec<_>, Vec<_>) = (0..ports).map(|_| builder.new_output::<Packet>()).unzip();
    let address = builder.operator_info().address;
    let mut opened = Vec::new();
    for (name, reader) in readers {
        let activator = cx.scope.worker().sync_activator_for(address.to_vec());
        match Part::start(name, reader, &cx.execution.env, activator) {
            Ok(part) => opened.push(part),
            Err(error) => cx.reporter().fail(error),
        }
    }
    cx.execution.epochs.wake(cx.scope.worker().sync_activator_for(address.to_vec()));
    let activator = cx.scope.activator_for(address);
    cx.progress.wake(cx.scope.activator_for(builder.operator_info().address));
    let (env, epochs, progress, reporter) =
        (cx.execution.env.clone(), cx.execution.epochs.clone(), cx.progress.clone(), cx.reporter());
    let (row_errors, meter) = (cx.row_errors.clone(), cx.meter.clone());
    builder.build(move |capabilities| {
        let mut outputs = outputs;
        let mut ticks = Ticks::new(capabilities, env.clone(), epochs, progress);
        let mut parts = opened;
        let mut given = Vec::new();
        move |_frontiers| {
            if reporter.is_stopped() || ticks.epochs.is_draining() || parts.is_empty() {
                parts.clear();
                ticks.end();
                return;
            }
            ticks.advance();
            let mut handled = 0;
            parts.retain_mut(|part| {
                while handled < TURN && ticks.may_send() {
                    match part.poll(&env, &ticks, &reporter) {
                        Polled::Nothing => return true,
                        Polled::End => return false,
                        Polled::Piece(data) => {
                            handled += 1;
                            let mut out = Emit::new(&mut given, &row_errors);
                            let done = part.decode(data, &meter, &mut out);
                            for (port, batch) in given.drain(..) {
                                if port == 0 {
                                    meter.gave(batch.num_rows() as u64);
                                }
                                ticks.sent(&batch);
                                let capability = &ticks.capabilities[port];
                                outputs[port].activate().give(capability, &mut Packet::from(batch));
                            }
                            if let Err(error) = done {
                                reporter.fail(error);
                                return false;
                            }
                        }
                    }
                }
                true
            });
            if parts.iter().any(|part| part.drain == Some(ticks.time())) {
                // A reader that waits for its rows to be through the flow must not wait for the tick to grow old.
                ticks.next(Tick(ticks.time()).next());
            }
            ticks.advance();
            if parts.is_empty() {
                ticks.end();
            } else if handled >= TURN && ticks.may_send() {
                activator.activate();
            } else {
                // Woken by a reader's thread, by progress downstream, or by one of these times.
                let now = env.clock.now();
                let idle = parts.iter().filter_map(|part| part.idle_until).min().map(|until| until.since(now));
                let due = idle.into_iter().chain(ticks.due()).min();
                if let Some(due) = due {
                    activator.activate_after(due);
                }
            }
        }
    });
    Ok(streams)
}

/// A partition on its worker, and the lines to the thread that reads it.
struct Part {
    name: PartitionId,
    decoder: Option<Box<dyn Decoder>>,
    asks: Sender<Ask>,
    answers: Receiver<Result<Read, LogicError>>,
    /// The number of the next source row.
    next_row: u64,
    idle_until: Option<Instant>,
    /// The tick that must be through before the reader is asked again.
    drain: Option<u64>,
}

/// What a worker says to the thread that reads.
enum Ask {
    /// Read ahead; void while the reader waits.
    More,
    /// What the reader waited for has come; read.
    Resume,
}

enum Polled {
    Nothing,
    Piece(Piece),
    End,
}

impl Part {
    fn start(name: PartitionId, part: PartReader, env: &Env, activator: SyncActivator) -> Result<Part, LogicError> {
        // Room for those that a waiting reader has yet to pass over.
        let (asks, asked) = bounded::<Ask>(2 * AHEAD + 2);
        let (answer, answers) = answers(activator);
        let mut reader = part.reader;
        let body = Box::new(move || {
            let mut waits = false;
            while let Ok(ask) = asked.recv() {
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
        Ok(Part { name, decoder: part.decoder, asks, answers, next_row: 0, idle_until: None, drain: None })
    }

    fn resume(&mut self) {
        self.asks.try_send(Ask::Resume).ok();
        for _ in 1..AHEAD {
            self.asks.try_send(Ask::More).ok();
        }
    }

    fn poll(&mut self, env: &Env, ticks: &Ticks, reporter: &Reporter) -> Polled {
        if let Some(until) = self.idle_until {
            if env.clock.now() < until {
                return Polled::Nothing;
            }
            self.idle_until = None;
            self.resume();
        }
        if let Some(tick) = self.drain {
            if !ticks.progress.is_past(tick) {
                return Polled::Nothing;
            }
            self.drain = None;
            self.resume();
        }
        match self.answers.try_recv() {
            Ok(Ok(Read::Piece { data, position: _ })) => {
                self.asks.try_send(Ask::More).ok();
                Polled::Piece(data)
            }
            Ok(Ok(Read::Idle(until))) => {
                self.idle_until = Some(until);
                Polled::Nothing
            }
            Ok(Ok(Read::Drained)) => {
                self.drain = Some(ticks.time());
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

    fn decode(
        &mut self,
        data: Piece,
        meter: &crate::telemetry::meter::StepMeter,
        out: &mut Emit<'_>,
    ) -> Result<(), LogicError> {
        let first_row = self.next_row;
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
        let origin = Origin { partition: self.name.clone(), first_row, rows: lines.map(Arc::from) };
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

/// The ticks of a source operator: its time, and which of its ticks are under way.
struct Ticks {
    capabilities: Vec<Capability<u64>>,
    env: Env,
    epochs: Arc<Epochs>,
    progress: Progress,
    rows: usize,
    bytes: usize,
    /// When the tick's first row was sent.
    began: Option<Duration>,
    under_way: VecDeque<(u64, usize)>,
}

impl Ticks {
    fn new(capabilities: Vec<Capability<u64>>, env: Env, epochs: Arc<Epochs>, progress: Progress) -> Self {
        let mut ticks =
            Ticks { capabilities, env, epochs, progress, rows: 0, bytes: 0, began: None, under_way: VecDeque::new() };
        ticks.advance();
        ticks
    }

    fn time(&self) -> u64 {
        self.capabilities.first().map_or(0, |capability| *capability.time())
    }

    fn sent(&mut self, batch: &Batch) {
        self.began.get_or_insert_with(|| self.env.clock.elapsed());
        self.rows += batch.num_rows();
        self.bytes += batch.byte_size();
    }

    /// Ends the tick if it is full or old, and the epoch if it is over.
    fn advance(&mut self) {
        while self.under_way.front().is_some_and(|&(tick, _)| self.progress.is_past(tick)) {
            self.under_way.pop_front();
        }
        let old = self.began.is_some_and(|began| self.env.clock.elapsed() >= began + TICK_TIME);
        let now = Tick(self.time());
        let epoch = self.epochs.current().max(Epoch::FIRST);
        if epoch > now.epoch() {
            self.next(Tick::start_of(epoch));
        } else if old || self.rows >= TICK_ROWS {
            self.next(now.next());
        }
    }

    fn next(&mut self, tick: Tick) {
        if self.began.take().is_some() {
            self.under_way.push_back((self.time(), self.bytes));
        }
        (self.rows, self.bytes) = (0, 0);
        for capability in &mut self.capabilities {
            capability.downgrade(&tick.0);
        }
    }

    fn may_send(&mut self) -> bool {
        if self.rows >= TICK_ROWS {
            self.advance();
        }
        let bytes: usize = self.under_way.iter().map(|(_, bytes)| bytes).sum();
        !self.capabilities.is_empty() && self.under_way.len() < TICKS && bytes + self.bytes < BYTES
    }

    /// When `advance` has something to do though nothing comes.
    fn due(&self) -> Option<Duration> {
        let tick = self.began.map(|began| (began + TICK_TIME).saturating_sub(self.env.clock.elapsed()));
        tick.into_iter().chain([self.epochs.remaining()]).min()
    }

    fn end(&mut self) {
        self.capabilities.clear();
    }
}
