//! The time for which the input has been idle.
//!
//! Time spent working through a backlog is no evidence that nothing more comes; time in which every source had nothing
//! and everything before was through the flow is. Watermarks therefore move by this clock and not by the system's, so
//! that a replay gives the same windows at any speed.

use super::env::Clock;
use crate::data::time::Instant;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use timely::scheduling::SyncActivator;

/// A clock that goes while all sources of the process are idle, and stands still otherwise. It begins at 0.
pub struct IdleClock {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    /// Parts of the input that are read, and how many of them are idle.
    parts: usize,
    idle_parts: usize,
    /// Idle time up to `since`, or up to now if the input is not idle.
    total: Instant,
    /// The system time at which the input became idle.
    since: Option<Instant>,
    waiting: Vec<SyncActivator>,
}

impl IdleClock {
    /// Starts at 0, with no input.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State { parts: 0, idle_parts: 0, total: Instant(0), since: None, waiting: Vec::new() };
        IdleClock { clock, state: Mutex::new(state) }
    }

    /// How long the input has been idle, all idle stretches together, in microseconds.
    pub fn now(&self) -> Instant {
        let state = self.state();
        match state.since {
            Some(since) => state.total.after(self.clock.now().since(since)),
            None => state.total,
        }
    }

    /// Whether the input is idle.
    pub fn is_idle(&self) -> bool {
        self.state().since.is_some()
    }

    /// The system time at which this clock will show `at` if the input stays idle. None while it is not.
    pub fn due(&self, at: Instant) -> Option<Instant> {
        let state = self.state();
        state.since.map(|since| since.after(at.since(state.total)))
    }

    /// Has an operator woken whenever the input becomes idle.
    pub fn wake(&self, operator: SyncActivator) {
        self.state().waiting.push(operator);
    }

    /// Takes in a part of the input, which is not idle. Called before anything flows.
    pub fn part(self: &Arc<Self>) -> IdlePart {
        self.change(|state| state.parts += 1);
        IdlePart { clock: self.clone(), is_idle: false }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let is_idle = state.parts > 0 && state.idle_parts == state.parts;
        match (state.since, is_idle) {
            (None, true) => {
                state.since = Some(self.clock.now());
                // A worker that has ended needs no waking.
                for operator in &state.waiting {
                    operator.activate().ok();
                }
            }
            (Some(since), false) => {
                state.total = state.total.after(self.clock.now().since(since));
                state.since = None;
            }
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the input: a worker's partitions of a source. It has ended when this is dropped.
pub struct IdlePart {
    clock: Arc<IdleClock>,
    is_idle: bool,
}

impl IdlePart {
    /// Says whether the part has nothing now and all of it is through the flow.
    pub fn set_idle(&mut self, is_idle: bool) {
        if is_idle != self.is_idle {
            self.is_idle = is_idle;
            self.clock.change(|state| match is_idle {
                true => state.idle_parts += 1,
                false => state.idle_parts -= 1,
            });
        }
    }
}

impl Drop for IdlePart {
    fn drop(&mut self) {
        let was_idle = self.is_idle;
        self.clock.change(|state| {
            state.parts -= 1;
            state.idle_parts -= usize::from(was_idle);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::ScriptedClock;
    use super::*;

    #[test]
    fn time_goes_by_only_while_all_parts_are_idle() {
        let system = Arc::new(ScriptedClock::new(Instant(100)));
        let clock = Arc::new(IdleClock::new(system.clone()));
        let (mut first, mut second) = (clock.part(), clock.part());
        first.set_idle(true);
        system.set(Instant(110));
        assert_eq!((clock.now(), clock.due(Instant(5))), (Instant(0), None));
        second.set_idle(true);
        assert_eq!(clock.due(Instant(5)), Some(Instant(115)));
        system.set(Instant(113));
        assert_eq!(clock.now(), Instant(3));
        second.set_idle(false);
        system.set(Instant(200));
        assert_eq!(clock.now(), Instant(3));
        drop(second);
        system.set(Instant(204));
        assert_eq!((clock.now(), clock.due(Instant(9))), (Instant(7), Some(Instant(206))));
        drop(first);
        system.set(Instant(300));
        assert_eq!(clock.now(), Instant(7));
    }
}
