//! The plan as a picture: mermaid, dot, svg, or JSON for other drawers.

use super::explain::{columns_to_json, ports};
use super::{Plan, PlannedStep};
use crate::data::schema::describe;
use layout::backends::svg::SVGWriter;
use layout::gv::{DotParser, GraphBuilder};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Writes a plan in mermaid's language, which GitHub and others draw.
pub fn to_mermaid(plan: &Plan) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for (index, step) in plan.steps.iter().enumerate() {
        let (open, close) = match shape(step) {
            Shape::Begin => ("([", "])"),
            Shape::Middle => ("[", "]"),
            Shape::End => ("[/", "/]"),
        };
        // Names of steps and operators have no characters that would have to be escaped. Writing to a string cannot
        // fail, here and below.
        let _ = writeln!(text, "    s{index}{open}\"{}<br/>{}\"{close}", step.id, step.op);
    }
    for edge in edges(plan) {
        let label = edge.label().map_or(String::new(), |label| format!("|{label}|"));
        let _ = writeln!(text, "    s{} -->{label} s{}", edge.from, edge.to);
    }
    text
}

/// Writes a plan in the language of Graphviz. The rows of each stream are the tooltips of its edges.
pub fn to_dot(plan: &Plan) -> String {
    let mut text = format!("digraph \"{}\" {{\n", plan.flow);
    text.push_str("    node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];\n");
    text.push_str("    edge [fontname=\"sans-serif\", fontsize=11];\n");
    for (index, step) in plan.steps.iter().enumerate() {
        let color = shape(step).color();
        let _ = writeln!(text, "    s{index} [label=\"{}\\n{}\", fillcolor=\"{color}\"];", step.id, step.op);
    }
    for edge in edges(plan) {
        let rows = describe(&edge.port(plan).ty.schema).replace('\\', "\\\\").replace('"', "\\\"");
        let label = edge.label().map_or(String::new(), |label| format!("label=\"{label}\", "));
        let _ = writeln!(text, "    s{} -> s{} [{label}tooltip=\"{rows}\"];", edge.from, edge.to);
    }
    text.push_str("}\n");
    text
}

/// Draws a plan.
pub fn to_svg(plan: &Plan) -> String {
    let mut dot = "digraph {\n    node [shape=box, style=\"rounded\"];\n".to_owned();
    for (index, step) in plan.steps.iter().enumerate() {
        let color = shape(step).color();
        let _ = writeln!(dot, "    s{index} [label=\"{}\\n{}\", fillcolor=\"{color}\"];", step.id, step.op);
    }
    for edge in edges(plan) {
        let label = edge.label().map_or(String::new(), |label| format!(" [label=\"{label}\"]"));
        let _ = writeln!(dot, "    s{} -> s{}{label};", edge.from, edge.to);
    }
    dot.push_str("}\n");
    let graph = DotParser::new(&dot).process().expect("what is written here is in the language of Graphviz");
    let mut builder = GraphBuilder::new();
    builder.visit_graph(&graph);
    let mut svg = SVGWriter::new();
    builder.get().do_it(false, false, false, &mut svg);
    // Black lines need something white behind them where pages are dark.
    let ground = "</style>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>";
    svg.finalize().replace("Times, serif", "sans-serif").replacen("</style>", ground, 1)
}

/// Describes the graph for programs: steps, and streams with their rows.
pub fn to_json(plan: &Plan) -> Value {
    let steps = plan.steps.iter().map(|step| {
        let names: Vec<&str> = ports(step).map(|port| port.name).collect();
        json!({ "name": step.id.0.as_ref(), "op": step.op, "line": step.line, "ports": names })
    });
    let streams = edges(plan).map(|edge| {
        let port = edge.port(plan);
        json!({
            "from": plan.steps[edge.from].id.0.as_ref(),
            "port": port.name,
            "to": plan.steps[edge.to].id.0.as_ref(),
            "name": edge.name,
            "columns": columns_to_json(&port.ty),
            "key": port.ty.key.as_deref(),
        })
    });
    json!({
        "flow": plan.flow.0.as_ref(),
        "steps": steps.collect::<Vec<_>>(),
        "streams": streams.collect::<Vec<_>>(),
    })
}

/// A stream between two steps.
struct Edge<'a> {
    from: usize,
    port: usize,
    port_name: &'static str,
    to: usize,
    /// The name of the side, where the taker has named sides.
    name: Option<&'a str>,
}

