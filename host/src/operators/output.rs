//! `output`: ends a flow with a sink.

use super::input::named;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{SinkParts, sink};
use crate::diag::Diagnostics;
use arrow::datatypes::SchemaRef;

/// The operator `output`.
pub struct Output;

#[derive(serde::Deserialize)]
struct Args {
    #[expect(dead_code, reason = "named so that its key is known; the connector reads it")]
    sink: serde::de::IgnoredAny,
}

impl Operator for Output {
    fn name(&self) -> &'static str {
        "output"
    }

    fn doc(&self) -> &'static str {
        "Ends a flow: writes rows to a sink.

`sink` names a connector and its arguments; `wxhost connectors` lists them. On a keyed stream the key is written before
the row's columns, under its name, unless the row has a column of that name.

Ports: none, but `errors` for rows that the sink refuses.

```toml
[[step]]
name = \"out\"
op = \"output\"
sink = \"stdout\"
```
"
    }

    fn is_end(&self) -> bool {
        true
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        cx.args::<Args>()?;
        let named = named(cx, "sink")?;
        let connector_cx = named.cx(cx, Some(cx.up()));
        let checked = named.connector.check_sink(&connector_cx)?;
        let mut step = Checked::new(OutputStep { parts: checked.parts, schema: cx.up().schema.clone() })
            .keeps(Keeps::of_connector(named.connector.name()));
        step.notes = checked.notes;
        Ok(step)
    }
}

struct OutputStep {
    parts: Box<dyn SinkParts>,
    schema: SchemaRef,
}

impl BuildStep for OutputStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, mut ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let up = ups.pop().expect("the plan gives an operator its upstreams");
        sink(cx, up, &self.schema, &*self.parts)
    }

    fn sink(&self) -> Option<&dyn SinkParts> {
        Some(&*self.parts)
    }
}
