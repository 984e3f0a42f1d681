//! When epochs end, and how far sources are in them.

use super::durable::Durable;
use super::env::Env;
use super::last_epoch::{LastEpoch, before_the_last, of_the_first};
use crate::data::ids::StepId;
use crate::data::time::{Epoch, Tick};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use timely::scheduling::SyncActivator;

/// Epochs that may be under way and not durable yet. So states are written while rows go on, and a disk that does not keep
/// up makes epochs longer.
const MOST_EPOCHS: u64 = 4;

/// The first epoch of an execution that goes on from another is shorter than the others by this factor.
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
    /// How far sources are with their ends.
    ends: Mutex<BTreeMap<StepId, SourceEnd>>,
    /// How far epochs may go, with recovery.
    durable: Option<Arc<Durable>>,
    /// The very first epoch, if nothing was kept before.
    very_first: Option<Epoch>,
    /// When each source operator expects to be at its end; none if it cannot tell.
    forecasts: Mutex<Vec<Option<Duration>>>,
    last_epoch: Mutex<LastEpoch>,
    /// Sources may be asleep when they are asked to end, or when others go on to the next tick.
    sources: Mutex<Vec<SyncActivator>>,
}

/// How far a source is with its end.
#[derive(Default)]
struct SourceEnd {
    /// Whether it has given anything.
    has_read: bool,
    /// Whether it was stopped before its end.
    is_cut_short: bool,
    /// The last epoch with which a worker's partitions ended.
    last: u64,
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
            ends: Mutex::default(),
            durable: None,
            very_first: None,
            forecasts: Mutex::default(),
            last_epoch: Mutex::new(LastEpoch::new(first)),
            sources: Mutex::default(),
        }
    }

    /// Lets no epoch end while too many are not durable yet. `is_fresh` says whether nothing was kept before.
    #[must_use]
    pub fn with_recovery(mut self, durable: Arc<Durable>, is_fresh: bool) -> Self {
        self.durable = Some(durable);
        // Readers soon see that it goes on, and one that is killed again and again gets somewhere. But the very first epoch
        // is the only one whose output sinks need not copy to its place: the longer it is the better.
        if is_fresh {
            self.very_first = Some(Epoch(self.epoch.load(Ordering::Acquire)));
        } else {
            self.ends_at = AtomicU64::new(nanos(self.env.clock.elapsed().saturating_add(self.interval / FIRST_EPOCH)));
        }
        self
    }

    /// Says that a source has given something.
    pub fn note_read(&self, source: &StepId) {
        self.ends().entry(source.clone()).or_default().has_read = true;
    }

    /// Says that all partitions that a worker has of a source have ended with an epoch; or were cut short of their ends.
    pub fn end_source(&self, source: &StepId, epoch: Epoch, is_cut_short: bool) {
        let mut ends = self.ends();
        let end = ends.entry(source.clone()).or_default();
        end.last = end.last.max(epoch.0);
        end.is_cut_short |= is_cut_short;
    }

    /// Whether the end of some sources, which has come, is one that steps have not been told of: with recovery a flow that
    /// is asked to stop goes on later as if it had not, and one whose input had ended gets nothing new by being run again.
    ///
    /// `is_told` says whether the step was told of an end before, and nothing came since.
    pub fn has_new_end(&self, sources: &[StepId], is_told: bool) -> bool {
        if self.durable.is_none() {
            return true;
        }
        let ends = self.ends();
        let mut ends = sources.iter().filter_map(|source| ends.get(source));
        (!is_told || ends.clone().any(|end| end.has_read)) && !ends.any(|end| end.is_cut_short)
    }

    /// The epoch with which the last of some sources ended, once all have: the same for all workers.
    pub fn last(&self, sources: &[StepId]) -> Epoch {
        let ends = self.ends();
        Epoch(sources.iter().filter_map(|source| ends.get(source)).map(|end| end.last).max().unwrap_or(0))
    }

    fn ends(&self) -> MutexGuard<'_, BTreeMap<StepId, SourceEnd>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch now; whoever asks first after its end begins the next one.
    pub fn current(&self) -> Epoch {
        let now = self.env.clock.elapsed();
        let ends_at = self.ends_at.load(Ordering::Acquire);
        if now >= self.due(ends_at, now) && self.may_end() {
            let next = nanos(now.saturating_add(self.interval));
            // Of several who see the end, one moves on.
            if self.ends_at.compare_exchange(ends_at, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                let ended = self.epoch.fetch_add(1, Ordering::AcqRel);
                self.last_epoch().note_end(Epoch(ended), now);
            }
        }
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Adds a source operator, which cannot tell when it will end. Returns its place.
    pub(super) fn add_forecast(&self) -> usize {
        let mut forecasts = self.forecasts();
        forecasts.push(None);
        forecasts.len() - 1
    }

    /// A source operator expects its end at a time, or cannot tell.
    pub(super) fn set_forecast(&self, source: usize, end: Option<Duration>) {
        self.forecasts()[source] = end;
    }

    fn forecasts(&self) -> MutexGuard<'_, Vec<Option<Duration>>> {
        self.forecasts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition of a sink has shown what it had of an epoch.
    pub(super) fn note_shown(&self, epoch: Epoch) {
        self.last_epoch().note_shown(epoch, self.env.clock.elapsed());
    }

    fn last_epoch(&self) -> MutexGuard<'_, LastEpoch> {
        self.last_epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the epoch ends, which would end at a time if all input went on for ever.
    fn due(&self, ends_at: u64, now: Duration) -> Duration {
        let ends_at = Duration::from_nanos(ends_at);
        if self.durable.is_none() {
            return ends_at;
        }
        let end = self.forecasts().iter().copied().max_by_key(|end| end.unwrap_or(Duration::MAX)).flatten();
        end.map_or(ends_at, |end| {
            let last = self.last_epoch().length(self.interval, now);
            if self.very_first == Some(Epoch(self.epoch.load(Ordering::Acquire))) {
                return of_the_first(ends_at, end, last);
            }
            before_the_last(ends_at.saturating_sub(self.interval), ends_at, end, last)
        })
    }

    /// Whether another epoch may begin: not while too many are not durable. The disk then makes epochs longer, and rows go
    /// on.
    fn may_end(&self) -> bool {
        let epoch = self.epoch.load(Ordering::Acquire);
        self.durable.as_ref().is_none_or(|durable| epoch < durable.newest().0 + MOST_EPOCHS)
    }

    /// How long the epoch still lasts. None: until others are durable, of which sources are told.
    pub fn remaining(&self) -> Option<Duration> {
        let now = self.env.clock.elapsed();
        let remaining = self.due(self.ends_at.load(Ordering::Acquire), now).saturating_sub(now);
        (!remaining.is_zero() || self.may_end()).then_some(remaining)
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

#[cfg(test)]
mod tests {
    use super::super::env::scripted;
    use super::super::script::ScriptedClock;
    use super::*;
    use crate::data::time::Instant;

    #[test]
    fn the_very_first_epoch_is_as_long_as_others() {
        let env = scripted::env(Instant(0));
        let durable = Arc::new(Durable::new(Epoch(0)));
        let epochs = Epochs::new(env, Epoch::FIRST, Duration::from_micros(8)).with_recovery(durable, true);
        assert_eq!(epochs.remaining(), Some(Duration::from_micros(8)));
    }

    #[test]
    fn the_input_ends_with_the_last_source_if_all_can_tell() {
        let clock = Arc::new(ScriptedClock::new(Instant(0)));
        let env = Env { clock: clock.clone(), ..scripted::env(Instant(0)) };
        let durable = Arc::new(Durable::new(Epoch(0)));
        let epochs = Epochs::new(env, Epoch(1), Duration::from_micros(80)).with_recovery(durable, true);
        clock.set(Instant(80));
        assert_eq!(epochs.current(), Epoch(2));
        let micros = |micros| Some(Duration::from_micros(micros));
        assert_eq!(epochs.remaining(), micros(80));
        let (first, second) = (epochs.add_forecast(), epochs.add_forecast());
        epochs.set_forecast(first, micros(170));
        assert_eq!(epochs.remaining(), micros(80), "the second cannot tell");
        epochs.set_forecast(second, micros(180));
        assert_eq!(epochs.remaining(), micros(60));
        epochs.set_forecast(second, Some(Duration::ZERO));
        assert_eq!(epochs.remaining(), micros(50), "the second has ended");
    }

    #[test]
    fn the_very_first_epoch_is_the_last_one_of_little_input() {
        let clock = Arc::new(ScriptedClock::new(Instant(0)));
        let env = Env { clock: clock.clone(), ..scripted::env(Instant(0)) };
        let durable = Arc::new(Durable::new(Epoch(0)));
        let epochs = Epochs::new(env, Epoch(1), Duration::from_micros(80)).with_recovery(durable, true);
        let source = epochs.add_forecast();
        let due = |end| {
            epochs.set_forecast(source, Some(Duration::from_micros(end)));
            epochs.remaining().unwrap().as_micros()
        };
        assert_eq!((due(79), due(80), due(120), due(121)), (120, 120, 120, 80));
        epochs.set_forecast(source, Some(Duration::from_micros(110)));
        clock.set(Instant(119));
        assert_eq!(epochs.current(), Epoch(1));
        clock.set(Instant(120));
        assert_eq!(epochs.current(), Epoch(2), "the forecast was wrong");
    }

    #[test]
    fn the_last_epoch_is_as_long_as_sinks_needed() {
        let clock = Arc::new(ScriptedClock::new(Instant(0)));
        let env = Env { clock: clock.clone(), ..scripted::env(Instant(0)) };
        let durable = Arc::new(Durable::new(Epoch(0)));
        let epochs = Epochs::new(env, Epoch(1), Duration::from_secs(1)).with_recovery(durable, true);
        let millis = |millis| Some(Duration::from_millis(millis));
        let source = epochs.add_forecast();
        epochs.set_forecast(source, millis(1900));
        clock.set(Instant(1_000_000));
        assert_eq!(epochs.current(), Epoch(2));
        clock.set(Instant(1_100_000));
        epochs.note_shown(Epoch(1));
        assert_eq!(epochs.remaining(), millis(600), "twice what the first one needed before the end");
    }

    #[test]
    fn no_epoch_begins_while_four_are_not_durable() {
        let clock = Arc::new(ScriptedClock::new(Instant(0)));
        let env = Env { clock: clock.clone(), ..scripted::env(Instant(0)) };
        let durable = Arc::new(Durable::new(Epoch(6)));
        let epochs = Epochs::new(env, Epoch(7), Duration::from_micros(8)).with_recovery(durable.clone(), false);
        let at = |time: i64| {
            clock.set(Instant(time));
            (epochs.current().0, epochs.remaining())
        };
        let micros = |micros| Some(Duration::from_micros(micros));
        // The first is short, as it goes on from another execution.
        assert_eq!((at(0), at(1)), ((7, micros(1)), (8, micros(8))));
        assert_eq!((at(9), at(17), at(20)), ((9, micros(8)), (10, micros(8)), (10, micros(5))));
        assert_eq!((at(25), at(100)), ((10, None), (10, None)), "the disk does not keep up");
        durable.advance(Epoch(7));
        assert_eq!((epochs.remaining(), at(100)), (micros(0), (11, micros(8))));
    }
}
