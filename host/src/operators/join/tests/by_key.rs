//! `join`.

use super::super::super::testing::{Bench, Input, check_crashes, emitted, keyed, show, table};
use super::super::by_key::JoinByKey;
use super::super::joiner::{EmitMode, Incomplete, Modes};
use super::super::sides::{Shape, Sides};
use super::super::state::Insert;
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::schema::describe;
use crate::data::time::Instant;
use crate::dataflow::keyed::Keyed;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 3] = ["x", "y", "z"];
const INSERTS: [Insert; 3] = [Insert::First, Insert::Last, Insert::Product];
const EMITS: [EmitMode; 3] = [EmitMode::Complete, EmitMode::Final, EmitMode::Running];

/// A row: its side, its key, its value.
type Row = (usize, char, Option<i64>);

fn sides(count: usize) -> Sides {
    let schema = table("value: int64", &[]).schema();
    Sides::new("key".into(), NAMES[..count].iter().map(|&name| (name.to_owned(), schema.clone())), Shape::Sides)
}

fn join(count: usize, modes: Modes, ttl: Option<u64>) -> JoinByKey {
    JoinByKey::new(modes, sides(count).layout(), ttl.map(Duration::from_micros))
}

fn modes(insert: Insert, emit: EmitMode) -> Modes {
    Modes { insert, emit, incomplete: Incomplete::Null }
}

fn batch(rows: &[Row]) -> Batch {
    let keys: StringArray = rows.iter().map(|(_, key, _)| Some(key.to_string())).collect();
    let values: ArrayRef = Arc::new(rows.iter().map(|(.., value)| *value).collect::<Int64Array>());
    let rows = RecordBatch::try_new(table("value: int64", &[]).schema(), vec![values]).unwrap();
    Batch::keyed(rows, Keys::new(keys))
}

fn take(join: &mut JoinByKey, rows: &[Row], now: i64) -> Vec<String> {
    emitted(|out| join.on_batch(rows[0].0, batch(rows), Instant(now), out)).iter().flat_map(show).collect()
}

fn end(join: &mut JoinByKey) -> Vec<String> {
    emitted(|out| join.on_eof(Instant(0), out)).iter().flat_map(show).collect()
}

/// What a join of `count` sides gives, row by row and then at the end.
fn expected(count: usize, modes: Modes, rows: &[Row]) -> (Vec<String>, Vec<String>) {
    let mut keys: BTreeMap<char, Vec<Vec<Option<i64>>>> = BTreeMap::new();
    let (mut out, mut last) = (Vec::new(), Vec::new());
    for &(side, key, value) in rows {
        let kept = keys.entry(key).or_insert_with(|| vec![Vec::new(); count]);
        match modes.insert {
            Insert::First if !kept[side].is_empty() => {}
            Insert::First | Insert::Product => kept[side].push(value),
            Insert::Last => kept[side] = vec![value],
        }
        let is_complete = kept.iter().all(|rows| !rows.is_empty());
        match modes.emit {
            EmitMode::Running => product(key, kept, modes.incomplete, &mut out),
            EmitMode::Complete if is_complete => {
                product(key, kept, modes.incomplete, &mut out);
                keys.remove(&key);
            }
            _ => {}
        }
    }
    if modes.emit == EmitMode::Final {
        keys.iter().for_each(|(&key, kept)| product(key, kept, modes.incomplete, &mut last));
    }
    (out, last)
}

fn product(key: char, kept: &[Vec<Option<i64>>], incomplete: Incomplete, out: &mut Vec<String>) {
    if incomplete == Incomplete::Drop && kept.iter().any(Vec::is_empty) {
        return;
    }
    let mut made = vec![String::new()];
    for (name, rows) in NAMES.iter().zip(kept) {
        let rows = if rows.is_empty() { &[None][..] } else { rows };
        let cell = |row: &Option<i64>| format!("{name}={}", row.map_or("null".to_owned(), |n| n.to_string()));
        made = made
            .iter()
            .flat_map(|made| {
                rows.iter().map(move |row| format!("{made}{}{}", if made.is_empty() { "" } else { ", " }, cell(row)))
            })
            .collect();
    }
    out.extend(made.iter().map(|row| format!("{key}: {row}")));
}

