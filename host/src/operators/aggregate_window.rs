//! `aggregate_window`, `count_window`: counts, sums and the like of the rows of a window.

use super::aggregate::{Aggregate, Of, aggregate_doc, open, parse, values_doc};
use super::fold_window::Fold;
use super::keying::Keying;
use super::window::{Early, Order, WindowArgs, Windowing, early_doc, shared_doc};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator};
use crate::data::schema::Type;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::error::LogicError;
use crate::diag::Diagnostics;
use crate::spec::{Node, Spanned};
use std::sync::Arc;

/// The operator `aggregate_window`.
pub struct AggregateWindow;

#[derive(serde::Deserialize)]
struct Args {
    aggregate: Node,
}

impl Operator for AggregateWindow {
    fn name(&self) -> &'static str {
        "aggregate_window"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Gives counts, sums and the like of the rows of each window of a key as one row, when the window closes.

It is `fold_window` with a fold that needs no plugin.

Arguments:
"#,
            aggregate_doc!(),
            r#"- `ordered`, whether rows enter their windows as they come (`false`, the default), which is right for all but `first`
  and `last` and takes less memory; or by their times (`true`).
"#,
            early_doc!(),
            shared_doc!(),
            values_doc!(),
            r#"
```toml
[[step]]
name = "totals"
op = "aggregate_window"
aggregate = { orders = "count(*)", total = "sum(price)", dearest = "max(price)" }
clock = { event = "at", wait = "10s" }
window = { tumbling = "1m" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let (args, windows): (Args, WindowArgs) = cx.args_and()?;
        let mut problems = Diagnostics::new();
        let aggregates = problems.take(parse(cx, &args.aggregate));
        let windowing = problems.take(Windowing::check(cx, &windows, Order::Offered, Early::Offered));
        let (Some(aggregates), Some(windowing)) = (aggregates, windowing) else { return Err(problems) };
        let open = open(aggregates);
        windowing.step(cx, &open.output.clone(), Fold { open, guest: None })
    }
}

/// The operator `count_window`.
pub struct CountWindow;

#[derive(serde::Deserialize)]
struct CountArgs {
    key: Option<Spanned<String>>,
    #[serde(rename = "fn")]
    function: Option<Spanned<String>>,
    config: Option<serde_json::Value>,
    key_name: Option<String>,
}

impl Operator for CountWindow {
    fn name(&self) -> &'static str {
        "count_window"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Counts the rows of each window of a key, and gives the count when the window closes.

Without `key` and `fn` it counts by the key that the stream has. A row whose key is null is treated by `on_error`. Rows
come out with the column `count: int64`.

Arguments:
- `key`, a column, or `fn`, a function that returns the key, with its `config`, as for `key_on`; `key_name`, the name
  under which sinks write the key.
"#,
            early_doc!(),
            shared_doc!(),
            r#"
```toml
[[step]]
name = "visits"
op = "count_window"
key = "page"
clock = { event = "at", wait = "10s" }
window = { sliding = "10m", every = "1m" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let (args, windows): (CountArgs, WindowArgs) = cx.args_and()?;
        let name = args.key_name.as_deref();
        let mut problems = Diagnostics::new();
        let keying = Keying::check(cx, args.key.as_ref(), args.function.as_ref(), args.config.as_ref(), name);
        let keying = problems.take(keying);
        let key = match &keying {
            Some(Some(keying)) => Some(keying.name.clone()),
            Some(None) => problems.take(cx.up_key()).map(|key| name.map_or(key, Arc::from)),
            None => None,
        };
        let key = key.unwrap_or_else(|| "key".into());
        let windowing = problems.take(Windowing::check_keyed(cx, &windows, Order::Arrival, Early::Offered, key));
        let (Some(keying), Some(windowing), true) = (keying, windowing, problems.is_empty()) else {
            return Err(problems);
        };
        let open = open(vec![Aggregate { name: "count".to_owned(), of: Of::Rows, ty: Type::Int64 }]);
        let mut checked = windowing.step(cx, &open.output.clone(), Fold { open, guest: None })?;
        if let Some(keying) = keying {
            checked.notes.extend(keying.note.clone());
            checked.build = Box::new(KeyedStep { keying, windows: checked.build });
        }
        Ok(checked)
    }
}

/// A step that keys its rows before its windows see them.
struct KeyedStep {
    keying: Keying,
    windows: Box<dyn BuildStep>,
}

impl BuildStep for KeyedStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        cx.in_halves(ups, |cx, ups| self.keying.add(cx, ups), |cx, ups| self.windows.build(cx, ups))
    }
}
