//! From `[[test]]` to a test that fits its flow.

use super::expect::Expected;
use super::rows::RowType;
use super::stage::is_end;
use super::{Expectation, Input, Into, Test};
use crate::catalog::Catalog;
use crate::connectors::testing::{Pacing, of_nodes, of_text};
use crate::data::time::Instant;
use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::plan::{Plan, PlannedStep};
use crate::spec::{self, Entry, Node, Spanned, Table, TimestampText, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;

/// The most workers of a test.
const MOST_WORKERS: usize = 64;
/// The ways to expect rows that are not a list.
const WAYS: [&str; 4] = ["any_order", "per_key", "contains", "count"];
const WAYS_HELP: &str = "write a list of rows; or { any_order = […] }, { per_key = { a = […] } }, { contains = […] }, \
                         { count = 3 }; [] expects nothing";

/// What a test is read against.
#[derive(Clone, Copy)]
pub struct TestCx<'a> {
    pub plan: &'a Plan,
    pub catalog: Catalog,
    /// The folder that paths start from.
    pub base: &'a Path,
}

#[derive(serde::Deserialize)]
struct Keys {
    name: Spanned<String>,
    workers: Option<Node>,
    now: Option<TimestampText>,
    #[serde(default = "drained")]
    pacing: Pacing,
    batch_size: Option<NonZeroUsize>,
    input: Option<Node>,
    expect: Option<Node>,
    error: Option<String>,
}

/// Results shall not depend on chance.
fn drained() -> Pacing {
    Pacing::Drained
}

/// Reads the tests of a flow.
///
/// # Errors
/// All that is wrong with them.
pub fn read(tables: &[Spanned<Table>], cx: TestCx<'_>) -> Result<Vec<Test>, Diagnostics> {
    let mut problems = Diagnostics::new();
    let mut tests: Vec<Test> = Vec::new();
    for table in tables {
        let Some(test) = problems.take(read_one(table, cx)) else { continue };
        if tests.iter().any(|other| other.name == test.name) {
            let message = format!("a second test is called {:?}", test.name);
            problems
                .push(Diagnostic::new("duplicate-test", message).at(table.span.clone()).help("give it another name"));
        }
        tests.push(test);
    }
    problems.into_result(tests)
}

fn read_one(table: &Spanned<Table>, cx: TestCx<'_>) -> Result<Test, Diagnostics> {
    let name = table.get("name").and_then(Node::as_str).unwrap_or_default();
    let what = if name.is_empty() { "[[test]]".to_owned() } else { format!("test {name:?}") };
    let keys: Keys = spec::read(&table.value, table.span.clone(), &what)?;
    let reader = Reader { cx, what: &what };
    let mut problems = Diagnostics::new();
    let workers = problems.take(reader.workers(keys.workers.as_ref()));
    let inputs = problems.take(reader.inputs(keys.input.as_ref()));
    let expectations = problems.take(reader.expectations(keys.expect.as_ref()));
    if keys.error.is_none() && keys.expect.is_none() {
        let message = format!("{what} expects nothing");
        let help = "say what comes out of a step: expect.STEP = [{ … }]; or how the run fails: error = \"…\"";
        problems.push(Diagnostic::new("missing-key", message).at(table.span.clone()).help(help));
    }
    problems.is_empty().then_some(()).ok_or_else(|| problems.clone())?;
    let (inputs, expectations) = (inputs.unwrap_or_default(), expectations.unwrap_or_default());
    let needed = reader.needed(&inputs, &expectations, &table.span)?;
    Ok(Test {
        name: keys.name.value,
        span: table.span.clone(),
        workers: workers.unwrap_or_default(),
        now: Instant(keys.now.map_or(0, |now| now.0)),
        pacing: keys.pacing,
        batch_size: keys.batch_size.map_or(1, NonZeroUsize::get),
        inputs: inputs.into_iter().map(|input| input.value).collect(),
        expectations,
        error: keys.error,
        needed,
    })
}

/// Reads a test; `what` names it.
struct Reader<'a> {
    cx: TestCx<'a>,
    what: &'a str,
}

