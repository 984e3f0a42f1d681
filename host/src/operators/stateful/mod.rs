//! `stateful`, `stateful_batch`, `stateful_map`, `stateful_flat_map`: a function with a state for each key.

mod logic;

use super::transform::reads;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator, StreamType};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::keyed;
use crate::dataflow::user_fn::OpenStateful;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{DurationText, Spanned};
use arrow::datatypes::SchemaRef;
use logic::{Logic, Rules, Shape};

#[derive(serde::Deserialize)]
struct Args {
    #[serde(rename = "fn")]
    function: Spanned<String>,
    config: Option<serde_json::Value>,
    ttl: Option<Spanned<DurationText>>,
}

/// The operator `stateful`.
pub struct Stateful;

impl Operator for Stateful {
    fn name(&self) -> &'static str {
        "stateful"
    }

    fn doc(&self) -> &'static str {
        r#"Hands each row to a function that keeps a state for the row's key, and may emit rows at any time.

The function sees the rows of a key in the order in which they come, each with the state that the ones before have left.
For each it emits any number of rows, which get the key; it can discard the state, and then the next row of the key,
also in the same batch, starts anew. A key begins with its first row that does not fail. Rows that fail are treated by
`on_error`; a function that fails must leave the state as it was. One that panics stops the flow.

After each call a key may say at what system time it wants to be woken. That is its only time: saying none takes back
the one said before, and once it has come it is forgotten, until the key says another. Keys whose time has come are
woken in ascending order of their bytes. A time that is past already has come at once; but a key that was woken and
still wants a time that is past is woken again after a millisecond, or when a row of it comes. If waking a key fails,
that is treated by `on_error` with the key in place of the row, and the key sleeps until its next row.

When the input has ended, keys whose time has come are woken, and then all keys are told of the end, in ascending order
of their bytes. Their states stay, unless they are discarded.

With `ttl`, a key whose last row came so long ago, by system time, loses its state, without a call. If it is new in a
flow that goes on, the time of keys that have a state begins then.

When a flow goes on from what a run before has kept, keys that waited to be woken are asked once more for when.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has; `ttl`, a duration,
without which states stay for ever.

Ports: `down`, keyed.

```toml
[[step]]
name = "sessions"
op = "stateful"
fn = "stats.Sessions"
ttl = "24h"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Shape::Free)
    }
}

/// The operator `stateful_batch`.
pub struct StatefulBatch;

impl Operator for StatefulBatch {
    fn name(&self) -> &'static str {
        "stateful_batch"
    }

    fn doc(&self) -> &'static str {
        r#"Hands the rows of each key in a batch, together, to a function that keeps a state for the key.

The same as `stateful`; the name is for functions that see batches, as they say themselves (in Rust by
`const BY_BATCH: bool = true` and `on_batch`). Such a function is called once for each key in a batch, keys in the order
in which they first come. Where the input is cut into batches is not said, so what comes out should not depend on it. If
the call fails, so do all rows that it was given. Where rows that come out were read is not known.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has; `ttl`, a duration, as in
`stateful`.

Ports: `down`, keyed.

```toml
[[step]]
name = "ranked"
op = "stateful_batch"
fn = "stats.Ranked"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Shape::Free)
    }
}

/// The operator `stateful_map`.
pub struct StatefulMap;

impl Operator for StatefulMap {
    fn name(&self) -> &'static str {
        "stateful_map"
    }

    fn doc(&self) -> &'static str {
        r#"Makes one row of each row, by a function that keeps a state for the row's key.

As `stateful`, with exactly one row out for each row in, which stops the flow if it does not hold; rows keep their
order. The function is neither woken nor told of the end of input. In Rust it is a function with the attribute
`stateful_map`, which sets its state to none to discard it. Rows that fail are treated by `on_error`; a function that
fails must leave the state as it was. One that panics stops the flow.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has; `ttl`, a duration, as in
`stateful`.

Ports: `down`, keyed.

```toml
[[step]]
name = "mean"
op = "stateful_map"
fn = "stats.running_mean"
ttl = "1h"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Shape::Map)
    }
}

/// The operator `stateful_flat_map`.
pub struct StatefulFlatMap;

impl Operator for StatefulFlatMap {
    fn name(&self) -> &'static str {
        "stateful_flat_map"
    }

    fn doc(&self) -> &'static str {
        r#"Makes any number of rows of each row, by a function that keeps a state for the row's key.

As `stateful`, but the function is neither woken nor told of the end of input. In Rust it is a function with the
attribute `stateful_flat_map`, which sets its state to none to discard it. Rows that fail are treated by `on_error`; a
function that fails must leave the state as it was. One that panics stops the flow.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has; `ttl`, a duration, as in
`stateful`.

Ports: `down`, keyed.

```toml
[[step]]
name = "changes"
op = "stateful_flat_map"
fn = "stats.changes"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Shape::FlatMap)
    }
}

fn check(cx: &CheckCx<'_>, shape: Shape) -> Result<Checked, Diagnostics> {
    let args: Args = cx.args()?;
    let mut problems = Diagnostics::new();
    if let Some(ttl) = args.ttl.as_ref().filter(|ttl| ttl.value.0.is_zero()) {
        let message = format!("{}: with a \"ttl\" of nothing there is no state", cx.what());
        let help = "give a duration such as \"1h\", or leave it out to keep states for ever";
        problems.push(Diagnostic::new("bad-value", message).at(ttl.span.clone()).help(help));
    }
    let key = problems.take(cx.up_key());
    let input = cx.up().schema.clone();
    let open = problems.take(cx.stateful(&args.function, &input, args.config.as_ref()));
    let (Some(key), Some(open)) = (key, open) else { return Err(problems) };
    let note = reads(&args.function, &open.reads, &input);
    let down = StreamType { schema: open.output.clone(), key: Some(key.clone()) };
    let function = args.function.value.as_str().into();
    let rules = Rules { function, key, shape, reads: open.reads.clone(), ttl: args.ttl.map(|ttl| ttl.value.0) };
    let keeps = keeps(&args.function.value, &open, &rules);
    problems.into_result(Checked::new(StatefulStep { open, input, rules }).down(down).keeps(keeps).note(note))
}

/// What a step keeps: the states as the function encodes them. Something may stand behind each of them; states of steps
/// that differ in that are of two versions, and a "ttl" that comes or goes makes the one of the other.
fn keeps(function: &str, open: &OpenStateful, rules: &Rules) -> Keeps {
    let (version, reads) = rules.forms();
    let keeps = Keeps { version, reads, ..Keeps::new() }.ignoring(&["ttl"]);
    keeps.function(function, open.state_version, open.factory.clone())
}

struct StatefulStep {
    open: OpenStateful,
    input: SchemaRef,
    rules: Rules,
}

impl BuildStep for StatefulStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let function = self.open.factory.instantiate(&cx.instance())?;
        Ok(keyed(cx, ups, std::slice::from_ref(&self.input), 1, Logic::new(function, self.rules.clone())))
    }
}
