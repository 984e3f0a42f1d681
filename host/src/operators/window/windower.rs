//! Windowers: which windows a time is in, and when they close.

use std::ops::RangeInclusive;

/// How a key's windows are cut; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windower {
    /// Window `i` is from `align_to + i * every` on and `length` long, its end not in it.
    Aligned { length: i64, every: i64, align_to: i64 },
    /// Rows that are at most `gap` apart, from the first to the last.
    Session { gap: i64 },
}

impl Windower {
    /// Windows side by side.
    pub fn tumbling(length: i64, align_to: i64) -> Self {
        Windower::Aligned { length, every: length, align_to }
    }

    /// Windows of which one begins every so long.
    pub fn sliding(length: i64, every: i64, align_to: i64) -> Self {
        Windower::Aligned { length, every, align_to }
    }

    /// Windows that end when nothing comes for a while.
    pub fn session(gap: i64) -> Self {
        Windower::Session { gap }
    }

    pub fn is_session(self) -> bool {
        matches!(self, Windower::Session { .. })
    }

    /// The ids for which a row is late; of a session that never was, -1.
    pub fn ids(self, time: i64) -> RangeInclusive<i64> {
        match self {
            Windower::Aligned { length, every, align_to } => {
                let windows = Aligned { length, every, align_to };
                windows.oldest(time)..=windows.newest(time)
            }
            Windower::Session { .. } => -1..=-1,
        }
    }

    /// The least watermark at which a window closes that ends at `close`.
    #[inline]
    pub fn due(self, close: i64) -> i64 {
        match self {
            Windower::Aligned { .. } => close,
            Windower::Session { gap } => close.saturating_add(gap).saturating_add(1),
        }
    }
}

/// The arithmetic of windows that are aligned. No sum of times runs over: times and alignments are of years that have
/// four digits, and lengths are not longer than all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aligned {
    pub length: i64,
    pub every: i64,
    pub align_to: i64,
}

impl Aligned {
    /// The last window that a time is in.
    #[inline]
    pub fn newest(self, time: i64) -> i64 {
        (time - self.align_to).div_euclid(self.every)
    }

    /// The first window that a time is in; of those that have not closed at a watermark, the first.
    #[inline]
    pub fn oldest(self, time: i64) -> i64 {
        (time - self.align_to - self.length).div_euclid(self.every) + 1
    }

    /// When a window opens and when it closes.
    #[inline]
    pub fn bounds(self, id: i64) -> (i64, i64) {
        let open = self.align_to + id * self.every;
        (open, open + self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(length: i64, every: i64, align_to: i64, time: i64) -> Vec<i64> {
        let windows = Aligned { length, every, align_to };
        let ids: Vec<i64> = (windows.oldest(time)..=windows.newest(time)).collect();
        let holds = |id: i64| {
            let (open, close) = windows.bounds(id);
            (open..close).contains(&time)
        };
        assert!(ids.iter().all(|&id| holds(id)), "{ids:?}");
        assert!(!holds(ids[0] - 1) && !holds(ids[ids.len() - 1] + 1), "{ids:?}");
        ids
    }

    #[test]
    fn a_time_is_in_the_windows_that_hold_it() {
        for (length, every, align_to, time, wanted) in [
            (10, 10, 0, 0, vec![0]),
            (10, 10, 0, 9, vec![0]),
            (10, 10, 0, 10, vec![1]),
            (10, 10, 0, -1, vec![-1]),
            (10, 10, 3, 2, vec![-1]),
            (10, 5, 0, 0, vec![-1, 0]),
            (10, 5, 0, 5, vec![0, 1]),
            (10, 5, 0, -5, vec![-2, -1]),
            // A length that is no multiple of the step: two windows, or three.
            (10, 4, 0, 0, vec![-2, -1, 0]),
            (10, 4, 0, 2, vec![-1, 0]),
            (10, 4, 0, 7, vec![0, 1]),
            (10, 4, 0, 8, vec![0, 1, 2]),
            (10, 3, 100, -100, vec![-69, -68, -67]),
        ] {
            assert_eq!(ids(length, every, align_to, time), wanted, "{length} {every} {align_to} {time}");
        }
    }

    #[test]
    fn the_first_window_open_at_a_watermark_closes_after_it() {
        let windows = Aligned { length: 10, every: 4, align_to: 0 };
        for watermark in -50..50 {
            let id = windows.oldest(watermark);
            assert!(windows.bounds(id).1 > watermark && windows.bounds(id - 1).1 <= watermark, "{watermark}");
        }
    }

    #[test]
    fn a_session_closes_once_the_watermark_is_more_than_the_gap_past_it() {
        assert_eq!(Windower::session(10).due(100), 111);
        assert_eq!(Windower::session(0).due(100), 101);
        assert_eq!(Windower::tumbling(10, 0).due(100), 100);
    }
}
