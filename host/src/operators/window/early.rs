//! Early results: when they come, and of which windows.

use super::slots::Slots;
use crate::data::time::Instant;
use std::time::Duration;

/// The windows that have changed since their last early result.
pub(super) struct EarlyResults {
    every: Duration,
    /// Some of them may have ended, and some slots stand here twice.
    changed: Vec<u32>,
    /// When the results come; none if nothing has changed.
    at: Option<Instant>,
}

impl EarlyResults {
    /// Results come at most `every` so long.
    pub fn new(every: Duration) -> Self {
        EarlyResults { every, changed: Vec::new(), at: None }
    }

    /// Notes that windows have changed. Those that are hollow have not.
    pub fn mark(&mut self, slots: &mut Slots, changed: &[u32], now: Instant) {
        for &slot in changed {
            let window = slots.get_mut(slot);
            if !window.dirty && !window.hollow {
                window.dirty = true;
                self.changed.push(slot);
            }
        }
        if !self.changed.is_empty() {
            self.at.get_or_insert_with(|| now.after(self.every));
        }
    }

    /// When [`EarlyResults::take`] is to be called.
    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Takes out the windows that have changed, in the order in which they did.
    pub fn take(&mut self, slots: &mut Slots) -> Vec<u32> {
        self.at = None;
        let mut changed = std::mem::take(&mut self.changed);
        changed.retain(|&slot| std::mem::take(&mut slots.get_mut(slot).dirty));
        changed
    }
}
