//! The progress line of a run: how much was read and written so far, how fast.

use super::meter::StepMeter;
use super::units::{bytes, clock, count, short};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::Arc;
use std::time::Duration;

/// How often the line is drawn anew.
pub const REFRESH: Duration = Duration::from_millis(100);
/// The time over which the rate is taken.
const RATE_OVER: Duration = Duration::from_secs(2);

/// A line at the end of stderr, which is not there until it is shown. Cheap to clone.
#[derive(Clone)]
pub struct Line(ProgressBar);

impl Default for Line {
    fn default() -> Self {
        Line(ProgressBar::hidden())
    }
}

impl Line {
    /// Shows the line.
    pub fn show(&self) {
        self.0.set_style(ProgressStyle::with_template("{msg}").expect("the template is right"));
        self.0.set_draw_target(ProgressDrawTarget::stderr());
    }

    /// Writes the line anew.
    pub fn set(&self, text: String) {
        self.0.set_message(text);
    }

    /// Takes the line away for good.
    pub fn clear(&self) {
        self.0.finish_and_clear();
        self.0.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Does something to the terminal while the line is not there.
    pub fn aside<T>(&self, then: impl FnOnce() -> T) -> T {
        self.0.suspend(then)
    }
}

/// A step whose counters the line shows.
pub struct Watched {
    pub is_source: bool,
    pub is_sink: bool,
    pub meter: Arc<StepMeter>,
}

/// Makes the text of the line from what the counters show.
pub struct Progress {
    steps: Vec<Watched>,
    /// Rows read at some moments of the last seconds, oldest first.
    recent: std::collections::VecDeque<(Duration, u64)>,
}

impl Progress {
    /// Starts with steps that did nothing yet.
    pub fn new(steps: Vec<Watched>) -> Progress {
        Progress { steps, recent: std::collections::VecDeque::new() }
    }

    /// Says how it stands, `elapsed` after the start.
    pub fn text(&mut self, elapsed: Duration) -> String {
        let (mut read, mut written, mut moved, mut errors, mut late) = (0, 0, 0, 0, 0);
        for step in &self.steps {
            let figures = step.meter.figures();
            errors += figures.errors;
            late += figures.late;
            if step.is_source {
                read += figures.rows_out;
                moved += figures.bytes;
            }
            if step.is_sink {
                written += figures.rows_in;
            }
        }
        let rate = self.rate(elapsed, read);
        let mut text = format!("{}  {} rows read, {}/s", clock(elapsed.as_secs()), count(read), short(rate));
        if moved > 0 {
            text += &format!(", {}", bytes(moved as f64));
        }
        text += &format!("; {} written", count(written));
        if late > 0 {
            text += &format!("; {} late", count(late));
        }
        if errors > 0 {
            text += &format!("; {} errors", count(errors));
        }
        text
    }

    fn rate(&mut self, elapsed: Duration, read: u64) -> f64 {
        // The oldest that is kept is as old as the rate reaches back, or the last before.
        while self.recent.get(1).is_some_and(|(at, _)| *at + RATE_OVER <= elapsed) {
            self.recent.pop_front();
        }
        let (since, before) = self.recent.front().copied().unwrap_or_default();
        self.recent.push_back((elapsed, read));
        let seconds = elapsed.saturating_sub(since).as_secs_f64();
        if seconds == 0.0 { 0.0 } else { read.saturating_sub(before) as f64 / seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_rows_rate_bytes_late_rows_and_errors() {
        let (source, sink) = (Arc::new(StepMeter::default()), Arc::new(StepMeter::default()));
        let mut progress = Progress::new(vec![
            Watched { is_source: true, is_sink: false, meter: source.clone() },
            Watched { is_source: false, is_sink: true, meter: sink.clone() },
        ]);
        assert_eq!(progress.text(Duration::ZERO), "0:00  0 rows read, 0/s; 0 written");
        source.gave(3_000);
        source.moved(5_000);
        assert_eq!(progress.text(Duration::from_secs(1)), "0:01  3,000 rows read, 3.00 k/s, 4.88 KiB; 0 written");
        sink.took(2_999);
        sink.failed(1);
        let text = "0:02  3,000 rows read, 1.50 k/s, 4.88 KiB; 2,999 written; 1 errors";
        assert_eq!(progress.text(Duration::from_secs(2)), text);
        // What was read long before says nothing about the rate since.
        source.gave(1_000);
        let text = "1:02  4,000 rows read, 17/s, 4.88 KiB; 2,999 written; 1 errors";
        assert_eq!(progress.text(Duration::from_secs(62)), text);
        source.gave(200);
        sink.was_late(12);
        let text = "1:04  4,200 rows read, 100/s, 4.88 KiB; 2,999 written; 12 late; 1 errors";
        assert_eq!(progress.text(Duration::from_secs(64)), text);
    }
}