#[test]
fn each_mode_gives_what_it_says() {
    let rows =
        [(0, 'a', Some(1)), (1, 'a', Some(2)), (0, 'a', Some(3)), (1, 'b', None), (0, 'a', Some(4)), (1, 'a', Some(5))];
    let cases: [(Insert, EmitMode, &[&str], &[&str]); 9] = [
        (Insert::Last, EmitMode::Complete, &["a: x=1, y=2", "a: x=4, y=5"], &[]),
        (Insert::First, EmitMode::Complete, &["a: x=1, y=2", "a: x=3, y=5"], &[]),
        (Insert::Product, EmitMode::Complete, &["a: x=1, y=2", "a: x=3, y=5", "a: x=4, y=5"], &[]),
        (Insert::Last, EmitMode::Final, &[], &["a: x=4, y=5", "b: x=null, y=null"]),
        (Insert::First, EmitMode::Final, &[], &["a: x=1, y=2", "b: x=null, y=null"]),
        (
            Insert::Product,
            EmitMode::Final,
            &[],
            &[
                "a: x=1, y=2",
                "a: x=1, y=5",
                "a: x=3, y=2",
                "a: x=3, y=5",
                "a: x=4, y=2",
                "a: x=4, y=5",
                "b: x=null, y=null",
            ],
        ),
        (
            Insert::Last,
            EmitMode::Running,
            &["a: x=1, y=null", "a: x=1, y=2", "a: x=3, y=2", "b: x=null, y=null", "a: x=4, y=2", "a: x=4, y=5"],
            &[],
        ),
        (
            Insert::First,
            EmitMode::Running,
            &["a: x=1, y=null", "a: x=1, y=2", "a: x=1, y=2", "b: x=null, y=null", "a: x=1, y=2", "a: x=1, y=2"],
            &[],
        ),
        (
            Insert::Product,
            EmitMode::Running,
            &[
                "a: x=1, y=null",
                "a: x=1, y=2",
                "a: x=1, y=2",
                "a: x=3, y=2",
                "b: x=null, y=null",
                "a: x=1, y=2",
                "a: x=3, y=2",
                "a: x=4, y=2",
                "a: x=1, y=2",
                "a: x=1, y=5",
                "a: x=3, y=2",
                "a: x=3, y=5",
                "a: x=4, y=2",
                "a: x=4, y=5",
            ],
            &[],
        ),
    ];
    for (insert, emit, wanted, last) in cases {
        let mut join = join(2, modes(insert, emit), None);
        let out: Vec<String> = rows.iter().flat_map(|&row| take(&mut join, &[row], 0)).collect();
        assert_eq!(out, wanted, "{insert:?} {emit:?}");
        assert_eq!(end(&mut join), last, "{insert:?} {emit:?}");
    }
}

#[test]
fn rows_that_lack_a_side_can_be_left_out() {
    let rows = [(0, 'a', Some(1)), (1, 'a', None), (0, 'b', Some(3))];
    for (emit, wanted) in [(EmitMode::Final, vec!["a: x=1, y=null"]), (EmitMode::Running, vec!["a: x=1, y=null"])] {
        let mut join = join(2, Modes { insert: Insert::Last, emit, incomplete: Incomplete::Drop }, None);
        let mut out: Vec<String> = rows.iter().flat_map(|&row| take(&mut join, &[row], 0)).collect();
        out.extend(end(&mut join));
        assert_eq!(out, wanted, "{emit:?}");
    }
}

#[test]
fn a_large_product_comes_out_in_pieces() {
    let mut join = join(2, modes(Insert::Product, EmitMode::Final), None);
    for side in 0..2 {
        let rows: Vec<Row> = (0..200).map(|n| (side, 'a', Some(n))).collect();
        assert_eq!(take(&mut join, &rows, 0), [""; 0]);
    }
    let batches = emitted(|out| join.on_eof(Instant(0), out));
    assert_eq!(batches.iter().map(Batch::num_rows).collect::<Vec<_>>(), [8192, 8192, 8192, 8192, 7232]);
    let last = show(&batches[4]).pop();
    assert_eq!(last.as_deref(), Some("a: x=199, y=199"));
}

