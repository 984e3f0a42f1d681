//! Steps that handle each row by itself.

use super::super::testing::{Bench, table};
use super::{bench, steps};

#[test]
fn map_makes_one_row_of_each() {
    let out = bench().out(&steps(&["op = \"map\"; fn = \"p.twice\""]));
    assert_eq!(out, ["n=10", "n=12", "n=14", "n=2", "n=4", "n=6", "n=8"]);
}

#[test]
fn a_map_that_extends_keeps_the_other_columns_and_leaves_failed_rows_out() {
    let out = bench().out(&steps(&["op = \"map\"; fn = \"p.add_length\"; on_error = \"skip\""]));
    let wanted = [
        "n=-1, word=to, length=2",
        "n=-2, word=be, length=2",
        "n=-4, word=not, length=3",
        "n=-5, word=to, length=2",
        "n=-6, word=be, length=2",
        "n=-7, word=that, length=4",
    ];
    assert_eq!(out, wanted);
}

#[test]
fn a_failed_row_stops_the_flow_unless_it_may_be_skipped() {
    let flow = steps(&["op = \"map\"; fn = \"p.add_length\"", "op = \"output\"; sink = { memory = \"out\" }"]);
    assert_eq!(bench().run(&flow, 1).error(), "step \"s0\", 001:1: three");
}

#[test]
fn keys_stay_beside_what_is_made_of_rows() {
    let key = "op = \"key_on\"; key = \"word\"";
    let flow = steps(&[key, "op = \"filter_map_value\"; fn = \"p.odd_words\""]);
    assert_eq!(bench().out(&flow), ["or: value=or", "that: value=that", "to: value=to", "to: value=to"]);
    let flow =
        steps(&[key, "op = \"filter_value\"; fn = \"p.is_even\"", "op = \"flat_map_value\"; fn = \"p.letters\""]);
    let wanted =
        ["be: value=b", "be: value=b", "be: value=e", "be: value=e", "not: value=n", "not: value=o", "not: value=t"];
    assert_eq!(bench().out(&flow), wanted);
    let flow = steps(&[key, "op = \"map_value\"; fn = \"p.twice\"", "op = \"filter\"; fn = \"p.is_even\""]);
    assert_eq!(bench().out(&flow)[..2], ["be: n=12", "be: n=4"]);
}

#[test]
fn value_steps_refuse_streams_without_a_key() {
    for op in ["map_value\"; fn = \"p.twice", "filter_value\"; fn = \"p.is_even", "flat_map_value\"; fn = \"p.letters"]
    {
        let problems = bench().problems(&steps(&[&format!("op = \"{op}\"")]));
        assert!(problems[0].contains("works on keyed streams, and \"in\" has no key"), "{problems:?}");
    }
}

#[test]
fn a_function_of_the_wrong_kind_is_refused() {
    let problems = bench().problems(&steps(&["op = \"filter\"; fn = \"p.twice\""]));
    assert_eq!(problems, ["step \"s0\": function \"p.twice\" is a map, wanted: filter"]);
}

#[test]
fn a_filter_map_drops_rows_and_a_flat_map_repeats_them() {
    let out = bench().out(&steps(&["op = \"filter_map\"; fn = \"p.odd_words\""]));
    assert_eq!(out, ["value=or", "value=that", "value=to", "value=to"]);
    let out =
        bench().out(&steps(&["op = \"filter\"; fn = \"p.is_even\"", "op = \"flat_map_batch\"; fn = \"p.letters\""]));
    assert_eq!(out, ["value=b", "value=b", "value=e", "value=e", "value=n", "value=o", "value=t"]);
}

#[test]
fn branch_sends_each_row_one_way() {
    let flow = steps(&[
        "name = \"kind\"; op = \"branch\"; fn = \"p.is_even\"",
        "op = \"output\"; from = \"kind.trues\"; sink = { memory = \"even\" }",
        "op = \"output\"; from = \"kind.falses\"; sink = { memory = \"odd\" }",
    ]);
    for workers in [1, 3] {
        let ran = bench().run(&flow, workers);
        assert_eq!(ran.sorted("even"), ["n=2, word=be", "n=4, word=not", "n=6, word=be"]);
        assert_eq!(ran.sorted("odd"), ["n=1, word=to", "n=3, word=or", "n=5, word=to", "n=7, word=that"]);
    }
}

#[test]
fn merge_brings_columns_together_by_name() {
    let flow = steps(&[
        "name = \"twice\"; op = \"map\"; fn = \"p.twice\"",
        "name = \"odd\"; op = \"filter_map\"; from = \"in\"; fn = \"p.odd_words\"",
        "op = \"merge\"; from = [\"odd\", \"twice\"]",
    ]);
    let out = bench().out(&flow);
    assert_eq!((out.len(), &*out[0], &*out[10]), (11, "value=null, n=10", "value=to, n=null"));
    let doubled = bench().out(&steps(&["op = \"merge\"; from = [\"in\", \"in\"]"]));
    assert_eq!(doubled.len(), 14);
}