impl Reader<'_> {
    fn workers(&self, node: Option<&Node>) -> Result<Vec<usize>, Diagnostics> {
        let Some(node) = node else { return Ok(vec![1]) };
        let nodes = node.as_array().unwrap_or(std::slice::from_ref(node));
        let number = |node: &Node| match node.value {
            Value::Integer(number) => usize::try_from(number).ok().filter(|number| (1..=MOST_WORKERS).contains(number)),
            _ => None,
        };
        match nodes.iter().map(number).collect::<Option<BTreeSet<usize>>>() {
            Some(numbers) if !numbers.is_empty() => Ok(numbers.into_iter().collect()),
            _ => {
                let message = format!("\"workers\" of {}: expected numbers from 1 to {MOST_WORKERS}", self.what);
                let help = "for example workers = 1, or workers = [1, 3]";
                Err(Diagnostic::new("wrong-type", message).at(node.span.clone()).help(help).into())
            }
        }
    }

    fn table<'n>(&self, node: &'n Node, key: &str, help: &str) -> Result<&'n Table, Diagnostics> {
        node.as_table().ok_or_else(|| {
            let message = format!("{key:?} of {}: expected a table, found {}", self.what, node.value.describe());
            Diagnostic::new("wrong-type", message).at(node.span.clone()).help(help).into()
        })
    }

    fn step(&self, name: &str, span: &Range<usize>) -> Result<(usize, &PlannedStep), Diagnostics> {
        let mut steps = self.cx.plan.steps.iter().enumerate();
        steps.find(|(_, step)| *step.id.0 == *name).ok_or_else(|| {
            let names = || self.cx.plan.steps.iter().map(|step| &*step.id.0);
            let help = suggest(name, names())
                .unwrap_or_else(|| format!("steps are: {}", names().collect::<Vec<_>>().join(", ")));
            let message = format!("{}: the flow has no step {name:?}", self.what);
            Diagnostic::new("unknown-step", message).at(span.clone()).help(help).into()
        })
    }

    fn inputs(&self, node: Option<&Node>) -> Result<Vec<Spanned<Input>>, Diagnostics> {
        let Some(node) = node else { return Ok(Vec::new()) };
        let mut problems = Diagnostics::new();
        let mut inputs = Vec::new();
        for entry in self.table(node, "input", "for example input.readings = [{ value = 1.0 }]")? {
            inputs.extend(problems.take(self.inputs_of(entry)).into_iter().flatten());
        }
        problems.into_result(inputs)
    }

    fn inputs_of(&self, entry: &Entry) -> Result<Vec<Spanned<Input>>, Diagnostics> {
        let (index, step) = self.step(&entry.key, &entry.key_span)?;
        let what = format!("input {:?} of {}", entry.key, self.what);
        if let Value::Table(sides) = &entry.node.value {
            let mut problems = Diagnostics::new();
            let inputs = sides.iter().filter_map(|side| {
                let names = || step.ups.iter().map(|up| up.name.as_str());
                let Some(up) = names().position(|name| name == side.key) else {
                    let message = format!("{what}: it takes from no {:?}", side.key);
                    let known = || format!("it takes from: {}", names().collect::<Vec<_>>().join(", "));
                    let help = suggest(&side.key, names()).unwrap_or_else(known);
                    problems.push(Diagnostic::new("unknown-side", message).at(side.key_span.clone()).help(help));
                    return None;
                };
                problems.take(self.input(Into::Up { step: index, up }, side, &what))
            });
            let inputs = inputs.collect();
            return problems.into_result(inputs);
        }
        let into = match step.ups.len() {
            0 => Into::Source(index),
            1 => Into::Up { step: index, up: 0 },
            _ => {
                let names: Vec<&str> = step.ups.iter().map(|up| up.name.as_str()).collect();
                let message = format!("{what}: it takes from several: {}", names.join(", "));
                let help = format!("say for each what comes: input.{}.{} = […]", entry.key, names[0]);
                return Err(Diagnostic::new("wrong-type", message).at(entry.node.span.clone()).help(help).into());
            }
        };
        Ok(vec![self.input(into, entry, &what)?])
    }

    fn input(&self, into: Into, entry: &Entry, what: &str) -> Result<Spanned<Input>, Diagnostics> {
        let steps = &self.cx.plan.steps;
        let ty = match into {
            Into::Source(step) => &steps[step].ports[0].ty,
            Into::Up { step, up } => {
                let up = &steps[step].ups[up];
                &steps[up.step].ports[up.port].ty
            }
        };
        let rows = RowType::of(ty);
        if !rows.can_have_keys() {
            let message = format!("{what}: its key is a column that is no text when it is written");
            let help = "feed the step that makes the key, or one before it";
            return Err(Diagnostic::new("no-key-type", message).at(entry.key_span.clone()).help(help).into());
        }
        let items = match &entry.node.value {
            Value::Array(nodes) => {
                let items = of_nodes(what, nodes)?;
                rows.check(nodes, &items, what)?;
                items
            }
            Value::String(path) => {
                let path = Spanned::new(entry.node.span.clone(), path.clone());
                of_text(what, &path, &self.text(&path, what)?)?
            }
            other => {
                let message = format!("{what}: expected rows, found {}", other.describe());
                let help = "write a list of rows, or the path of a file of JSON lines";
                return Err(Diagnostic::new("wrong-type", message).at(entry.node.span.clone()).help(help).into());
            }
        };
        Ok(Spanned::new(entry.key_span.clone(), Input { into, items: items.into(), rows }))
    }

    fn text(&self, path: &Spanned<String>, what: &str) -> Result<String, Diagnostics> {
        std::fs::read_to_string(self.cx.base.join(&path.value)).map_err(|error| {
            let message = format!("{what}: {:?} cannot be read: {error}", path.value);
            let help = "paths start from the flow's folder";
            Diagnostic::new("io-unreadable", message).at(path.span.clone()).help(help).into()
        })
    }

    fn expectations(&self, node: Option<&Node>) -> Result<Vec<Expectation>, Diagnostics> {
        let Some(node) = node else { return Ok(Vec::new()) };
        let mut problems = Diagnostics::new();
        let mut expectations = Vec::new();
        for entry in self.table(node, "expect", "for example expect.averages = [{ value = 1.0 }]")? {
            let ports = match &entry.node.value {
                // expect.step.port, unless the keys are those of an expectation.
                Value::Table(table) if table.keys().any(|key| !WAYS.contains(&key)) => table
                    .iter()
                    .map(|port| Entry { key: format!("{}.{}", entry.key, port.key), ..port.clone() })
                    .collect(),
                _ => vec![entry.clone()],
            };
            expectations.extend(ports.iter().filter_map(|port| problems.take(self.expectation(port))));
        }
        problems.into_result(expectations)
    }

    fn expectation(&self, entry: &Entry) -> Result<Expectation, Diagnostics> {
        let (name, port) = match entry.key.split_once('.') {
            Some((name, port)) => (name, Some(port)),
            None => (entry.key.as_str(), None),
        };
        let (index, step) = self.step(name, &entry.key_span)?;
        let from = match (step.ports.iter().position(|found| found.name == port.unwrap_or("down")), &step.ups[..]) {
            (Some(port), _) => (index, port),
            // What a sink would write.
            (None, [up]) if port.is_none() && is_end(step, self.cx.catalog) => (up.step, up.port),
            _ => return Err(self.no_port(step, port, &entry.key_span)),
        };
        let rows = RowType::of(&self.cx.plan.steps[from.0].ports[from.1].ty);
        let what = format!("what is expected of {:?} in {}", entry.key, self.what);
        let expected = self.expected(&entry.node, &rows, &what)?;
        Ok(Expectation { port: entry.key.clone(), from, rows, expected })
    }

    fn no_port(&self, step: &PlannedStep, port: Option<&str>, span: &Range<usize>) -> Diagnostics {
        let names: Vec<&str> = step.ports.iter().map(|port| port.name).filter(|name| !name.is_empty()).collect();
        let message = match port {
            Some(port) => format!("{}: step \"{}\" has no port {port:?}", self.what, step.id),
            None => format!("{}: step \"{}\" has several ports", self.what, step.id),
        };
        let known = match names.first() {
            Some(name) => format!("write expect.{}.{name}; its ports are: {}", step.id, names.join(", ")),
            None => format!("it has none; what it would write is expect.{}", step.id),
        };
        let help = port.and_then(|port| suggest(port, names.iter().copied())).unwrap_or(known);
        Diagnostic::new("no-port", message).at(span.clone()).help(help).into()
    }

    fn expected(&self, node: &Node, rows: &RowType, what: &str) -> Result<Expected, Diagnostics> {
        let wrong = |node: &Node, message: String| {
            let message = format!("{what}: {message}");
            Diagnostics::from(Diagnostic::new("wrong-expectation", message).at(node.span.clone()).help(WAYS_HELP))
        };
        let list = |node: &Node| match &node.value {
            Value::Array(nodes) => rows.read(nodes, what),
            Value::String(path) => self.file(&Spanned::new(node.span.clone(), path.clone()), rows, what),
            other => Err(wrong(node, format!("expected a list of rows, found {}", other.describe()))),
        };
        let Value::Table(table) = &node.value else { return list(node).map(Expected::Rows) };
        let mut entries = table.iter();
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            return Err(wrong(node, format!("expected one of {}", WAYS.join(", "))));
        };
        match (entry.key.as_str(), &entry.node.value) {
            ("any_order", _) => list(&entry.node).map(Expected::AnyOrder),
            ("contains", _) => list(&entry.node).map(Expected::Contains),
            ("count", Value::Integer(count)) if *count >= 0 => {
                Ok(Expected::Count(usize::try_from(*count).unwrap_or(0)))
            }
            ("per_key", Value::Table(keys)) => {
                let Some(name) = rows.key_name() else {
                    return Err(wrong(&entry.node, "its rows have no key".to_owned()));
                };
                let mut problems = Diagnostics::new();
                let mut by_key = BTreeMap::new();
                for key in keys {
                    let nodes = key.node.as_array().ok_or_else(|| {
                        wrong(&key.node, format!("expected a list of rows, found {}", key.node.value.describe()))
                    });
                    let nodes = problems.take(nodes).map(|nodes| with_key(nodes, name, key));
                    let lines = nodes.and_then(|nodes| problems.take(rows.read(&nodes, what)));
                    by_key.insert(key.key.clone(), lines.unwrap_or_default());
                }
                problems.into_result(Expected::PerKey(by_key))
            }
            (_, other) => Err(wrong(&entry.node, format!("{:?} cannot be {}", entry.key, other.describe()))),
        }
    }

    fn file(&self, path: &Spanned<String>, rows: &RowType, what: &str) -> Result<Vec<String>, Diagnostics> {
        let text = self.text(path, what)?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        rows.canonical(&lines).map_err(|errors| {
            let wrong = |(line, message): (usize, String)| {
                let message = format!("{what}: line {} of {:?}: {message}", line + 1, path.value);
                Diagnostic::new("wrong-row", message).at(path.span.clone())
            };
            errors.into_iter().map(wrong).collect()
        })
    }

    /// The steps that must run: those that what is expected comes from, or if it is an error alone those that the
    /// input comes to.
    fn needed(
        &self,
        inputs: &[Spanned<Input>],
        expectations: &[Expectation],
        span: &Range<usize>,
    ) -> Result<BTreeSet<usize>, Diagnostics> {
        let steps = &self.cx.plan.steps;
        let is_fed = |into: Into| inputs.iter().any(|input| input.value.into == into);
        let mut wanted: Vec<usize> = expectations.iter().map(|expectation| expectation.from.0).collect();
        if wanted.is_empty() {
            let mut reached = BTreeSet::new();
            for (index, step) in steps.iter().enumerate() {
                let from_above = step.ups.iter().any(|up| reached.contains(&up.step));
                let is_fed =
                    is_fed(Into::Source(index)) || (0..step.ups.len()).any(|up| is_fed(Into::Up { step: index, up }));
                if from_above || is_fed {
                    reached.insert(index);
                }
            }
            wanted.extend(reached);
        }
        let mut needed = BTreeSet::new();
        while let Some(index) = wanted.pop() {
            if needed.insert(index) && !is_fed(Into::Source(index)) {
                let ups = steps[index].ups.iter().enumerate();
                let ups = ups.filter(|(up, _)| !is_fed(Into::Up { step: index, up: *up }));
                wanted.extend(ups.map(|(_, up)| up.step));
            }
        }
        let mut problems = Diagnostics::new();
        for &index in &needed {
            let step = &steps[index];
            if step.ups.is_empty() && !is_fed(Into::Source(index)) {
                let message = format!("{} says nothing about the rows of step \"{}\"", self.what, step.id);
                let help = format!("add input.{} = [{{ … }}], or [] if none come", step.id);
                problems.push(Diagnostic::new("missing-input", message).at(span.clone()).help(help));
            }
        }
        for input in inputs {
            let (Into::Source(step) | Into::Up { step, .. }) = input.value.into;
            if !needed.contains(&step) {
                let message = format!("{}: nothing that is expected comes from step \"{}\"", self.what, steps[step].id);
                let help = "leave this input out, or expect something of a step behind it";
                problems.push(Diagnostic::new("unused-input", message).at(input.span.clone()).help(help));
            }
        }
        problems.into_result(needed)
    }
}

/// Rows that need not repeat their key.
fn with_key(nodes: &[Node], name: &str, key: &Entry) -> Vec<Node> {
    let add = |node: &Node| {
        let mut node = node.clone();
        if let Value::Table(table) = &mut node.value
            && table.get(name).is_none()
        {
            let text = Node { span: key.key_span.clone(), value: Value::String(key.key.clone()) };
            table.insert(Entry { key: name.to_owned(), key_span: key.key_span.clone(), node: text });
        }
        node
    };
    nodes.iter().map(add).collect()
}
