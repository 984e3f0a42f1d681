//! Times at which groups want to be looked at.

use crate::data::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Entries of the heap that may be dead before it is cleaned.
const DEAD: usize = 1024;

/// No time at all.
const NEVER: Instant = Instant(i64::MAX);

/// One time a group, and a heap with one live entry for each group that has one. A time that is put off leaves the entry
/// where it is: it goes off too early and is put back then, so that keys whose rows put their time off again and again
/// cost nothing.
#[derive(Default)]
pub(super) struct Alarms {
    /// By group.
    times: Vec<Time>,
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
    /// The groups that have a live entry.
    live: usize,
}

#[derive(Clone, Copy)]
struct Time {
    wanted: Instant,
    /// The time of the group's live entry, which is `wanted` or before.
    armed: Instant,
}

impl Alarms {
    /// Sets the time of a group in place of the one it had. None: it has none.
    pub fn set(&mut self, group: u32, at: Option<Instant>) {
        let index = group as usize;
        if index >= self.times.len() {
            if at.is_none() {
                return;
            }
            self.times.resize(index + 1, Time { wanted: NEVER, armed: NEVER });
        }
        let at = at.unwrap_or(NEVER);
        let time = &mut self.times[index];
        time.wanted = at;
        if at < time.armed {
            self.live += usize::from(time.armed == NEVER);
            time.armed = at;
            self.heap.push(Reverse((at, group)));
            if self.heap.len() > 2 * self.live + DEAD {
                let times = &self.times;
                self.heap.retain(|Reverse((at, group))| times[*group as usize].armed == *at);
            }
        }
    }

    /// When the next group may be due. It may turn out that none is.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the groups whose time has come, in no order; they have none afterwards.
    pub fn due(&mut self, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        while let Some(&Reverse((at, group))) = self.heap.peek().filter(|Reverse((at, _))| *at <= now) {
            self.heap.pop();
            let time = &mut self.times[group as usize];
            if time.armed != at {
                continue;
            }
            self.live -= 1;
            time.armed = NEVER;
            if time.wanted <= now {
                time.wanted = NEVER;
                due.push(group);
            } else if time.wanted < NEVER {
                self.live += 1;
                time.armed = time.wanted;
                self.heap.push(Reverse((time.wanted, group)));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn alarms_behave_as_a_map_of_times(
            steps in prop::collection::vec((0_u32..5, prop::option::of(0_i64..50), 0_i64..3), 0..200),
        ) {
            let (mut alarms, mut map, mut now) = (Alarms::default(), BTreeMap::new(), 0);
            for (group, at, passed) in steps {
                now += passed;
                alarms.set(group, at.map(|at| Instant(now + at - 5)));
                map.insert(group, at.map(|at| now + at - 5));
                let first = map.values().flatten().min().copied();
                prop_assert!(first.is_none_or(|first| alarms.next().is_some_and(|next| next.0 <= first)));
                let mut due = alarms.due(Instant(now));
                due.sort_unstable();
                let wanted: Vec<u32> =
                    map.iter().filter(|(_, at)| at.is_some_and(|at| at <= now)).map(|(group, _)| *group).collect();
                map.retain(|group, _| !wanted.contains(group));
                prop_assert_eq!(due, wanted);
                prop_assert!(alarms.next().is_none_or(|next| next.0 > now));
            }
        }
    }

    #[test]
    fn times_that_change_do_not_pile_up() {
        let mut alarms = Alarms::default();
        for round in 0..100_000 {
            alarms.set(round % 3, Some(Instant(1_000_000 - i64::from(round))));
            alarms.set(7, Some(Instant(2_000_000 + i64::from(round))));
        }
        assert!(alarms.heap.len() <= 2 * 4 + DEAD, "{}", alarms.heap.len());
        assert_eq!(alarms.due(Instant(1_000_000)).len(), 3);
        assert_eq!((alarms.due(Instant(2_099_998)), alarms.due(Instant(2_099_999))), (vec![], vec![7]));
    }
}
