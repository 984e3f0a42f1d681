//! Whole flow files: what they mean, and that none of them makes reading panic.

mod problems;
mod read;

use proptest::prelude::*;

use super::{From, Limit, OnError, PortRef, Size, Spec, parse};

const FLOW: &str = r#"flow = "events_to_parquet"

[plugins.events]
path = "plugins/web-events"
config = { users = 5 }
allow = { tcp = ["127.0.0.1:5432"], env = ["REGION"] }
limits = { memory = "256MiB", time_per_batch = "5s" }

[[step]]
name = "input"
op = "input"
source = { plugin = "events.web_events", config = { users = 5, since = 2023-01-01T00:00:00Z } }

[[step]]
name = "parse"
op = "map"
fn = "events.add_date_columns"
on_error = "dead_letter"
max_errors = 10
limits = { time_per_batch = "off", stack = "1MiB" }
renamed_from = "add_date"

[[step]]
name = "both"
op = "merge"
from = ["parse", "input.late"]

[[step]]
name = "joined"
op = "join"
from = { left = "both", right = "parse.errors" }

[step.window]
tumbling = "5s"

[[step]]
name = "out"
op = "output"
from = "joined"
sink = { parquet = "${env:OUT:-out}/x", ratio = 0.5, deep = [[1, "two"], []] }

[run]
workers = 2
epoch = "10s"

[recovery]
dir = "state"

[[test]]
name = "one"

[[test]]
name = "two"
"#;

fn env(name: &str) -> Option<String> {
    (name == "REGION").then(|| "eu".to_owned())
}

fn valid(text: &str) -> Spec {
    match parse(text, &env) {
        (Some(spec), problems) if problems.is_empty() => spec,
        (_, problems) => panic!("{}", problems.render("flow.toml", text, false)),
    }
}

#[test]
fn a_flow_is_read_as_it_is_written() {
    let spec = valid(FLOW);
    assert_eq!(spec.flow.value, "events_to_parquet");
    assert_eq!(&FLOW[spec.flow.span.clone()], "\"events_to_parquet\"");

    let [plugin] = spec.plugins.as_slice() else { panic!("one plugin") };
    assert_eq!((plugin.name.as_str(), plugin.path.as_str()), ("events", "plugins/web-events"));
    assert_eq!(&FLOW[plugin.span.clone()], "[plugins.events]");
    assert_eq!(plugin.config.as_ref().map(|config| config.to_json().to_string()).as_deref(), Some("{\"users\":5}"));
    assert_eq!(plugin.allow.tcp[0].value, "127.0.0.1:5432");
    assert_eq!(&FLOW[plugin.allow.env[0].span.clone()], "\"REGION\"");
    assert_eq!(plugin.limits.memory, Some(Limit::At(Size(256 << 20))));

    let names: Vec<_> = spec.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["input", "parse", "both", "joined", "out"]);
    let step = &spec.steps[1];
    assert_eq!(&FLOW[step.span.clone()], "[[step]]");
    assert_eq!(step.on_error.as_ref().map(|on_error| on_error.value), Some(OnError::DeadLetter));
    assert_eq!(step.max_errors, Some(10));
    assert_eq!(step.limits.as_ref().and_then(|limits| limits.time_per_batch), Some(Limit::Off));
    assert_eq!(step.renamed_from.as_ref().map(|name| name.as_str()), Some("add_date"));
    assert_eq!(step.args.keys().collect::<Vec<_>>(), ["fn"]);
    assert_eq!(spec.steps[3].args.keys().collect::<Vec<_>>(), ["window"]);

    assert_eq!(spec.run.workers.as_ref().map(|workers| workers.get()), Some(2));
    assert_eq!(spec.run.epoch.as_ref().map(|epoch| epoch.to_string()).as_deref(), Some("10s"));
    assert_eq!(spec.recovery.as_ref().map(|table| table.to_json().to_string()).as_deref(), Some("{\"dir\":\"state\"}"));
    assert_eq!(spec.tests.len(), 2);
}

