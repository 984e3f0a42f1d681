//! Steps that work by key.

use super::super::testing::{Bench, Calls};
use super::{applied, batch, bench, steps, table};
use crate::catalog::function::FunctionKind;
use arrow::array::StringArray;
use std::sync::Arc;

#[test]
fn count_final_counts_the_rows_of_each_key() {
    let wanted = ["be: count=2", "not: count=1", "or: count=1", "that: count=1", "to: count=2"];
    assert_eq!(bench().out(&steps(&["op = \"count_final\"; key = \"word\""])), wanted);
    assert_eq!(bench().out(&steps(&["op = \"key_on\"; key = \"word\"", "op = \"count_final\""])), wanted);
    let flow =
        steps(&["op = \"filter\"; fn = \"p.is_even\"", "op = \"count_final\"; key = \"word\"; key_name = \"w\""]);
    assert_eq!(bench().out(&flow), ["be: count=2", "not: count=1"]);
    let flow = steps(&["op = \"count_final\"; fn = \"p.initial\"; on_error = \"skip\""]);
    assert_eq!(bench().out(&flow), ["b: count=2", "t: count=3"]);
}

#[test]
fn counts_come_in_the_order_of_keys() {
    let flow = steps(&["op = \"count_final\"; key = \"word\"", "op = \"output\"; sink = { memory = \"out\" }"]);
    let wanted = ["be: count=2", "not: count=1", "or: count=1", "that: count=1", "to: count=2"];
    assert_eq!(bench().run(&flow, 1).rows("out"), wanted);
}

#[test]
fn more_keys_than_are_combined_at_once_are_counted_too() {
    let rows: Vec<String> = (0..150_000).map(|row| (row % 100_000).to_string()).collect();
    let rows = table("n: int64", &rows.iter().map(String::as_str).collect::<Vec<_>>());
    let batches = (0..15).map(|at| rows.slice(at * 10_000, 10_000));
    let out = Bench::default().source("in", batches).out(&steps(&["op = \"count_final\"; key = \"n\""]));
    let twos = out.iter().filter(|row| row.ends_with("count=2")).count();
    assert_eq!((out.len(), twos), (100_000, 50_000));
}

#[test]
fn count_final_tells_how_many_rows_came_and_went() {
    let flow = steps(&[
        "name = \"count\"; op = \"count_final\"; fn = \"p.initial\"; on_error = \"dead_letter\"",
        "op = \"output\"; sink = { memory = \"out\" }",
        "op = \"output\"; from = \"count.errors\"; sink = { memory = \"errors\" }",
    ]);
    let ran = bench().run(&flow, 3);
    assert_eq!((ran.rows("out").len(), ran.rows("errors").len()), (2, 2));
    let figures = &ran.report.unwrap().steps[1].1;
    assert_eq!((figures.rows_in, figures.rows_out, figures.errors), (7, 2, 2));
}

#[test]
fn counting_needs_a_key() {
    let problems = bench().problems(&steps(&["op = \"count_final\""]));
    assert_eq!(problems, ["step \"s0\": \"count_final\" works on keyed streams, and \"in\" has no key"]);
}

#[test]
fn a_fold_makes_one_row_of_each_key() {
    for op in ["fold_final", "reduce_final"] {
        let flow = steps(&["op = \"key_on\"; key = \"word\"", &format!("op = \"{op}\"; fn = \"p.sum\"")]);
        assert_eq!(bench().out(&flow), ["be: sum=8", "not: sum=4", "or: sum=3", "that: sum=7", "to: sum=6"]);
    }
}

#[test]
fn rows_and_keys_that_cannot_be_folded_are_treated_as_failed() {
    let rows = table("n: int64, word: string", &["1,a", ",b", "6,unlucky", ",a", "7,unlucky", "5,a"]);
    let bench = Bench::default().source("in", [rows]);
    let key = "op = \"key_on\"; key = \"word\"";
    let out = bench.out(&steps(&[key, "op = \"fold_final\"; fn = \"p.sum\"; on_error = \"skip\""]));
    assert_eq!(out, ["a: sum=6"]);
    let flow = steps(&[
        key,
        "name = \"sum\"; op = \"fold_final\"; fn = \"p.sum\"; on_error = \"dead_letter\"",
        "op = \"output\"; sink = { memory = \"out\" }",
        "op = \"output\"; from = \"sum.errors\"; sink = { memory = \"errors\" }",
    ]);
    let ran = bench.run(&flow, 1);
    let letters = ran.rows("errors");
    assert_eq!(letters.len(), 3);
    assert!(
        letters[0].contains("message=no number, partition=000, position=2, row={\"n\":null,\"word\":\"b\"}"),
        "{letters:?}"
    );
    assert!(letters[2].ends_with("row={\"word\":\"unlucky\"}"), "{letters:?}");
    assert!(letters[2].contains("message=key \"unlucky\": unlucky"), "{letters:?}");
}

