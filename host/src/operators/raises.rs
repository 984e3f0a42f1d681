//! `raises`: no row may come here.

use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator};
use crate::data::batch::Batch;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::dead_letter::{self, Kind};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::dataflow::user_fn::RowError;
use crate::diag::Diagnostics;

/// The operator `raises`.
pub struct Raises;

#[derive(serde::Deserialize)]
struct Args {}

impl Operator for Raises {
    fn name(&self) -> &'static str {
        "raises"
    }

    fn doc(&self) -> &'static str {
        r#"Stops the flow with an error as soon as a row comes.

For streams on which nothing should come: a port `errors` or `falses` that would mean a mistake. The error shows the row
and where it was read. It may end a flow.

Arguments: none.

Ports: none.

```toml
[[step]]
name = "no_errors"
op = "raises"
from = "parse.errors"
```
"#
    }

    fn is_end(&self) -> bool {
        true
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        cx.args::<Args>()?;
        Ok(Checked::new(RaisesStep))
    }
}

struct RaisesStep;

impl BuildStep for RaisesStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        // Nothing goes out, but the flow ends only behind it.
        Ok(stateless(cx, ups, 1, Raiser))
    }
}

struct Raiser;

impl Stateless for Raiser {
    fn on_batch(&mut self, _input: usize, batch: Batch, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        let first = RowError { row: 0, message: String::new() };
        let letters = dead_letter::of_rows(Kind::Value, &batch, &[first], true)?;
        let letter = letters.first().ok_or_else(|| LogicError::internal("a batch without rows"))?;
        Err(LogicError::user(format!("no row may come here, and one did: {}", letter.row)).at(letter.place()))
    }
}
