//! How aggregates are written in a flow: `total = "sum(value)"`.

use super::accumulator::Function;
use super::set::{Aggregate, Of};
use crate::catalog::cx::CheckCx;
use crate::data::schema::{Type, describe};
use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::spec::{Entry, Node, Spanned, Value};

/// The entry of the argument `aggregate` in the reference texts, for `concat!`.
macro_rules! aggregate_doc {
    () => {
        r#"- `aggregate`, a table `column = "function(column)"` of the columns to make, in their order, of these functions:
  `count(*)`, the rows, and `count(column)`, the values; `sum` and `mean` of numbers; `min` and `max` of numbers, text,
  time or booleans; `first` and `last` of any column, by the order in which rows are taken in.
"#
    };
}

/// What the reference texts say of all aggregates, behind the arguments.
macro_rules! values_doc {
    () => {
        r#"
Nulls are passed over, and NaN by `min` and `max`; what has no value left is null, its count 0. A sum of integers is an
`int64` (of `uint64` an `uint64`), one of floats a `float64`, and so is every mean. Integers are added up in 128 bits: a
result whose sum does not fit its type fails and is treated by `on_error`, while the rows stay counted. The last digits
of sums and means of floats depend on the order of the rows.
"#
    };
}

pub(in super::super) use {aggregate_doc, values_doc};

/// Reads the argument `aggregate` of a step.
///
/// # Errors
/// All that is wrong with it.
pub(in super::super) fn parse(cx: &CheckCx<'_>, argument: &Node) -> Result<Vec<Aggregate>, Diagnostics> {
    let Value::Table(table) = &argument.value else {
        let message = format!("\"aggregate\" of {}: expected a table, found {}", cx.what(), argument.value.describe());
        return Err(Diagnostic::new("wrong-type", message).at(argument.span.clone()).help(EXAMPLE).into());
    };
    let mut problems = Diagnostics::new();
    let aggregates = table.iter().filter_map(|entry| problems.take(aggregate(cx, entry))).collect::<Vec<_>>();
    if aggregates.is_empty() && problems.is_empty() {
        let message = format!("{}: \"aggregate\" names no columns", cx.what());
        problems.push(Diagnostic::new("missing-key", message).at(argument.span.clone()).help(EXAMPLE));
    }
    problems.into_result(aggregates)
}

const EXAMPLE: &str = "for example aggregate = { events = \"count(*)\", total = \"sum(value)\" }";

fn aggregate(cx: &CheckCx<'_>, entry: &Entry) -> Result<Aggregate, Diagnostics> {
    let name = entry.key.clone();
    let (what, span) = (format!("column \"{name}\" of {}", cx.what()), entry.node.span.clone());
    let wrong = |code: &'static str, message: String, help: String| -> Diagnostics {
        Diagnostic::new(code, message).at(span.clone()).help(help).into()
    };
    let Some(text) = entry.node.as_str() else {
        let message = format!("{what}: expected \"function(column)\", found {}", entry.node.value.describe());
        return Err(wrong("wrong-type", message, EXAMPLE.to_owned()));
    };
    let call = text.trim().strip_suffix(')').and_then(|text| text.split_once('('));
    let Some((function, column)) = call.map(|(function, column)| (function.trim(), column.trim())) else {
        return Err(wrong("wrong-aggregate", format!("{what}: {text:?} is no aggregate"), EXAMPLE.to_owned()));
    };
    let Some(&(_, function)) = Function::ALL.iter().find(|(name, _)| *name == function) else {
        let names = || Function::ALL.iter().map(|(name, _)| *name);
        let all = format!("there are {}", names().collect::<Vec<_>>().join(", "));
        let help = suggest(function, names()).map_or_else(|| all.clone(), |suggestion| format!("{suggestion} {all}"));
        return Err(wrong("wrong-aggregate", format!("{what}: no aggregate \"{function}\""), help));
    };
    if column == "*" || column.is_empty() {
        return match function {
            Function::Count if column == "*" => Ok(Aggregate { name, of: Of::Rows, ty: Type::Int64 }),
            Function::Count => {
                let help = "write count(*) for the rows, count(column) for the values of a column";
                Err(wrong("wrong-aggregate", format!("{what}: {text:?} says not what to count"), help.to_owned()))
            }
            _ => {
                let help = format!("name a column; its rows are: {}", describe(&cx.up().schema));
                Err(wrong("wrong-aggregate", format!("{what}: {text:?} is of no column"), help))
            }
        };
    }
    let (index, ty) = cx.column(&Spanned::new(span.clone(), column.to_owned()))?;
    match function.output(&ty) {
        Some(output) => Ok(Aggregate { name, of: Of::Column { function, index, ty }, ty: output }),
        None => {
            let message = format!("{what}: column \"{column}\" is {ty}, of which there is no {text:?}");
            Err(wrong("wrong-aggregate", message, format!("take {}", function.wanted())))
        }
    }
}
