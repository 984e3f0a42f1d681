//! `window`: a stateful function for each window.

use super::fold_window::is_all;
use super::states::in_chunks;
use super::transform::{FunctionArgs, reads};
use super::window::{
    Early, Given, LogicFactory, MigrateWindows, Order, WindowArgs, WindowLogic, Windowing, ordered_doc, shared_doc,
};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator};
use crate::data::time::Instant;
use crate::dataflow::build::BuildCx;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{Emitted, OpenStateful, RowError, StatefulFn};
use crate::diag::Diagnostics;
use arrow::array::{Array, BinaryArray, BinaryBuilder, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use std::borrow::Cow;

/// The operator `window`.
pub struct Window;

impl Operator for Window {
    fn name(&self) -> &'static str {
        "window"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Runs a stateful function for each window of a key.

The function has a state for each window. It sees each row, is told when the window closes (`on_eof`), and merges the
states of sessions that become one; each time it may give any number of rows. It is never woken by time. A row that it
fails on is treated by `on_error`, as is a window whose close or merge fails.

Arguments:
- `fn`, the function; `config`, what it is configured with, over what the plugin has.
"#,
            ordered_doc!(),
            shared_doc!(),
            r#"
```toml
[[step]]
name = "alarms"
op = "window"
fn = "sensors.first_over_limit"
clock = { event = "at", wait = "10s" }
window = { sliding = "1m", every = "10s" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let (args, windows): (FunctionArgs, WindowArgs) = cx.args_and()?;
        let mut problems = Diagnostics::new();
        let input = &cx.up().schema;
        let open = problems.take(cx.stateful(&args.function, input, args.config.as_ref()));
        let early = Early::Refused("its function gives rows when it likes");
        let windowing = problems.take(Windowing::check(cx, &windows, Order::Chosen, early));
        let (Some(open), Some(windowing)) = (open, windowing) else { return Err(problems) };
        let note = reads(&args.function, &open.reads, input);
        let name = args.function.value.clone();
        Ok(windowing.step(cx, &open.output.clone(), Stateful { name, open })?.note(note))
    }
}

struct Stateful {
    /// Of the function.
    name: String,
    open: OpenStateful,
}

impl LogicFactory for Stateful {
    fn build(&self, cx: &BuildCx<'_>) -> Result<Box<dyn WindowLogic>, LogicError> {
        let function = self.open.factory.instantiate(&cx.instance())?;
        Ok(Box::new(Runner { function, has_state: Vec::new() }))
    }

    fn keeps(&self, keeps: Keeps) -> Keeps {
        keeps.function(&self.name, self.open.state_version, MigrateWindows::of(self.open.factory.clone()))
    }
}

/// The groups of the function are the slots of the windows.
struct Runner {
    function: Box<dyn StatefulFn>,
    /// By slot.
    has_state: Vec<bool>,
}

impl Runner {
    fn set(&mut self, slot: u32, has_state: bool) {
        let slot = slot as usize;
        if slot >= self.has_state.len() {
            self.has_state.resize(slot + 1, false);
        }
        self.has_state[slot] = has_state;
    }

    /// Takes in which states are gone; what was emitted is given out.
    fn given(&mut self, emitted: Emitted) -> Given {
        for slot in emitted.discarded {
            self.set(slot, false);
        }
        let rows = (emitted.rows.num_rows() > 0).then_some((emitted.rows, emitted.groups));
        Given { rows, errors: emitted.errors }
    }
}

impl WindowLogic for Runner {
    fn on_rows(
        &mut self,
        _input: usize,
        slots: &[u32],
        rows: &RecordBatch,
        index: &[u32],
        now: Instant,
    ) -> Result<Given, LogicError> {
        let rows = if is_all(index, rows.num_rows()) {
            Cow::Borrowed(rows)
        } else {
            Cow::Owned(take_record_batch(rows, &UInt32Array::from(index.to_vec()))?)
        };
        let emitted = self.function.on_batch(slots, &rows, now)?;
        slots.iter().for_each(|&slot| self.set(slot, true));
        Ok(self.given(emitted))
    }

    fn merge(&mut self, into: &[u32], from: &[u32], now: Instant) -> Result<Given, LogicError> {
        let emitted = self.function.merge(into, from, now)?;
        for (&into, &from) in into.iter().zip(from) {
            let has_state = self.has_state[into as usize] || self.has_state[from as usize];
            self.set(into, has_state);
            self.set(from, false);
        }
        Ok(self.given(emitted))
    }

    fn early(&mut self, _slots: &[u32], _now: Instant) -> Result<Given, LogicError> {
        Err(LogicError::internal("early results of \"window\" are refused in the plan"))
    }

    fn close(&mut self, slots: &[u32], now: Instant) -> Result<Given, LogicError> {
        let with_state = (0..).zip(slots).filter(|(_, slot)| self.has_state[**slot as usize]);
        let (at, mut closing): (Vec<u32>, Vec<u32>) = with_state.map(|(at, &slot)| (at, slot)).unzip();
        if closing.is_empty() {
            return Ok(Given::default());
        }
        let emitted = self.function.on_eof(&closing, now)?;
        let Given { rows, errors } = self.given(emitted);
        let errors = errors.into_iter().map(|error| RowError { row: at[error.row as usize], ..error }).collect();
        closing.retain(|&slot| self.has_state[slot as usize]);
        self.function.release(&closing)?;
        closing.iter().for_each(|&slot| self.set(slot, false));
        Ok(Given { rows, errors })
    }

    fn save(&mut self, slots: &[u32]) -> Result<BinaryArray, LogicError> {
        let has_state = &self.has_state;
        let has_state = |slot: u32| has_state.get(slot as usize).is_some_and(|has_state| *has_state);
        let with_state: Vec<u32> = slots.iter().copied().filter(|&slot| has_state(slot)).collect();
        let states = in_chunks(&with_state, |slots| self.function.snapshot(slots))?;
        if with_state.len() == slots.len() {
            return Ok(states);
        }
        // A function that has discarded its state begins anew with the window's next row.
        let mut values = BinaryBuilder::with_capacity(slots.len(), states.value_data().len());
        let mut states = states.iter();
        for &slot in slots {
            values.append_option(if has_state(slot) { states.next().flatten() } else { None });
        }
        Ok(values.finish())
    }

    fn load(&mut self, slots: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        slots.iter().enumerate().for_each(|(at, &slot)| self.set(slot, states.is_valid(at)));
        if states.null_count() == 0 {
            return self.function.restore(slots, states);
        }
        let with_state: Vec<u32> = slots.iter().copied().filter(|&slot| self.has_state[slot as usize]).collect();
        if with_state.is_empty() {
            return Ok(());
        }
        self.function.restore(&with_state, &BinaryArray::from_iter_values(states.iter().flatten()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Calls, show, table};
    use super::*;
    use crate::data::batch::Batch;

    #[test]
    fn windows_whose_state_was_discarded_are_saved_without_one() {
        let calls = Calls {
            on_row: |state, number, _| {
                *state = Some(state.unwrap_or(0) + number).filter(|sum| *sum >= 0);
                Ok(Vec::new())
            },
            on_eof: |state, (), _| Ok(state.iter().copied().collect()),
            ..Calls::default()
        };
        let new = || Runner { function: calls.instance(), has_state: Vec::new() };
        let now = Instant(0);
        let rows = table("n: int64", &["1", "2", "-9", "4"]);
        let mut before = new();
        before.on_rows(0, &[3, 0, 1, 3], &rows, &[0, 1, 2, 3], now).unwrap();
        let saved = before.save(&[3, 1, 0]).unwrap();
        assert_eq!(saved.iter().map(|state| state.is_some()).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(before.save(&[1]).unwrap().null_count(), 1);
        let mut after = new();
        after.load(&[0, 1, 2], &saved).unwrap();
        let closed = |logic: &mut Runner, slots: &[u32]| {
            let (rows, of) = logic.close(slots, now).unwrap().rows.unwrap();
            (show(&Batch::new(rows)), of)
        };
        after.on_rows(0, &[0], &rows, &[1], now).unwrap();
        assert_eq!(closed(&mut after, &[0, 1, 2]), (vec!["value=7".into(), "value=2".into()], vec![0, 2]));
        after.load(&[0, 1], &before.save(&[1, 3]).unwrap()).unwrap();
        assert_eq!(closed(&mut after, &[0, 1]), (vec!["value=5".into()], vec![1]));
    }
}
