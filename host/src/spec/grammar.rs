//! The keys that every flow file has: [`Table`] to [`Spec`].

use std::ops::Range;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::DeError;
use super::node::{Entry, Node, Table, Value};
use super::read::read;
use super::{Allow, From, Limits, PluginSpec, PortRef, RunSpec, Spanned, Spec, StepSpec, toml, variables};
use crate::diag::{Diagnostic, Diagnostics};

const TOP_KEYS: [&str; 6] = ["flow", "plugins", "step", "run", "recovery", "test"];

/// Reads a flow file; `env` gives the values of environment variables.
///
/// All problems are reported at once. The spec is there beside problems when its plugins and steps are whole, so that the plan can
/// report what is wrong with them too; it must not be run unless there are no problems.
pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> (Option<Spec>, Diagnostics) {
    let mut table = match toml::parse(text) {
        Ok(table) => table,
        Err(problems) => return (None, problems),
    };
    let mut problems = variables::expand(&mut table, text, env);
    let spec = spec(table, &mut problems);
    (spec, problems)
}

/// Reads a file that has tests only, each a `[[test]]`; `env` gives the values of environment variables.
///
/// # Errors
/// All that is wrong.
pub fn parse_tests(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Spanned<Table>>, Diagnostics> {
    let mut table = toml::parse(text)?;
    let mut problems = variables::expand(&mut table, text, env);
    let tests = table.remove("test").and_then(|entry| tables(entry, true, &mut problems)).unwrap_or_default();
    for entry in table {
        let error = DeError::unknown_key(&entry.key, ["test"].into_iter());
        let message = format!("{} in a file of tests", error.message);
        problems.push(Diagnostic::new("unknown-key", message).at(entry.key_span.clone()).maybe_help(error.help));
    }
    problems.into_result(tests)
}

/// Says whether a text can name a flow, a plugin, a step or a port: ASCII letters, digits, `_` and `-`.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn spec(mut table: Table, problems: &mut Diagnostics) -> Option<Spec> {
    let flow = required_name(&mut table, "flow", "the flow file", None, problems);
    let plugins = match table.remove("plugins") {
        Some(entry) => plugins(entry, problems),
        None => Some(Vec::new()),
    };
    let steps = match table.remove("step") {
        Some(entry) => steps(entry, problems),
        None => {
            let problem = Diagnostic::new("missing-key", "the flow has no step");
            problems.push(problem.help("add one: [[step]] with a name and an op"));
            None
        }
    };
    let run = match table.remove("run") {
        Some(entry) => tables(entry, false, problems)
            .and_then(|tables| tables.into_iter().next())
            .and_then(|table| problems.take(read(&table.value, table.span, "[run]")))
            .unwrap_or_default(),
        None => RunSpec::default(),
    };
    let recovery = table.remove("recovery").and_then(|entry| tables(entry, false, problems)?.into_iter().next());
    let tests = table.remove("test").and_then(|entry| tables(entry, true, problems)).unwrap_or_default();
    for entry in table {
        problems.push(unknown_key(&entry, "the flow file"));
    }
    Some(Spec { flow: flow?, plugins: plugins?, steps: steps?, run, recovery, tests })
}

fn unknown_key(entry: &Entry, what: &str) -> Diagnostic {
    let error = DeError::unknown_key(&entry.key, TOP_KEYS.into_iter());
    Diagnostic::new("unknown-key", format!("{} in {what}", error.message))
        .at(entry.key_span.clone())
        .maybe_help(error.help)
}