#[test]
fn from_has_four_forms() {
    let spec = valid(FLOW);
    let written = |ports: &[(String, &PortRef)]| {
        ports.iter().map(|(name, port)| format!("{name}{port}")).collect::<Vec<_>>().join(" ")
    };
    let shown = spec.steps.iter().map(|step| match &step.from {
        From::Above => "above".to_owned(),
        From::One(port) => format!("one {port}"),
        From::Many(ports) => written(&ports.iter().map(|port| ("many ".to_owned(), port)).collect::<Vec<_>>()),
        From::Named(ports) => {
            written(&ports.iter().map(|(name, port)| (format!("{}=", name.value), port)).collect::<Vec<_>>())
        }
    });
    let shown: Vec<_> = shown.collect();
    assert_eq!(shown, ["above", "above", "many parse many input.late", "left=both right=parse.errors", "one joined"]);
    let From::Many(ports) = &spec.steps[2].from else { panic!("the third step has several upstreams") };
    assert_eq!(&FLOW[ports[1].span.clone()], "\"input.late\"");
}

#[test]
fn the_environment_reaches_strings_and_nothing_else() {
    let spec = valid(FLOW);
    let sink = spec.steps[4].args.get("sink").expect("the step has a sink").to_json();
    assert_eq!(sink["parquet"], "out/x");

    let sneaky = |_: &str| Some("x\"\n[run]\nworkers = 9\n# ".to_owned());
    let (spec, problems) = parse(FLOW, &sneaky);
    assert!(problems.is_empty());
    let spec = spec.expect("the flow has no problem");
    assert_eq!(spec.run.workers.as_ref().map(|workers| workers.get()), Some(2));
    let sink = spec.steps[4].args.get("sink").expect("the step has a sink").to_json();
    assert_eq!(sink["parquet"], "x\"\n[run]\nworkers = 9\n# /x");
}

#[test]
fn what_is_nested_too_deep_is_refused_without_exhausting_the_stack() {
    let key = vec!["a"; 79].join(".");
    let mut deep = "1".to_owned();
    for _ in 0..78 {
        deep = format!("{{ {key} = {deep} }}");
    }
    let brackets = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in
        [format!("x = {deep}"), format!("x = {deep}\nx = {deep}"), format!("x={}{deep}", "[".repeat(100)), brackets]
    {
        let (spec, problems) = parse(&text, &env);
        assert_eq!(spec, None);
        assert!(problems.iter().all(|problem| problem.code == "syntax") && !problems.is_empty(), "{problems}");
    }
}

fn survives(text: &str) {
    let (_, problems) = parse(text, &env);
    problems.render("flow.toml", text, true);
    problems.to_json("flow.toml", text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_parse_panic(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_text_like_toml_makes_parse_panic(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "flow", "step", "name", "op", "from", "plugins", "run", "a", ".", "=", " ", "\n", "[", "]", "[[", "]]", "{",
            "}", ",", "\"", "'", "\"\"\"", "\"x\"", "\"${env:A}\"", "\"10s\"", "1", "-", "1e999", "0x", "_", "nan",
            "2023-01-01", "T00:00:00Z", "true", "#", "\\u00e9", "\u{e9}", "\r", "\t", "\0", "\u{feff}",
        ]), 0..60),
    ) {
        survives(&pieces.concat());
    }

    #[test]
    fn no_change_to_a_valid_file_makes_parse_panic(
        changes in prop::collection::vec((0..FLOW.len(), 0_usize..20, "\\PC{0,3}|[\\[\\]{}=.,\"'\n#$]{0,3}"), 1..5),
    ) {
        let mut text = FLOW.to_owned();
        for (at, cut, put) in changes {
            let start = text.floor_char_boundary(at);
            let end = text.ceil_char_boundary(at + cut).max(start);
            text.replace_range(start..end, &put);
        }
        survives(&text);
    }
}