#[test]
fn a_key_is_forgotten_when_nothing_more_comes_of_it_for_a_while() {
    for emit in [EmitMode::Complete, EmitMode::Running] {
        let mut join = join(2, Modes { insert: Insert::Last, emit, incomplete: Incomplete::Null }, Some(10));
        let wanted = |rows: &[&str]| if emit == EmitMode::Running { rows.join("; ") } else { String::new() };
        assert_eq!(
            take(&mut join, &[(0, 'a', Some(1)), (0, 'b', Some(2))], 0).join("; "),
            wanted(&["a: x=1, y=null", "b: x=2, y=null"])
        );
        assert_eq!(take(&mut join, &[(0, 'b', Some(3))], 5).join("; "), wanted(&["b: x=3, y=null"]));
        assert_eq!(join.wake_at(), Some(Instant(10)));
        emitted(|out| join.on_wake(Instant(10), out));
        assert_eq!(join.wake_at(), Some(Instant(15)));
        assert_eq!(take(&mut join, &[(1, 'b', Some(4)), (1, 'a', Some(5))], 14)[0], "b: x=3, y=4");
        // Also where nobody has woken it.
        assert_eq!(take(&mut join, &[(0, 'b', Some(6))], 24).join("; "), wanted(&["b: x=6, y=null"]));
    }
}

#[test]
fn sides_become_columns_or_structs() {
    let schema = |columns: &str| table(columns, &[]).schema();
    let users = ("user".to_owned(), schema("id: string, name: string, age: int64"));
    let scores = ("score".to_owned(), schema("id: string, points: int64"));
    let plain = ("plain".to_owned(), schema("value: json"));
    for (shape, sides, wanted) in [
        (
            Shape::Sides,
            vec![users.clone(), plain.clone()],
            "user: struct<id: string, name: string, age: int64>, plain: json",
        ),
        (Shape::Columns, vec![users, scores, plain], "name: string, age: int64, points: int64, value: json"),
    ] {
        assert_eq!(describe(&Sides::new("id".into(), sides, shape).schema()), wanted);
    }
}

proptest! {
    #[test]
    fn a_join_is_the_same_however_its_input_is_cut(
        rows in prop::collection::vec((0..3_usize, prop::char::range('a', 'c'), prop::option::of(0..9_i64)), 0..60),
        cuts in prop::collection::vec(any::<bool>(), 60),
        count in 1..4_usize,
        insert in prop::sample::select(&INSERTS[..]),
        emit in prop::sample::select(&EMITS[..]),
        drops in any::<bool>(),
    ) {
        let incomplete = if drops && emit != EmitMode::Complete { Incomplete::Drop } else { Incomplete::Null };
        let modes = Modes { insert, emit, incomplete };
        let rows: Vec<Row> = rows.into_iter().map(|(side, key, value)| (side % count, key, value)).collect();
        let mut join = join(count, modes, None);
        let (mut out, mut start) = (Vec::new(), 0);
        for at in 1..=rows.len() {
            if at == rows.len() || cuts[at] || rows[at].0 != rows[start].0 {
                out.extend(take(&mut join, &rows[start..at], 0));
                start = at;
            }
        }
        let (wanted, last) = expected(count, modes, &rows);
        prop_assert_eq!(out, wanted);
        prop_assert_eq!(end(&mut join), last);
    }
}

/// A flow that joins users and scores by `arguments`.
fn flow(arguments: &str) -> String {
    format!(
        "[[step]]\nname = \"users\"\nop = \"key_on\"\nkey = \"id\"\n\
        [[step]]\nname = \"more\"\nop = \"input\"\nsource = {{ memory = \"scores\" }}\n\
        [[step]]\nname = \"scores\"\nop = \"key_on\"\nkey = \"user\"\n\
        [[step]]\nname = \"j\"\nop = \"join\"\n{arguments}\n"
    )
}

