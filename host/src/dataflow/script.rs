//! A clock that a flow moves by itself, for tests: the time is that of the script.
//!
//! Time stands still while anything is under way. When all sources wait and everything before is through the flow, it
//! goes on to the earliest time that a step or a source waits for, and there, in this order:
//!
//! 1. steps whose time has come do what they have to do, and what they give goes through the flow;
//! 2. of the sources whose time has come, the first one of the flow goes on, alone, until it waits again.
//!
//! So no result depends on how fast anything is, and nobody sleeps. Whoever takes part says so when it is built: sources
//! that have partitions, and steps that can be woken. Nothing moves before all of that is built, since until then
//! nothing can be through the flow.

use super::env::Clock;
use super::epochs::Epochs;
use super::idle::IdlePart;
use crate::data::time::{Instant, Tick};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use timely::scheduling::SyncActivator;

/// A clock that only goes forward, from one time that something waits for to the next.
pub struct ScriptedClock {
    started: Instant,
    now: AtomicI64,
    play: Mutex<Play>,
}

/// Who takes part, and what is going on.
#[derive(Default)]
struct Play {
    phase: Phase,
    /// Grows whenever steps are asked to look at the time.
    generation: u64,
    /// Whether the input has been idle since the time moved last or before; steps know of it.
    is_idle: bool,
    /// Whether a step gave something since it was asked last.
    given: bool,
    steps: BTreeMap<u64, Step>,
    /// In the order of the flow, then of workers.
    sources: BTreeMap<(Vec<usize>, usize), Source>,
}

/// What is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Sources read.
    #[default]
    Running,
    /// All sources wait for everything before this tick to be through the flow. They have to begin it.
    Draining(u64),
    /// Steps are looking at the time.
    Settling,
    /// Nothing waits for a time.
    Resting,
}

struct Step {
    activator: SyncActivator,
    uses_idle_time: bool,
    alarm: Option<Instant>,
    /// The generation that it has yet to look at.
    owes: Option<u64>,
}

struct Source {
    activator: SyncActivator,
    epochs: Arc<Epochs>,
    idle: IdlePart,
    /// What its partitions wait for, in their order; empty while one of them does not wait.
    waits: Vec<Wait>,
    released: Option<usize>,
}

/// What a partition waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A time.
    Until(Instant),
    /// Something that may come from outside at any time.
    Input,
}

impl ScriptedClock {
    /// Makes a clock that stands at `now`.
    pub fn new(now: Instant) -> Self {
        ScriptedClock { started: now, now: AtomicI64::new(now.0), play: Mutex::default() }
    }

    /// Sets the time of a clock that no flow moves; one that is past already changes nothing.
    pub fn set(&self, now: Instant) {
        self.now.fetch_max(now.0, Ordering::AcqRel);
    }

    /// Takes in an operator that can be woken.
    pub fn step(self: &Arc<Self>, activator: SyncActivator, uses_idle_time: bool) -> ScriptedStep {
        let mut play = self.play();
        let id = play.steps.last_key_value().map_or(0, |(last, _)| last + 1);
        play.steps.insert(id, Step { activator, uses_idle_time, alarm: None, owes: None });
        ScriptedStep { clock: self.clone(), id }
    }

    /// Takes in the source operator at `address` of a worker.
    pub fn source(
        self: &Arc<Self>,
        (address, worker): (Vec<usize>, usize),
        activator: SyncActivator,
        epochs: Arc<Epochs>,
        idle: IdlePart,
    ) -> ScriptedSource {
        let place = (address, worker);
        let source = Source { activator, epochs, idle, waits: Vec::new(), released: None };
        self.play().sources.insert(place.clone(), source);
        ScriptedSource { clock: self.clone(), place }
    }

    fn play(&self) -> MutexGuard<'_, Play> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ScriptedClock {
    fn now(&self) -> Instant {
        Instant(self.now.load(Ordering::Acquire))
    }

    fn elapsed(&self) -> Duration {
        self.now().since(self.started)
    }
}

/// An operator that can be woken. It has ended when this is dropped.
pub struct ScriptedStep {
    clock: Arc<ScriptedClock>,
    id: u64,
}

impl ScriptedStep {
    /// What the operator looks at from here on; asked for before the time.
    pub fn generation(&self) -> u64 {
        self.clock.play().generation
    }

    /// Says that the operator has looked at a generation, when it wants to be woken, and whether it gave anything.
    pub fn looked(&self, generation: u64, alarm: Option<Instant>, given: bool) {
        let mut play = self.clock.play();
        let Some(step) = play.steps.get_mut(&self.id) else { return };
        step.alarm = alarm;
        step.owes = step.owes.filter(|&owed| owed > generation);
        play.given |= given;
        play.go_on(&self.clock);
    }
}

impl Drop for ScriptedStep {
    fn drop(&mut self) {
        let mut play = self.clock.play();
        play.steps.remove(&self.id);
        play.go_on(&self.clock);
    }
}

