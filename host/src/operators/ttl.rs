//! How long the state of a key is kept after its last row.

use super::alarms::Alarms;
use crate::data::time::Instant;
use std::time::Duration;

/// Deadlines of groups, which move with each row.
pub(super) struct Ttl {
    ttl: Duration,
    /// By group.
    deadlines: Vec<Instant>,
    alarms: Alarms,
}

impl Ttl {
    /// Keeps groups for `ttl` of system time.
    pub fn new(ttl: Duration) -> Self {
        Ttl { ttl, deadlines: Vec::new(), alarms: Alarms::default() }
    }

    /// Makes room for groups below `count`.
    pub fn resize(&mut self, count: usize) {
        self.deadlines.resize(count, Instant::default());
        self.alarms.resize(count);
    }

    /// Begins the time of groups anew.
    pub fn touch(&mut self, groups: &[u32], now: Instant) {
        let deadline = now.after(self.ttl);
        for &group in groups {
            self.deadlines[group as usize] = deadline;
            self.alarms.set(group, deadline.0);
        }
    }

    /// When [`Ttl::due`] has something to say, or earlier.
    pub fn next(&self) -> Option<Instant> {
        self.alarms.next().map(Instant)
    }

    /// The groups whose time is up, each once. Some may have ended already.
    pub fn due(&mut self, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        while let Some(group) = self.alarms.pop(now.0) {
            match self.deadlines[group as usize] {
                deadline if deadline <= now => due.push(group),
                deadline => self.alarms.set(group, deadline.0),
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_from_the_last_touch() {
        let mut ttl = Ttl::new(Duration::from_micros(10));
        ttl.resize(3);
        ttl.touch(&[0, 2], Instant(0));
        ttl.touch(&[2], Instant(5));
        assert_eq!((ttl.next(), ttl.due(Instant(9))), (Some(Instant(10)), vec![]));
        assert_eq!((ttl.due(Instant(14)), ttl.next()), (vec![0], Some(Instant(15))));
        assert_eq!((ttl.due(Instant(15)), ttl.next()), (vec![2], None));
        ttl.touch(&[0], Instant(20));
        assert_eq!(ttl.due(Instant(30)), [0]);
    }
}
