//! Stateful functions: those of attributes, those that see batches, and what harness and driver say of failures.

use std::time::Duration;

use serde_json::json;
use wxhost_guest::Domain;
use wxhost_guest::prelude::*;
use wxhost_guest::testing::{self, KeyedRows};

/// The mean of the values so far. A negative number begins anew.
#[stateful_map]
fn running_mean(state: &mut Option<(f64, u64)>, value: f64) -> f64 {
    let (sum, rows) = state.unwrap_or_default();
    if value < 0.0 {
        *state = None;
        return 0.0;
    }
    *state = Some((sum + value, rows + 1));
    (sum + value) / (rows + 1) as f64
}

#[derive(Saved)]
struct Previous {
    page: String,
}

#[derive(Row)]
struct Visit<'a> {
    page: &'a str,
    at: i64,
}

#[derive(Row, Debug)]
struct Step {
    from: Option<String>,
    to: String,
}

#[derive(Config)]
struct Hidden {
    prefix: String,
}

/// From which page to which.
#[stateful_map(version = 2, migrate = from_version_1)]
fn step(state: &mut Option<Previous>, visit: &Visit<'_>, hidden: &Hidden) -> Result<Step> {
    if visit.at < 0 {
        return Err(Error::user("before time began"));
    }
    let to = visit.page.trim_start_matches(&hidden.prefix).to_owned();
    let before = state.replace(Previous { page: to.clone() });
    Ok(Step { from: before.map(|before| before.page), to })
}

fn from_version_1(from_version: u32, bytes: &[u8]) -> Result<Previous> {
    assert_eq!(from_version, 1);
    Ok(Previous { page: wxhost_guest::state::decode::<String>(bytes)? })
}

/// Takes its state away before it fails.
#[stateful_map]
fn careless(state: &mut Option<u32>, word: &str) -> Result<u32> {
    let count = state.take().unwrap_or_default() + 1;
    if word == "bad" {
        return Err(Error::user("bad"));
    }
    *state = Some(count);
    Ok(count)
}

/// Pairs of values, each in one pair.
#[stateful_flat_map]
fn pairs(state: &mut Option<i64>, n: i64) -> Option<Vec<i64>> {
    match state.take() {
        Some(first) => Some(vec![first, n]),
        None => {
            *state = Some(n);
            None
        }
    }
}

/// As many numbers as rows so far, up to the configured limit.
#[stateful_flat_map]
fn count_up(state: &mut Option<u32>, _row: i64, limit: &Limit) -> Result<impl Iterator<Item = u32>> {
    let rows = state.unwrap_or(0) + 1;
    if rows > limit.rows {
        return Err(Error::user(format!("more than {} rows", limit.rows)));
    }
    *state = Some(rows);
    Ok(0..rows)
}

#[derive(Config)]
struct Limit {
    rows: u32,
}

/// Sums of batches; fails at a sum over 100, and is discarded at 100.
#[derive(Default, State)]
struct Batches {
    sum: i64,
}

impl Stateful for Batches {
    type In<'a> = i64;
    type Out = String;
    const BY_BATCH: bool = true;

    fn on_batch(&mut self, rows: Vec<i64>, cx: &mut Emit<String>) -> Result<()> {
        let sum = self.sum + rows.iter().sum::<i64>();
        cx.emit(format!("{rows:?} make {sum}"));
        if sum > 100 {
            return Err(Error::user("too much"));
        }
        if sum == 100 {
            cx.discard();
        }
        self.sum = sum;
        Ok(())
    }
}

/// Wakes every second from its first row on, three times, and then fails; asks for the past if its rows do.
#[derive(Default, State)]
struct Ticker {
    next: Option<Timestamp>,
    ticks: u32,
}

impl Stateful for Ticker {
    type In<'a> = i64;
    type Out = String;

    fn on_item(&mut self, second: i64, _: &mut Emit<String>) -> Result<()> {
        self.next = Some(Timestamp::from_seconds(second));
        Ok(())
    }

    fn on_notify(&mut self, cx: &mut Emit<String>) -> Result<()> {
        cx.emit(format!("{} at {}", self.ticks, cx.now().micros() / 1_000_000));
        self.ticks += 1;
        self.next = self.next.map(|next| next + Duration::from_secs(1));
        if self.ticks > 3 {
            self.next = None;
            return Err(Error::user("ticks no more"));
        }
        Ok(())
    }

    fn on_merge(&mut self, other: Self, cx: &mut Emit<String>) -> Result<()> {
        if other.ticks > 0 {
            return Err(Error::user("cannot take one that ticked"));
        }
        self.ticks += 10;
        cx.emit("merged".into());
        Ok(())
    }

