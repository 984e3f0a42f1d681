//! `redistribute`: spreads rows over the workers.

use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator};
use crate::data::batch::Batch;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, redistributed};
use crate::dataflow::wire;
use crate::diag::Diagnostics;
use arrow::datatypes::SchemaRef;

/// The operator `redistribute`.
pub struct Redistribute;

#[derive(serde::Deserialize)]
struct Args {}

impl Operator for Redistribute {
    fn name(&self) -> &'static str {
        "redistribute"
    }

    fn doc(&self) -> &'static str {
        r#"Spreads rows over all workers.

Each worker hands its batches to all of them in turn. Of use before steps that take much time for each row, behind a
source with fewer partitions than there are workers. The order of rows is lost. Before a keyed step it is of no use:
rows go to the worker of their key anyway.

Arguments: none.

Ports: `down`.

```toml
[[step]]
name = "spread"
op = "redistribute"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        cx.args::<Args>()?;
        let up = cx.up();
        Ok(Checked::new(RedistributeStep { schema: up.schema.clone() }).down(up.clone()))
    }
}

struct RedistributeStep {
    schema: SchemaRef,
}

impl BuildStep for RedistributeStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, mut ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let up = ups.pop().expect("the plan gives an operator its upstreams");
        wire::register(&self.schema);
        Ok(redistributed(cx, up, 1, PassOn))
    }
}

struct PassOn;

impl Stateless for PassOn {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        out.give(0, batch);
        Ok(())
    }
}
