//! When epochs end, and how far sources are in them.

use super::durable::Durable;
use super::env::Env;
use crate::data::time::{Epoch, Tick};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use timely::scheduling::SyncActivator;

/// Epochs that may be under way, not durable yet, besides the one that sources are in. So states are written while rows
/// go on, and a disk that does not keep up holds the sources back.
const MOST_EPOCHS: u64 = 4;

/// The first epoch of an execution with recovery is shorter than the others by this factor.
const FIRST_EPOCH: u32 = 8;

/// The epoch that sources are in; one for all workers of a process, so that no partition drifts from the others.
pub struct Epochs {
    env: Env,
    interval: Duration,
    epoch: AtomicU64,
    /// The last tick that any source has begun.
    tick: AtomicU64,
    /// When the epoch ends, in nanoseconds of [`super::env::Clock::elapsed`].
    ends_at: AtomicU64,
    draining: AtomicBool,
    /// Whether a source was cut short of its end.
    cut_short: AtomicBool,
    /// Whether any source has given anything.
    has_read: AtomicBool,
    /// Whether the execution goes on from an end of its input.
    began_at_end: bool,
    /// How far epochs may go, with recovery.
    durable: Option<Arc<Durable>>,
    /// Sources may be asleep when they are asked to end, or when others go on to the next tick.
    sources: Mutex<Vec<SyncActivator>>,
}

impl Epochs {
    /// Starts at an epoch that ends after `interval`.
    pub fn new(env: Env, first: Epoch, interval: Duration) -> Self {
        let ends_at = nanos(env.clock.elapsed().saturating_add(interval));
        Epochs {
            env,
            interval,
            epoch: AtomicU64::new(first.0),
            tick: AtomicU64::new(0),
            ends_at: AtomicU64::new(ends_at),
            draining: AtomicBool::new(false),
            cut_short: AtomicBool::new(false),
            has_read: AtomicBool::new(false),
            began_at_end: false,
            durable: None,
            sources: Mutex::default(),
        }
    }

    /// Holds sources back while too many epochs are not durable yet. `began_at_end` says whether the input was at its end
    /// when the execution before ended.
    #[must_use]
    pub fn with_recovery(mut self, durable: Arc<Durable>, began_at_end: bool) -> Self {
        self.durable = Some(durable);
        // So that readers soon see that it goes on.
        self.ends_at = AtomicU64::new(nanos(self.env.clock.elapsed().saturating_add(self.interval / FIRST_EPOCH)));
        self.began_at_end = began_at_end;
        self
    }

    /// Whether rows of an epoch may be handed out.
    pub fn may_run(&self, epoch: Epoch) -> bool {
        self.durable.as_ref().is_none_or(|durable| epoch.0 <= durable.newest().0 + MOST_EPOCHS)
    }

    /// Says that a source has given something.
    pub fn note_read(&self) {
        self.has_read.store(true, Ordering::Release);
    }

    /// Says that a source was stopped before its end.
    pub fn cut_short(&self) {
        self.cut_short.store(true, Ordering::Release);
    }

    /// Whether the end of all sources, which has come, is one that steps have not been told of: with recovery a flow that
    /// is asked to stop goes on later as if it had not, and one whose input had ended gets nothing new by being run again.
    pub fn has_new_end(&self) -> bool {
        if self.durable.is_none() {
            return true;
        }
        let has_news = !self.began_at_end || self.has_read.load(Ordering::Acquire);
        has_news && !self.cut_short.load(Ordering::Acquire)
    }

    /// The epoch in which the last source was, once all have ended.
    pub fn last(&self) -> Epoch {
        Tick(self.tick()).epoch()
    }

    /// The epoch now; whoever asks first after its end begins the next one.
    pub fn current(&self) -> Epoch {
        let now = nanos(self.env.clock.elapsed());
        let ends_at = self.ends_at.load(Ordering::Acquire);
        if now >= ends_at {
            let next = now.saturating_add(nanos(self.interval));
            // Of several who see the end, one moves on.
            if self.ends_at.compare_exchange(ends_at, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                self.epoch.fetch_add(1, Ordering::AcqRel);
            }
        }
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// How long the epoch still lasts.
    pub fn remaining(&self) -> Duration {
        let ends_at = Duration::from_nanos(self.ends_at.load(Ordering::Acquire));
        ends_at.saturating_sub(self.env.clock.elapsed())
    }

    /// Asks all sources to hand out nothing more and end well.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.wake_all();
    }

    fn wake_all(&self) {
        for source in self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // A worker that has ended needs no waking.
            source.activate().ok();
        }
    }

    /// The last tick that any source has begun. A source that has nothing under way follows to it: it would hold the
    /// whole flow at its own tick, and so those back that wait for theirs to be through.
    pub fn tick(&self) -> u64 {
        self.tick.load(Ordering::Acquire)
    }

    /// Says that a tick begins.
    pub fn begin(&self, tick: Tick) {
        if self.tick.fetch_max(tick.0, Ordering::AcqRel) < tick.0 {
            self.wake_all();
        }
    }

    /// Has a source operator woken by [`Epochs::drain`] and [`Epochs::begin`].
    pub fn wake(&self, source: SyncActivator) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Whether sources should end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
