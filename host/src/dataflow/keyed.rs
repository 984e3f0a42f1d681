//! Driver of steps that remember: they see each epoch by itself, are woken by system time, and told the end of input.

use super::ahead::Ahead;
use super::alarm::Alarm;
use super::build::{BuildCx, Stream};
use super::durable::Changes;
use super::emit::{Emit, RowErrors};
use super::epochs::Epochs;
use super::error::LogicError;
use super::exchange::ByKey;
use super::hand_in::{self, HandIn};
use super::packet::Packet;
use super::{source, wire};
use crate::data::batch::{Batch, Mark};
use crate::data::ids::StepId;
use crate::data::key::{self, Keys};
use crate::data::time::{Epoch, Instant, Tick};
use crate::telemetry::meter::StepMeter;
use arrow::array::BinaryArray;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

/// What of a step outlives an execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    #[default]
    Nothing,
    /// A state for each key, which moves with its key to other workers.
    Keys,
    /// States by names of the step's own choice, which every worker gets all of: of logic whose rows stay on their
    /// worker.
    Names,
}

/// A step that remembers. Rows of one key come to one worker, in the order of their epochs; within an epoch the rows of
/// one upstream worker keep their order.
pub trait Keyed: 'static {
    /// Handles a batch of the input port `input`. The batch is not compact. `now` is the system time.
    ///
    /// # Errors
    /// The step failed, which stops the flow. Rows that fail go to [`Emit::fail`].
    fn on_batch(&mut self, input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError>;

    /// A part of the stream of the port `input` is so far in event time, behind the batches before. Only for logic whose
    /// first half gives marks.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn on_mark(&mut self, _input: usize, _mark: &Mark, _now: Instant, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        Ok(())
    }

    /// When [`Keyed::on_wake`] wants to be called. Asked after every other call.
    fn wake_at(&self) -> Option<Instant> {
        None
    }

    /// Whether the step ever waits in idle time, and so is to be asked by `wake_at_idle`. Asked once.
    fn uses_idle_time(&self) -> bool {
        false
    }

    /// When [`Keyed::on_wake`] wants to be called, in the time for which the input has been idle
    /// ([`super::idle::IdleClock`]). Asked whenever the input becomes idle, and when `wake_at` is while it is idle.
    fn wake_at_idle(&mut self) -> Option<Instant> {
        None
    }

    /// The time that `wake_at` or `wake_at_idle` told has come. One that is told once more after this call is not
    /// waited for.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn on_wake(&mut self, _now: Instant, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        Ok(())
    }

    /// The input of this execution has ended; called once, before the last epoch closes.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn on_eof(&mut self, _now: Instant, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        Ok(())
    }

    /// An epoch has closed: everything of it has been handled, nothing of a later one has.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn on_epoch(&mut self, _epoch: Epoch, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        Ok(())
    }

    /// What is kept of it. Asked once, first of all, and only in an execution with recovery: from then on the logic notes
    /// what changes. The step must be declared to keep it ([`crate::catalog::operator::Checked::keeps`]).
    fn keep(&mut self) -> Kept {
        Kept::Nothing
    }

    /// The states that come to [`Keyed::restore`] are as the operator wrote them in this other version of its form, of
    /// those that the step is declared to read ([`crate::catalog::operator::Keeps::reads`]). Called before the first of
    /// them.
    ///
    /// # Errors
    /// The step does not read it.
    fn reads(&mut self, version: u32) -> Result<(), LogicError> {
        Err(LogicError::internal(format!("states are in form {version}, which the step does not read")))
    }

    /// Takes in states that an execution before handed out by [`Keyed::snapshot`]: `states[i]` is that of `keys[i]`, none is
    /// null. Called any number of times, each key once in all, after `keep` and before any other call. System times in
    /// states are of the past.
    ///
    /// # Errors
    /// A state cannot be read.
    fn restore(&mut self, _keys: &Keys, _states: &BinaryArray, _now: Instant) -> Result<(), LogicError> {
        Ok(())
    }

    /// Notes all keys that were restored as changed, since their states have another form now. Called after the last
    /// `restore`, if a state was restored that a newer version of the step's function had to migrate, or that is in
    /// another form ([`Keyed::reads`]). Steps that keep states of a plugin's function have this; without it all states but
    /// those that change would be lost.
    ///
    /// # Errors
    /// The step does not support it.
    fn touch_all(&mut self) -> Result<(), LogicError> {
        Err(LogicError::internal("states of an older version were restored, which the step cannot hand in anew"))
    }

    /// The states of the keys that changed since the last call, as they are now; null for keys that have none any more.
    /// Called at the end of each epoch, after `on_epoch`, if something is kept; and between batches, where that makes for
    /// shorter pauses. They may also be those of all keys that the logic has ([`Changes::of_all`]), if it keeps
    /// [`Kept::Keys`].
    ///
    /// # Errors
    /// As for `on_batch`.
    fn snapshot(&mut self, _now: Instant) -> Result<Option<Changes>, LogicError> {
        Ok(None)
    }
}

