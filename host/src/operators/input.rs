//! `input`: begins a flow with the rows of a source.

use crate::catalog::cx::{CheckCx, ConnectorCx};
use crate::catalog::operator::{Checked, Inputs, Keeps, Operator};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::error::LogicError;
use crate::dataflow::source::{SourceParts, source};
use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::spec::{Entry, Node, Table, Value};

/// The operator `input`.
pub struct Input;

#[derive(serde::Deserialize)]
struct Args {
    #[expect(dead_code, reason = "named so that its key is known; the connector reads it")]
    source: serde::de::IgnoredAny,
}

impl Operator for Input {
    fn name(&self) -> &'static str {
        "input"
    }

    fn doc(&self) -> &'static str {
        "Begins a flow with the rows of a source.

`source` names a connector and its arguments; `wxhost connectors` lists them. Each partition of the source is read by
one worker. Rows that cannot be read go to the port `errors` under `on_error = \"dead_letter\"`.

Ports: `down`.

```toml
[[step]]
name = \"events\"
op = \"input\"
source = { demo = \"random_metric\", count = 10 }
```
"
    }

    fn inputs(&self) -> Inputs {
        Inputs::None
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        cx.args::<Args>()?;
        let named = named(cx, "source")?;
        let connector_cx = named.cx(cx, None);
        let checked = named.connector.check_source(&connector_cx)?;
        let keeps = Keeps::of_connector(named.connector.name());
        let mut step = Checked::new(InputStep { parts: checked.parts }).down(checked.down).keeps(keeps);
        step.notes = checked.notes;
        Ok(step)
    }
}

struct InputStep {
    parts: Box<dyn SourceParts>,
}

impl BuildStep for InputStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, _ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        source(cx, &*self.parts)
    }
}

/// A connector that a step names, with its arguments.
pub(super) struct Named {
    pub connector: &'static dyn crate::catalog::connector::Connector,
    table: Table,
    span: std::ops::Range<usize>,
}

impl Named {
    /// What the connector is given.
    pub fn cx<'a>(&'a self, cx: &CheckCx<'a>, up: Option<&'a crate::catalog::operator::StreamType>) -> ConnectorCx<'a> {
        ConnectorCx { flow: cx.flow, step: cx.step, table: &self.table, span: self.span.clone(), up }
    }
}

/// Finds the connector that the argument `key` names: a table that has its name among its keys, or a bare name.
pub(super) fn named(cx: &CheckCx<'_>, key: &'static str) -> Result<Named, Diagnostics> {
    let node = cx.step.args.get(key).expect("a required argument is there");
    let names = || cx.flow.catalog.connectors.iter().map(|connector| connector.name());
    let table = match &node.value {
        Value::Table(table) => table.clone(),
        // A bare name stands for a table with that name alone.
        Value::String(name) => [Entry {
            key: name.clone(),
            key_span: node.span.clone(),
            node: Node { span: node.span.clone(), value: Value::Bool(true) },
        }]
        .into_iter()
        .collect(),
        _ => {
            let message = format!("{}: \"{key}\" is {}, wanted a table", cx.what(), node.value.describe());
            let help = format!("for example {key} = {{ file = \"events.jsonl\", format = \"json\" }}");
            return Err(Diagnostic::new("wrong-type", message).at(node.span.clone()).help(help).into());
        }
    };
    let found = table.iter().find_map(|entry| cx.flow.catalog.connector(&entry.key));
    if let Some(connector) = found {
        return Ok(Named { connector, table, span: node.span.clone() });
    }
    let keys: Vec<&str> = table.iter().map(|entry| entry.key.as_str()).collect();
    let message = format!("{}: \"{key}\" names no connector", cx.what());
    let near = keys.iter().find_map(|key| suggest(key, names()));
    let help = near.unwrap_or_else(|| format!("connectors are: {}", names().collect::<Vec<_>>().join(", ")));
    Err(Diagnostic::new("unknown-connector", message).at(node.span.clone()).help(help).into())
}