#[test]
fn merge_refuses_what_does_not_go_together() {
    let merge = "op = \"merge\"; from = [\"in\", \"other\"]";
    for (other, wanted) in [
        (
            "name = \"other\"; op = \"select\"; cast = { n = \"string\" }",
            "step \"s1\": column \"n\" is int64 in \"in\" and string in \"other\"",
        ),
        ("name = \"other\"; op = \"key_on\"; key = \"n\"", "step \"s1\": \"other\" is keyed and \"in\" is not"),
    ] {
        assert_eq!(bench().problems(&steps(&[other, merge])), [wanted]);
    }
}

#[test]
fn keys_are_the_text_of_a_column_or_what_a_function_returns() {
    let out = bench().out(&steps(&["op = \"key_on\"; key = \"n\"", "op = \"select\"; columns = [\"word\"]"]));
    assert_eq!(out[..2], ["1: word=to", "2: word=be"]);
    let out = bench().out(&steps(&["op = \"key_on\"; fn = \"p.initial\"; on_error = \"skip\""]));
    assert_eq!(out, ["b: n=2, word=be", "b: n=6, word=be", "t: n=1, word=to", "t: n=5, word=to", "t: n=7, word=that"]);
}

#[test]
fn rows_without_a_key_are_dead_letters() {
    let rows = table("n: int64, word: string", &["1,a", "2,", "3,c"]);
    let flow = steps(&[
        "name = \"keys\"; op = \"key_on\"; key = \"word\"; on_error = \"dead_letter\"",
        "op = \"output\"; sink = { memory = \"out\" }",
        "op = \"output\"; from = \"keys.errors\"; sink = { memory = \"errors\" }",
    ]);
    let ran = Bench::default().source("in", [rows]).run(&flow, 1);
    assert_eq!(ran.rows("out"), ["a: n=1, word=a", "c: n=3, word=c"]);
    let letter = ran.rows("errors")[0];
    let wanted = "step=keys, kind=value, message=column \"word\", the key, is null, partition=000, position=2";
    assert!(letter.starts_with(wanted), "{letter}");
}

#[test]
fn a_key_needs_a_column_or_a_function_but_not_both() {
    for (arguments, wanted) in [
        ("", "missing \"key\" in step \"s0\""),
        ("; key = \"n\"; fn = \"p.initial\"", "step \"s0\": \"key\" and \"fn\" exclude each other"),
        ("; key = \"m\"", "step \"s0\": no column \"m\""),
    ] {
        assert_eq!(bench().problems(&steps(&[&format!("op = \"key_on\"{arguments}")])), [wanted]);
    }
}

#[test]
fn select_chooses_renames_and_casts() {
    for (arguments, wanted) in [
        ("columns = [\"word\"]", "word=be"),
        ("columns = { w = \"word\", n = { type = \"float64\" } }", "w=be, n=2.0"),
        ("columns = { text = { column = \"n\", type = \"string\" } }", "text=1"),
        ("drop = [\"n\"]", "word=be"),
        ("rename = { n = \"word\", word = \"n\" }", "word=1, n=to"),
        ("rename = { m = \"n\" }; cast = { m = \"string\" }; drop = [\"word\"]", "m=1"),
    ] {
        let out = bench().out(&steps(&[&format!("op = \"select\"; {arguments}")]));
        assert_eq!((out.len(), &*out[0]), (7, wanted), "{arguments}");
    }
}

#[test]
fn select_counts_instants_in_units_and_rounds_them_down() {
    let rows = table("at: timestamp", &["1970-01-01T00:00:01.500Z", "1969-12-31T23:59:59.999999Z", ""]);
    let bench = Bench::default().source("in", [rows]);
    let columns = ["s", "ms", "us"]
        .map(|unit| format!("{unit} = {{ column = \"at\", type = \"int64\", format = \"unix_{unit}\" }}"));
    let out = bench.out(&steps(&[&format!("op = \"select\"; columns = {{ {} }}", columns.join(", "))]));
    assert_eq!(out, ["s=-1, ms=-1, us=-1", "s=1, ms=1500, us=1500000", "s=null, ms=null, us=null"]);
    for (column, wanted) in [
        ("type = \"int64\", format = \"iso\"", "step \"s0\": column \"at\" cannot be written as \"iso\""),
        (
            "type = \"string\", format = \"unix_s\"",
            "step \"s0\": column \"at\": \"format\" goes with a cast from timestamp to int64",
        ),
    ] {
        let step = format!("op = \"select\"; columns = {{ at = {{ {column} }} }}");
        assert_eq!(bench.problems(&steps(&[&step])), [wanted]);
    }
}