/// Builds an operator whose rows are exchanged by key. `schemas` are those of `ups`.
pub fn keyed<'s>(
    cx: &BuildCx<'s>,
    ups: Vec<Stream<'s>>,
    schemas: &[SchemaRef],
    ports: usize,
    logic: impl Keyed,
) -> Vec<Stream<'s>> {
    schemas.iter().for_each(wire::register);
    build(cx, ups, ports, || DistributorPact(ByKey::new), logic)
}

/// Builds an operator whose rows stay on their worker: of the first half of a step.
pub fn local<'s>(cx: &BuildCx<'s>, up: Stream<'s>, logic: impl Keyed) -> Vec<Stream<'s>> {
    build(cx, vec![up], 1, || Pipeline, logic)
}

/// Builds a step in two halves ([`BuildCx::in_halves`]), so that each worker combines its rows before what they come to
/// is exchanged by key. The first half hands the second batches of `schema`.
///
/// # Errors
/// None; it is the way of [`BuildCx::in_halves`].
pub fn combined<'s>(
    cx: &mut BuildCx<'s>,
    up: Stream<'s>,
    schema: &SchemaRef,
    first: impl Keyed,
    second: impl Keyed,
) -> Result<Vec<Stream<'s>>, LogicError> {
    wire::register(schema);
    cx.in_halves(
        vec![up],
        |cx, mut ups| Ok(ups.pop().map_or_else(Vec::new, |up| local(cx, up, first))),
        |cx, ups| Ok(build(cx, ups, 1, || DistributorPact(ByKey::new), second)),
    )
}

fn build<'s, P: ParallelizationContract<u64, Packet>>(
    cx: &BuildCx<'s>,
    ups: Vec<Stream<'s>>,
    ports: usize,
    pact: impl Fn() -> P,
    mut logic: impl Keyed,
) -> Vec<Stream<'s>> {
    let row_errors = cx.row_errors.clone();
    let mut builder = OperatorBuilder::new(cx.operator_name(), cx.scope);
    let mut inputs: Vec<_> = ups.into_iter().map(|up| builder.new_input(up, pact())).collect();
    let ports = ports + usize::from(row_errors.port.is_some());
    let (outputs, streams): (Vec<_>, Vec<_>) = (0..ports).map(|_| builder.new_output()).unzip();
    let mut line = HandIn::of(cx, &mut builder);
    let reporter = cx.reporter();
    let (takes, gives) = (cx.takes(), cx.gives());
    let kept = keep(cx, &mut logic).unwrap_or_else(|error| {
        // The operator is begun, so it must be built.
        reporter.fail(error);
        None
    });
    let (kept, owned) = kept.unzip();
    let is_told_end = is_told_end(cx, kept.as_ref()).unwrap_or_else(|error| {
        reporter.fail(error);
        false
    });
    let (epochs, sources) = (cx.execution.epochs.clone(), cx.sources.clone());
    let mut alarm = Some(Alarm::new(cx, &builder.operator_info().address, logic.uses_idle_time()));
    builder.build(move |mut capabilities| {
        HandIn::begin(&mut line, &mut capabilities);
        let ports = Ports { outputs, capabilities, row_errors, takes, gives };
        let mut machine = Machine {
            logic,
            ports,
            pending: BTreeMap::new(),
            line,
            ahead: Ahead::default(),
            kept,
            owned: owned.unwrap_or_default(),
            is_told_end,
            has_rows: false,
            epochs,
            sources,
        };
        move |frontiers| {
            for (port, input) in inputs.iter_mut().enumerate() {
                input.for_each(|time, packet| {
                    if let Some(batch) = packet.take() {
                        machine.take(*time.time(), port, batch);
                    }
                });
            }
            if reporter.is_stopped() {
                machine.stop();
            }
            if machine.is_done() {
                alarm = None;
            }
            let Some(set) = &mut alarm else { return };
            let now = set.now();
            let has_given = machine.run(earliest(frontiers), now, set).unwrap_or_else(|error| {
                reporter.fail(error);
                machine.stop();
                false
            });
            if machine.is_done() {
                alarm = None;
            } else {
                set.set(set.due(&mut machine.logic), now, has_given);
            }
        }
    });
    streams
}

