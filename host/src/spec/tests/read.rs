//! Tables read as Rust types, and what is said of wrong ones.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::{DurationText, Node, Size, Spanned, TimestampText, Value, fields_of, read, read_both, toml};
use crate::diag::Diagnostics;

#[derive(Debug, PartialEq, Deserialize)]
struct Args {
    column: Spanned<String>,
    every: Option<DurationText>,
    size: Option<Size>,
    small: Option<u8>,
    ratio: Option<f64>,
    clock: Option<Clock>,
    window: Option<Window>,
    start: Option<TimestampText>,
    by: Option<OneOrMany>,
    pair: Option<(i64, bool)>,
    raw: Option<Node>,
    json: Option<serde_json::Value>,
    map: Option<BTreeMap<String, i64>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Clock {
    System,
    Event(String),
    Scripted { at: DurationText, step: Option<i64> },
}

#[derive(Debug, PartialEq, Deserialize)]
struct Window {
    tumbling: DurationText,
    align_to: Option<TimestampText>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn read_text<T: DeserializeOwned>(text: &str) -> Result<T, Diagnostics> {
    let table = toml::parse(text).expect("the text is TOML");
    read(&table, 0..0, "step \"paid\"")
}

fn args(text: &str) -> Args {
    read_text(&format!("column = \"price\"\n{text}")).expect("the text has no problem")
}

fn check(text: &str, expect: &Expect) {
    let problems = read_text::<Args>(text).expect_err("the text has a problem");
    expect.assert_eq(&problems.render("flow.toml", text, false));
}

#[test]
fn values_are_read_by_the_types_of_the_fields() {
    let args = args(
        "every = \"1h30m\"\nsize = \"1KiB\"\nsmall = 0xff\nratio = 2\nstart = 2023-01-01 00:00Z\npair = [1, true]\n\
         by = [\"a\", \"b\"]\nclock = { event = \"time\" }\nmap = { b = 2, a = 1 }\nwindow.tumbling = \"5s\"",
    );
    assert_eq!(args.column, Spanned::new(9..16, "price".to_owned()));
    assert_eq!(args.every, DurationText::parse("90m").ok());
    assert_eq!(args.size, Some(Size(1024)));
    assert_eq!(args.small, Some(255));
    assert_eq!(args.ratio, Some(2.0));
    assert_eq!(args.start, Some(TimestampText(1_672_531_200_000_000)));
    assert_eq!(args.pair, Some((1, true)));
    assert_eq!(args.by, Some(OneOrMany::Many(vec!["a".into(), "b".into()])));
    assert_eq!(args.clock, Some(Clock::Event("time".into())));
    assert_eq!(args.map, Some(BTreeMap::from([("a".into(), 1), ("b".into(), 2)])));
    assert_eq!(args.window.map(|window| window.tumbling), DurationText::parse("5s").ok());
}

#[test]
fn an_enum_is_a_name_or_a_table_with_one_key() {
    assert_eq!(args("clock = \"system\"").clock, Some(Clock::System));
    let at = DurationText::parse("1s").expect("a duration");
    assert_eq!(args("clock.scripted = { at = \"1s\" }").clock, Some(Clock::Scripted { at, step: None }));
}

#[test]
fn a_raw_value_keeps_its_order_places_and_kinds() {
    let text = "column = \"\"\nraw = { z = 2023-01-01, a = [1, 2.5, false, \"s\"] }";
    let args = read_text::<Args>(text).expect("the text has no problem");
    let table = toml::parse(text).expect("the text is TOML");
    assert_eq!(args.raw.as_ref(), table.get("raw"));
    let raw = args.raw.expect("raw is there");
    assert_eq!(raw.to_json().to_string(), r#"{"a":[1,2.5,false,"s"],"z":"2023-01-01"}"#);
    let keys: Vec<_> = raw.as_table().expect("raw is a table").keys().collect();
    assert_eq!(keys, ["z", "a"]);
    assert_eq!(raw.as_table().and_then(|t| t.get("z")).map(|z| z.value.kind()), Some("a datetime"));
    assert!(matches!(raw.value, Value::Table(_)));
}

#[test]
fn fields_are_found_through_wrappers() {
    #[derive(Deserialize)]
    struct Wrapper(#[expect(dead_code, reason = "only its type is looked at")] Window);
    #[derive(Deserialize)]
    struct Flat {
        #[expect(dead_code, reason = "only its type is looked at")]
        #[serde(flatten)]
        window: Window,
    }
    let expect = Some(["tumbling", "align_to"].as_slice());
    assert_eq!(fields_of::<Window>(), expect);
    assert_eq!(fields_of::<Option<Box<Window>>>(), expect);
    assert_eq!(fields_of::<Spanned<Window>>(), expect);
    assert_eq!(fields_of::<Wrapper>(), expect);
    assert_eq!(fields_of::<Flat>(), None);
    assert_eq!(fields_of::<Clock>(), None);
    assert_eq!(fields_of::<Vec<Window>>(), None);
}

#[test]
fn every_unknown_key_is_reported_with_a_suggestion_or_the_keys() {
    check(
        "colum = \"a\"\nevrey = \"1s\"\nnonsense = 1\nsmall = 300",
        &expect![[r#"
        error[unknown-key]: unknown key "colum" in step "paid"
         --> flow.toml:1:1
          |
        1 | colum = "a"
          | ^^^^^
          |
          = help: did you mean "column"?

        error[unknown-key]: unknown key "evrey" in step "paid"
         --> flow.toml:2:1
          |
        2 | evrey = "1s"
          | ^^^^^
          |
          = help: did you mean "every"?

        error[unknown-key]: unknown key "nonsense" in step "paid"
         --> flow.toml:3:1
          |
        3 | nonsense = 1
          | ^^^^^^^^
          |
          = help: keys are: column, every, size, small, ratio, clock, window, start, by, pair, raw, json, map

        error[wrong-type]: "small" of step "paid": expected an integer from 0 to 255, found an integer 300
         --> flow.toml:4:9
          |
        4 | small = 300
          |         ^^^
    "#]],
    );
}

#[test]
fn a_missing_key_is_reported_at_the_table() {
    check(
        "every = \"1s\"",
        &expect![[r#"
        error[missing-key]: missing key "column" in step "paid"
         --> flow.toml:1:1
          |
        1 | every = "1s"
          | ^
          |
          = help: keys are: column, every, size, small, ratio, clock, window, start, by, pair, raw, json, map
    "#]],
    );
    check(
        "column = \"a\"\nwindow = { align_to = 2023-01-01T00:00:00Z }",
        &expect![[r#"
        error[missing-key]: missing key "tumbling" in "window" of step "paid"
         --> flow.toml:2:10
          |
        2 | window = { align_to = 2023-01-01T00:00:00Z }
          |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: keys are: tumbling, align_to
    "#]],
    );
}

#[test]
fn a_wrong_value_is_reported_where_it_stands() {
    check(
        "column = 1",
        &expect![[r#"
        error[wrong-type]: "column" of step "paid": expected a string, found an integer 1
         --> flow.toml:1:10
          |
        1 | column = 1
          |          ^
    "#]],
    );
    check(
        "column = \"a\"\nsmall = 256",
        &expect![[r#"
        error[wrong-type]: "small" of step "paid": expected an integer from 0 to 255, found an integer 256
         --> flow.toml:2:9
          |
        2 | small = 256
          |         ^^^
    "#]],
    );
    check(
        "column = \"a\"\nsmall = \"x\"",
        &expect![[r#"
        error[wrong-type]: "small" of step "paid": expected an integer, found a string "x"
         --> flow.toml:2:9
          |
        2 | small = "x"
          |         ^^^
    "#]],
    );
    check(
        "column = \"a\"\nevery = 10",
        &expect![[r#"
        error[wrong-type]: "every" of step "paid": expected a duration such as "10s", "500ms" or "1h30m", found an integer 10
         --> flow.toml:2:9
          |
        2 | every = 10
          |         ^^
    "#]],
    );
    check(
        "column = \"a\"\nevery = \"10 min\"",
        &expect![[r#"
        error[wrong-type]: "every" of step "paid": expected a duration such as "10s", "500ms" or "1h30m", found "10 min": units are d, h, m, s, ms, us
         --> flow.toml:2:9
          |
        2 | every = "10 min"
          |         ^^^^^^^^
    "#]],
    );
    check(
        "column = \"a\"\nstart = 2023-01-01",
        &expect![[r#"
        error[wrong-type]: "start" of step "paid": expected a timestamp such as 2023-01-01T00:00:00Z, with date, time and offset, found "2023-01-01"
         --> flow.toml:2:9
          |
        2 | start = 2023-01-01
          |         ^^^^^^^^^^
    "#]],
    );
    check(
        "column = \"a\"\nby = 3",
        &expect![[r#"
        error[wrong-type]: "by" of step "paid": the value has none of the forms that are possible here
         --> flow.toml:2:6
          |
        2 | by = 3
          |      ^
    "#]],
    );
    check(
        "column = \"a\"\npair = [1, 2]",
        &expect![[r#"
        error[wrong-type]: "pair.1" of step "paid": expected true or false, found an integer 2
         --> flow.toml:2:12
          |
        2 | pair = [1, 2]
          |            ^
    "#]],
    );
    check(
        "column = \"a\"\npair = [1]",
        &expect![[r#"
        error[wrong-type]: "pair" of step "paid": expected an array of 2 values, found one of 1
         --> flow.toml:2:8
          |
        2 | pair = [1]
          |        ^^^
    "#]],
    );
    check(
        "column = \"a\"\nmap = { a = 1, b = \"2\" }",
        &expect![[r#"
        error[wrong-type]: "map.b" of step "paid": expected an integer, found a string "2"
         --> flow.toml:2:20
          |
        2 | map = { a = 1, b = "2" }
          |                    ^^^
    "#]],
    );
}

#[test]
fn keys_and_names_are_checked_at_any_depth() {
    check(
        "column = \"a\"\nwindow = { tumbling = \"1s\", alignto = 1 }",
        &expect![[r#"
        error[unknown-key]: unknown key "alignto" in "window" of step "paid"
         --> flow.toml:2:29
          |
        2 | window = { tumbling = "1s", alignto = 1 }
          |                             ^^^^^^^
          |
          = help: did you mean "align_to"?
    "#]],
    );
    check(
        "column = \"a\"\nwindow = \"5s\"",
        &expect![[r#"
        error[wrong-type]: "window" of step "paid": expected a table, found a string "5s"
         --> flow.toml:2:10
          |
        2 | window = "5s"
          |          ^^^^
          |
          = help: keys are: tumbling, align_to
    "#]],
    );
    check(
        "column = \"a\"\nclock = \"sytem\"",
        &expect![[r#"
        error[wrong-type]: "clock" of step "paid": expected "system", "event" or "scripted", found "sytem"
         --> flow.toml:2:9
          |
        2 | clock = "sytem"
          |         ^^^^^^^
          |
          = help: did you mean "system"?
    "#]],
    );
    check(
        "column = \"a\"\nclock = \"event\"",
        &expect![[r#"
        error[wrong-type]: "clock" of step "paid": "event" needs a value: { event = … }
         --> flow.toml:2:9
          |
        2 | clock = "event"
          |         ^^^^^^^
    "#]],
    );
    check(
        "column = \"a\"\nclock = { system = 1 }",
        &expect![[r#"
        error[wrong-type]: "clock" of step "paid": "system" takes no value, write the name alone
         --> flow.toml:2:20
          |
        2 | clock = { system = 1 }
          |                    ^
    "#]],
    );
    check(
        "column = \"a\"\nclock = { event = \"a\", wait = \"10s\" }",
        &expect![[r#"
        error[wrong-type]: "clock" of step "paid": expected one key, "system", "event" or "scripted", found "event", "wait"
         --> flow.toml:2:9
          |
        2 | clock = { event = "a", wait = "10s" }
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#]],
    );
    check(
        "column = \"a\"\nclock = { scripted = { at = \"soon\" } }",
        &expect![[r#"
        error[wrong-type]: "clock.scripted.at" of step "paid": expected a duration such as "10s", "500ms" or "1h30m", found "soon": a number is missing
         --> flow.toml:2:29
          |
        2 | clock = { scripted = { at = "soon" } }
          |                             ^^^^^^
    "#]],
    );
    check(
        "column = \"a\"\nclock = 5",
        &expect![[r#"
        error[wrong-type]: "clock" of step "paid": expected "system", "event" or "scripted", found an integer 5
         --> flow.toml:2:9
          |
        2 | clock = 5
          |         ^
    "#]],
    );
}

#[test]
fn every_wrong_value_is_reported_and_no_key_that_it_seems_to_miss() {
    check(
        "column = 1\nevery = 2\nclock = 3\nsmall = 4",
        &expect![[r#"
        error[wrong-type]: "column" of step "paid": expected a string, found an integer 1
         --> flow.toml:1:10
          |
        1 | column = 1
          |          ^

        error[wrong-type]: "every" of step "paid": expected a duration such as "10s", "500ms" or "1h30m", found an integer 2
         --> flow.toml:2:9
          |
        2 | every = 2
          |         ^

        error[wrong-type]: "clock" of step "paid": expected "system", "event" or "scripted", found an integer 3
         --> flow.toml:3:9
          |
        3 | clock = 3
          |         ^
    "#]],
    );
}

#[derive(Debug, Deserialize)]
struct Own {
    by: String,
    emit: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Shared {
    late: Option<bool>,
    emit: Option<String>,
}

fn both(text: &str) -> Result<(Own, Shared), Vec<String>> {
    let table = toml::parse(text).unwrap();
    read_both(&table, 0..0, "step \"a\"").map_err(|problems| problems.iter().map(|it| it.message.clone()).collect())
}

#[test]
fn a_table_is_read_as_two_structs() {
    let (own, shared) = both("by = \"x\"\nemit = \"y\"\nlate = true").unwrap();
    assert_eq!((own.by.as_str(), own.emit.as_deref()), ("x", Some("y")));
    assert_eq!((shared.late, shared.emit.as_deref()), (Some(true), Some("y")));
    let problems = both("lat = 1\nlate = 2\nbuy = 3").unwrap_err();
    let wanted = [
        "unknown key \"lat\" in step \"a\"",
        "unknown key \"buy\" in step \"a\"",
        "\"late\" of step \"a\": expected true or false, found an integer 2",
    ];
    assert_eq!(problems, wanted);
    assert_eq!(both("late = true").unwrap_err(), ["missing key \"by\" in step \"a\""]);
}