fn bench() -> Bench {
    let users = [table("id: string, name: string", &["1,ann", "2,bob"]), table("id: string, name: string", &["3,cy"])];
    let scores = [
        table("user: string, points: int64", &["3,30", "1,10", "1,11"]),
        table("user: string, points: int64", &["4,40"]),
    ];
    Bench::default().source("in", users).source("scores", scores)
}

#[test]
fn streams_are_joined_by_keys_of_different_names() {
    let flow = flow("from = [\"users\", \"scores\"]\nemit = \"final\"\nas = \"columns\"");
    let wanted = [
        "1: name=ann, user=1, points=11",
        "2: name=bob, user=null, points=null",
        "3: name=cy, user=3, points=30",
        "4: name=null, user=4, points=40",
    ];
    assert_eq!(bench().out(&flow), wanted);
}

#[test]
fn sides_that_cannot_be_joined_are_refused() {
    for (arguments, wanted) in [
        ("from = [\"users\", \"more\"]", "step \"j\": \"join\" works on keyed streams, and \"more\" has no key"),
        ("from = [\"users\", \"users\"]", "step \"j\": two sides are called \"users\""),
        (
            "from = { a = \"scores\", b = \"scores\" }\nas = \"columns\"",
            "step \"j\": both \"a\" and \"b\" have a column \"points\"",
        ),
        (
            "from = \"users\"\nemit = \"final\"\nttl = \"1s\"",
            "step \"j\": \"ttl\" does not go with emit = \"final\", which keeps all to the end",
        ),
        ("from = \"users\"\nincomplete = \"drop\"", "step \"j\": \"incomplete\" does not go with emit = \"complete\""),
    ] {
        assert_eq!(bench().problems(&flow(arguments)), [wanted], "{arguments}");
    }
}

#[test]
fn a_column_that_is_called_as_the_key_of_another_side_is_not_lost() {
    let scores = [table("user: string, id: int64", &["3,30"])];
    let users = [table("id: string, name: string", &["1,ann"])];
    let bench = Bench::default().source("in", users).source("scores", scores);
    let problems = bench.problems(&flow("from = [\"users\", \"scores\"]\nas = \"columns\""));
    let wanted =
        "step \"j\": \"scores\" is keyed by \"user\" and has another column \"id\", as the joined rows' key is called";
    assert_eq!(problems, [wanted]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rows_that_wait_for_others_survive_crashes(
        calls in prop::collection::vec(
            (0_i64..8, 0..3_usize, prop::collection::vec((prop::char::range('a', 'c'), prop::option::of(0..9_i64)), 0..4)),
            1..9,
        ),
        insert in prop::sample::select(INSERTS.to_vec()),
        emit in prop::sample::select(EMITS.to_vec()),
        ttl in prop::option::of(5_u64..20),
    ) {
        let mut now = 0;
        let mut inputs: Vec<_> = calls.iter().map(|(gap, side, rows)| {
            now += gap;
            let rows: Vec<Row> = rows.iter().map(|&(key, value)| (*side, key, value)).collect();
            (now, if rows.is_empty() { Input::Time } else { Input::Rows(*side, batch(&rows)) })
        }).collect();
        inputs.push((now, Input::End));
        let ttl = ttl.filter(|_| emit != EmitMode::Final);
        let (_, kept) = check_crashes(|| join(3, modes(insert, emit), ttl), &inputs);
        prop_assert!(emit != EmitMode::Final || kept.last().unwrap().is_empty());
    }
}

#[test]
fn rows_without_columns_beside_the_key_survive_crashes() {
    let schema = table("k: string", &[]).schema();
    let sides = Sides::new("k".into(), ["x", "y"].map(|name| (name.to_owned(), schema.clone())), Shape::Columns);
    let modes = modes(Insert::Product, EmitMode::Running);
    let join = || JoinByKey::new(modes, sides.layout(), None);
    let inputs = [(0, ["a", "b", "a"]), (1, ["a", "c", "a"])];
    let inputs = inputs.map(|(side, rows)| (0, Input::Rows(side, keyed("k: string", &rows))));
    let (given, kept) = check_crashes(join, &inputs);
    assert_eq!(given[1].iter().filter(|row| row.contains('a')).count(), 2 + 4);
    assert_eq!(kept[1].len(), 3);
}
