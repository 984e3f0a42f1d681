//! How long the state of a key is kept after its last row.

use crate::data::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Deadlines of groups, which move with each row.
pub(super) struct Ttl {
    ttl: Duration,
    /// By group.
    deadlines: Vec<Deadline>,
    /// When to look at a group, at most one entry each. It may have got more time since; then it is put back.
    alarms: BinaryHeap<Reverse<(Instant, u32)>>,
}

#[derive(Clone, Copy, Default)]
struct Deadline {
    at: Instant,
    /// Whether there is an alarm for the group, also from a time when its number was that of another key.
    has_alarm: bool,
}

impl Ttl {
    /// Keeps groups for `ttl` of system time.
    pub fn new(ttl: Duration) -> Self {
        Ttl { ttl, deadlines: Vec::new(), alarms: BinaryHeap::new() }
    }

    /// Begins the time of groups anew.
    pub fn touch(&mut self, groups: &[u32], now: Instant) {
        for &group in groups {
            if group as usize >= self.deadlines.len() {
                self.deadlines.resize(group as usize + 1, Deadline::default());
            }
            let deadline = &mut self.deadlines[group as usize];
            deadline.at = now.after(self.ttl);
            if !deadline.has_alarm {
                deadline.has_alarm = true;
                self.alarms.push(Reverse((deadline.at, group)));
            }
        }
    }

    /// When [`Ttl::due`] has something to say, or earlier.
    pub fn next(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    /// The groups whose time is up, each once. Some may have ended already.
    pub fn due(&mut self, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        while let Some(&Reverse((_, group))) = self.alarms.peek().filter(|Reverse((at, _))| *at <= now) {
            self.alarms.pop();
            let deadline = &mut self.deadlines[group as usize];
            if deadline.at <= now {
                deadline.has_alarm = false;
                due.push(group);
            } else {
                self.alarms.push(Reverse((deadline.at, group)));
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
        ttl.touch(&[0, 2], Instant(0));
        ttl.touch(&[2], Instant(5));
        assert_eq!((ttl.next(), ttl.due(Instant(9))), (Some(Instant(10)), vec![]));
        assert_eq!((ttl.due(Instant(14)), ttl.next()), (vec![0], Some(Instant(15))));
        assert_eq!((ttl.due(Instant(15)), ttl.next()), (vec![2], None));
        ttl.touch(&[0], Instant(20));
        assert_eq!(ttl.due(Instant(30)), [0]);
    }
}