#[test]
fn the_extreme_of_a_key_is_a_whole_row_and_the_first_of_equals() {
    let rows = ["1,a,x", "3,a,first", "3,a,second", ",b,null", ",b,too", "2,c,y", ",c,null", "1,c,z"];
    let bench = Bench::default().source("in", [table("n: float64, k: string, t: string", &rows)]);
    for (step, wanted) in [
        ("op = \"max_final\"; by = \"n\"", ["a: n=3.0, k=a, t=first", "b: n=null, k=b, t=null", "c: n=2.0, k=c, t=y"]),
        ("op = \"min_final\"; by = \"n\"", ["a: n=1.0, k=a, t=x", "b: n=null, k=b, t=null", "c: n=1.0, k=c, t=z"]),
        ("op = \"max_final\"; by = \"t\"", ["a: n=1.0, k=a, t=x", "b: n=null, k=b, t=too", "c: n=1.0, k=c, t=z"]),
    ] {
        assert_eq!(bench.out(&steps(&["op = \"key_on\"; key = \"k\"", step])), wanted, "{step}");
    }
}

#[test]
fn values_of_every_ordered_type_have_an_extreme() {
    for (ty, least, greatest) in [
        ("int32", "-7", "5"),
        ("int64", "-7", "50"),
        ("uint32", "7", "50"),
        ("uint64", "7", "18446744073709551615"),
        ("float32", "-7.5", "50.0"),
        ("string", "1", "9"),
        ("bool", "false", "true"),
        ("date", "1969-12-31", "2023-01-01"),
        ("timestamp", "1969-12-31T00:00:00Z", "2023-01-01T00:00:00Z"),
    ] {
        let rows = table(&format!("v: {ty}"), &[least, greatest, least]);
        let bench = Bench::default().source("in", [rows]).function("one", FunctionKind::KeyOn, "key: string", |rows| {
            let ones = StringArray::from(vec!["one"; rows.num_rows()]);
            applied(Some(batch("key: string", Arc::new(ones))), None, Vec::new())
        });
        for (op, wanted) in [("max_final", greatest), ("min_final", least)] {
            let flow = steps(&["op = \"key_on\"; fn = \"p.one\"", &format!("op = \"{op}\"; by = \"v\"")]);
            assert_eq!(bench.out(&flow), [format!("one: v={wanted}")], "{ty}");
        }
    }
}

#[test]
fn a_column_without_order_has_no_extreme() {
    let key = "op = \"key_on\"; key = \"word\"";
    let problems = bench().problems(&steps(&[key, "op = \"max_final\""]));
    assert_eq!(problems, ["missing \"by\" in step \"s1\""]);
    let collect = "op = \"collect\"; max_size = 2; as = \"list\"";
    let problems = bench().problems(&steps(&[key, collect, "op = \"max_final\""]));
    let wanted = "step \"s2\": column \"items\" is list<struct<n: int64, word: string>>, which has no order";
    assert_eq!(problems, [wanted]);
}

#[test]
fn collected_rows_come_out_together_and_flatten_is_the_way_back() {
    let key = "op = \"key_on\"; key = \"word\"";
    let plain = bench().out(&steps(&[key]));
    for shape in ["rows", "list"] {
        let collect = format!("op = \"collect\"; max_size = 2; timeout = \"1h\"; as = \"{shape}\"");
        let mut flow = vec![key, &collect];
        if shape == "list" {
            flow.push("op = \"flatten\"");
        }
        assert_eq!(bench().out(&steps(&flow)), plain, "{shape}");
    }
    let flow =
        steps(&[key, "op = \"collect\"; max_size = 2; as = \"list\"", "op = \"output\"; sink = { memory = \"out\" }"]);
    assert_eq!(bench().run(&flow, 1).rows("out").len(), 5);
}

