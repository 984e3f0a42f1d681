//! The plan as text for people and JSON for programs.

use super::{Plan, PlannedPort, PlannedStep, PlannedUp};
use crate::catalog::operator::StreamType;
use crate::data::schema::{Type, describe};
use crate::dataflow::emit::OnError;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Writes a plan for people: each step with what it takes from, its ports and their rows.
pub fn to_text(plan: &Plan) -> String {
    let count = plan.steps.len();
    let mut text = format!("flow \"{}\", {count} step{}\n", plan.flow, if count == 1 { "" } else { "s" });
    for step in &plan.steps {
        let ups: Vec<String> = step.ups.iter().map(|up| upstream(plan, up)).collect();
        let from = if ups.is_empty() { String::new() } else { format!(" from {}", ups.join(", ")) };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "\n{} (line {}): {}{from}", step.id, step.line, step.op);
        for note in &step.notes {
            let _ = writeln!(text, "  {note}");
        }
        if let Some(on_error) = on_error(step) {
            let most = step.max_errors.map_or(String::new(), |most| format!(", at most {most}"));
            let _ = writeln!(text, "  on_error: {on_error}{most}");
        }
        for port in ports(step) {
            let _ = writeln!(text, "  -> {}", describe_port(port));
        }
    }
    text
}

/// Describes a plan for programs.
pub fn to_json(plan: &Plan) -> Value {
    let steps: Vec<Value> = plan.steps.iter().map(|step| step_to_json(plan, step)).collect();
    json!({ "flow": plan.flow.0.as_ref(), "steps": steps })
}

fn step_to_json(plan: &Plan, step: &PlannedStep) -> Value {
    let ups = step.ups.iter().map(|up| {
        let from = &plan.steps[up.step];
        json!({ "name": up.name, "step": from.id.0.as_ref(), "port": from.ports[up.port].name })
    });
    let ports = ports(step)
        .map(|port| json!({ "name": port.name, "columns": columns_to_json(&port.ty), "key": port.ty.key.as_deref() }));
    json!({
        "name": step.id.0.as_ref(),
        "op": step.op,
        "line": step.line,
        "from": ups.collect::<Vec<_>>(),
        "ports": ports.collect::<Vec<_>>(),
        "on_error": on_error(step).unwrap_or("fail"),
        "max_errors": step.max_errors,
        "notes": step.notes,
    })
}

/// Describes the columns of a stream for programs.
pub(super) fn columns_to_json(ty: &StreamType) -> Vec<Value> {
    let fields = ty.schema.fields().iter();
    fields.map(|field| json!({ "name": field.name(), "type": Type::of(field).to_string() })).collect()
}

/// The ports that a flow can name; a sink's stream of progress has no name.
pub(super) fn ports(step: &PlannedStep) -> impl Iterator<Item = &PlannedPort> {
    step.ports.iter().filter(|port| !port.name.is_empty())
}

fn upstream(plan: &Plan, up: &PlannedUp) -> String {
    let from = &plan.steps[up.step];
    let port = match from.ports[up.port].name {
        "down" => from.id.to_string(),
        port => format!("{}.{port}", from.id),
    };
    if up.name == from.id.0.as_ref() { port } else { format!("{} = {port}", up.name) }
}

fn describe_port(port: &PlannedPort) -> String {
    let rows = match describe(&port.ty.schema) {
        none if none.is_empty() => "rows without columns".to_owned(),
        rows => rows,
    };
    match &port.ty.key {
        Some(key) => format!("{} (key: {key}) {rows}", port.name),
        None => format!("{} {rows}", port.name),
    }
}

fn on_error(step: &PlannedStep) -> Option<&'static str> {
    match step.on_error {
        OnError::Fail => None,
        OnError::Skip => Some("skip"),
        OnError::DeadLetter => Some("dead_letter"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::plan;
    use super::*;
    use expect_test::expect;

    #[test]
    fn people_see_each_step_with_its_upstreams_ports_and_rows() {
        expect![[r#"
            flow "orders", 7 steps

            in (line 3): input
              -> down value: string

            parse (line 8): parse from in
              reads value as json
              on_error: dead_letter, at most 10
              -> down user: string, "price \"net\"": float64
              -> errors row: json

            by_user (line 15): key_on from parse
              -> down (key: user) user: string, "price \"net\"": float64

            paid (line 20): branch from by_user
              -> trues (key: user) user: string, "price \"net\"": float64
              -> falses (key: user) user: string, "price \"net\"": float64

            joined (line 25): join from left = paid.trues, right = paid.falses, by_user
              -> down (key: user) user: string, "price \"net\"": float64

            out (line 30): output from joined

            bad (line 35): output from parse.errors
        "#]]
        .assert_eq(&to_text(&plan()));
    }

    #[test]
    fn programs_get_the_same() {
        let plan = to_json(&plan());
        let step = &plan["steps"][1];
        assert_eq!(step["max_errors"], 10);
        assert_eq!(step["ports"][0]["columns"][1]["name"], "price \"net\"");
        assert_eq!(plan["steps"][4]["from"][1], json!({ "name": "right", "step": "paid", "port": "falses" }));
        assert_eq!(plan["steps"][5]["ports"], json!([]));
    }
}
