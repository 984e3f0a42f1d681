//! Steps that remember, and what must be true of the rows that come out of them.

use crate::operators::testing::{Calls, Functions};
use std::collections::BTreeMap;

/// Steps between `key` and the sinks. They take from the streams `key` and `other_key`, which are keyed and have the
/// columns `key`, `id`, `n` and `t`; the last of them is called `step`.
pub struct Steps {
    pub text: &'static str,
    /// Ports of `step` that have sinks of their own, called as they are.
    pub ports: &'static [&'static str],
    pub rows: Rows,
}

/// What rows of a key come out.
#[derive(Clone, Copy)]
pub enum Rows {
    /// Those of an execution that nothing disturbs, in one order.
    InOrder,
    /// Those of an execution that nothing disturbs.
    InAnyOrder,
    /// It depends on which rows come when; this must hold for the ids of the key's rows in both sources, and the rows
    /// that come out, in their order.
    Lawful(fn(&[i64], &[i64], &[&str])),
}

const fn steps(text: &'static str, ports: &'static [&'static str], rows: Rows) -> Steps {
    Steps { text, ports, rows }
}

/// All of them.
pub const STEPS: &[Steps] = &[
    steps("name = \"step\"\nop = \"count_final\"", &[], Rows::InOrder),
    steps("name = \"step\"\nop = \"collect\"\nmax_size = 3\ntimeout = \"1000h\"", &[], Rows::InOrder),
    steps("name = \"step\"\nop = \"max_final\"\nby = \"id\"", &[], Rows::InOrder),
    steps(
        "name = \"step\"\nop = \"aggregate_running\"\naggregate = { total = \"sum(n)\", last = \"max(id)\" }",
        &[],
        Rows::InOrder,
    ),
    steps(
        "name = \"step\"\nop = \"aggregate_final\"\naggregate = { total = \"sum(n)\", most = \"max(n)\" }",
        &[],
        Rows::InOrder,
    ),
    steps(
        r#"
name = "step"
op = "collect_window"
clock = { event = "t", wait = "1m" }
window = { tumbling = "20s" }"#,
        &["late"],
        Rows::InAnyOrder,
    ),
    steps(
        r#"
name = "step"
op = "count_window"
clock = { event = "t", wait = "4s", idle = "hold" }
window = { session = "15s" }
with = ["open_time"]"#,
        &["late"],
        Rows::InAnyOrder,
    ),
    steps(
        r#"
name = "narrow"
op = "select"
columns = ["id", "t"]
[[step]]
name = "step"
op = "fold_window"
fn = "p.sum"
clock = { event = "t", wait = "4s", idle = "hold" }
window = { sliding = "30s", every = "10s" }
with = ["window_id"]
on_error = "dead_letter""#,
        &["late", "errors"],
        Rows::InAnyOrder,
    ),
    steps(
        r#"
name = "step"
op = "order"
clock = { event = "t", wait = "4s", idle = "hold" }"#,
        &["late"],
        Rows::InOrder,
    ),
    steps(
        r#"
name = "step"
op = "join"
from = { a = "key", b = "other_key" }
emit = "final""#,
        &[],
        Rows::InOrder,
    ),
    steps(
        r#"
name = "a"
op = "select"
from = "key"
columns = { a = "id" }
[[step]]
name = "b"
op = "select"
from = "other_key"
columns = { b = "id" }
[[step]]
name = "step"
op = "join"
from = ["a", "b"]
emit = "running""#,
        &[],
        Rows::Lawful(each_row_steps_on),
    ),
    steps(
        r#"
name = "step"
op = "interval_join"
from = { a = "key", b = "other_key" }
within = { before = "20s", after = "10s" }
clock = { event = "t", wait = "4s", idle = "hold" }"#,
        &["late", "unpaired"],
        Rows::InAnyOrder,
    ),
    steps(
        r#"
name = "narrow"
op = "select"
columns = ["id"]
[[step]]
name = "step"
op = "stateful_flat_map"
fn = "p.numbered"
on_error = "dead_letter""#,
        &["errors"],
        Rows::InOrder,
    ),
    steps(
        r#"
name = "narrow"
op = "select"
columns = ["id"]
[[step]]
name = "step"
op = "stateful"
fn = "p.woken""#,
        &[],
        Rows::Lawful(each_row_is_counted_once),
    ),
];

/// What one id is worth in a number that holds an id and a count.
const ID: i64 = 1_000;

/// The functions of the steps.
pub fn functions() -> Functions {
    // Numbers the rows that it takes. It refuses some, and begins anew after some.
    let numbered = Calls {
        on_row: |state, id, _| {
            if id % 7 == 3 {
                return Err("refused".to_owned());
            }
            let count = state.unwrap_or_default() + 1;
            *state = (id % 5 != 0).then_some(count);
            Ok(vec![id * ID + count])
        },
        ..Calls::default()
    };
    // Counts rows until it is woken, tells and discards the count then, or in the end.
    let woken = Calls {
        on_row: |state, id, _| {
            *state = Some(id * ID + state.unwrap_or_default() % ID + 1);
            Ok(Vec::new())
        },
        on_notify: |state, (), _| Ok(state.take().into_iter().collect()),
        on_eof: |state, (), _| Ok(state.take().into_iter().collect()),
        // Soon for some, much later for others, by the clock of the simulation.
        notify_at: |state| Some(1_700_000_000_000_000 + state / ID % 8 * 3_000),
        tells_parents: true,
    };
    Functions {
        statefuls: BTreeMap::from([("p.numbered".to_owned(), numbered), ("p.woken".to_owned(), woken)]),
        ..Functions::default()
    }
}

/// The numbers of a row, behind its sink and key; nothing is none.
fn numbers(row: &str) -> Vec<Option<i64>> {
    row.split(',').skip(1).map(|cell| (!cell.is_empty()).then(|| cell.parse().unwrap())).collect()
}

/// With each row that comes out one side has gone on to its next row.
fn each_row_steps_on(a: &[i64], b: &[i64], rows: &[&str]) {
    let (mut at, sides) = ([0, 0], [a, b]);
    for row in rows {
        let newest = |at: [usize; 2]| [0, 1].map(|side| at[side].checked_sub(1).map(|newest| sides[side][newest]));
        let next = [[at[0] + 1, at[1]], [at[0], at[1] + 1]];
        let can_be = |next: &[usize; 2]| next[0] <= a.len() && next[1] <= b.len();
        let found = next.into_iter().filter(can_be).find(|&next| *numbers(row) == newest(next));
        at = found.unwrap_or_else(|| panic!("{row} comes after {:?}", newest(at)));
    }
    assert_eq!(at, [a.len(), b.len()], "rows of each side that came out");
}

/// Each row that comes out tells of some rows, the last of which it names.
fn each_row_is_counted_once(ids: &[i64], _: &[i64], rows: &[&str]) {
    let mut counted = 0;
    for row in rows {
        let number = numbers(row)[0].unwrap();
        counted += usize::try_from(number % ID).unwrap();
        assert_eq!(ids.get(counted - 1), Some(&(number / ID)), "the last of {counted} rows");
    }
    assert_eq!(counted, ids.len(), "rows that were counted");
}
