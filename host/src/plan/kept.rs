//! What the steps of a plan keep from one execution to the next, and what that depends on.

use super::Plan;
use crate::catalog::cx::Up;
use crate::catalog::operator::{Keeps, KeptFunction};
use crate::data::fingerprint::{Fingerprint, Function, Input};
use crate::data::ids::{StepId, WorkerIndex};
use crate::data::schema::Type;
use crate::dataflow::env::Env;
use crate::dataflow::keyed::names_of;
use crate::dataflow::user_fn::InstanceCx;
use crate::spec::{From, Node, StepSpec, Value};
use arrow::array::BinaryArray;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What longer values than this are stored as is their hash.
const LONGEST: usize = 200;

/// What a step keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    pub keeps: Keeps,
    pub fingerprint: Fingerprint,
    /// The name that it had before.
    pub renamed_from: Option<StepId>,
}

/// Something that is kept under a name of its own.
#[derive(Clone, Debug)]
pub struct KeptStep {
    pub id: StepId,
    /// The operator; of sources and sinks the connector, too.
    pub kind: String,
    /// What it depends on, as it is stored.
    pub fingerprint: Vec<u8>,
    /// The name that it may still have in a store.
    pub renamed_from: Option<StepId>,
    /// Whose states they are, if a plugin's.
    pub function: Option<KeptFunction>,
    /// Other versions of what the operator writes that it reads.
    pub reads: &'static [u32],
}

/// Lists what a plan keeps.
pub fn steps(plan: &Plan) -> Vec<KeptStep> {
    let mut kept = Vec::new();
    for step in &plan.steps {
        let Some(Kept { keeps, fingerprint, renamed_from }) = &step.kept else { continue };
        let own = KeptStep {
            id: step.id.clone(),
            kind: keeps.connector.map_or(step.op.to_owned(), |connector| format!("{} {connector}", step.op)),
            fingerprint: fingerprint.to_bytes(),
            renamed_from: renamed_from.clone(),
            function: keeps.function.clone(),
            reads: keeps.reads,
        };
        if keeps.has_names {
            let renamed_from = renamed_from.as_ref().map(names_of);
            // No function has a part in that.
            let fingerprint = Fingerprint { function: None, ..fingerprint.clone() }.to_bytes();
            kept.push(KeptStep { id: names_of(&step.id), fingerprint, renamed_from, function: None, ..own.clone() });
        }
        kept.push(own);
    }
    kept
}

impl KeptStep {
    /// Asks its function whether it can migrate states of an older version: it is handed none of them.
    ///
    /// # Errors
    /// It cannot, and says why.
    pub fn check_migration(&self, from: u32, env: &Env) -> Result<(), String> {
        let Some(function) = &self.function else { return Ok(()) };
        let cx = InstanceCx {
            step: self.id.clone(),
            worker: WorkerIndex(0),
            run_id: "plan".into(),
            env: env.clone(),
            meter: Arc::default(),
            migration: None,
        };
        let asked = function.migrate.migrate(&cx, from, &BinaryArray::new_null(0));
        asked.map(drop).map_err(|error| format!("{}: {error}", function.name))
    }
}

impl Kept {
    /// Finds out what a step's states depend on. `text` is the flow file, `ups` are the upstreams of the step.
    pub(super) fn of(step: &StepSpec, text: &str, ups: &[Up], keeps: Keeps) -> Kept {
        let mut fingerprint = Fingerprint { version: keeps.version, ..Fingerprint::default() };
        if keeps.connector.is_none() {
            fingerprint.inputs = ups.iter().map(|up| input(up, matches!(step.from, From::Named(_)))).collect();
        }
        for entry in &step.args {
            let key = entry.key.clone();
            let value = storable(&key, &entry.node, text);
            if keeps.connector.is_some() {
                // Addresses and paths, perhaps with passwords.
                fingerprint.free.insert(key, Fingerprint::hashed(&entry.node.to_json().to_string()));
            } else if keeps.ignores.contains(&key.as_str()) {
                fingerprint.free.insert(key, value);
            } else if keeps.function.is_none() || key != "fn" {
                fingerprint.arguments.insert(key, value);
            }
        }
        fingerprint.function = keeps.function.as_ref().map(|function| {
            // What the plugin is called in the flow is not what its states depend on.
            let name = function.name.split_once('.').map_or(&*function.name, |(_, name)| name);
            Function { name: name.to_owned(), state_version: function.state_version }
        });
        let renamed_from = step.renamed_from.as_ref().map(|name| name.value.as_str().into());
        Kept { keeps, fingerprint, renamed_from }
    }
}

fn input(up: &Up, has_names: bool) -> Input {
    let columns = up.ty.schema.fields().iter();
    Input {
        name: has_names.then(|| up.name.clone()),
        columns: columns.map(|field| (field.name().clone(), Type::of(field).to_string())).collect(),
        key: up.ty.key.as_deref().map(str::to_owned),
    }
}

