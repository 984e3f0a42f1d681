//! `collect_window`: the rows of a window, together.

use super::collect::{Shape, list_schema, lists};
use super::distinct::{Maps, is_comparable};
use super::rows::{RowRef, Rows};
use super::states::{Reader, States, put_bytes, put_len};
use super::window::{
    Early, Given, LogicFactory, Order, WindowArgs, WindowLogic, Windowing, early_doc, ordered_doc, shared_doc,
};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator};
use crate::data::schema::{Type, schema_of};
use crate::data::time::Instant;
use crate::dataflow::build::BuildCx;
use crate::dataflow::error::LogicError;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::Spanned;
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;

/// The operator `collect_window`.
pub struct CollectWindow;

#[derive(serde::Deserialize)]
struct Args {
    into: Option<Spanned<Into>>,
    #[serde(rename = "as")]
    shape: Option<Shape>,
    map_key: Option<Spanned<String>>,
    map_value: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Into {
    #[default]
    List,
    Set,
    Map,
}

impl Operator for CollectWindow {
    fn name(&self) -> &'static str {
        "collect_window"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Collects the rows of each window of a key, and gives them together when the window closes.

When sessions become one, the rows of the earlier one come first.

Arguments:
- `into`, what rows are collected into: `"list"` (default), all of them in the order in which they enter the window;
  `"set"`, each that is different from the others once, in the order of their first coming; or `"map"`, of the values of
  the column `map_value` the last for each value of the column `map_key`, in the order in which those first came.
- `as`, what comes out: `"list"` (default), one row for each window, whose only column is `items`, a list of structs
  with the columns of the rows (of a map: `key` and `value`); rows whose only column is `value` make a list `value` of
  those values. Or `"rows"`, those rows themselves.
"#,
            ordered_doc!(),
            early_doc!(),
            shared_doc!(),
            r#"
```toml
[[step]]
name = "orders"
op = "collect_window"
clock = { event = "at", wait = "10s" }
window = { session = "30s" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let (args, windows): (Args, WindowArgs) = cx.args_and()?;
        let mut problems = Diagnostics::new();
        let collected = problems.take(Collected::check(cx, &args));
        let windowing = problems.take(Windowing::check(cx, &windows, Order::Chosen, Early::Offered));
        let (Some(collected), Some(windowing)) = (collected, windowing) else { return Err(problems) };
        let output = match args.shape.unwrap_or(Shape::List) {
            Shape::Rows => collected.rows.clone(),
            Shape::List => list_schema(&collected.rows),
        };
        windowing.step(cx, &output.clone(), CollectFactory { collected, output })
    }
}

/// What is collected, checked.
struct Collected {
    /// The schema of the rows.
    rows: SchemaRef,
    /// The columns of a map's key and value, or of a set. None: a list of whole rows.
    distinct: Option<(Vec<usize>, Vec<usize>)>,
}

impl Collected {
    fn check(cx: &CheckCx<'_>, args: &Args) -> Result<Collected, Diagnostics> {
        let into = args.into.as_ref().map(|into| into.value).unwrap_or_default();
        if into != Into::Map {
            let unused = args.map_key.iter().map(|name| ("map_key", name));
            let unused = unused.chain(args.map_value.iter().map(|name| ("map_value", name)));
            let problems = unused.map(|(argument, name)| {
                let message = format!("{}: \"{argument}\" goes with into = \"map\"", cx.what());
                Diagnostic::new("unused-key", message).at(name.span.clone()).help("leave it out")
            });
            let mut all = Diagnostics::new();
            problems.for_each(|problem| all.push(problem));
            all.into_result(())?;
        }
        let rows = cx.up().schema.clone();
        let distinct = match (into, &args.map_key, &args.map_value) {
            (Into::List, ..) => return Ok(Collected { rows, distinct: None }),
            (Into::Set, ..) => {
                let columns: Vec<usize> = (0..rows.fields().len()).collect();
                if columns.is_empty() {
                    let message = format!("{}: rows without columns make no set", cx.what());
                    return Err(Diagnostic::new("no-column", message).at(cx.step.span.clone()).into());
                }
                return Collected { rows, distinct: Some((columns, Vec::new())) }.comparable(cx);
            }
            (Into::Map, Some(key), Some(value)) => {
                let mut problems = Diagnostics::new();
                let key = problems.take(cx.column(key));
                let value = problems.take(cx.column(value));
                let (Some(key), Some(value)) = (key, value) else { return Err(problems) };
                (key, value)
            }
            (Into::Map, ..) => {
                let message = format!("missing \"map_key\" or \"map_value\" in {}", cx.what());
                let help = "name the columns: map_key = \"<column>\", map_value = \"<column>\"";
                let span = args.into.as_ref().map_or(cx.step.span.clone(), |into| into.span.clone());
                return Err(Diagnostic::new("missing-key", message).at(span).help(help).into());
            }
        };
        let ((key, key_type), (value, value_type)) = distinct;
        let rows = schema_of(&[("key".to_owned(), key_type), ("value".to_owned(), value_type)]);
        Collected { rows, distinct: Some((vec![key], vec![value])) }.comparable(cx)
    }

    /// Refuses columns whose values cannot be told from each other.
    fn comparable(self, cx: &CheckCx<'_>) -> Result<Collected, Diagnostics> {
        let mut problems = Diagnostics::new();
        for field in self.rows.fields().iter().filter(|field| !is_comparable(field.data_type())) {
            let ty = Type::of(field);
            let message = format!("{}: column \"{}\" is {ty}, which cannot be compared", cx.what(), field.name());
            let help = "leave the column out, or collect into a list";
            problems.push(Diagnostic::new("no-order", message).at(cx.step.span.clone()).help(help));
        }
        problems.into_result(self)
    }
}

struct CollectFactory {
    collected: Collected,
    output: SchemaRef,
}

impl LogicFactory for CollectFactory {
    fn build(&self, _cx: &BuildCx<'_>) -> Result<Box<dyn WindowLogic>, LogicError> {
        let Collected { rows, distinct } = &self.collected;
        let items = match distinct {
            Some(columns) => Items::Maps(Maps::new(rows.clone(), columns.clone())?),
            None => Items::Lists { rows: Rows::new(rows.clone()), lists: Vec::new() },
        };
        let list = (self.output != *rows).then(|| self.output.clone());
        Ok(Box::new(Collector { items, list }))
    }
}

/// What the windows have collected, by slot.
struct Collector {
    items: Items,
    /// The schema of lists; none: rows come out as they are.
    list: Option<SchemaRef>,
}

enum Items {
    Lists { rows: Rows, lists: Vec<Vec<RowRef>> },
    Maps(Maps),
}

impl Items {
    fn len(&self, slot: u32) -> usize {
        match self {
            Items::Lists { lists, .. } => lists[slot as usize].len(),
            Items::Maps(maps) => maps.len(slot),
        }
    }

    fn gather(&self, slots: &[u32]) -> Result<RecordBatch, LogicError> {
        match self {
            Items::Lists { rows, lists } => {
                let kept: Vec<RowRef> = slots.iter().flat_map(|&slot| &lists[slot as usize]).copied().collect();
                rows.gather(&kept)
            }
            Items::Maps(maps) => maps.gather(slots),
        }
    }
}

impl WindowLogic for Collector {
    fn on_rows(
        &mut self,
        _input: usize,
        slots: &[u32],
        batch: &RecordBatch,
        index: &[u32],
        _now: Instant,
    ) -> Result<Given, LogicError> {
        match &mut self.items {
            Items::Lists { rows, lists } => {
                let needed = slots.iter().max().map_or(0, |&slot| slot as usize + 1);
                lists.resize_with(needed.max(lists.len()), Vec::new);
                let held = rows.hold(batch.clone());
                for (&slot, &row) in slots.iter().zip(index) {
                    lists[slot as usize].push(rows.keep(held, row));
                }
                rows.settle(held);
            }
            Items::Maps(maps) => maps.take(slots, index, batch)?,
        }
        Ok(Given::default())
    }

    fn merge(&mut self, into: &[u32], from: &[u32], _now: Instant) -> Result<Given, LogicError> {
        match &mut self.items {
            Items::Lists { lists, .. } => {
                for (&into, &from) in into.iter().zip(from) {
                    let more = std::mem::take(&mut lists[from as usize]);
                    lists[into as usize].extend(more);
                }
            }
            Items::Maps(maps) => maps.merge(into, from),
        }
        Ok(Given::default())
    }

    fn early(&mut self, slots: &[u32], _now: Instant) -> Result<Given, LogicError> {
        let rows = self.items.gather(slots)?;
        let lengths = slots.iter().map(|&slot| self.items.len(slot));
        let given = match &self.list {
            Some(schema) => (lists(schema, &rows, lengths)?, slots.to_vec()),
            None => {
                let of = slots.iter().zip(lengths).flat_map(|(&slot, length)| std::iter::repeat_n(slot, length));
                (rows, of.collect())
            }
        };
        Ok(Given { rows: Some(given), errors: Vec::new() })
    }

    fn close(&mut self, slots: &[u32], now: Instant) -> Result<Given, LogicError> {
        let given = self.early(slots, now)?;
        match &mut self.items {
            Items::Lists { rows, lists } => {
                for &slot in slots {
                    std::mem::take(&mut lists[slot as usize]).into_iter().for_each(|row| rows.release(row));
                }
                if rows.is_wasteful() {
                    rows.pack(lists.iter_mut().flatten())?;
                }
            }
            Items::Maps(maps) => maps.release(slots),
        }
        Ok(given)
    }

    fn save(&mut self, slots: &[u32]) -> Result<BinaryArray, LogicError> {
        let (rows, lists) = match &self.items {
            Items::Lists { rows, lists } => (rows, lists),
            Items::Maps(maps) => return maps.save(slots),
        };
        let list = |slot: u32| lists.get(slot as usize).map_or(&[][..], Vec::as_slice);
        let all: Vec<RowRef> = slots.iter().flat_map(|&slot| list(slot)).copied().collect();
        let saved = rows.save(&all)?;
        let (mut saved, mut states) = (saved.iter(), States::with_capacity(slots.len()));
        for &slot in slots {
            let count = list(slot).len();
            states.push(|state| {
                put_len(state, count);
                saved.by_ref().take(count).for_each(|row| put_bytes(state, row));
            })?;
        }
        Ok(states.finish())
    }

    fn load(&mut self, slots: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        match &mut self.items {
            Items::Lists { rows, lists } => {
                let needed = slots.iter().max().map_or(0, |&slot| slot as usize + 1);
                lists.resize_with(needed.max(lists.len()), Vec::new);
                let (mut of, mut saved) = (Vec::new(), Vec::new());
                for (at, &slot) in slots.iter().enumerate() {
                    let mut reader = Reader(states.value(at));
                    for _ in 0..reader.len()? {
                        of.push(slot);
                        saved.push(reader.bytes()?);
                    }
                    reader.end()?;
                }
                for (slot, row) in of.into_iter().zip(rows.load(&saved)?) {
                    lists[slot as usize].push(row);
                }
                Ok(())
            }
            Items::Maps(maps) => maps.load(slots, states),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{show, table};
    use super::*;
    use crate::data::batch::Batch;

    impl Items {
        /// Those of a map that `collector` makes.
        fn columns(&self) -> Option<(Vec<usize>, Vec<usize>)> {
            matches!(self, Items::Maps(_)).then(|| (vec![0], vec![]))
        }
    }

    fn collector(distinct: Option<(Vec<usize>, Vec<usize>)>) -> Collector {
        let rows = table("n: int64", &[]).schema();
        let items = match distinct {
            Some(columns) => Items::Maps(Maps::new(rows, columns).unwrap()),
            None => Items::Lists { rows: Rows::new(rows), lists: Vec::new() },
        };
        Collector { items, list: None }
    }

    fn given(given: Given) -> (Vec<String>, Vec<u32>) {
        let (rows, slots) = given.rows.unwrap();
        (show(&Batch::new(rows)), slots)
    }

    #[test]
    fn early_results_leave_windows_as_they_are_and_merged_rows_come_behind() {
        let now = Instant(0);
        for (distinct, all) in
            [(None, vec!["n=1", "n=3", "n=2", "n=1"]), (Some((vec![0], vec![])), vec!["n=1", "n=3", "n=2"])]
        {
            let mut windows = collector(distinct);
            let rows = table("n: int64", &["1", "2", "3", "9"]);
            windows.on_rows(0, &[4, 0, 4, 0], &rows, &[0, 1, 2, 0], now).unwrap();
            for _ in 0..2 {
                assert_eq!(given(windows.early(&[4], now).unwrap()), (vec!["n=1".into(), "n=3".into()], vec![4, 4]));
            }
            let saved = windows.save(&[0, 4]).unwrap();
            let mut next = collector(windows.items.columns());
            next.load(&[1, 0], &saved).unwrap();
            assert_eq!(given(next.early(&[0], now).unwrap()).0, ["n=1", "n=3"]);
            next.merge(&[0], &[1], now).unwrap();
            assert_eq!(given(next.close(&[0], now).unwrap()).0, all);
            windows.merge(&[4], &[0], now).unwrap();
            let count = all.len();
            assert_eq!(
                given(windows.close(&[4], now).unwrap()),
                (all.iter().map(ToString::to_string).collect(), vec![4; count])
            );
            windows.on_rows(0, &[4], &rows, &[3], now).unwrap();
            assert_eq!(given(windows.close(&[4], now).unwrap()), (vec!["n=9".to_owned()], vec![4]));
        }
    }

    #[test]
    fn one_row_of_a_window_does_not_keep_the_others_of_its_batch_in_memory() {
        let mut windows = collector(None);
        let text: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
        let rows = table("n: int64", &text.iter().map(String::as_str).collect::<Vec<_>>());
        for round in 0..100 {
            let slots: Vec<u32> = (0..5000).map(|row| if row == 7 { 1 + round } else { 0 }).collect();
            let index: Vec<u32> = (0..5000).collect();
            windows.on_rows(0, &slots, &rows, &index, Instant(0)).unwrap();
            windows.close(&[0], Instant(0)).unwrap();
            let Items::Lists { rows, .. } = &windows.items else { unreachable!() };
            assert!(!rows.is_wasteful());
        }
        assert_eq!(given(windows.close(&[3, 1], Instant(0)).unwrap()), (vec!["n=7".to_owned(); 2], vec![3, 1]));
    }
}
