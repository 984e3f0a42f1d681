//! Environment variables in strings: `${env:NAME}`, and `${env:NAME:-default}` for one that may be unset or empty.
//!
//! They are replaced in the strings of the parsed tree, and what comes in is not looked at again: a value can be nothing
//! but a part of that string. `$${env:` stands for `${env:` itself.

use std::ops::Range;

use super::node::{Node, Table, Value};
use crate::diag::{Diagnostic, Diagnostics};

const OPEN: &str = "${env:";

/// The environment: a variable's name to its value.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces the variables in all strings of a table that was read from `source`.
///
/// A string with a wrong variable stays as it is written.
pub(super) fn expand(table: &mut Table, source: &str, env: Env<'_>) -> Diagnostics {
    let mut expansion = Expansion { source, env, problems: Diagnostics::new() };
    expansion.table(table);
    expansion.problems
}

struct Expansion<'a> {
    source: &'a str,
    env: Env<'a>,
    problems: Diagnostics,
}

impl Expansion<'_> {
    fn table(&mut self, table: &mut Table) {
        for entry in table.iter_mut() {
            self.node(&mut entry.node);
        }
    }

    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::String(text) if text.contains(OPEN) => match self.text(text, &node.span) {
                Ok(expanded) => *text = expanded,
                Err(problems) => self.problems.extend(problems),
            },
            Value::Array(nodes) => nodes.iter_mut().for_each(|node| self.node(node)),
            Value::Table(table) => self.table(table),
            _ => {}
        }
    }

    fn text(&self, text: &str, span: &Range<usize>) -> Result<String, Diagnostics> {
        let mut problems = Diagnostics::new();
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(OPEN) {
            let (before, variable) = rest.split_at(at);
            let body = &variable[OPEN.len()..];
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str(OPEN);
                rest = body;
                continue;
            }
            expanded.push_str(before);
            let Some((inside, after)) = body.split_once('}') else {
                let problem = Diagnostic::new("bad-variable", format!("{OPEN:?} without a closing \"}}\""))
                    .help("write ${env:NAME}, or $${env: for the text ${env: itself");
                problems.push(problem.at(self.place(OPEN, span)));
                return Err(problems);
            };
            let written = &variable[..OPEN.len() + inside.len() + 1];
            match self.variable(inside) {
                Ok(value) => expanded.push_str(&value),
                Err(problem) => problems.push(problem.at(self.place(written, span))),
            }
            rest = after;
        }
        expanded.push_str(rest);
        problems.into_result(expanded)
    }

    fn variable(&self, inside: &str) -> Result<String, Diagnostic> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(Diagnostic::new(
                "bad-variable",
                format!("{name:?} cannot be the name of an environment variable"),
            )
            .help("write ${env:NAME} or ${env:NAME:-default}"));
        }
        match ((self.env)(name), default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Diagnostic::new("unset-variable", format!("environment variable {name:?} is not set"))
                .help(format!("set it, or give a default: ${{env:{name}:-…}}"))),
        }
    }

    // The variable itself where the string has no escapes before it, else the whole string.
    fn place(&self, written: &str, span: &Range<usize>) -> Range<usize> {
        match self.source.get(span.clone()).and_then(|text| text.find(written)) {
            Some(at) => span.start + at..span.start + at + written.len(),
            None => span.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let env = |name: &str| match name {
            "REGION" => Some("eu".to_owned()),
            "EMPTY" => Some(String::new()),
            "SNEAKY" => Some("${env:REGION}\"\nop = \"x".to_owned()),
            _ => None,
        };
        let expansion = Expansion { source: text, env: &env, problems: Diagnostics::new() };
        expansion.text(text, &(0..text.len())).map_err(|problems| {
            let problems = problems.iter().map(|problem| {
                let span = problem.span.clone().expect("a problem with a variable has a place");
                format!("{}: {}", &text[span], problem.message)
            });
            problems.collect::<Vec<_>>().join("; ")
        })
    }

    #[test]
    fn variables_become_their_values() {
        for (text, expect) in [
            ("${env:REGION}", "eu"),
            ("a-${env:REGION}-b-${env:REGION}", "a-eu-b-eu"),
            ("${env:NONE:-here}", "here"),
            ("${env:NONE:-}", ""),
            ("${env:EMPTY}", ""),
            ("${env:EMPTY:-here}", "here"),
            ("${env:REGION:-here}", "eu"),
            ("$${env:REGION}", "${env:REGION}"),
            ("$${env:REGION} ${env:REGION}", "${env:REGION} eu"),
            ("${HOME} $5 ${", "${HOME} $5 ${"),
        ] {
            assert_eq!(expanded(text), Ok(expect.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_value_is_not_looked_at_again() {
        assert_eq!(expanded("${env:SNEAKY}"), Ok("${env:REGION}\"\nop = \"x".to_owned()));
    }

    #[test]
    fn every_wrong_variable_is_reported_at_its_place() {
        for (text, expect) in [
            (
                "${env:A} ${env:B}",
                "${env:A}: environment variable \"A\" is not set; ${env:B}: environment variable \"B\" is not set",
            ),
            ("x ${env:A", "${env:: \"${env:\" without a closing \"}\""),
            ("${env:}", "${env:}: \"\" cannot be the name of an environment variable"),
            ("${env:a b}", "${env:a b}: \"a b\" cannot be the name of an environment variable"),
        ] {
            assert_eq!(expanded(text), Err(expect.to_owned()), "{text}");
        }
    }
}