/// What two ranges have in common.
fn overlap(one: &Range<u64>, other: &Range<u64>) -> Range<u64> {
    one.start.max(other.start)..one.end.min(other.end)
}

/// The earliest time that may still come; none at the end of input.
fn earliest(frontiers: &[MutableAntichain<u64>]) -> Option<u64> {
    frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min()
}

/// Has logic keep its states, and gives it those that it kept before. Returns the name that they have in the store and the
/// key groups that nobody else has states of, if anything is kept.
fn keep(cx: &BuildCx<'_>, logic: &mut impl Keyed) -> Result<Option<(StepId, Range<u64>)>, LogicError> {
    let Some(recovery) = &cx.execution.recovery else { return Ok(None) };
    let owned = key::groups_of(cx.worker().0, cx.workers());
    let (name, groups, owned) = match logic.keep() {
        Kept::Nothing => return Ok(None),
        Kept::Keys => (cx.step.clone(), owned.clone(), owned),
        Kept::Names => (names_of(&cx.step), 0..key::KEY_GROUPS, 0..0),
    };
    let now = cx.execution.env.clock.now();
    let form = recovery.rewrites(&name);
    form.map_or(Ok(()), |version| logic.reads(version))?;
    let mut is_restored = false;
    let load = || {
        recovery.load_state(&name, groups, &mut |keys, states| {
            is_restored = true;
            logic.restore(&keys, &states, now)
        })
    };
    if recovery.migrates(&name).is_none() && form.is_none() {
        load()?;
        return Ok(Some((name, owned)));
    }
    match &cx.migration {
        Some(migration) => migration.during(load)?,
        None => load()?,
    }
    if is_restored {
        logic.touch_all()?;
    }
    Ok(Some((name, owned)))
}

