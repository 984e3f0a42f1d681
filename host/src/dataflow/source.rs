//! Driver of sources: reads partitions on their own threads, cuts time into ticks, holds back while the flow is full.
//!
//! A worker asks for at most `AHEAD` pieces in advance, decodes what comes (that is work, and scales with workers),
//! and sends it at the current tick. A tick ends after `TICK_ROWS` rows or `TICK_TIME`; no more is sent while
//! `TICKS` of this worker's ticks are unfinished anywhere in the flow, or more than `BYTES` of theirs. That bounds
//! memory whatever is downstream, as timely's own queues do not.

use super::build::{BuildCx, Reporter, Stream};
use super::durable::{Position, Recovery};
use super::emit::{Emit, RowErrors};
use super::env::Clock;
use super::epochs::Epochs;
use super::error::LogicError;
use super::forecast::Forecast;
use super::hand_in::HandIn;
use super::idle::IdlePart;
use super::packet::Packet;
use super::part::{Part, Polled, Saved, Waiting};
use super::partitions::Partitions;
use super::script::{Phase, ScriptedSource, Wait};
use super::ticks::{Positions, Ticks};
use super::timer::Timer;
use super::user_fn::InstanceCx;
use crate::data::ids::{PartitionId, StepId};
use crate::data::time::{Epoch, Instant, Tick};
use crate::formats::Decoder;
use crate::telemetry::meter::StepMeter;
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

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
    /// About how many bytes, or rows if it hands out rows, the reader will give; none if nobody knows.
    pub length: Option<u64>,
}

/// Reads a partition, on a thread where it may block.
pub trait Reader: Send {
    /// The next piece.
    ///
    /// # Errors
    /// Nothing more can be read, which stops the flow.
    fn read(&mut self) -> Result<Read, LogicError>;

    /// Whether `read` may wait for ever, for input that is made while the flow runs. While such a reader waits its
    /// input counts as idle. One whose input is there and only slow to come must not say so: windows would close.
    fn is_live(&self) -> bool {
        false
    }

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
    cx.execution.partitions.register(&cx.step, &names);
    let instance = cx.instance();
    let mut saved = load(cx, &names)?;
    // Opened before the operator is begun: one that is begun must be built, whatever cannot be opened.
    let mine = names.into_iter().skip(cx.worker().0).step_by(cx.workers());
    let readers = mine.map(|name| {
        let saved = saved.remove(&name);
        let position = saved.as_ref().and_then(|saved| saved.position.as_deref());
        parts.open(&instance, &name, position).map(|reader| (name, saved, reader))
    });
    let readers = readers.collect::<Result<Vec<_>, LogicError>>()?;
    let mut builder = OperatorBuilder::new(cx.step.to_string(), cx.scope);
    let ports = 1 + usize::from(cx.row_errors.port.is_some());
    let (outputs, streams): (Vec<_>, Vec<_>) = (0..ports).map(|_| builder.new_output::<Packet>()).unzip();
    let mut positions = Positions::new(HandIn::of(cx, &mut builder), cx.reporter());
    let address = builder.operator_info().address;
    let mut opened = Vec::new();
    for (name, saved, reader) in readers {
        let activator = cx.scope.worker().sync_activator_for(address.to_vec());
        match Part::start(cx.step.clone(), name, reader, saved.as_ref(), &cx.execution.env, activator) {
            Ok(part) => opened.push(part),
            Err(error) => cx.reporter().fail(error),
        }
    }
    cx.execution.epochs.wake(cx.scope.worker().sync_activator_for(address.to_vec()));
    if let Some(recovery) = &cx.execution.recovery {
        recovery.durable().wake(cx.scope.worker().sync_activator_for(address.to_vec()));
    }
    cx.progress.wake(cx.scope.activator_for(address.clone()));
    let (clock, epochs, progress) = (cx.execution.env.clock.clone(), cx.execution.epochs.clone(), cx.progress.clone());
    // Taken before any row flows, so that no time goes by while other workers begin.
    let pace = (!opened.is_empty()).then(|| match &cx.execution.env.script {
        None => Pace::Machine { idle: cx.execution.idle.part(), timer: Timer::new(cx, &address) },
        Some(script) => {
            let activator = cx.scope.worker().sync_activator_for(address.to_vec());
            let place = (address.to_vec(), cx.worker().0);
            Pace::Script(script.source(place, activator, epochs.clone(), cx.execution.idle.part()))
        }
    });
    let again = cx.scope.activator_for(builder.operator_info().address);
    let (reporter, row_errors, meter) = (cx.reporter(), cx.row_errors.clone(), cx.meter.clone());
    let (step, partitions) = (cx.step.clone(), cx.execution.partitions.clone());
    builder.build(move |mut capabilities| {
        positions.begin(&mut capabilities);
        if opened.is_empty() {
            // Steps would see an end in an epoch that no partition has reached.
            capabilities.clear();
            positions.stop();
        }
        let ticks = Ticks::new(capabilities, clock.clone(), epochs.clone(), progress, positions);
        let forecast = Forecast::new(epochs.clone());
        let mut reading = Reading {
            step,
            forecast,
            has_read: false,
            parts: opened,
            partitions,
            ticks,
            outputs,
            clock,
            epochs,
            reporter,
            row_errors,
            meter,
        };
        let mut pace = pace;
        move |_frontiers| {
            let Some(paced) = pace.as_mut().filter(|_| !reading.is_over()) else {
                reading.end();
                pace = None;
                return;
            };
            if !paced.may_read(&mut reading) {
                return;
            }
            let has_more = reading.read(paced);
            if reading.parts.is_empty() {
                reading.end();
                pace = None;
            } else if has_more && reading.ticks.may_send() {
                again.activate();
            } else {
                paced.rest(&mut reading);
            }
        }
    });
    Ok(streams)
}