#[test]
fn select_reports_all_that_is_wrong() {
    let arguments = "columns = [\"m\", \"n\", \"n\"]; drop = [\"x\"]; cast = { n = \"timestamp\", word = \"int\" }";
    let problems = bench().problems(&steps(&[&format!("op = \"select\"; {arguments}")]));
    let wanted = [
        "no column \"m\"",
        "no column \"x\"",
        "column \"n\" is int64, which cannot be cast to timestamp",
        "no column \"word\"",
        "unknown type \"int\"",
        "two columns are called \"n\"",
    ];
    assert_eq!(problems.len(), wanted.len(), "{problems:?}");
    for (problem, wanted) in problems.iter().zip(wanted) {
        assert!(problem.contains(wanted), "{problem}");
    }
}

#[test]
fn a_value_that_cannot_be_cast_is_a_failed_row() {
    let rows = table("a: string, b: string", &["1,x", "2,2", ",3"]);
    let bench = Bench::default().source("in", [rows]);
    let step = "op = \"select\"; cast = { a = \"int64\", b = \"int32\" }";
    let out = bench.out(&steps(&[&format!("{step}; on_error = \"skip\"")]));
    assert_eq!(out, ["a=2, b=2", "a=null, b=3"]);
    let flow = steps(&[step, "op = \"output\"; sink = { memory = \"out\" }"]);
    assert_eq!(bench.run(&flow, 1).error(), "step \"s0\", 000:1: column \"b\": \"x\" is no int32");
}

#[test]
fn flatten_makes_columns_of_structs_and_keeps_what_it_is_told() {
    let flow = |flatten: &str| {
        steps(&["op = \"key_on\"; key = \"word\"", "op = \"collect\"; max_size = 9; as = \"list\"", flatten])
    };
    assert_eq!(bench().out(&flow("op = \"flatten\"; column = \"items\""))[0], "be: n=2, word=be");
    let problems = bench().problems(&flow("op = \"flatten\"; column = \"word\""));
    assert_eq!(problems, ["step \"s2\": no column \"word\""]);
    let problems = bench().problems(&steps(&["op = \"flatten\""]));
    assert_eq!(problems, ["step \"s0\": 0 of its columns are lists, wanted one"]);
}

#[test]
fn keys_can_be_taken_away() {
    let out = bench().out(&steps(&["op = \"key_on\"; key = \"word\"", "op = \"key_rm\""]));
    assert_eq!(out[0], "n=1, word=to");
    let problems = bench().problems(&steps(&["op = \"key_rm\""]));
    assert_eq!(problems, ["step \"s0\": \"key_rm\" works on keyed streams, and \"in\" has no key"]);
}

#[test]
fn rows_spread_over_workers_are_all_there() {
    let out = bench().out(&steps(&["op = \"redistribute\"", "op = \"inspect_debug\"", "op = \"inspect\""]));
    assert_eq!(out, bench().out(&steps(&["op = \"merge\"; from = \"in\""])));
}

#[test]
fn a_row_that_may_not_come_stops_the_flow() {
    let flow =
        steps(&["name = \"kind\"; op = \"branch\"; fn = \"p.is_even\"", "op = \"raises\"; from = \"kind.trues\""]);
    let one = bench().source("in", [table("n: int64, word: string", &["1,to", "2,be"])]);
    let error = one.run(&flow, 1).error();
    assert_eq!(error, "step \"s1\", 000:2: no row may come here, and one did: {\"n\":2,\"word\":\"be\"}");
    let never = "op = \"filter\"; fn = \"p.never\"";
    let ran = bench().run(&steps(&[never, "op = \"raises\""]), 3);
    assert!(ran.report.is_ok());
}

#[test]
fn parse_reads_json_into_columns_or_into_one() {
    let rows = table("n: int64, value: string", &["1,{\"a\":1}", "2,{\"a\":\"x\"}", "3,nonsense", "4,[7]", "5,"]);
    let bench = Bench::default().source("in", [rows]);
    for (arguments, wanted) in [
        ("as = \"json\"; schema = { a = \"int64\" }", &["a=1"][..]),
        ("as = \"json\"; schema = { a = \"int64\", n = \"bool\" }; keep = true", &["n=null, value={\"a\":1}, a=1"]),
        (
            "as = \"json\"; into = \"j\"",
            &[
                "n=1, value={\"a\":1}, j={\"a\":1}",
                "n=2, value={\"a\":\"x\"}, j={\"a\":\"x\"}",
                "n=4, value=[7], j=[7]",
                "n=5, value=null, j=null",
            ],
        ),
    ] {
        let out = bench.out(&steps(&[&format!("op = \"parse\"; {arguments}; on_error = \"skip\"")]));
        assert_eq!(out, wanted, "{arguments}");
    }
    let flow = steps(&[
        "name = \"parse\"; op = \"parse\"; as = \"json\"; schema = { a = \"int64\" }; on_error = \"dead_letter\"",
        "op = \"output\"; sink = { memory = \"out\" }",
        "op = \"output\"; from = \"parse.errors\"; sink = { memory = \"errors\" }",
    ]);
    let ran = bench.run(&flow, 1);
    let letters = ran.rows("errors");
    assert_eq!(letters.len(), 4);
    assert!(letters[1].starts_with("step=parse, kind=parse, message=column \"value\": "), "{letters:?}");
    assert!(letters[1].ends_with("partition=000, position=3, row={\"n\":3,\"value\":\"nonsense\"}"), "{letters:?}");
}

