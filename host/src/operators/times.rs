//! When groups want to be looked at: one time each, which can be put off and taken back.

use super::alarms::Alarms;
use crate::data::time::Instant;

/// No time at all.
const NEVER: Instant = Instant(i64::MAX);

/// The time of each group, and alarms that go off then or before: a time that is put off leaves the alarm where it is, so
/// that keys whose rows put their time off again and again cost nothing.
#[derive(Default)]
pub(super) struct Times {
    /// By group.
    wanted: Vec<Instant>,
    alarms: Alarms,
}

impl Times {
    /// Sets the time of a group in place of the one it had. None: it has none.
    pub fn set(&mut self, group: u32, at: Option<Instant>) {
        let index = group as usize;
        if index >= self.wanted.len() {
            if at.is_none() {
                return;
            }
            self.wanted.resize(index + 1, NEVER);
            self.alarms.resize(index + 1);
        }
        self.wanted[index] = at.unwrap_or(NEVER);
        if let Some(at) = at {
            self.alarms.set(group, at.0);
        }
    }

    /// The time of a group, if it has one.
    pub fn get(&self, group: u32) -> Option<Instant> {
        self.wanted.get(group as usize).copied().filter(|&at| at != NEVER)
    }

    /// When the next group may be due. It may turn out that none is.
    pub fn next(&self) -> Option<Instant> {
        self.alarms.next().map(Instant)
    }

    /// Takes the groups whose time has come, in no order; they have none afterwards.
    pub fn due(&mut self, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        while let Some(group) = self.alarms.pop(now.0) {
            let wanted = &mut self.wanted[group as usize];
            if *wanted <= now {
                *wanted = NEVER;
                due.push(group);
            } else if *wanted < NEVER {
                self.alarms.set(group, wanted.0);
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
        fn times_behave_as_a_map(
            steps in prop::collection::vec((0_u32..5, prop::option::of(0_i64..50), 0_i64..3), 0..200),
        ) {
            let (mut times, mut map, mut now) = (Times::default(), BTreeMap::new(), 0);
            for (group, at, passed) in steps {
                now += passed;
                times.set(group, at.map(|at| Instant(now + at - 5)));
                map.insert(group, at.map(|at| now + at - 5));
                let first = map.values().flatten().min().copied();
                prop_assert!(first.is_none_or(|first| times.next().is_some_and(|next| next.0 <= first)));
                let mut due = times.due(Instant(now));
                due.sort_unstable();
                let wanted: Vec<u32> =
                    map.iter().filter(|(_, at)| at.is_some_and(|at| at <= now)).map(|(group, _)| *group).collect();
                map.retain(|group, _| !wanted.contains(group));
                prop_assert_eq!(due, wanted);
                prop_assert!(times.next().is_none_or(|next| next.0 > now));
            }
        }
    }
}