/// Whether a step that keeps something was told of the end of its input in an execution before, and its sources have given
/// nothing since, not even what steps in between dropped.
fn is_told_end(cx: &BuildCx<'_>, kept: Option<&StepId>) -> Result<bool, LogicError> {
    let (Some(recovery), Some(name)) = (&cx.execution.recovery, kept) else { return Ok(false) };
    let Some(told) = hand_in::told_end(&**recovery, name)? else { return Ok(false) };
    for step in &*cx.sources {
        if source::last_read(&**recovery, step)?.is_some_and(|read| read > told) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The name in the store of what a step keeps besides the states of its keys. No step can be called so.
pub fn names_of(step: &StepId) -> StepId {
    format!("{step}/names").as_str().into()
}

/// Logic with its ports, and what came too early for it.
struct Machine<L> {
    logic: L,
    ports: Ports,
    line: Option<HandIn>,
    ahead: Ahead,
    /// The name in the store of what is kept.
    kept: Option<StepId>,
    /// The key groups that no other worker has states of.
    owned: Range<u64>,
    /// Whether the logic was told of the end of its input in an execution before, and whether rows came since.
    is_told_end: bool,
    has_rows: bool,
    epochs: Arc<Epochs>,
    /// Those whose rows come here.
    sources: Arc<[StepId]>,
    /// Batches of epochs that may not run yet, or are about to.
    pending: BTreeMap<Epoch, Vec<(u64, usize, Batch)>>,
}

impl<L: Keyed> Machine<L> {
    fn take(&mut self, time: u64, input: usize, batch: Batch) {
        self.pending.entry(Tick(time).epoch()).or_default().push((time, input, batch));
    }

    fn is_done(&self) -> bool {
        self.ports.capabilities.is_empty()
    }

    fn stop(&mut self) {
        self.pending.clear();
        self.ports.capabilities.clear();
        self.line = None;
    }

    /// Notes that the logic was told of the end, or that rows came after it.
    fn tell_end(&self, epoch: Epoch, is_told: bool) -> Result<(), LogicError> {
        let (Some(line), Some(name)) = (&self.line, &self.kept) else { return Ok(()) };
        line.told_end(name, epoch.max(line.recovery().first_epoch()), is_told)
    }

    /// Hands in what an epoch changed.
    fn hand_in(&mut self, epoch: Epoch, now: Instant) -> Result<(), LogicError> {
        let (Some(line), Some(name)) = (&self.line, &self.kept) else { return Ok(()) };
        for mut changes in self.ahead.end(self.logic.snapshot(now)?)? {
            changes.whole = overlap(&changes.whole, &self.owned);
            // What was done before the first epoch counts to it.
            line.state(name, epoch.max(line.recovery().first_epoch()), &changes)?;
        }
        Ok(())
    }

    /// Runs what the frontier allows: the epoch that it stands in eagerly, and all before it to their ends. Then wakes
    /// the logic if its time has come; returns whether it gave anything for that.
    fn run(&mut self, frontier: Option<u64>, now: Instant, alarm: &Alarm) -> Result<bool, LogicError> {
        let standing = frontier.map(|time| Tick(time).epoch());
        loop {
            let held = Tick(self.ports.time()).epoch();
            self.run_pending(held, now)?;
            if standing.is_some_and(|standing| held >= standing) {
                break;
            }
            // The end counts to the last epoch of the sources, so that what it brings about lasts if their ends do; what
            // came in epochs before lasts with those.
            let end = frontier.is_none().then(|| self.epochs.last(&self.sources).max(held));
            let is_last = self.pending.is_empty() && end == Some(held);
            let mut given = Vec::new();
            if is_last && self.epochs.has_new_end(&self.sources, self.is_told_end) {
                self.logic.on_eof(now, &mut Emit::new(&mut given, &self.ports.row_errors))?;
                self.tell_end(held, true)?;
            }
            self.logic.on_epoch(held, &mut Emit::new(&mut given, &self.ports.row_errors))?;
            self.ports.send(None, given);
            self.hand_in(held, now)?;
            if is_last {
                self.ports.capabilities.clear();
                self.line = None;
                return Ok(false);
            }
            let next = self.pending.keys().next().copied().into_iter().chain(standing).chain(end).min();
            let next = Tick::start_of(next.expect("there is a batch, a frontier or an end")).0;
            self.ports.downgrade(next);
            if let Some(line) = &mut self.line {
                line.advance(next);
            }
        }
        let mut given = Vec::new();
        if alarm.due(&mut self.logic).is_some_and(|due| due <= now) {
            self.logic.on_wake(now, &mut Emit::new(&mut given, &self.ports.row_errors))?;
        }
        let has_given = !given.is_empty();
        self.ports.send(None, given);
        if let Some(frontier) = frontier {
            self.ports.downgrade(frontier);
        }
        Ok(has_given)
    }

    fn run_pending(&mut self, epoch: Epoch, now: Instant) -> Result<(), LogicError> {
        for (time, input, batch) in self.pending.remove(&epoch).unwrap_or_default() {
            if self.is_told_end && !std::mem::replace(&mut self.has_rows, true) {
                self.tell_end(epoch, false)?;
            }
            let mut given = Vec::new();
            let mut out = Emit::new(&mut given, &self.ports.row_errors);
            let done = match batch.mark() {
                Some(mark) => self.logic.on_mark(input, mark, now, &mut out),
                None => {
                    self.ports.took(batch.num_rows());
                    self.ahead.took(batch.num_rows());
                    self.logic.on_batch(input, batch, now, &mut out)
                }
            };
            self.ports.send(Some(time), given);
            done?;
            if self.ahead.is_due() {
                self.ahead.keep(self.logic.snapshot(now)?);
            }
        }
        Ok(())
    }
}

/// The outputs of an operator, and its right to send on them.
struct Ports {
    outputs: Vec<Output<u64, Packet>>,
    /// One an output, all at the same time, never past the input's frontier. None once the input has ended.
    capabilities: Vec<Capability<u64>>,
    row_errors: RowErrors,
    /// Where to count rows that come in and that go out, if here.
    takes: Option<Arc<StepMeter>>,
    gives: Option<Arc<StepMeter>>,
}

impl Ports {
    fn time(&self) -> u64 {
        self.capabilities.first().map_or(u64::MAX, |capability| *capability.time())
    }

    fn took(&self, rows: usize) {
        if let Some(meter) = &self.takes {
            meter.took(rows as u64);
        }
    }

    /// Sends batches at a time that is not before the capabilities', or at theirs.
    fn send(&mut self, time: Option<u64>, given: Vec<(usize, Batch)>) {
        for (port, batch) in given {
            if let Some(meter) =
                self.gives.as_ref().filter(|_| Some(port) != self.row_errors.port && batch.mark().is_none())
            {
                meter.gave(batch.num_rows() as u64);
            }
            let capability = &self.capabilities[port];
            let capability = capability.delayed(&time.unwrap_or(*capability.time()).max(*capability.time()));
            self.outputs[port].activate().give(&capability, &mut Packet::from(batch));
        }
    }

    fn downgrade(&mut self, time: u64) {
        for capability in &mut self.capabilities {
            if time > *capability.time() {
                capability.downgrade(&time);
            }
        }
    }
}