#[test]
fn collect_needs_to_know_when_rows_come_out() {
    for (arguments, wanted) in [
        ("", "missing \"max_size\" or \"timeout\" in step \"s1\""),
        ("; max_size = 2; since = \"first\"", "step \"s1\": \"since\" goes with \"timeout\""),
    ] {
        let collect = format!("op = \"collect\"{arguments}");
        assert_eq!(bench().problems(&steps(&["op = \"key_on\"; key = \"n\"", &collect])), [wanted]);
    }
}

/// The running mean of a key, in tenths; a mean over 9 ends it.
fn mean() -> Calls {
    let on_row = |state: &mut Option<i64>, n: i64, _| {
        // The sum, and how many, in one number.
        let (sum, rows) = state.map_or((0, 0), |state| (state / 100, state % 100));
        if n == 4 {
            return Err("four".to_owned());
        }
        let mean = (sum + n) * 10 / (rows + 1);
        *state = Some((sum + n) * 100 + rows + 1).filter(|_| mean <= 90);
        Ok(vec![mean])
    };
    let on_eof = |state: &mut Option<i64>, (), _| Ok(vec![-state.take().unwrap()]);
    Calls { on_row, on_eof, ..Calls::default() }
}

/// The rows of the bench in one partition, so that those of a key have an order.
fn in_order() -> Bench {
    let rows = ["1,to", "2,be", "3,or", "4,not", "5,to", "6,be", "7,that"];
    Bench::default().source("in", [table("n: int64, word: string", &rows)])
}

#[test]
fn a_state_of_each_key_goes_from_row_to_row() {
    let key = "op = \"key_on\"; key = \"word\"";
    let bench = in_order().stateful("mean", mean());
    let rows = ["be: value=20", "be: value=40", "or: value=30", "that: value=70", "to: value=10", "to: value=30"];
    for op in ["stateful_map", "stateful_flat_map"] {
        let step = format!("op = \"{op}\"; fn = \"p.mean\"; on_error = \"skip\"; ttl = \"1h\"");
        assert_eq!(bench.out(&steps(&[key, &step])), rows, "{op}");
    }
    let ends = ["be: value=-802", "or: value=-301", "that: value=-701", "to: value=-602"];
    for op in ["stateful", "stateful_batch"] {
        let out = bench.out(&steps(&[key, &format!("op = \"{op}\"; fn = \"p.mean\"; on_error = \"skip\"")]));
        let mut wanted = [&rows[..], &ends].concat();
        wanted.sort_unstable();
        assert_eq!(out, wanted, "{op}");
    }
}

#[test]
fn what_a_stateful_step_makes_of_a_row_is_known_to_be_of_that_row() {
    let flow = steps(&[
        "op = \"key_on\"; key = \"word\"",
        "name = \"mean\"; op = \"stateful\"; fn = \"p.mean\"; on_error = \"dead_letter\"",
        "name = \"bad\"; op = \"raises\"",
        "op = \"output\"; from = \"mean.errors\"; sink = { memory = \"errors\" }",
    ]);
    let error = in_order().stateful("mean", mean()).run(&flow, 1).error();
    assert!(error.starts_with("step \"bad\", 000:1: "), "{error}");
}

#[test]
fn a_stateful_step_needs_a_key_a_stateful_function_and_time_to_forget() {
    let bench = bench().stateful("mean", mean());
    let key = "op = \"key_on\"; key = \"word\"";
    for op in ["stateful", "stateful_batch", "stateful_map", "stateful_flat_map"] {
        let keyless = format!("step \"s0\": \"{op}\" works on keyed streams, and \"in\" has no key");
        assert_eq!(bench.problems(&steps(&[&format!("op = \"{op}\"; fn = \"p.mean\"")])), [keyless]);
        let problems = bench.problems(&steps(&[key, &format!("op = \"{op}\"; fn = \"p.sum\"; ttl = \"0s\"")]));
        let wanted = [
            "step \"s1\": with a \"ttl\" of nothing there is no state",
            "step \"s1\": function \"p.sum\" is a fold, wanted: stateful",
        ];
        assert_eq!(problems, wanted);
    }
}