    fn on_eof(&mut self, cx: &mut Emit<String>) -> Result<()> {
        cx.emit(format!("end after {}", self.ticks));
        cx.discard();
        Ok(())
    }

    fn notify_at(&self) -> Option<Timestamp> {
        self.next
    }
}

/// Nothing but a state.
#[derive(Default, State)]
struct Idle {}

impl Stateful for Idle {
    type In<'a> = i64;
    type Out = i64;
}

plugin!(running_mean, step, careless, pairs, count_up, Batches, Ticker);

fn keyed<T: Into<serde_json::Value> + Clone>(rows: &[(&str, T)]) -> KeyedRows {
    rows.iter().map(|(key, row)| ((*key).to_owned(), row.clone().into())).collect()
}

#[test]
fn a_stateful_map_gives_a_row_for_each_row() {
    let mut mean = testing::stateful::<running_mean>();
    let emitted = mean.keyed_rows(&["a", "b", "a", "a", "a"], [1.0, 5.0, 2.0, -1.0, 7.0]);
    assert_eq!(emitted, keyed(&[("a", 1.0), ("b", 5.0), ("a", 1.5), ("a", 0.0), ("a", 7.0)]));
    mean.resume();
    assert_eq!(mean.keyed_rows(&["b", "a"], [7.0, -1.0]), keyed(&[("b", 6.0), ("a", 0.0)]));
    assert_eq!(mean.keys(), ["b"]);
}

