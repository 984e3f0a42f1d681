//! What a replay gives does not depend on how fast it is.

use super::super::testing::Bench;
use super::{steps, table};
use crate::data::time::Instant;
use crate::dataflow::env::{Clock, Env, real};
use arrow::array::RecordBatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A clock by which a long time goes by between any two looks at it: everything is slow.
#[derive(Default)]
struct Racing(AtomicI64);

impl Racing {
    fn look(&self) -> i64 {
        self.0.fetch_add(100_000_000, Ordering::Relaxed)
    }
}

impl Clock for Racing {
    fn now(&self) -> Instant {
        Instant(self.look())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.look().unsigned_abs())
    }
}

/// Partitions of readings a second apart, five in a batch, each partition with keys of its own. Some come late.
fn readings() -> Vec<Vec<RecordBatch>> {
    let rows = |partition: i64, from: i64| {
        let row = |second: i64| {
            // Within the wait, and far behind it.
            let behind = if second % 7 == 3 { 2 } else { i64::from(second % 11 == 6) * 25 };
            let at = (second - behind).max(0);
            let (minute, second_of_minute) = (at / 60, at % 60);
            format!("{second},p{partition}k{},2024-01-01T00:{minute:02}:{second_of_minute:02}Z", second % 3)
        };
        let rows: Vec<String> = (from..from + 5).map(row).collect();
        table("n: int64, word: string, at: timestamp", &rows.iter().map(String::as_str).collect::<Vec<_>>())
    };
    (0..4).map(|partition| (0..40).map(|batch| rows(partition, 5 * batch)).collect()).collect()
}

#[test]
fn windows_and_late_rows_are_the_same_at_any_speed() {
    let bench = Bench::default().partitions("in", readings());
    for window in ["{ tumbling = \"10s\" }", "{ sliding = \"10s\", every = \"4s\" }", "{ session = \"2s\" }"] {
        let step = format!(
            "name = \"w\"; op = \"fold_window\"; fn = \"p.sum\"; with = [\"window_id\", \"close_time\"]; \
             clock = {{ event = \"at\", wait = \"3s\" }}; window = {window}; forget_after = \"10000d\"; on_error = \"skip\""
        );
        let flow = steps(&[
            "op = \"key_on\"; key = \"word\"",
            &step,
            "op = \"output\"; sink = { memory = \"out\" }",
            "op = \"output\"; from = \"w.late\"; sink = { memory = \"late\" }",
        ]);
        let fast = bench.run(&flow, 1);
        assert!(fast.rows("out").len() > 40 && fast.rows("late").len() > 20, "{window}");
        for workers in [1, 3] {
            let slow = bench.run_in(&flow, workers, Env { clock: Arc::new(Racing::default()), ..real::env() });
            assert_eq!(slow.sorted("out"), fast.sorted("out"), "{window} with {workers} workers");
            assert_eq!(slow.sorted("late"), fast.sorted("late"), "{window} with {workers} workers");
        }
    }
}
