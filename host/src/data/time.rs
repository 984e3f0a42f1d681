//! Instants, epochs and the time stamps of the dataflow.

use std::fmt;
use std::time::Duration;

/// An instant in microseconds since 1970-01-01T00:00:00Z; event time and system time alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub i64);

impl Instant {
    /// Returns the instant `by` later, or the last one there is.
    pub fn after(self, by: Duration) -> Instant {
        Instant(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns how long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The integer that delimits snapshots. Data starts at epoch 1: epoch 0 is left to routing and to loading state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The first epoch that carries data in a fresh flow.
    pub const FIRST: Epoch = Epoch(1);

    /// Returns the epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many low bits of a time stamp count ticks.
const TICK_BITS: u32 = 24;

/// The time stamp of the dataflow: an epoch, and within it a tick.
///
/// Ticks bound what is under way: a source hands out no more while too many of its ticks are unfinished. Epochs bound
/// what a crash repeats. Both are one `u64` (`epoch << 24 | tick`), so that timely orders them without help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// The first tick of an epoch.
    pub fn start_of(epoch: Epoch) -> Tick {
        Tick(epoch.0 << TICK_BITS)
    }

    /// Returns the tick after this one. 2^24 ticks of one epoch run over into the next epoch, which is harmless: the
    /// epoch then ends early.
    pub fn next(self) -> Tick {
        Tick(self.0 + 1)
    }

    /// The epoch that the tick belongs to.
    pub fn epoch(self) -> Epoch {
        Epoch(self.0 >> TICK_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_an_epoch_come_before_the_next_epoch() {
        let tick = Tick::start_of(Epoch(7));
        assert_eq!(tick.epoch(), Epoch(7));
        assert_eq!(tick.next().epoch(), Epoch(7));
        assert!(tick.next() < Tick::start_of(Epoch(8)));
    }

    #[test]
    fn an_instant_past_the_end_of_time_is_the_end_of_time() {
        assert_eq!(Instant(i64::MAX - 1).after(Duration::from_secs(1)), Instant(i64::MAX));
        assert_eq!(Instant(5).since(Instant(9)), Duration::ZERO);
    }
}
