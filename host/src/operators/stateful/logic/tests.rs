//! Tests of the logic without a driver: the time is what the test says.

use super::super::super::testing::{Calls, check_crashes, given, in_turn, show, table};
use super::*;
use crate::data::batch::Origin;
use crate::data::key::Keys;
use crate::dataflow::emit::OnError;
use crate::dataflow::error::Domain;
use arrow::array::{Array, AsArray, StringArray};
use proptest::prelude::*;

/// Emits the sum so far. 0 discards, and a negative number fails.
const SUM: Calls = Calls {
    on_row: |state, n, _| {
        let sum = state.unwrap_or(0) + n;
        if n < 0 {
            return Err(format!("{n} is negative"));
        }
        *state = Some(sum).filter(|_| n != 0);
        Ok(vec![sum])
    },
    on_notify: |state, (), now| {
        let wanted = state.unwrap();
        *state = Some(0);
        match wanted {
            13 => Err("unlucky".to_owned()),
            _ => Ok(vec![wanted, now.0]),
        }
    },
    on_eof: |state, (), _| match state.unwrap() {
        7 => Err("cannot end".to_owned()),
        sum => {
            *state = state.filter(|sum| sum % 2 == 0);
            Ok(vec![-sum])
        }
    },
    notify_at: |_| None,
    tells_parents: true,
};

fn logic_of(calls: &Calls, shape: Shape, ttl: Option<u64>) -> Logic {
    let ttl = ttl.map(Duration::from_micros);
    let rules = Rules { function: "p.f".into(), key: "k".into(), shape, reads: vec![0], ttl };
    Logic::new(calls.instance(), rules)
}

/// Rows as `n,key`.
fn batch(rows: &[&str]) -> Batch {
    let rows = table("n: int64, k: string", rows);
    let keys = Keys::new(rows.column(1).as_string().clone());
    let origin = Origin { source: "in".into(), partition: "in".into(), first_row: 10, rows: None };
    Batch::keyed(rows, keys).from_origin(Some(origin))
}

/// Rows as `key: value`, and dead letters as `message (place) row`.
fn shown(given: Vec<(usize, Batch)>) -> Vec<String> {
    let show_one = |(port, batch): (usize, Batch)| match port {
        0 => show(&batch).into_iter().map(|row| row.replace("value=", "")).collect::<Vec<_>>(),
        _ => {
            let letter = |row: String| {
                let (_, row) = row.split_once("message=").unwrap();
                row.replace(", partition=", " (").replace(", position=", ":").replace(", row=", ") ")
            };
            show(&batch).into_iter().map(letter).collect()
        }
    };
    given.into_iter().flat_map(show_one).collect()
}

fn take(logic: &mut Logic, batch: Batch, now: i64) -> Vec<String> {
    shown(given(OnError::DeadLetter, |out| logic.on_batch(0, batch, Instant(now), out)).unwrap())
}

fn wake(logic: &mut Logic, now: i64) -> Vec<String> {
    shown(given(OnError::DeadLetter, |out| logic.on_wake(Instant(now), out)).unwrap())
}

fn end(logic: &mut Logic, now: i64) -> Vec<String> {
    shown(given(OnError::DeadLetter, |out| logic.on_eof(Instant(now), out)).unwrap())
}

#[test]
fn rows_come_out_as_they_came_and_a_discarded_key_starts_anew() {
    let mut logic = logic_of(&SUM, Shape::Free, None);
    let out = take(&mut logic, batch(&["1,b", "2,a", "3,b", "0,b", "4,b", "0,a"]), 0);
    assert_eq!(out, ["b: 1", "a: 2", "b: 4", "b: 4", "b: 4", "a: 2"]);
    assert_eq!(logic.groups.len(), 1);
    assert_eq!(take(&mut logic, batch(&["5,c", "1,a", "1,b"]), 0), ["c: 5", "a: 1", "b: 5"]);
    assert_eq!((logic.groups.len(), logic.groups.capacity()), (3, 3));
}

