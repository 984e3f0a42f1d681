//! How long the state of a key is kept after its last row.

use super::states::{Reader, put_time, with_tails, without_tails};
use super::times::Times;
use crate::data::time::Instant;
use crate::dataflow::error::LogicError;
use arrow::array::BinaryArray;
use std::time::Duration;

/// The length of what [`save`] puts behind a state.
const END: usize = 8;

/// Puts behind the states of groups when the time of each is up, if it ever is.
///
/// # Errors
/// They are too large together.
pub(super) fn save(ttl: Option<&Ttl>, states: &BinaryArray, groups: &[u32]) -> Result<BinaryArray, LogicError> {
    with_tails(states, |at, state| put_time(state, ttl.and_then(|ttl| ttl.end(groups[at]))))
}

/// Takes in what [`save`] put behind the states of groups; returns the states.
///
/// # Errors
/// A state is too short.
pub(super) fn load(
    ttl: Option<&mut Ttl>,
    states: &BinaryArray,
    groups: &[u32],
    now: Instant,
) -> Result<BinaryArray, LogicError> {
    let (states, ends) = without_tails(states, END)?;
    if let Some(ttl) = ttl {
        let ends = ends.into_iter().map(|end| Reader(end).time()).collect::<Result<Vec<_>, _>>()?;
        ttl.restore(groups, ends, now);
    }
    Ok(states)
}

/// Deadlines of groups, which move with each row.
pub(super) struct Ttl {
    ttl: Duration,
    deadlines: Times,
}

impl Ttl {
    /// Keeps groups for `ttl` of system time.
    pub fn new(ttl: Duration) -> Self {
        Ttl { ttl, deadlines: Times::default() }
    }

    /// Begins the time of groups anew.
    pub fn touch(&mut self, groups: &[u32], now: Instant) {
        let deadline = Some(now.after(self.ttl));
        groups.iter().for_each(|&group| self.deadlines.set(group, deadline));
    }

    /// When the time of a group is up, if it has begun.
    pub fn end(&self, group: u32) -> Option<Instant> {
        self.deadlines.get(group)
    }

    /// Takes in when the times of groups are up, where that is known; those of the others begin now.
    pub fn restore(&mut self, groups: &[u32], ends: impl IntoIterator<Item = Option<Instant>>, now: Instant) {
        for (&group, end) in groups.iter().zip(ends) {
            self.deadlines.set(group, Some(end.unwrap_or(now.after(self.ttl))));
        }
    }

    /// When [`Ttl::due`] has something to say, or earlier.
    pub fn next(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The groups whose time is up, each once, in no order. Some may have ended already.
    pub fn due(&mut self, now: Instant) -> Vec<u32> {
        self.deadlines.due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_from_the_last_touch() {
        let mut ttl = Ttl::new(Duration::from_micros(10));
        ttl.touch(&[0, 2], Instant(0));
        ttl.touch(&[2], Instant(5));
        assert_eq!((ttl.next(), ttl.due(Instant(9))), (Some(Instant(10)), vec![]));
        assert_eq!((ttl.due(Instant(14)), ttl.next()), (vec![0], Some(Instant(15))));
        assert_eq!((ttl.due(Instant(15)), ttl.next()), (vec![2], None));
        ttl.touch(&[0], Instant(20));
        assert_eq!(ttl.due(Instant(30)), [0]);
    }

    #[test]
    fn time_that_has_begun_goes_on_after_a_restore() {
        let mut ttl = Ttl::new(Duration::from_micros(10));
        ttl.restore(&[0, 1], [Some(Instant(5)), None], Instant(7));
        assert_eq!((ttl.end(0), ttl.end(1), ttl.end(2)), (Some(Instant(5)), Some(Instant(17)), None));
        assert_eq!((ttl.due(Instant(7)), ttl.due(Instant(17))), (vec![0], vec![1]));
    }
}