impl Edge<'_> {
    /// What is written beside the edge: the port unless it is the usual one, and the side that it is for.
    fn label(&self) -> Option<String> {
        let port = (self.port_name != "down").then_some(self.port_name);
        match (port, self.name) {
            (Some(port), Some(name)) => Some(format!("{port} as {name}")),
            (None, Some(name)) => Some(format!("as {name}")),
            (port, None) => port.map(str::to_owned),
        }
    }

    fn port<'a>(&self, plan: &'a Plan) -> &'a super::PlannedPort {
        &plan.steps[self.from].ports[self.port]
    }
}

fn edges(plan: &Plan) -> impl Iterator<Item = Edge<'_>> {
    plan.steps.iter().enumerate().flat_map(move |(to, step)| {
        step.ups.iter().map(move |up| {
            let from = &plan.steps[up.step];
            let name = (up.name != from.id.0.as_ref()).then_some(up.name.as_str());
            Edge { from: up.step, port: up.port, port_name: from.ports[up.port].name, to, name }
        })
    })
}

enum Shape {
    Begin,
    Middle,
    End,
}

impl Shape {
    fn color(&self) -> &'static str {
        match self {
            Shape::Begin => "#d5e8d4",
            Shape::Middle => "#ffffff",
            Shape::End => "#dae8fc",
        }
    }
}

fn shape(step: &PlannedStep) -> Shape {
    match (step.ups.is_empty(), ports(step).all(|port| port.name == "errors")) {
        (true, _) => Shape::Begin,
        (false, true) => Shape::End,
        (false, false) => Shape::Middle,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::plan;
    use super::*;
    use expect_test::expect;

    #[test]
    fn mermaid_has_ports_and_sides_on_its_edges() {
        expect![[r#"
            flowchart TD
                s0(["in<br/>input"])
                s1["parse<br/>parse"]
                s2["by_user<br/>key_on"]
                s3["paid<br/>branch"]
                s4["joined<br/>join"]
                s5[/"out<br/>output"/]
                s6[/"bad<br/>output"/]
                s0 --> s1
                s1 --> s2
                s2 --> s3
                s3 -->|trues as left| s4
                s3 -->|falses as right| s4
                s2 --> s4
                s4 --> s5
                s1 -->|errors| s6
        "#]]
        .assert_eq(&to_mermaid(&plan()));
    }

    #[test]
    fn dot_has_the_rows_as_tooltips() {
        expect![[r##"
            digraph "orders" {
                node [shape=box, style="rounded,filled", fontname="sans-serif"];
                edge [fontname="sans-serif", fontsize=11];
                s0 [label="in\ninput", fillcolor="#d5e8d4"];
                s1 [label="parse\nparse", fillcolor="#ffffff"];
                s2 [label="by_user\nkey_on", fillcolor="#ffffff"];
                s3 [label="paid\nbranch", fillcolor="#ffffff"];
                s4 [label="joined\njoin", fillcolor="#ffffff"];
                s5 [label="out\noutput", fillcolor="#dae8fc"];
                s6 [label="bad\noutput", fillcolor="#dae8fc"];
                s0 -> s1 [tooltip="value: string"];
                s1 -> s2 [tooltip="user: string, \"price \\\"net\\\"\": float64"];
                s2 -> s3 [tooltip="user: string, \"price \\\"net\\\"\": float64"];
                s3 -> s4 [label="trues as left", tooltip="user: string, \"price \\\"net\\\"\": float64"];
                s3 -> s4 [label="falses as right", tooltip="user: string, \"price \\\"net\\\"\": float64"];
                s2 -> s4 [tooltip="user: string, \"price \\\"net\\\"\": float64"];
                s4 -> s5 [tooltip="user: string, \"price \\\"net\\\"\": float64"];
                s1 -> s6 [label="errors", tooltip="row: json"];
            }
        "##]]
        .assert_eq(&to_dot(&plan()));
    }

    #[test]
    fn a_picture_has_every_step_and_every_label() {
        let svg = to_svg(&plan());
        for text in ["parse", "key_on", "errors", "trues as left", "falses as right"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.contains("fill=\"white\"/>") && !svg.contains("Times"));
    }

    #[test]
    fn json_has_every_stream() {
        let graph = to_json(&plan());
        assert_eq!(graph["streams"].as_array().unwrap().len(), 8);
        assert_eq!(graph["streams"][7]["port"], "errors");
        assert_eq!(graph["streams"][1]["key"], Value::Null);
    }
}