/// The positions that an execution before left of this source's partitions.
///
/// # Errors
/// A partition is missing that had more to give.
fn load(cx: &BuildCx<'_>, names: &[PartitionId]) -> Result<BTreeMap<PartitionId, Saved>, LogicError> {
    let Some(recovery) = &cx.execution.recovery else { return Ok(BTreeMap::new()) };
    let mut saved = BTreeMap::new();
    for Position { part, position, .. } in recovery.load_sources(&cx.step)? {
        let position = Saved::decode(&position)?;
        if !position.has_ended && names.binary_search(&part).is_err() {
            let message = format!("{part} is not there, and was not read to its end before");
            return Err(LogicError::external(message).help("bring it back, or begin with a new recovery store"));
        }
        saved.insert(part, position);
    }
    Ok(saved)
}

/// The epoch of the newest position of a source's partitions that have given something. Only an end that comes for the
/// first time is noted without anything being given, and that of a partition that never gave anything does not count.
///
/// # Errors
/// As for [`super::durable::Recovery::load_sources`].
pub(super) fn last_read(recovery: &dyn Recovery, source: &StepId) -> Result<Option<Epoch>, LogicError> {
    let mut last = None;
    for Position { epoch, position, .. } in recovery.load_sources(source)? {
        if Saved::decode(&position)?.position.is_some() {
            last = last.max(Some(epoch));
        }
    }
    Ok(last)
}

/// A source operator.
struct Reading {
    step: StepId,
    /// Whether anything was given.
    has_read: bool,
    forecast: Forecast,
    parts: Vec<Part>,
    partitions: Arc<Partitions>,
    ticks: Ticks,
    outputs: Vec<Output<u64, Packet>>,
    clock: Arc<dyn Clock>,
    epochs: Arc<Epochs>,
    reporter: Reporter,
    row_errors: RowErrors,
    meter: Arc<StepMeter>,
}

impl Reading {
    fn is_over(&self) -> bool {
        self.reporter.is_stopped() || self.epochs.is_draining() || self.parts.is_empty()
    }

    fn end(&mut self) {
        if self.reporter.is_stopped() {
            self.ticks.stop();
        } else if !self.ticks.capabilities.is_empty() {
            let epoch = Tick(self.ticks.time()).epoch();
            self.epochs.end_source(&self.step, epoch, !self.parts.is_empty());
        }
        self.parts.clear();
        self.forecast.end();
        self.ticks.end();
    }

