//! How long the last epoch of a flow should be.
//!
//! What sinks staged in it is shown to readers after all input is read, and the flow waits for that: so little of it. But
//! time enough that the epoch before is durable and shown by then. How long that takes is seen from those that were.

use crate::data::time::Epoch;
use std::collections::VecDeque;
use std::time::Duration;

/// As long as no epoch has ended.
const GUESS: Duration = Duration::from_millis(80);
/// The least and the most.
const LEAST: Duration = Duration::from_millis(60);
const MOST: Duration = Duration::from_millis(400);
/// The largest part of the interval.
const PART: u32 = 2;
/// The first epoch is shown faster than others: sinks need not copy what they staged to its place.
const FIRST: u32 = 2;
/// Epochs that are remembered: more than can be under way.
const EPOCHS: usize = 8;

/// What is known of epochs that have ended.
pub(super) struct LastEpoch {
    first: Epoch,
    /// The oldest first.
    ended: VecDeque<Ended>,
}

struct Ended {
    epoch: Epoch,
    at: Duration,
    /// How long it took until readers saw what it brought, as far as they have.
    took: Option<Duration>,
}

impl LastEpoch {
    /// Begins with the first epoch of an execution.
    pub fn new(first: Epoch) -> LastEpoch {
        LastEpoch { first, ended: VecDeque::new() }
    }

    /// An epoch has ended.
    pub fn note_end(&mut self, epoch: Epoch, now: Duration) {
        if self.ended.len() == EPOCHS {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended { epoch, at: now, took: None });
    }

    /// A partition of a sink has shown what it had of an epoch.
    pub fn note_shown(&mut self, epoch: Epoch, now: Duration) {
        if let Some(ended) = self.ended.iter_mut().find(|ended| ended.epoch == epoch) {
            ended.took = Some(now.saturating_sub(ended.at));
        }
    }

    /// How long the last epoch should be.
    pub fn length(&self, interval: Duration, now: Duration) -> Duration {
        let shown = self.ended.iter().rposition(|ended| ended.took.is_some());
        let took = shown.and_then(|at| {
            let Ended { epoch, took, .. } = &self.ended[at];
            took.map(|took| if *epoch == self.first { took * FIRST } else { took })
        });
        // One that is not shown yet takes that long at least.
        let next = self.ended.get(shown.map_or(0, |at| at + 1));
        let waits = next.map(|ended| now.saturating_sub(ended.at));
        took.max(waits).unwrap_or(GUESS).clamp(LEAST, MOST).min(interval / PART)
    }
}

/// When an epoch ends that began at a time and would end at another one, if the input ends at `end`: if it is the last but
/// one, so that the last has a length.
pub(super) fn before_the_last(began: Duration, ends_at: Duration, end: Duration, last: Duration) -> Duration {
    let best = end.saturating_sub(last);
    if best >= began.saturating_add(last) { ends_at.min(best) } else { ends_at }
}

/// When the very first epoch ends, which would end at a time, if the input ends at `end`: not before that, if a last epoch
/// would be shorter than it should. Sinks need not copy what they stage in the first one, so it is shown fast enough.
pub(super) fn of_the_first(ends_at: Duration, end: Duration, last: Duration) -> Duration {
    let most = ends_at.saturating_add(last);
    if end <= most { most } else { ends_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_last_epoch_is_short() {
        // Of an epoch from 100 to 200, the last one being 50 long.
        for (end, due) in
            [(1000, 200), (251, 200), (250, 200), (249, 199), (210, 160), (200, 150), (199, 200), (100, 200), (0, 200)]
        {
            assert_eq!(before_the_last(millis(100), millis(200), millis(end), millis(50)), millis(due), "{end}");
        }
    }

    #[test]
    fn it_is_as_long_as_the_epoch_before_needs_to_be_shown() {
        let second = millis(1000);
        let mut last = LastEpoch::new(Epoch(7));
        assert_eq!(last.length(second, millis(1)), GUESS);
        assert_eq!(last.length(millis(20), millis(1)), millis(10), "never longer than half of the others");
        last.note_end(Epoch(7), millis(1000));
        assert_eq!(last.length(second, millis(1001)), LEAST);
        assert_eq!(last.length(second, millis(1200)), millis(200), "it is not shown yet");
        last.note_shown(Epoch(7), millis(1050));
        last.note_shown(Epoch(7), millis(1070));
        assert_eq!(
            last.length(second, millis(1200)),
            millis(140),
            "the slowest sink counts, and the first epoch twice"
        );
        last.note_end(Epoch(8), millis(2000));
        assert_eq!(last.length(second, millis(2010)), millis(140));
        assert_eq!(last.length(second, millis(2150)), millis(150));
        last.note_end(Epoch(9), millis(3000));
        assert_eq!(last.length(second, millis(3300)), MOST);
        last.note_shown(Epoch(8), millis(2080));
        assert_eq!(last.length(second, millis(3050)), millis(80));
        last.note_shown(Epoch(9), millis(3010));
        assert_eq!(last.length(second, millis(9999)), LEAST);
        for epoch in 10..99 {
            last.note_end(Epoch(epoch), millis(epoch * 1000));
        }
        assert_eq!((last.length(second, millis(99_000)), last.ended.len()), (MOST, EPOCHS), "nothing is ever shown");
    }
}
