//! Reads scripts: rows as JSON, and events between them.

use crate::data::time::Instant;
use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::spec::{DurationText, Node, Spanned, TimestampText, Value};
use std::ops::Range;
use std::time::Duration;

/// A part of a script.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A line of JSON.
    Row(String),
    /// Nothing comes for so long.
    Pause(Duration),
    /// Nothing comes before this time.
    Now(Instant),
    /// The input ends here for this execution.
    End,
    /// The execution ends as in a crash.
    Abort,
}

const EVENTS: [&str; 4] = ["@pause", "@now", "@end", "@abort"];

/// Reads a script that stands in the flow: an item for each node. `what` it is the script of is for messages.
///
/// # Errors
/// All events that are wrong.
pub fn of_nodes(what: &str, nodes: &[Node]) -> Result<Vec<Item>, Diagnostics> {
    let mut problems = Diagnostics::new();
    let mut items = Vec::new();
    for node in nodes {
        let row = match &node.value {
            Value::Table(_) => node.to_json(),
            _ => serde_json::json!({ "value": node.to_json() }),
        };
        match item(&row, || row.to_string()) {
            Ok(item) => items.push(item),
            Err(message) => problems.push(wrong(what, &node.span, &message)),
        }
    }
    problems.into_result(items)
}

/// Reads a script of JSON lines. A line that is no JSON is a row that cannot be read.
///
/// # Errors
/// All events that are wrong.
pub fn of_text(what: &str, path: &Spanned<String>, text: &str) -> Result<Vec<Item>, Diagnostics> {
    let mut problems = Diagnostics::new();
    let mut items = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row = serde_json::from_str(line).unwrap_or(serde_json::Value::Null);
        match item(&row, || line.to_owned()) {
            Ok(item) => items.push(item),
            Err(message) => {
                let message = format!("line {} of {:?}: {message}", number + 1, path.value);
                problems.push(wrong(what, &path.span, &message));
            }
        }
    }
    problems.into_result(items)
}

/// Says what is wrong with a script.
pub fn wrong(what: &str, span: &Range<usize>, message: &str) -> Diagnostic {
    let message = format!("script of {what}: {message}");
    let help =
        "a script is an array of rows and events, such as [{ a = 1 }, { \"@pause\" = \"1s\" }], or the path of a file";
    Diagnostic::new("wrong-script", message).at(span.clone()).help(help)
}

fn item(value: &serde_json::Value, row: impl Fn() -> String) -> Result<Item, String> {
    let mut members = value.as_object().into_iter().flatten();
    let (Some((name, value)), None) = (members.next(), members.next()) else { return Ok(Item::Row(row())) };
    let text = || value.as_str().ok_or_else(|| format!("{name:?} is {value}, wanted a string"));
    match name.as_str() {
        "@pause" => DurationText::parse(text()?).map(|pause| Item::Pause(pause.0)),
        "@now" => TimestampText::parse(text()?).map(|now| Item::Now(Instant(now.0))),
        "@end" => flag(name, value, Item::End),
        "@abort" => flag(name, value, Item::Abort),
        _ if name.starts_with('@') => {
            let events = || format!("events are: {}", EVENTS.join(", "));
            Err(format!("no event {name:?}; {}", suggest(name, EVENTS.into_iter()).unwrap_or_else(events)))
        }
        _ => Ok(Item::Row(row())),
    }
}

fn flag(name: &str, value: &serde_json::Value, item: Item) -> Result<Item, String> {
    if *value == serde_json::Value::Bool(true) { Ok(item) } else { Err(format!("{name:?} is {value}, wanted true")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_key_with_an_at_sign_is_an_event() {
        for (text, wanted) in [
            (r#"{"@pause":"2s"}"#, Ok(Item::Pause(Duration::from_secs(2)))),
            (r#"{"@now":"1970-01-01T00:00:01Z"}"#, Ok(Item::Now(Instant(1_000_000)))),
            (r#"{"@end":true}"#, Ok(Item::End)),
            (r#"{"@abort":true}"#, Ok(Item::Abort)),
            (r#"{"a":1}"#, Ok(Item::Row(r#"{"a":1}"#.to_owned()))),
            (r#"{"@end":true,"a":1}"#, Ok(Item::Row(r#"{"@end":true,"a":1}"#.to_owned()))),
            (r#"{"@end":1}"#, Err("\"@end\" is 1, wanted true")),
            (r#"{"@ends":true}"#, Err("no event \"@ends\"; did you mean \"@end\"?")),
            (r#"{"@pause":2}"#, Err("\"@pause\" is 2, wanted a string")),
        ] {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(item(&value, || text.to_owned()), wanted.map_err(str::to_owned), "{text}");
        }
    }
}
