//! An operator's alarm clock.

use super::build::BuildCx;
use super::env::Turns;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use timely::scheduling::{Activator, SyncActivator};

/// Wakes an operator after a time: by the worker's own clock, or by that of whoever gives threads their turns.
pub(super) enum Timer {
    Worker(Activator),
    Turns(Arc<dyn Turns>, SyncActivator),
}

impl Timer {
    /// Makes that of the operator at `address`.
    pub fn new(cx: &BuildCx<'_>, address: &Rc<[usize]>) -> Timer {
        match &cx.execution.env.turns {
            None => Timer::Worker(cx.scope.activator_for(address.clone())),
            Some(turns) => Timer::Turns(turns.clone(), cx.scope.worker().sync_activator_for(address.to_vec())),
        }
    }

    /// Has the operator woken after a time.
    pub fn set(&self, after: Duration) {
        match self {
            Timer::Worker(operator) => operator.activate_after(after),
            Timer::Turns(turns, operator) => turns.wake(after, operator.clone()),
        }
    }
}