/// An argument as it may be stored: what is long, configures a plugin or came from the environment is hashed.
fn storable(key: &str, node: &Node, text: &str) -> Json {
    let value = without_secrets(node, text);
    let written = value.to_string();
    if written.len() > LONGEST || key == "config" { Fingerprint::hashed(&written) } else { value }
}

fn without_secrets(node: &Node, text: &str) -> Json {
    match &node.value {
        // A variable was put in if the flow file does not have the very text. An escaped character does the same.
        Value::String(value) => match text.get(node.span.clone()) {
            Some(written) if written.contains(value.as_str()) && !written.contains("${env:") => value.as_str().into(),
            _ => Fingerprint::hashed(value),
        },
        Value::Array(nodes) => nodes.iter().map(|node| without_secrets(node, text)).collect(),
        Value::Table(table) => {
            let entries = table.iter().map(|entry| (entry.key.clone(), without_secrets(&entry.node, text)));
            entries.collect::<BTreeMap<_, _>>().into_iter().collect()
        }
        _ => node.to_json(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::plan;
    use super::*;
    use crate::catalog::operator::StreamType;
    use crate::data::schema::schema_of;
    use crate::dataflow::user_fn::MigrateStates;
    use crate::spec;
    use expect_test::{Expect, expect};

    struct Never;

    impl MigrateStates for Never {}

    const FLOW: &str = r#"
flow = "test"

[[step]]
name = "sum"
op = "fold_final"
from = { left = "in" }
renamed_from = "total"
fn = "p.sum"
ttl = "1h"
columns = ["a", { b = 1, a = 2.5 }]
secret = "${env:SECRET}"
nested = { by = "x-${env:SECRET}" }
long = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
config = { a = 1 }
"#;

    fn check(keeps: Keeps, expect: &Expect) -> Kept {
        let (spec, problems) = spec::parse(FLOW, &|_| Some("hunter2".to_owned()));
        assert!(problems.is_empty(), "{problems}");
        let schema = schema_of(&[("n".to_owned(), Type::Int64), ("user".to_owned(), Type::String)]);
        let up = Up { name: "left".to_owned(), ty: StreamType { schema, key: Some("user".into()) }, span: 0..0 };
        let kept = Kept::of(&spec.unwrap().steps[0], FLOW, &[up], keeps);
        let stored = String::from_utf8(kept.fingerprint.to_bytes()).unwrap();
        assert!(!stored.contains("hunter2"));
        let value: Json = serde_json::from_str(&stored).unwrap();
        expect.assert_eq(&format!("{value:#}"));
        kept
    }

    #[test]
    fn a_fingerprint_has_what_states_depend_on_and_no_secrets() {
        let keeps = Keeps::new().ignoring(&["ttl"]).function("p.sum", 3, Arc::new(Never));
        check(
            keeps,
            &expect![[r#"
            {
              "arguments": {
                "columns": [
                  "a",
                  {
                    "a": 2.5,
                    "b": 1
                  }
                ],
                "config": "blake3:d59b6562d7c9b121",
                "long": "blake3:41b162a051dfa537",
                "nested": {
                  "by": "blake3:880f71cc130fae43"
                },
                "secret": "blake3:55dcd1221c6686fb"
              },
              "free": {
                "ttl": "1h"
              },
              "function": {
                "name": "sum",
                "state_version": 3
              },
              "inputs": [
                {
                  "columns": [
                    [
                      "n",
                      "int64"
                    ],
                    [
                      "user",
                      "string"
                    ]
                  ],
                  "key": "user",
                  "name": "left"
                }
              ],
              "version": 1
            }"#]],
        );
    }

    #[test]
    fn of_a_connector_only_its_name_counts() {
        check(
            Keeps::of_connector("file"),
            &expect![[r#"
            {
              "free": {
                "columns": "blake3:d049f2dd37ea61e1",
                "config": "blake3:d59b6562d7c9b121",
                "fn": "blake3:0d862c08e34e767c",
                "long": "blake3:41b162a051dfa537",
                "nested": "blake3:4a94b5bf7adb4fb0",
                "secret": "blake3:65b15482f01114ec",
                "ttl": "blake3:3ece7d863c55c3d8"
              },
              "version": 1
            }"#]],
        );
    }

    #[test]
    fn each_thing_that_is_kept_has_a_name() {
        let mut plan = plan();
        let mut names = check_none(Keeps::new());
        names.keeps.has_names = true;
        plan.steps[4].kept = Some(names);
        plan.steps[5].kept = Some(check_none(Keeps::of_connector("file")));
        let lines: Vec<String> = steps(&plan)
            .iter()
            .map(|step| format!("{} ({}) {:?}", step.id, step.kind, step.renamed_from.as_ref().map(|old| &*old.0)))
            .collect();
        expect![[r#"
            joined/names (join) Some("total/names")
            joined (join) Some("total")
            out (output file) Some("total")"#]]
        .assert_eq(&lines.join("\n"));
    }

    fn check_none(keeps: Keeps) -> Kept {
        let (spec, _) = spec::parse(FLOW, &|_| Some(String::new()));
        Kept::of(&spec.unwrap().steps[0], FLOW, &[], keeps)
    }
}