#[test]
fn parse_reads_instants_days_and_numbers() {
    for (text, arguments, wanted) in [
        ("2023-01-01 12:00:00", "as = \"timestamp\"", "t=2023-01-01T12:00:00Z, n=7"),
        ("31/12/22", "as = \"timestamp\"; format = \"%d/%m/%y\"", "t=2022-12-31T00:00:00Z, n=7"),
        (
            "1672574400.5",
            "as = \"timestamp\"; format = \"unix_s\"; into = \"at\"",
            "t=1672574400.5, n=7, at=2023-01-01T12:00:00.500Z",
        ),
        ("", "as = \"timestamp\"", "t=null, n=7"),
        ("x", "column = \"n\"; as = \"timestamp\"; format = \"unix_ms\"", "t=x, n=1970-01-01T00:00:00.007Z"),
        ("2023-01-01", "as = \"date\"", "t=2023-01-01, n=7"),
        ("31/12/22", "as = \"date\"; format = \"%d/%m/%y\"", "t=2022-12-31, n=7"),
        ("12", "as = \"int32\"; into = \"n\"", "t=12, n=12"),
    ] {
        let bench = Bench::default().source("in", [table("t: string, n: int64", &[&format!("{text},7")])]);
        assert_eq!(bench.out(&steps(&[&format!("op = \"parse\"; {arguments}")])), [wanted], "{arguments}");
    }
}

#[test]
fn text_that_cannot_be_parsed_is_named() {
    for (arguments, wanted) in [
        ("as = \"timestamp\"", "expected a timestamp like 2022-01-02T03:04:05Z, found \"x\""),
        ("as = \"date\"", "expected a date like 2022-01-02, found \"x\""),
        ("as = \"int64\"", "\"x\" is no int64"),
    ] {
        let bench = Bench::default().source("in", [table("t: string, n: int64", &["12,1", "x,2"])]);
        let flow = steps(&[&format!("op = \"parse\"; {arguments}; on_error = \"skip\""), "op = \"inspect\""]);
        let figures = &bench.run(&flow, 1).report.unwrap().steps[1].1;
        assert_eq!((figures.errors, figures.rows_out), if arguments.contains("int") { (1, 1) } else { (2, 0) });
        let bench = Bench::default().source("in", [table("t: string", &["x"])]);
        let flow = steps(&[&format!("op = \"parse\"; {arguments}"), "op = \"inspect\""]);
        assert_eq!(bench.run(&flow, 1).error(), format!("step \"s0\", 000:1: column \"t\": {wanted}"));
    }
}

#[test]
fn parse_reports_what_does_not_go_together() {
    for (arguments, wanted) in [
        ("as = \"timestamp\"; column = \"n\"", "a column of type int64 cannot be read as timestamp"),
        ("as = \"int64\"; column = \"n\"", "a column of type int64 cannot be read as int64"),
        ("as = \"instant\"", "unknown type \"instant\""),
        ("as = \"timestamp\"; format = \"iso\"", "unknown timestamp format \"iso\""),
        ("as = \"int64\"; format = \"unix_s\"", "\"format\" goes with as = \"timestamp\" or \"date\""),
        ("as = \"int64\"; keep = true", "\"keep\" goes with a schema"),
        ("as = \"json\"; schema = { a = \"int\" }", "column \"a\": unknown type \"int\""),
        ("as = \"json\"; schema = {}", "the schema has no column"),
        ("as = \"json\"; column = \"m\"", "no column \"m\""),
    ] {
        let problems = bench().problems(&steps(&[&format!("op = \"parse\"; {arguments}")]));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(wanted), "{problems:?}");
    }
}

#[test]
fn looked_up_columns_stand_beside_the_row() {
    let flow = steps(&["op = \"enrich_cached\"; key = \"word\"; fn = \"p.length\"; ttl = \"1h\"; on_error = \"skip\""]);
    let out = bench().out(&flow);
    assert_eq!((out.len(), &*out[0]), (6, "n=1, word=to, length=2"));
}