/// Takes the table of `[key]`, or the tables of `[[key]]` if there may be several.
fn tables(entry: Entry, several: bool, problems: &mut Diagnostics) -> Option<Vec<Spanned<Table>>> {
    let Entry { key, node, .. } = entry;
    let header = if several { format!("[[{key}]]") } else { format!("[{key}]") };
    let wrong = |node: &Node| {
        let found = match &node.value {
            Value::Array(_) if !several => "several tables, or an array".into(),
            value => value.describe(),
        };
        let problem = Diagnostic::new("wrong-type", format!("expected {header}, found {found}"));
        problem.at(node.span.clone()).help(format!("write {header} above the keys that belong to it"))
    };
    let nodes = match node.value {
        Value::Array(nodes) if several => nodes,
        Value::Table(_) if !several => vec![node],
        _ => {
            problems.push(wrong(&node));
            return None;
        }
    };
    let mut tables = Some(Vec::with_capacity(nodes.len()));
    for node in nodes {
        match node.value {
            Value::Table(table) => {
                if let Some(tables) = &mut tables {
                    tables.push(Spanned::new(node.span, table));
                }
            }
            _ => {
                problems.push(wrong(&node));
                tables = None;
            }
        }
    }
    tables
}

/// The keys of `[plugins.NAME]`.
#[derive(Deserialize)]
struct PluginKeys {
    path: Spanned<String>,
    config: Option<Node>,
    #[serde(default)]
    allow: Allow,
    #[serde(default)]
    limits: Limits,
}

fn plugins(entry: Entry, problems: &mut Diagnostics) -> Option<Vec<PluginSpec>> {
    let Value::Table(table) = entry.node.value else {
        let message = format!("expected [plugins.NAME], found {}", entry.node.value.describe());
        problems.push(
            Diagnostic::new("wrong-type", message)
                .at(entry.node.span)
                .help("write [plugins.NAME] with a path below it"),
        );
        return None;
    };
    let count = table.len();
    let mut plugins = Vec::with_capacity(count);
    for Entry { key, key_span, node } in table {
        let what = format!("plugin {key:?}");
        if !is_name(&key) {
            problems.push(bad_name(&key, key_span.clone()));
        }
        let Value::Table(keys) = node.value else {
            let message = format!("{what}: expected a table, found {}", node.value.describe());
            let help = format!("write [plugins.{key}] with a path below it");
            problems.push(Diagnostic::new("wrong-type", message).at(node.span).help(help));
            continue;
        };
        if let Some(PluginKeys { path, config, allow, limits }) = problems.take(read(&keys, node.span.clone(), &what)) {
            plugins.push(PluginSpec {
                name: Spanned::new(key_span, key),
                path,
                config,
                allow,
                limits,
                span: node.span,
            });
        }
    }
    (plugins.len() == count).then_some(plugins)
}

fn steps(entry: Entry, problems: &mut Diagnostics) -> Option<Vec<StepSpec>> {
    let span = entry.node.span.clone();
    let tables = tables(entry, true, problems)?;
    if tables.is_empty() {
        problems.push(Diagnostic::new("missing-key", "the flow has no step").at(span));
        return None;
    }
    let count = tables.len();
    let steps: Vec<_> = tables.into_iter().filter_map(|table| step(table, problems)).collect();
    (steps.len() == count).then_some(steps)
}

fn step(table: Spanned<Table>, problems: &mut Diagnostics) -> Option<StepSpec> {
    let Spanned { span, value: mut args } = table;
    let what = match args.get("name").and_then(Node::as_str) {
        Some(name) => format!("step {name:?}"),
        None => "the step".to_owned(),
    };
    let name = required_name(&mut args, "name", &what, Some(&span), problems);
    let op = required(&mut args, "op", &what, Some(&span), problems);
    let from = match args.remove("from") {
        Some(entry) => from(entry.node, &what, problems),
        None => Some(From::Above),
    };
    let on_error = optional(&mut args, "on_error", &what, problems);
    let max_errors = optional(&mut args, "max_errors", &what, problems);
    let limits = optional(&mut args, "limits", &what, problems);
    let renamed_from = optional::<Spanned<String>>(&mut args, "renamed_from", &what, problems);
    let renamed_from = renamed_from.and_then(|name| checked_name(name, problems));
    Some(StepSpec { name: name?, op: op?, from: from?, on_error, max_errors, limits, renamed_from, args, span })
}