#[test]
fn a_function_of_an_attribute_has_rows_of_columns_a_configuration_and_old_states() {
    let mut steps = testing::stateful::<step>().config(json!({"prefix": "/"}));
    let visits = |pages: [(&'static str, i64); 3]| pages.map(|(page, at)| Visit { page, at });
    let emitted = steps.rows("a", visits([("/x", 1), ("/y", -1), ("/z", 2)]));
    assert_eq!(emitted, keyed(&[("a", json!({"from": null, "to": "x"})), ("a", json!({"from": "x", "to": "z"}))]));
    assert_eq!(steps.take_errors(), [(1, "before time began".to_owned())]);
    let old = wxhost_guest::state::encode(&"old", Vec::new()).unwrap();
    let migrated = <step as wxhost_guest::State>::migrate(1, &old).unwrap();
    assert_eq!(migrated.state.unwrap().page, "old");
    assert!(<running_mean as wxhost_guest::State>::migrate(1, &old).is_err());
}

#[test]
fn a_function_that_fails_must_not_take_its_state_away() {
    let mut careless = testing::stateful::<careless>();
    assert_eq!(careless.rows("a", ["bad", "x"]), keyed(&[("a", 1)]));
    let error = careless.try_keyed_rows(&["a"], ["bad"]).unwrap_err();
    assert_eq!(error.message(), "took the state away and then failed, which must leave it as it was: bad");
    assert_eq!(error.domain(), Domain::Internal);
}

#[test]
fn a_stateful_flat_map_gives_any_number_of_rows() {
    let mut test = testing::stateful::<pairs>();
    let emitted = test.keyed_rows(&["a", "b", "a", "a"], testing::json(r#"{"n": 1} {"n": 2} {"n": 3} {"n": 4}"#));
    assert_eq!(emitted, keyed(&[("a", json!([1, 3]))]));
    assert_eq!(test.keys(), ["a", "b"]);

    let mut test = testing::stateful::<count_up>().config(json!({"rows": 2}));
    assert_eq!(test.rows("a", [0_i64, 0, 0]), keyed(&[("a", 0), ("a", 0), ("a", 1)]));
    assert_eq!(test.take_errors(), [(2, "more than 2 rows".to_owned())]);
}

#[test]
fn a_function_by_batch_sees_the_rows_of_a_key_together() {
    let mut batches = testing::stateful::<Batches>();
    let rows = testing::json("1 20 null 3 50");
    let emitted = batches.keyed_rows(&["b", "a", "b", "b", "a"], rows);
    assert_eq!(emitted, keyed(&[("b", "[1, 3] make 4"), ("a", "[20, 50] make 70")]));
    let null = "column \"value\" is null, and the field is no Option";
    assert_eq!(batches.take_errors(), [(2, null.to_owned())]);
    batches.resume();
    let emitted = batches.keyed_rows(&["a", "new", "b", "a"], [30_i64, 101, 1, 1]);
    assert_eq!(emitted, keyed(&[("b", "[1] make 5")]));
    let errors: Vec<u32> = batches.take_errors().into_iter().map(|(row, _)| row).collect();
    assert_eq!((errors, batches.keys()), (vec![0, 1, 3], vec!["a", "b"]));
    assert_eq!(batches.keyed_rows(&["a"], [30_i64]), keyed(&[("a", "[30] make 100")]));
    assert_eq!(batches.keyed_rows(&["c"], testing::json_as("null", &[("value", "int64")])), []);
    assert_eq!(batches.keys(), ["b"]);
}

#[test]
fn keys_are_woken_at_their_times_in_the_order_of_their_bytes() {
    let at = Timestamp::from_seconds;
    let mut ticker = testing::stateful::<Ticker>();
    ticker.keyed_rows(&["b", "a", "c"], [2_i64, 2, 1]);
    let woken = ticker.advance_to(at(3));
    assert_eq!(
        woken,
        keyed(&[("c", "0 at 1"), ("a", "0 at 2"), ("b", "0 at 2"), ("c", "1 at 2")])
            .into_iter()
            .chain(keyed(&[("a", "1 at 3"), ("b", "1 at 3"), ("c", "2 at 3")]))
            .collect::<Vec<_>>()
    );
    ticker.resume();
    let woken = ticker.advance_to(at(9));
    assert_eq!(woken, keyed(&[("a", "2 at 4"), ("b", "2 at 4")]));
    let failed: Vec<String> = ticker.take_key_errors().into_iter().map(|(key, why)| format!("{key} {why}")).collect();
    assert_eq!(failed, ["c ticks no more", "a ticks no more", "b ticks no more"]);
    assert_eq!(ticker.eof(), keyed(&[("a", "end after 4"), ("b", "end after 4"), ("c", "end after 4")]));
    assert!(ticker.keys().is_empty());
}

#[test]
fn a_time_that_is_past_wakes_at_once_and_then_when_time_moves_on() {
    let at = Timestamp::from_seconds;
    let mut ticker = testing::stateful::<Ticker>();
    ticker.advance_to(at(100));
    ticker.keyed_rows(&["a", "b"], [1_i64, 105]);
    assert_eq!(ticker.advance_to(at(100)), keyed(&[("a", "0 at 100")]));
    assert_eq!(ticker.advance_to(at(100)), []);
    ticker.rows("a", [1_i64]);
    assert_eq!(ticker.advance_to(at(100)), keyed(&[("a", "1 at 100")]), "a row has come");
    assert_eq!(ticker.advance_to(at(105)), keyed(&[("a", "2 at 105"), ("b", "0 at 105")]));
    assert_eq!(ticker.advance_to(at(105)), []);
}

#[test]
fn windows_of_a_stateful_function_merge_and_close() {
    let mut ticker = testing::stateful::<Ticker>();
    ticker.keyed_rows(&["a", "b", "c"], [7_i64, 8, 1]);
    assert_eq!(ticker.merge("a", "b"), keyed(&[("a", "merged")]));
    ticker.advance_to(Timestamp::from_seconds(1));
    assert_eq!(ticker.merge("a", "c"), []);
    assert_eq!(ticker.take_key_errors(), [("a".to_owned(), "cannot take one that ticked".to_owned())]);
    assert_eq!((ticker.close("a"), ticker.keys().len()), (keyed(&[("a", "end after 10")]), 0));
}

#[test]
fn a_function_that_cannot_merge_says_so() {
    let mut mean = testing::stateful::<running_mean>();
    mean.keyed_rows(&["a", "b"], [1.0, 2.0]);
    let error = mean.try_merge("a", "b").unwrap_err();
    assert_eq!(error.message(), "cannot merge: implement on_merge to use it in session windows");
}

#[test]
fn a_function_that_takes_no_rows_says_so() {
    let error = testing::stateful::<Idle>().try_keyed_rows(&["a"], [1_i64]).unwrap_err();
    assert_eq!(error.message(), "has no on_item, and no on_batch with BY_BATCH = true");
}

#[test]
fn functions_of_attributes_are_stateful_functions() {
    let functions = testing::functions::<WxhostPlugin>();
    let described: Vec<_> =
        functions.iter().take(4).map(|f| format!("{} {} {} {}", f.kind, f.name, f.state_version, f.doc)).collect();
    assert_eq!(
        described,
        [
            "stateful running_mean 1 The mean of the values so far. A negative number begins anew.",
            "stateful step 2 From which page to which.",
            "stateful careless 1 Takes its state away before it fails.",
            "stateful pairs 1 Pairs of values, each in one pair.",
        ]
    );
}
