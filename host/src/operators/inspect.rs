//! `inspect`, `inspect_debug`: print the rows that pass.

use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator};
use crate::data::batch::Batch;
use crate::data::ids::{StepId, WorkerIndex};
use crate::data::time::Epoch;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::diag::Diagnostics;
use crate::formats::Encoder;
use crate::formats::json::JsonEncoder;
use arrow::datatypes::SchemaRef;
use std::io::Write;
use std::sync::Arc;

/// The operator `inspect`.
pub struct Inspect;

/// The operator `inspect_debug`.
pub struct InspectDebug;

#[derive(serde::Deserialize)]
struct Args {
    #[serde(default)]
    to: To,
}

#[derive(Clone, Copy, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum To {
    #[default]
    Stderr,
    Stdout,
}

impl Operator for Inspect {
    fn name(&self) -> &'static str {
        "inspect"
    }

    fn doc(&self) -> &'static str {
        r#"Prints each row, and passes it on.

A line is `step: {row}`, the row as JSON with its key first. Rows go to stderr, since stdout is for the data of a flow.
It may end a flow.

Arguments: `to`, `"stderr"` (default) or `"stdout"`.

Ports: `down`.

```toml
[[step]]
name = "look"
op = "inspect"
```
"#
    }

    fn is_end(&self) -> bool {
        true
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, false)
    }
}

impl Operator for InspectDebug {
    fn name(&self) -> &'static str {
        "inspect_debug"
    }

    fn doc(&self) -> &'static str {
        r#"Prints each row with its worker and epoch, and passes it on.

A line is `step W0 @1: {row}`: the worker, the epoch, the row as JSON with its key first. Rows go to stderr, since
stdout is for the data of a flow. It may end a flow.

Arguments: `to`, `"stderr"` (default) or `"stdout"`.

Ports: `down`.

```toml
[[step]]
name = "look"
op = "inspect_debug"
```
"#
    }

    fn is_end(&self) -> bool {
        true
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, true)
    }
}

fn check(cx: &CheckCx<'_>, is_debug: bool) -> Result<Checked, Diagnostics> {
    let args: Args = cx.args()?;
    let up = cx.up();
    let step = InspectStep { to: args.to, is_debug, schema: up.schema.clone(), key: up.key.clone() };
    Ok(Checked::new(step).down(up.clone()))
}

struct InspectStep {
    to: To,
    is_debug: bool,
    schema: SchemaRef,
    key: Option<Arc<str>>,
}

impl BuildStep for InspectStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let printer = Printer {
            to: self.to,
            step: cx.step.clone(),
            worker: self.is_debug.then(|| cx.worker()),
            encoder: JsonEncoder::new(&self.schema, self.key.as_deref()),
        };
        Ok(stateless(cx, ups, 1, printer))
    }
}

struct Printer {
    to: To,
    step: StepId,
    /// None: neither worker nor epoch are printed.
    worker: Option<WorkerIndex>,
    encoder: JsonEncoder,
}

impl Stateless for Printer {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let text = self.lines(&batch.clone().compact()?, out.epoch())?;
        // All at once, so that workers do not break into each other's lines.
        let written = match self.to {
            To::Stderr => std::io::stderr().lock().write_all(&text).map_err(|error| LogicError::io("stderr", &error)),
            To::Stdout => std::io::stdout().lock().write_all(&text).map_err(|error| LogicError::io("stdout", &error)),
        };
        written?;
        out.give(0, batch);
        Ok(())
    }
}

impl Printer {
    fn lines(&mut self, batch: &Batch, epoch: Option<Epoch>) -> Result<Vec<u8>, LogicError> {
        let prefix = match (self.worker, epoch) {
            (Some(worker), Some(epoch)) => format!("{} W{worker} @{epoch}: ", self.step),
            (Some(worker), None) => format!("{} W{worker}: ", self.step),
            (None, _) => format!("{}: ", self.step),
        };
        let mut json = Vec::new();
        let encoded = self.encoder.encode(batch.rows(), batch.keys().map(|keys| keys.values()), &mut json);
        encoded.map_err(|error| LogicError::internal(error.to_string()))?;
        let mut text = Vec::with_capacity(json.len() + batch.num_rows() * prefix.len());
        for line in json.split_inclusive(|&byte| byte == b'\n') {
            text.extend_from_slice(prefix.as_bytes());
            text.extend_from_slice(line);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::table;
    use super::*;
    use crate::data::key::Keys;
    use arrow::array::StringArray;

    #[test]
    fn a_line_names_the_step_and_has_the_row_as_json() {
        let rows = table("n: int64", &["1", ""]);
        let encoder = JsonEncoder::new(rows.schema_ref(), Some("word"));
        let mut printer = Printer { to: To::Stderr, step: "look".into(), worker: None, encoder };
        let batch = Batch::keyed(rows, Keys::new(StringArray::from(vec!["a", "b"])));
        let text = String::from_utf8(printer.lines(&batch, Some(Epoch(7))).unwrap()).unwrap();
        assert_eq!(text, "look: {\"word\":\"a\",\"n\":1}\nlook: {\"word\":\"b\",\"n\":null}\n");
        printer.worker = Some(WorkerIndex(2));
        let text = String::from_utf8(printer.lines(&batch, Some(Epoch(7))).unwrap()).unwrap();
        assert!(text.starts_with("look W2 @7: {\"word\""), "{text}");
    }
}