fn optional<T: DeserializeOwned>(table: &mut Table, key: &str, what: &str, problems: &mut Diagnostics) -> Option<T> {
    let entry = table.remove(key)?;
    problems.take(entry.node.read_as(&format!("{key:?} of {what}")))
}

fn required(
    table: &mut Table,
    key: &str,
    what: &str,
    span: Option<&Range<usize>>,
    problems: &mut Diagnostics,
) -> Option<Spanned<String>> {
    if table.get(key).is_none() {
        let problem = Diagnostic::new("missing-key", format!("missing key {key:?} in {what}"));
        problems.push(Diagnostic { span: span.cloned(), ..problem.help(format!("add {key} = \"…\"")) });
        return None;
    }
    optional(table, key, what, problems)
}

fn required_name(
    table: &mut Table,
    key: &str,
    what: &str,
    span: Option<&Range<usize>>,
    problems: &mut Diagnostics,
) -> Option<Spanned<String>> {
    let name = required(table, key, what, span, problems)?;
    checked_name(name, problems)
}

fn checked_name(name: Spanned<String>, problems: &mut Diagnostics) -> Option<Spanned<String>> {
    if is_name(&name) {
        return Some(name);
    }
    problems.push(bad_name(&name, name.span.clone()));
    None
}

fn bad_name(text: &str, span: Range<usize>) -> Diagnostic {
    let help = "a name has letters (a-z, A-Z), digits, \"_\" and \"-\"";
    Diagnostic::new("bad-name", format!("{text:?} cannot be a name")).at(span).help(help)
}

fn from(node: Node, what: &str, problems: &mut Diagnostics) -> Option<From> {
    const FORMS: &str = "write \"a\", \"a.late\", [\"a\", \"b\"] or { left = \"a\", right = \"b\" }";
    let what = format!("\"from\" of {what}");
    match node.value {
        Value::String(text) => port_ref(&text, node.span, &what, problems).map(From::One),
        Value::Array(nodes) if !nodes.is_empty() => {
            let count = nodes.len();
            let ports: Vec<_> = nodes.into_iter().filter_map(|node| port(node, &what, problems)).collect();
            (ports.len() == count).then_some(From::Many(ports))
        }
        Value::Table(table) if !table.is_empty() => {
            let count = table.len();
            let ports: Vec<_> = table
                .into_iter()
                .filter_map(|Entry { key, key_span, node }| {
                    let name = checked_name(Spanned::new(key_span, key), problems);
                    let port = port(node, &what, problems);
                    Some((name?, port?))
                })
                .collect();
            (ports.len() == count).then_some(From::Named(ports))
        }
        value => {
            let found = match &value {
                Value::Array(_) | Value::Table(_) => "none".to_owned(),
                value => value.describe(),
            };
            let message = format!("{what}: expected steps, found {found}");
            problems.push(Diagnostic::new("wrong-type", message).at(node.span).help(FORMS));
            None
        }
    }
}

fn port(node: Node, what: &str, problems: &mut Diagnostics) -> Option<PortRef> {
    let text: String = problems.take(node.read_as(what))?;
    port_ref(&text, node.span, what, problems)
}

fn port_ref(text: &str, span: Range<usize>, what: &str, problems: &mut Diagnostics) -> Option<PortRef> {
    let (step, port) = match text.split_once('.') {
        Some((step, port)) => (step, Some(port)),
        None => (text, None),
    };
    if !is_name(step) || !port.is_none_or(is_name) {
        let message = format!("{what}: {text:?} names neither a step nor a port of one");
        problems.push(Diagnostic::new("bad-name", message).at(span).help("write \"step\" or \"step.port\""));
        return None;
    }
    Some(PortRef { step: step.to_owned(), port: port.map(str::to_owned), span })
}
