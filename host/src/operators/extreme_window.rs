//! `max_window`, `min_window`: the row of each window with the greatest or the least value.

use super::extreme::{Args, Extremes, Rule};
use super::states::in_chunks;
use super::window::{Early, Given, LogicFactory, Order, WindowArgs, WindowLogic, Windowing, early_doc, shared_doc};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator};
use crate::data::time::Instant;
use crate::dataflow::build::BuildCx;
use crate::dataflow::error::LogicError;
use crate::diag::Diagnostics;
use arrow::array::{BinaryArray, RecordBatch};
use std::cmp::Ordering;

/// The operator `max_window`.
pub struct MaxWindow;

impl Operator for MaxWindow {
    fn name(&self) -> &'static str {
        "max_window"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Gives the row with the greatest value of a column, of each window of a key, when the window closes.

Of rows with equal values the first to come stays, and of sessions that become one that of the earlier session. Null and
NaN are never the greatest; a window that has nothing else gives its first row. Text is compared by its bytes.

Arguments:
- `by`, a column of numbers, text, time or booleans; left out if there is only one column.
"#,
            early_doc!(),
            shared_doc!(),
            r#"
```toml
[[step]]
name = "dearest"
op = "max_window"
by = "price"
clock = { event = "at", wait = "10s" }
window = { tumbling = "1m" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Ordering::Greater)
    }
}

/// The operator `min_window`.
pub struct MinWindow;

impl Operator for MinWindow {
    fn name(&self) -> &'static str {
        "min_window"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Gives the row with the least value of a column, of each window of a key, when the window closes.

Of rows with equal values the first to come stays, and of sessions that become one that of the earlier session. Null and
NaN are never the least; a window that has nothing else gives its first row. Text is compared by its bytes.

Arguments:
- `by`, a column of numbers, text, time or booleans; left out if there is only one column.
"#,
            early_doc!(),
            shared_doc!(),
            r#"
```toml
[[step]]
name = "cheapest"
op = "min_window"
by = "price"
clock = { event = "at", wait = "10s" }
window = { session = "30s" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Ordering::Less)
    }
}

fn check(cx: &CheckCx<'_>, wins: Ordering) -> Result<Checked, Diagnostics> {
    let (args, windows): (Args, WindowArgs) = cx.args_and()?;
    let mut problems = Diagnostics::new();
    let rule = problems.take(Rule::check(cx, &args, wins));
    let windowing = problems.take(Windowing::check(cx, &windows, Order::Arrival, Early::Offered));
    let (Some(rule), Some(windowing)) = (rule, windowing) else { return Err(problems) };
    windowing.step(cx, &rule.schema().clone(), Extreme { rule })
}

struct Extreme {
    rule: Rule,
}

impl LogicFactory for Extreme {
    fn build(&self, _cx: &BuildCx<'_>) -> Result<Box<dyn WindowLogic>, LogicError> {
        Ok(Box::new(Extremes::new(&self.rule)))
    }
}

/// Groups are the slots of windows.
impl WindowLogic for Extremes {
    fn on_rows(
        &mut self,
        _input: usize,
        slots: &[u32],
        rows: &RecordBatch,
        index: &[u32],
        _now: Instant,
    ) -> Result<Given, LogicError> {
        self.take(slots, Some(index), rows)?;
        Ok(Given::default())
    }

    fn merge(&mut self, into: &[u32], from: &[u32], _now: Instant) -> Result<Given, LogicError> {
        Extremes::merge(self, into, from)?;
        Ok(Given::default())
    }

    fn early(&mut self, slots: &[u32], _now: Instant) -> Result<Given, LogicError> {
        Ok(Given { rows: Some((self.gather(slots)?, slots.to_vec())), errors: Vec::new() })
    }

    fn close(&mut self, slots: &[u32], now: Instant) -> Result<Given, LogicError> {
        let given = self.early(slots, now)?;
        self.release(slots)?;
        Ok(given)
    }

    fn save(&mut self, slots: &[u32]) -> Result<BinaryArray, LogicError> {
        in_chunks(slots, |slots| Extremes::save(self, slots))
    }

    fn load(&mut self, slots: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        Extremes::load(self, slots, states)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{show, table};
    use super::*;
    use crate::data::batch::Batch;

    #[test]
    fn the_row_of_the_survivor_stays_unless_it_is_beaten() {
        let now = Instant(0);
        let rows = table("v: float64, t: string", &["1,a", "1,b", "2,c", ",d", ",e", "NaN,f", "-1,g"]);
        // The rows of two windows, and what stays once they are one.
        for (into, from, greatest, least) in [
            (&[0][..], &[1][..], "v=1.0, t=a", "v=1.0, t=a"),
            (&[0, 1], &[2], "v=2.0, t=c", "v=1.0, t=a"),
            (&[2, 6], &[0], "v=2.0, t=c", "v=-1.0, t=g"),
            (&[3], &[4, 5], "v=null, t=d", "v=null, t=d"),
            (&[3], &[4, 6], "v=-1.0, t=g", "v=-1.0, t=g"),
            (&[0], &[3], "v=1.0, t=a", "v=1.0, t=a"),
        ] {
            for (wins, wanted) in [(Ordering::Greater, greatest), (Ordering::Less, least)] {
                let mut windows = Extremes::new(&Rule::by(&rows.schema(), 0, wins));
                windows.on_rows(0, &vec![2; into.len()], &rows, into, now).unwrap();
                windows.on_rows(0, &vec![0; from.len()], &rows, from, now).unwrap();
                WindowLogic::merge(&mut windows, &[2], &[0], now).unwrap();
                windows.on_rows(0, &[0], &rows, &[5], now).unwrap();
                let saved = WindowLogic::save(&mut windows, &[0, 2]).unwrap();
                let mut next = Extremes::new(&Rule::by(&rows.schema(), 0, wins));
                WindowLogic::load(&mut next, &[7, 1], &saved).unwrap();
                assert_eq!(show(&Batch::new(next.gather(&[1, 7]).unwrap())), [wanted, "v=NaN, t=f"]);
                WindowLogic::merge(&mut next, &[1], &[7], now).unwrap();
                assert_eq!(show(&Batch::new(next.gather(&[1]).unwrap())), [wanted], "NaN beats nothing");
                let shown = |given: Given| show(&Batch::new(given.rows.unwrap().0));
                assert_eq!(shown(windows.early(&[2], now).unwrap()), [wanted], "{into:?} {from:?} {wins:?}");
                assert_eq!(shown(windows.close(&[2, 0], now).unwrap()), [wanted, "v=NaN, t=f"]);
                windows.on_rows(0, &[2], &rows, &[3], now).unwrap();
                assert_eq!(shown(windows.close(&[2], now).unwrap()), ["v=null, t=d"]);
            }
        }
    }
}