/// A source operator with partitions. It has ended when this is dropped.
pub struct ScriptedSource {
    clock: Arc<ScriptedClock>,
    place: (Vec<usize>, usize),
}

impl ScriptedSource {
    /// What is going on. Sources read while it runs, and otherwise do nothing but begin the tick of a draining.
    pub fn phase(&self) -> Phase {
        self.clock.play().phase
    }

    /// The partition that goes on now, once.
    pub fn released(&self) -> Option<usize> {
        self.clock.play().sources.get_mut(&self.place)?.released.take()
    }

    /// Says what all partitions wait for, or that one of them does not wait (nothing is in `waits`).
    pub fn waits(&self, waits: Vec<Wait>) {
        let mut play = self.clock.play();
        let Some(source) = play.sources.get_mut(&self.place) else { return };
        // One that was let go on has not been heard yet.
        if source.released.is_none() && source.waits != waits {
            if waits.is_empty() {
                source.idle.set_idle(false);
            }
            source.waits = waits;
            play.go_on(&self.clock);
        }
    }

    /// Says that everything before a tick is through the flow.
    pub fn drained(&self, tick: u64) {
        let mut play = self.clock.play();
        if play.phase == Phase::Draining(tick) {
            play.drained(&self.clock);
        }
    }
}

impl Drop for ScriptedSource {
    fn drop(&mut self) {
        let mut play = self.clock.play();
        play.sources.remove(&self.place);
        play.go_on(&self.clock);
    }
}

impl Play {
    /// Does what can be done now.
    fn go_on(&mut self, clock: &ScriptedClock) {
        match self.phase {
            Phase::Running if self.all_wait() => self.drain(),
            Phase::Settling if self.steps.values().all(|step| step.owes.is_none()) => match self.given {
                true => self.drain(),
                false => self.next(clock),
            },
            Phase::Resting => self.next(clock),
            Phase::Running | Phase::Settling | Phase::Draining(_) => {}
        }
    }

    fn all_wait(&self) -> bool {
        !self.sources.is_empty() && self.sources.values().all(|source| !source.waits.is_empty())
    }

    /// Has everything that is under way go through the flow.
    fn drain(&mut self) {
        let Some(epochs) = self.sources.values().next().map(|source| source.epochs.clone()) else { return };
        let tick = Tick(epochs.tick()).next();
        self.phase = Phase::Draining(tick.0);
        self.wake_sources();
        epochs.begin(tick);
    }

    fn drained(&mut self, clock: &ScriptedClock) {
        if self.is_idle || !self.all_wait() {
            return self.next(clock);
        }
        self.is_idle = true;
        self.sources.values_mut().for_each(|source| source.idle.set_idle(true));
        self.settle(clock, |step| step.uses_idle_time);
    }

    /// Has some steps look at the time.
    fn settle(&mut self, clock: &ScriptedClock, which: impl Fn(&Step) -> bool) {
        self.generation += 1;
        self.given = false;
        self.phase = Phase::Settling;
        for step in self.steps.values_mut().filter(|step| which(step)) {
            step.owes = Some(self.generation);
            // A worker that has ended needs no waking.
            step.activator.activate().ok();
        }
        self.go_on(clock);
    }

    /// Lets a source go on, or the time.
    fn next(&mut self, clock: &ScriptedClock) {
        if !self.all_wait() {
            return self.run();
        }
        let now = clock.now();
        let waits = self.sources.iter().flat_map(|(place, source)| {
            let untils = source.waits.iter().enumerate();
            untils.filter_map(move |(at, wait)| match *wait {
                Wait::Until(until) => Some((until, place, at)),
                Wait::Input => None,
            })
        });
        let first = waits.min().map(|(until, place, at)| (until, place.clone(), at));
        if let Some((_, place, at)) = first.clone().filter(|(until, ..)| *until <= now) {
            if let Some(source) = self.sources.get_mut(&place) {
                source.released = Some(at);
                source.waits.clear();
                source.idle.set_idle(false);
            }
            return self.run();
        }
        // An alarm that went off and still stands would go off for ever.
        let alarms = self.steps.values().filter_map(|step| step.alarm).filter(|&at| at > now);
        let Some(time) = alarms.chain(first.map(|(until, ..)| until)).min() else {
            self.phase = Phase::Resting;
            return;
        };
        clock.set(time);
        self.settle(clock, |step| step.alarm.is_some_and(|at| at <= time));
    }

    fn run(&mut self) {
        self.phase = Phase::Running;
        self.is_idle = false;
        self.wake_sources();
    }

    fn wake_sources(&self) {
        for source in self.sources.values() {
            source.activator.activate().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripted_clock_only_goes_forward() {
        let clock = ScriptedClock::new(Instant(5));
        clock.set(Instant(9));
        clock.set(Instant(7));
        assert_eq!((clock.now(), clock.elapsed()), (Instant(9), Duration::from_micros(4)));
    }
}