#[test]
fn a_row_that_fails_makes_no_key_and_changes_none() {
    let mut logic = logic_of(&SUM, Shape::Free, None);
    let out = take(&mut logic, batch(&["-1,a", "2,b", "-3,b", "1,b"]), 0);
    let letters = [r#"-1 is negative (in:11) {"n":-1,"k":"a"}"#, r#"-3 is negative (in:13) {"n":-3,"k":"b"}"#];
    assert_eq!(out, [&letters[..], &["b: 2", "b: 3"]].concat());
    assert_eq!(logic.groups.len(), 1);
}

#[test]
fn selected_rows_keep_their_keys_and_origins() {
    for shape in [Shape::Free, Shape::Map] {
        let mut logic = logic_of(&SUM, shape, None);
        let selected = batch(&["9,x", "1,a", "9,x", "2,b", "-3,a", "4,a"]).select(&[5, 1, 4, 3]);
        let mut out = given(OnError::DeadLetter, |out| logic.on_batch(0, selected, Instant(0), out)).unwrap();
        let (_, rows) = out.pop().unwrap();
        let origin = rows.origin().unwrap();
        assert_eq!((0..3).map(|row| origin.row(row)).collect::<Vec<_>>(), [15, 11, 13]);
        assert_eq!(shown(vec![(0, rows)]), ["a: 4", "a: 5", "b: 2"]);
        assert_eq!(shown(out), [r#"-3 is negative (in:15) {"n":-3,"k":"a"}"#]);
    }
}

/// As `SUM`, woken at the time that the state is, unless it is 0.
fn woken_at_state() -> Calls {
    Calls { notify_at: |at| Some(at).filter(|&at| at > 0), ..SUM }
}

/// The same, but each row sets the state, and emits nothing.
fn alarmed() -> Calls {
    let on_row = |state: &mut Option<i64>, n, _| {
        *state = Some(n);
        Ok(Vec::new())
    };
    Calls { on_row, ..woken_at_state() }
}

#[test]
fn keys_are_woken_together_in_the_order_of_their_bytes() {
    let mut logic = logic_of(&alarmed(), Shape::Free, None);
    assert_eq!(take(&mut logic, batch(&["30,b", "20,c", "30,a", "99,d"]), 5), [""; 0]);
    assert_eq!(logic.wake_at(), Some(Instant(20)));
    assert_eq!(wake(&mut logic, 40), ["a: 30", "a: 40", "b: 30", "b: 40", "c: 20", "c: 40"]);
    assert_eq!(logic.wake_at(), Some(Instant(99)));
}

#[test]
fn the_last_time_that_a_key_said_holds() {
    let mut logic = logic_of(&alarmed(), Shape::Free, None);
    take(&mut logic, batch(&["30,a", "50,b", "40,c"]), 0);
    take(&mut logic, batch(&["60,a", "10,b", "0,c"]), 1);
    assert_eq!((logic.wake_at(), wake(&mut logic, 10)), (Some(Instant(10)), vec!["b: 10".into(), "b: 10".into()]));
    assert_eq!(wake(&mut logic, 59), [""; 0], "none takes a time back");
    assert_eq!(wake(&mut logic, 60), ["a: 60", "a: 60"]);
    assert_eq!(logic.wake_at(), None);
}

#[test]
fn a_time_that_is_past_comes_at_once_but_does_not_spin() {
    let calls = Calls { on_notify: |_, (), now| Ok(vec![now.0]), ..alarmed() };
    let mut logic = logic_of(&calls, Shape::Free, None);
    take(&mut logic, batch(&["3,a"]), 100);
    assert_eq!((logic.wake_at(), wake(&mut logic, 100)), (Some(Instant(3)), vec!["a: 100".into()]));
    assert_eq!((logic.wake_at(), wake(&mut logic, 100)), (Some(Instant(1100)), vec![]));
    assert_eq!(wake(&mut logic, 1100), ["a: 1100"]);
    take(&mut logic, batch(&["4,a"]), 1101);
    assert_eq!(wake(&mut logic, 1101), ["a: 1101"], "a row has come");
}

#[test]
fn a_key_that_cannot_be_woken_sleeps_until_its_next_row() {
    let mut logic = logic_of(&alarmed(), Shape::Free, None);
    take(&mut logic, batch(&["13,a", "14,b"]), 0);
    let letter = r#"key "a": unlucky (null:null) {"k":"a"}"#;
    assert_eq!(wake(&mut logic, 20), [letter, "b: 14", "b: 20"]);
    assert_eq!((logic.wake_at(), logic.groups.len()), (None, 2));
    take(&mut logic, batch(&["15,a"]), 20);
    assert_eq!(wake(&mut logic, 20), ["a: 15", "a: 20"]);
}

#[test]
fn the_end_wakes_who_is_due_and_then_tells_all() {
    let mut logic = logic_of(&woken_at_state(), Shape::Free, None);
    take(&mut logic, batch(&["7,c", "30,b", "5,a", "4,d"]), 0);
    let letter = r#"key "c": cannot end (null:null) {"k":"c"}"#;
    assert_eq!(end(&mut logic, 5), ["a: 5", "a: 5", "d: 4", "d: 5", letter, "a: 0", "b: -30", "d: 0"]);
    assert_eq!(logic.groups.len(), 4, "states stay unless they are discarded");
    let mut logic = logic_of(&SUM, Shape::Free, None);
    take(&mut logic, batch(&["1,a", "2,b"]), 0);
    assert_eq!((end(&mut logic, 0).len(), logic.groups.len()), (2, 1));
}

#[test]
fn maps_are_neither_woken_nor_told_of_the_end() {
    for shape in [Shape::Map, Shape::FlatMap] {
        let mut logic = logic_of(&woken_at_state(), shape, None);
        assert_eq!(take(&mut logic, batch(&["7,c", "30,b"]), 0), ["c: 7", "b: 30"]);
        assert_eq!((logic.wake_at(), end(&mut logic, 99)), (None, vec![]));
    }
}

#[test]
fn a_key_is_forgotten_when_its_last_row_is_too_long_ago() {
    for shape in [Shape::Free, Shape::Map] {
        let mut logic = logic_of(&SUM, shape, Some(100));
        take(&mut logic, batch(&["1,a", "2,b"]), 0);
        take(&mut logic, batch(&["3,a"]), 60);
        assert_eq!((logic.wake_at(), wake(&mut logic, 100)), (Some(Instant(100)), vec![]));
        assert_eq!((logic.groups.len(), logic.wake_at()), (1, Some(Instant(160))));
        assert_eq!(take(&mut logic, batch(&["1,a", "1,b"]), 159), ["a: 5", "b: 1"]);
        assert_eq!(take(&mut logic, batch(&["1,a", "1,b"]), 259), ["a: 1", "b: 1"], "before the step was woken");
        wake(&mut logic, 1000);
        assert_eq!((logic.groups.len(), logic.wake_at()), (0, None));
    }
}

#[test]
fn a_key_is_woken_before_it_is_forgotten() {
    let mut logic = logic_of(&alarmed(), Shape::Free, Some(50));
    take(&mut logic, batch(&["30,a", "90,b"]), 0);
    assert_eq!(wake(&mut logic, 200), ["a: 30", "a: 200", "b: 90", "b: 200"]);
    assert_eq!((logic.groups.len(), logic.wake_at()), (0, None));
}

#[test]
fn a_map_must_give_one_row_for_each() {
    // As many rows as the number says; a negative one fails.
    let calls = Calls {
        on_row: |state, n, _| {
            *state = Some(0);
            usize::try_from(n).map(|n| vec![0; n]).map_err(|_| "negative".to_owned())
        },
        ..SUM
    };
    for (rows, wanted) in [
        (&["1,a", "-1,b", "1,a", "1,c"][..], None),
        (&["1,a", "2,b", "1,a"], Some(("more than one row for a row of the key \"b\"", "in:12"))),
        (&["-1,a", "1,b", "0,c"], Some(("no row for a row of the key \"c\"", "in:13"))),
        (&["0,a", "2,b"], Some(("no row for a row of the key \"a\"", "in:11"))),
        (&["2,a", "0,b"], Some(("more than one row for a row of the key \"a\"", "in:11"))),
        (&["1,a", "3,b"], Some(("more than one row for a row of the key \"b\"", "in:12"))),
    ] {
        let mut logic = logic_of(&calls, Shape::Map, None);
        let done = given(OnError::Skip, |out| logic.on_batch(0, batch(rows), Instant(0), out));
        let error = done.err().map(|error| (error.message, error.place, error.domain));
        let wanted = wanted
            .map(|(what, place)| (format!("function \"p.f\" gave {what}"), Some(place.to_owned()), Domain::Plugin));
        assert_eq!(error, wanted, "{rows:?}");
    }
    let mut logic = logic_of(&Calls { tells_parents: false, ..SUM }, Shape::Map, None);
    let error = given(OnError::Skip, |out| logic.on_batch(0, batch(&["1,a"]), Instant(0), out)).err().unwrap();
    assert_eq!(error.message, "function \"p.f\" sees the rows of a key together, and does not say what came of which");
}

#[test]
fn rows_of_no_row_in_particular_have_the_key_of_their_group() {
    let mut logic = logic_of(&Calls { tells_parents: false, ..SUM }, Shape::Free, None);
    assert_eq!(take(&mut logic, batch(&["1,b", "2,a", "0,b"]), 0), ["b: 1", "a: 2", "b: 1"]);
}

proptest! {
    #[test]
    fn the_same_rows_come_out_however_the_input_is_cut(
        rows in prop::collection::vec((-1_i64..5, "[abc]"), 1..40),
        cuts in prop::collection::vec(1_usize..10, 0..20),
    ) {
        let rows: Vec<String> = rows.into_iter().map(|(n, key)| format!("{n},{key}")).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let run = |mut cuts: std::vec::IntoIter<usize>| {
            let mut logic = logic_of(&SUM, Shape::Free, None);
            let (mut rest, mut out) = (&rows[..], Vec::new());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
                let given = given(OnError::Skip, |out| logic.on_batch(0, batch(now), Instant(0), out)).unwrap();
                out.extend(shown(given));
                rest = later;
            }
            out.extend(end(&mut logic, 0));
            out
        };
        prop_assert_eq!(run(cuts.into_iter()), run(Vec::new().into_iter()));
    }
}

#[test]
fn states_with_nothing_beside_them_are_kept_as_the_function_encodes_them() {
    let mut logic = logic_of(&SUM, Shape::Map, None);
    assert_eq!(logic.keep(), Kept::Keys);
    // More than are asked for at once.
    let rows: Vec<String> = (1..=20_000).map(|n| format!("{n},k{n}")).collect();
    take(&mut logic, batch(&rows.iter().map(String::as_str).collect::<Vec<_>>()), 0);
    let Changes { keys, values, .. } = logic.snapshot(Instant(0)).unwrap().unwrap();
    assert_eq!((keys.values().len(), values.len()), (20_000, 20_000));
    for at in [0, 8191, 8192, 19_999] {
        assert_eq!(
            (keys.values().value(at), values.value(at)),
            (&*format!("k{}", at + 1), &(at as i64 + 1).to_le_bytes()[..])
        );
    }
    assert!(logic.snapshot(Instant(0)).unwrap().is_none());
    take(&mut logic, batch(&["0,k7", "5,k9", "0,k9"]), 0);
    let Changes { keys, values, .. } = logic.snapshot(Instant(0)).unwrap().unwrap();
    assert_eq!((keys.values(), values.null_count()), (&StringArray::from(vec!["k7", "k9"]), 2));
}

#[test]
fn after_a_restore_keys_wait_for_the_times_that_they_say_and_past_ones_come_at_once() {
    let mut before = logic_of(&alarmed(), Shape::Free, None);
    before.keep();
    take(&mut before, batch(&["30,a", "50,b", "13,c", "0,d"]), 0);
    let letter = r#"key "c": unlucky (null:null) {"k":"c"}"#;
    assert_eq!(wake(&mut before, 20), [letter]);
    let Changes { keys, values, .. } = before.snapshot(Instant(20)).unwrap().unwrap();
    let mut after = logic_of(&alarmed(), Shape::Free, None);
    after.restore(&keys, &values, Instant(40)).unwrap();
    assert_eq!(after.wake_at(), Some(Instant(30)));
    assert_eq!(wake(&mut after, 40), ["a: 30", "a: 40"], "c sleeps until its next row");
    assert_eq!(after.wake_at(), Some(Instant(50)));
}

#[test]
fn after_the_end_keys_wait_for_what_they_say_in_the_next_execution() {
    let calls = Calls {
        on_eof: |state, (), _| {
            *state = Some(70);
            Ok(Vec::new())
        },
        ..alarmed()
    };
    let mut before = logic_of(&calls, Shape::Free, None);
    before.keep();
    take(&mut before, batch(&["0,a"]), 0);
    end(&mut before, 0);
    let Changes { keys, values, .. } = before.snapshot(Instant(20)).unwrap().unwrap();
    let mut after = logic_of(&calls, Shape::Free, None);
    after.restore(&keys, &values, Instant(40)).unwrap();
    assert_eq!(after.wake_at(), Some(Instant(70)));
}

#[test]
fn a_ttl_may_come_and_go_over_a_restore() {
    for (before, after, wanted) in [(None, Some(10), Some(110)), (Some(10), None, None), (Some(10), Some(50), Some(10))]
    {
        let mut old = logic_of(&SUM, Shape::Free, before);
        old.keep();
        take(&mut old, batch(&["1,a"]), 0);
        let Changes { keys, values, .. } = old.snapshot(Instant(0)).unwrap().unwrap();
        let mut new = logic_of(&SUM, Shape::Free, after);
        new.restore(&keys, &values, Instant(100)).unwrap();
        assert_eq!(new.wake_at(), wanted.map(Instant));
    }
}

#[test]
fn where_nothing_stands_behind_states_without_a_ttl_the_others_form_is_read() {
    for (before, after, wanted) in [(None, Some(10), Some(110)), (Some(10), None, None)] {
        let mut old = logic_of(&SUM, Shape::Map, before);
        let mut new = logic_of(&SUM, Shape::Map, after);
        let (form, _) = old.rules.forms();
        assert_eq!(new.rules.forms().1, [form]);
        old.keep();
        take(&mut old, batch(&["1,a", "2,b"]), 0);
        let Changes { keys, values, .. } = old.snapshot(Instant(0)).unwrap().unwrap();
        new.keep();
        new.reads(form).unwrap();
        new.restore(&keys, &values, Instant(100)).unwrap();
        assert_eq!(new.wake_at(), wanted.map(Instant));
        // They are handed in in its own form.
        new.touch_all().unwrap();
        let Changes { keys, values, .. } = new.snapshot(Instant(100)).unwrap().unwrap();
        let mut again = logic_of(&SUM, Shape::Map, after);
        again.restore(&keys, &values, Instant(105)).unwrap();
        assert_eq!(again.wake_at(), wanted.map(Instant));
        assert_eq!(take(&mut again, batch(&["3,b", "4,a"]), 106), ["b: 5", "a: 5"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn states_times_and_what_comes_out_survive_crashes(
        batches in prop::collection::vec((0_i64..12, prop::collection::vec((-1_i64..25, "[abcd]"), 0..5)), 1..8),
        ttl in prop::option::of(5_u64..20),
        is_woken in any::<bool>(),
        shape in prop::sample::select(vec![Shape::Free, Shape::Map, Shape::FlatMap]),
    ) {
        let calls = match (is_woken, shape) {
            (true, Shape::Free) => alarmed(),
            _ => woken_at_state(),
        };
        let rows = |rows: &[(i64, String)]| {
            let rows: Vec<String> = rows.iter().map(|(n, key)| format!("{n},{key}")).collect();
            batch(&rows.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let inputs = in_turn(batches.iter().map(|(gap, of)| (*gap, rows(of))).collect());
        check_crashes(|| logic_of(&calls, shape, ttl), &inputs);
    }
}
