//! Who wakes a step at its time: a timer, or the script of a test.

use super::build::BuildCx;
use super::env::Clock;
use super::idle::IdleClock;
use super::keyed::Keyed;
use super::script::ScriptedStep;
use super::timer::Timer;
use crate::data::time::Instant;
use std::rc::Rc;
use std::sync::Arc;

/// What an operator's logic waits for.
pub(super) struct Alarm {
    clock: Arc<dyn Clock>,
    /// If the logic waits in idle time, too.
    idle: Option<Arc<IdleClock>>,
    waker: Waker,
}

enum Waker {
    /// One timer is enough: it is set anew only for an earlier time, or once it has gone off.
    Timer {
        timer: Timer,
        set_for: Option<Instant>,
    },
    Script {
        step: ScriptedStep,
        generation: u64,
    },
}

impl Alarm {
    /// Makes that of the operator at `address`.
    pub fn new(cx: &BuildCx<'_>, address: &Rc<[usize]>, uses_idle_time: bool) -> Alarm {
        let worker = cx.scope.worker();
        let env = &cx.execution.env;
        let waker = match &env.script {
            None => Waker::Timer { timer: Timer::new(cx, address), set_for: None },
            Some(script) => {
                let step = script.step(worker.sync_activator_for(address.to_vec()), uses_idle_time);
                Waker::Script { step, generation: 0 }
            }
        };
        let idle = uses_idle_time.then(|| cx.execution.idle.clone());
        if let Some(idle) = idle.as_ref().filter(|_| env.script.is_none()) {
            idle.wake(worker.sync_activator_for(address.to_vec()));
        }
        Alarm { clock: env.clock.clone(), idle, waker }
    }

    /// The system time. Asked for once, before anything is done.
    pub fn now(&mut self) -> Instant {
        if let Waker::Script { step, generation } = &mut self.waker {
            *generation = step.generation();
        }
        self.clock.now()
    }

    /// The system time at which the logic wants to be woken.
    pub fn due(&self, logic: &mut impl Keyed) -> Option<Instant> {
        // Not asked for while the input is not idle: idle time stands still then.
        let idle = self.idle.as_ref().filter(|idle| idle.is_idle());
        let idle = idle.and_then(|idle| idle.due(logic.wake_at_idle()?));
        logic.wake_at().into_iter().chain(idle).min()
    }

    /// Has the operator woken. `has_given` is whether it gave anything since `now`.
    pub fn set(&mut self, due: Option<Instant>, now: Instant, has_given: bool) {
        match &mut self.waker {
            Waker::Script { step, generation } => step.looked(*generation, due, has_given),
            Waker::Timer { timer, set_for } => {
                // Logic was just woken at `now`: a time that has come and still stands would wake it for ever.
                let due = due.filter(|&due| due > now);
                if let Some(due) = due.filter(|&due| set_for.is_none_or(|set| due < set || set <= now)) {
                    *set_for = Some(due);
                    timer.set(due.since(now));
                }
            }
        }
    }
}
