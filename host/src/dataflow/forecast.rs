//! When the input of a source will be at its end, as far as that can be told.

use super::epochs::Epochs;
use std::sync::Arc;
use std::time::Duration;

/// The forecast of a source operator, from how much is left and how fast it went so far.
pub(super) struct Forecast {
    epochs: Arc<Epochs>,
    /// Its place among those of the flow.
    place: usize,
    /// When it was first known how much is left, and how much that was.
    first: Option<(Duration, u64)>,
}

impl Forecast {
    /// Begins one that cannot tell anything yet.
    pub fn new(epochs: Arc<Epochs>) -> Forecast {
        let place = epochs.add_forecast();
        Forecast { epochs, place, first: None }
    }

    /// Takes note of how much is left at a time; none if nobody knows.
    pub fn update(&mut self, left: Option<u64>, now: Duration) {
        let end = left.and_then(|left| {
            let (began, all) = *self.first.get_or_insert((now, left));
            end(now, now.saturating_sub(began), all.saturating_sub(left), left)
        });
        self.epochs.set_forecast(self.place, end);
    }

    /// The source has ended, and others count.
    pub fn end(&mut self) {
        self.epochs.set_forecast(self.place, Some(Duration::ZERO));
    }
}

/// When the end will be: `done` took `spent` until `now`, and so much is `left`.
fn end(now: Duration, spent: Duration, done: u64, left: u64) -> Option<Duration> {
    let rest = spent.as_nanos().checked_mul(left.into())?.checked_div(done.into())?;
    Some(now.saturating_add(Duration::from_nanos(u64::try_from(rest).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_comes_as_fast_as_it_went_so_far() {
        let s = Duration::from_secs;
        assert_eq!(end(s(10), s(3), 30, 10), Some(s(11)));
        assert_eq!(end(s(10), s(3), 30, 0), Some(s(10)));
        assert_eq!(end(s(10), s(0), 0, 10), None, "nothing is done yet");
        assert_eq!(end(s(10), s(1 << 40), 1, u64::MAX), None, "too far away to be told");
    }
}
