//! Windowers: which windows a time is in, and when they close.

/// How a key's windows are cut; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windower {
    /// Window `i` is from `align_to + i * every` on and `length` long, its end not in it.
    Aligned { length: i64, every: i64, align_to: i64 },
    /// Rows that are at most `gap` apart.
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
}