    /// Hands out what partitions have, some of it. Returns whether there may be more.
    fn read(&mut self, pace: &mut Pace) -> bool {
        self.ticks.advance();
        let mut handled = 0;
        let mut given = Vec::new();
        let Reading { parts, partitions, ticks, outputs, reporter, row_errors, meter, epochs, step, has_read, .. } =
            self;
        parts.retain_mut(|part| {
            while handled < TURN && ticks.may_send() {
                match part.poll(ticks, reporter) {
                    Polled::Nothing => return true,
                    Polled::End => {
                        part.say_ended(partitions, ticks);
                        return false;
                    }
                    Polled::Piece(data) => {
                        handled += 1;
                        pace.is_busy();
                        let mut out = Emit::new(&mut given, row_errors);
                        let done = part.decode(data, meter, &mut out);
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
                        part.note(false, ticks);
                        if !std::mem::replace(has_read, true) {
                            epochs.note_read(step);
                        }
                    }
                }
            }
            true
        });
        if handled > 0 {
            let left = self.parts.iter().map(Part::left).sum();
            self.forecast.update(left, self.clock.elapsed());
        }
        // Each begins a turn in its turn, so that one with much to give does not keep the others from giving anything. A
        // script counts on their places.
        if matches!(pace, Pace::Machine { .. }) && self.parts.len() > 1 {
            self.parts.rotate_left(1);
        }
        handled >= TURN
    }

    /// What all partitions wait for; empty if one of them does not wait.
    fn waits(&self) -> Vec<Wait> {
        let now = self.clock.now();
        let waits: Option<Vec<Wait>> = self.parts.iter().map(|part| part.wait(now)).collect();
        waits.unwrap_or_default()
    }
}

/// Who says when readers that wait go on.
enum Pace {
    /// The time of the machine.
    Machine {
        idle: IdlePart,
        timer: Timer,
    },
    Script(ScriptedSource),
}

impl Pace {
    /// Has readers go on whose time has come. Returns whether partitions may be read now.
    fn may_read(&mut self, reading: &mut Reading) -> bool {
        let Pace::Script(script) = self else {
            let now = reading.clock.now();
            for part in &mut reading.parts {
                match part.waiting() {
                    Some(Waiting::Until(until)) if now >= until => part.resume(),
                    Some(Waiting::Through(tick)) if reading.ticks.progress.is_past(tick) => part.resume(),
                    _ => {}
                }
            }
            return true;
        };
        match script.phase() {
            Phase::Running => {
                if let Some(part) = script.released().and_then(|at| reading.parts.get_mut(at)) {
                    part.resume();
                }
                return true;
            }
            Phase::Draining(tick) => {
                // In this order: as soon as all sources have begun the tick the time may move.
                if reading.ticks.time() < tick {
                    reading.ticks.advance();
                    reading.ticks.begin(Tick(tick));
                }
                if reading.ticks.progress.is_past(tick - 1) {
                    script.drained(tick);
                }
            }
            Phase::Settling | Phase::Resting => {}
        }
        script.waits(reading.waits());
        false
    }

    /// Says that rows come.
    fn is_busy(&mut self) {
        if let Pace::Machine { idle, .. } = self {
            idle.set_idle(false);
        }
    }

    /// Says what the source waits for, and has it woken at its time. It is woken by readers' threads, by progress
    /// downstream and by other sources besides.
    fn rest(&mut self, reading: &mut Reading) {
        match self {
            Pace::Script(script) => script.waits(reading.waits()),
            Pace::Machine { idle, timer } => {
                let Reading { parts, ticks, .. } = reading;
                if parts.iter().any(|part| part.waiting() == Some(Waiting::Through(ticks.time()))) {
                    // A reader that waits for its rows to be through must not wait for the tick to grow old.
                    ticks.begin(Tick(ticks.time()).next());
                }
                ticks.advance();
                idle.set_idle(ticks.are_through() && !reading.waits().is_empty());
                let now = reading.clock.now();
                let until = |part: &Part| match part.waiting()? {
                    Waiting::Until(until) => Some(until.since(now)),
                    Waiting::Through(_) => None,
                };
                let due = reading.parts.iter().filter_map(until).chain(reading.ticks.due()).min();
                if let Some(due) = due {
                    timer.set(due);
                }
            }
        }
    }
}
