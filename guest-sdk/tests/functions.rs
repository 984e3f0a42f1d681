//! Stateless functions, from the attribute to the columns.

use std::borrow::Cow;

use serde_json::json;
use wxhost_guest::prelude::*;
use wxhost_guest::testing;

#[derive(Row)]
struct Event<'a> {
    event_timestamp: &'a str,
}

#[derive(Row)]
struct Day {
    year: i32,
    month: u32,
    day: u32,
}

/// Adds the columns that partition the Parquet files.
#[map(extend)]
fn add_date_columns(event: Event<'_>) -> Result<Day> {
    let at: Timestamp = event.event_timestamp.parse()?;
    Ok(Day { year: at.year(), month: at.month(), day: at.day() })
}

#[map]
fn lower(line: &str) -> Cow<'_, str> {
    line.to_lowercase().into()
}

#[flat_map]
fn tokenize(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

#[flat_map]
fn numbers(line: &str) -> Result<impl Iterator<Item = i64>> {
    let numbers: Vec<i64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    Ok(numbers.into_iter())
}

#[derive(Config)]
struct Limit {
    /// The least value that is kept.
    #[serde(default)]
    least: i64,
    #[expect(dead_code, reason = "only its key matters")]
    note: Option<String>,
}

#[derive(Row)]
struct Numbered {
    n: i64,
}

#[filter]
fn at_least(row: &Numbered, limit: &Limit) -> bool {
    row.n >= limit.least
}

#[filter_map]
fn half(n: i64) -> Result<Option<i64>> {
    if n < 0 {
        return Err(Error::user(format!("{n} is negative")));
    }
    Ok((n % 2 == 0).then_some(n / 2))
}

#[key_on]
fn page(event: Event<'_>) -> &str {
    &event.event_timestamp[..10]
}

#[key_on]
fn number(n: i64) -> i64 {
    n
}

#[derive(Row, Debug, PartialEq, Clone)]
struct Point {
    x: f64,
    y: Option<f64>,
}

#[derive(Row, Debug, PartialEq, Clone)]
struct Everything {
    flag: bool,
    small: i32,
    big: i64,
    count: u32,
    total: u64,
    ratio: f32,
    value: f64,
    text: String,
    bytes: Vec<u8>,
    at: Timestamp,
    date: Date,
    #[row(rename = "type")]
    kind: Option<String>,
    data: Json<serde_json::Value>,
    point: Point,
    nearest: Option<Point>,
    tags: Vec<Option<String>>,
    path: Vec<Point>,
}

#[map]
fn same(row: Everything) -> Everything {
    row
}

#[map]
fn down(_: i64) -> Result<i64> {
    Err(Error::external("the server is down"))
}

mod inner {
    use super::*;

    #[map]
    pub fn double(n: i64) -> i64 {
        2 * n
    }
}

plugin!(add_date_columns, lower, tokenize, numbers, at_least, half, page, number, same, down, inner::double as twice);

fn everything(nulls: bool) -> Everything {
    let point = Point { x: 1.5, y: (!nulls).then_some(2.5) };
    Everything {
        flag: nulls,
        small: -1,
        big: i64::MIN,
        count: u32::MAX,
        total: u64::MAX,
        ratio: 0.5,
        value: f64::MAX,
        text: "Käse".into(),
        bytes: vec![0, 255],
        at: Timestamp::from_micros(-1),
        date: Date::from_days(19_000),
        kind: (!nulls).then(|| "a".into()),
        data: Json(json!({"a": [1, null]})),
        point: point.clone(),
        nearest: (!nulls).then(|| point.clone()),
        tags: vec![None, Some("t".into())],
        path: if nulls { vec![] } else { vec![point; 3] },
    }
}

#[test]
fn a_map_that_extends_keeps_the_other_columns() {
    let output = testing::transform::<add_date_columns>()
        .run(testing::json(r#"{"id": 7, "event_timestamp": "2022-01-02 03:04:05.000006"}"#));
    assert_eq!(
        output.json_lines(),
        r#"{"day":2,"event_timestamp":"2022-01-02 03:04:05.000006","id":7,"month":1,"year":2022}"#
    );
    assert_eq!(output.columns, "year: int32, month: uint32, day: uint32");
}

#[test]
fn a_row_that_fails_costs_no_other_row() {
    let output = testing::transform::<add_date_columns>().run([
        Event { event_timestamp: "2022-01-02" },
        Event { event_timestamp: "yesterday" },
        Event { event_timestamp: "2022-03-04" },
    ]);
    assert_eq!(output.parents, [0, 2]);
    assert_eq!(output.errors, [(1, r#""yesterday" is no timestamp, which look like 2024-01-31T12:00:00Z"#.to_owned())]);
}

#[test]
fn a_plain_value_takes_the_only_column_whatever_its_name() {
    assert_eq!(testing::transform::<lower>().run(["To BE"]).texts(), ["to be"]);
    assert_eq!(testing::transform::<lower>().run(testing::json(r#"{"word": "A"}"#)).texts(), ["a"]);
}

#[test]
fn a_plain_value_among_several_columns_takes_the_one_of_its_name() {
    let rows = testing::json(r#"{"line": "A", "n": 1}"#);
    assert_eq!(testing::transform::<lower>().run(rows).texts(), ["a"]);
    let error = testing::transform::<lower>().try_run(testing::json(r#"{"text": "A", "n": 1}"#)).unwrap_err();
    assert_eq!(
        error.message(),
        "the parameter \"line\" is one value (string), and no column has its name; name it like the column that it \
         should read, or take a struct that derives Row; columns: n: int64, text: string"
    );
}

#[test]
fn flat_maps_name_the_parent_of_each_row() {
    let output = testing::transform::<tokenize>().run(["to be", "", "or not"]);
    assert_eq!(
        (output.texts(), output.parents),
        (["to", "be", "or", "not"].map(String::from).into(), vec![0, 0, 2, 2])
    );
}

#[test]
fn a_fallible_flat_map_fails_for_a_row() {
    let output = testing::transform::<numbers>().run(["1 2", "3 x", "4"]);
    assert_eq!(output.values(), [json!(1), json!(2), json!(4)]);
    assert_eq!(output.errors, [(1, "invalid digit found in string".to_owned())]);
}

#[test]
fn a_filter_reads_its_configuration() {
    let rows = || testing::json(r#"{"n": -1} {"n": 2} {"n": 9}"#);
    let at_least = testing::transform::<at_least>;
    assert_eq!(at_least().run(rows()).parents, [1, 2]);
    assert_eq!(at_least().config(json!({"least": 3})).run(rows()).parents, [2]);
    let error = at_least().config(json!({"most": 3})).try_run(rows()).unwrap_err();
    assert_eq!(error.message(), "config: unknown field `most`, expected `least` or `note` at line 1 column 7");
}

#[test]
fn a_function_without_configuration_takes_none() {
    let error = testing::transform::<lower>().config(json!({"a": 1})).try_run(["x"]).unwrap_err();
    assert_eq!(error.message(), "config: unknown field `a`, there are no fields at line 1 column 4");
}

#[test]
fn a_filter_map_may_return_nothing_or_fail() {
    let output = testing::transform::<half>().run([4_i64, 3, -1, 0]);
    assert_eq!((output.values(), output.parents), (vec![json!(2), json!(0)], vec![0, 3]));
    assert_eq!(output.errors, [(2, "-1 is negative".to_owned())]);
}

#[test]
fn keys_are_text() {
    let output = testing::transform::<page>().run([Event { event_timestamp: "2022-01-02T00:00:00Z" }]);
    assert_eq!((output.texts(), output.columns), (vec!["2022-01-02".to_owned()], "key: string".to_owned()));
    assert_eq!(testing::transform::<number>().run([12_i64]).texts(), ["12"]);
}

#[test]
fn all_types_come_back_as_they_went() {
    let output = testing::transform::<same>().run([everything(false), everything(true)]);
    assert_eq!(output.errors, []);
    assert_eq!(
        output.columns,
        "flag: bool, small: int32, big: int64, count: uint32, total: uint64, ratio: float32, value: float64, \
         text: string, bytes: binary, at: timestamp, date: date, type: string, data: json, \
         point: struct<x: float64, y: float64>, nearest: struct<x: float64, y: float64>, tags: list<string>, \
         path: list<struct<x: float64, y: float64>>"
    );
    let again: Vec<_> = testing::transform::<same>().run(vec![everything(false), everything(true)]).rows;
    assert_eq!(output.rows, again);
    assert_eq!(output.rows[0]["nearest"], json!({"x": 1.5, "y": 2.5}));
    assert_eq!(output.rows[1]["nearest"], json!(null));
    assert_eq!(output.rows[1]["point"], json!({"x": 1.5, "y": null}));
    assert_eq!(output.rows[0]["path"].as_array().map(Vec::len), Some(3));
    assert_eq!(output.rows[1]["tags"], json!([null, "t"]));
    assert_eq!(output.rows[0]["at"], json!("1969-12-31T23:59:59.999999Z"));
    assert_eq!(output.rows[1]["data"], json!({"a": [1, null]}));
}

#[test]
fn a_null_where_no_option_is_fails_for_the_row_and_names_the_column() {
    let output = testing::transform::<add_date_columns>()
        .run(testing::json(r#"{"event_timestamp": null} {"event_timestamp": "2022-01-02"}"#));
    assert_eq!(output.errors, [(0, "column \"event_timestamp\" is null, and the field is no Option".to_owned())]);
    assert_eq!(output.parents, [1]);
    let output = testing::transform::<half>().run(testing::json(r#"{"count": null} {"count": 2}"#));
    assert_eq!(output.errors, [(0, "column \"count\" is null, and the field is no Option".to_owned())]);
}

#[test]
fn columns_that_do_not_fit_are_refused_at_open() {
    let open = |rows| testing::transform::<add_date_columns>().try_run(rows).unwrap_err().message().to_owned();
    assert_eq!(
        open(testing::json(r#"{"event_timestamp": 1, "id": "a"}"#)),
        "column \"event_timestamp\" is int64, wanted string; columns: event_timestamp: int64, id: string"
    );
    assert_eq!(
        open(testing::json(r#"{"time": "x"}"#)),
        "no column \"event_timestamp\" (string); columns: time: string"
    );
}

#[test]
fn integers_widen_and_do_not_narrow() {
    let narrow = testing::json_as(r#"{"n": 4}"#, &[("n", "int32")]);
    assert_eq!(testing::transform::<half>().run(narrow).values(), [json!(2)]);
    let unsigned = testing::json_as(r#"{"n": 4}"#, &[("n", "uint64")]);
    assert!(testing::transform::<half>().try_run(unsigned).is_err());
}

#[test]
fn an_error_of_the_outside_fails_the_call() {
    let error = testing::transform::<down>().try_run([1_i64]).unwrap_err();
    assert_eq!(error, Error::external("the server is down"));
}

#[test]
fn json_columns_are_read_as_text_too() {
    let rows = testing::json_as(r#"{"line": ["A"]}"#, &[("line", "json")]);
    assert_eq!(testing::transform::<lower>().run(rows).texts(), [r#"["a"]"#]);
}

#[test]
fn the_table_tells_what_each_function_is() {
    let functions = testing::functions::<WxhostPlugin>();
    let described: Vec<_> = functions.iter().map(|f| format!("{} {} {:?}", f.kind, f.name, f.doc)).collect();
    assert_eq!(
        described,
        [
            "map add_date_columns \"Adds the columns that partition the Parquet files.\"",
            "map lower \"\"",
            "flat_map tokenize \"\"",
            "flat_map numbers \"\"",
            "filter at_least \"\"",
            "filter_map half \"\"",
            "key_on page \"\"",
            "key_on number \"\"",
            "map same \"\"",
            "map down \"\"",
            "map twice \"\"",
        ]
    );
    assert_eq!(functions[0].config_schema, "");
    assert_eq!(
        functions[4].config_schema,
        r#"{"additionalProperties":false,"properties":{"least":{"description":"The least value that is kept.","type":"integer"},"note":{"type":"string"}},"type":"object"}"#
    );
}
