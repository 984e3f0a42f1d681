//! Flows whose rows come from a script or from nothing.

use super::Place;
use crate::data::time::Instant;
use crate::dataflow::env::scripted;
use crate::run::RunError;
use expect_test::expect;

#[test]
fn a_script_gives_its_rows() {
    let place = Place::new();
    let script = "[{ a = 1, b = \"x\" }, { a = 2 }, { \"@pause\" = \"1ms\" }, { a = 3, b = \"z\" }]";
    for more in ["", ", batch_size = 2", ", pacing = \"drained\""] {
        let report = place.run(&format!("{{ testing = {script}{more} }}"), "{ file = \"out.jsonl\" }").unwrap();
        assert_eq!(place.read("out.jsonl"), "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":null}\n{\"a\":3,\"b\":\"z\"}\n");
        assert_eq!(report.steps[1].1.batches_in, if more.contains("batch_size") { 2 } else { 3 });
    }
    place.write("script.jsonl", "{\"a\": 1}\n\n{\"@end\": true}\n{\"a\": 2}\n");
    place.run("{ testing = \"script.jsonl\" }", "{ file = \"out.jsonl\" }").unwrap();
    assert_eq!(place.read("out.jsonl"), "{\"a\":1}\n");
    place.run("{ testing = [1, 2] }", "{ file = \"out.csv\" }").unwrap();
    assert_eq!(place.read("out.csv"), "value\n1\n2\n");
}

#[test]
fn a_script_moves_a_clock_that_can_be_set() {
    let clock = scripted::env(Instant(0));
    let place = Place { env: clock.clone(), ..Place::new() };
    let script = "[{ a = 1 }, { \"@pause\" = \"100d\" }, { a = 2 }, { \"@now\" = \"1970-06-01T00:00:00Z\" }]";
    for pacing in ["free", "drained"] {
        let source = format!("{{ testing = {script}, pacing = \"{pacing}\" }}");
        place.run(&source, "{ file = \"out.jsonl\" }").unwrap();
        assert_eq!(place.read("out.jsonl"), "{\"a\":1}\n{\"a\":2}\n");
    }
    assert!(clock.clock.now() >= Instant(151 * 86_400_000_000));
    let machine = Place::new();
    expect![[r#"step "in": script sets the clock with "@now", and this execution has that of the machine"#]]
        .assert_eq(&machine.failure(&format!("{{ testing = {script} }}"), "{ file = \"out.jsonl\" }"));
}

#[test]
fn a_script_crashes_the_flow() {
    let place = Place::new();
    let ended = place.run("{ testing = [{ a = 1 }, { \"@abort\" = true }, { a = 2 }] }", "{ file = \"out.jsonl\" }");
    assert!(matches!(ended, Err(RunError::Aborted)));
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn a_script_that_is_wrong_is_refused() {
    let place = Place::new();
    place.write("script.jsonl", "{\"a\": 1}\n{\"@stop\": true}\n");
    let mut said = String::new();
    for source in [
        "{ testing = [{ a = 1 }, { \"@pause\" = \"1\" }, { \"@ned\" = true }] }",
        "{ testing = \"script.jsonl\" }",
        "{ testing = \"none.jsonl\" }",
        "{ testing = 3 }",
        "{ testing = [{ a = 1 }], schema = { a = \"strng\" } }",
        "{ demo = \"random_metric\", min = 3, max = 2 }",
        "{ demo = \"metric\" }",
        "{ demo = \"random_metric\", interval = \"0.7s\" }",
    ] {
        said.push_str(&place.problems(source, "\"stdout\""));
    }
    expect![[r#"
        wrong-script: script of source of step "in": expected a duration such as "10s", "500ms" or "1h30m", found "1": a unit is missing, one of d, h, m, s, ms, us
          help: a script is an array of rows and events, such as [{ a = 1 }, { "@pause" = "1s" }], or the path of a file
        wrong-script: script of source of step "in": no event "@ned"; did you mean "@end"?
          help: a script is an array of rows and events, such as [{ a = 1 }, { "@pause" = "1s" }], or the path of a file
        wrong-script: script of source of step "in": line 2 of "script.jsonl": no event "@stop"; events are: @pause, @now, @end, @abort
          help: a script is an array of rows and events, such as [{ a = 1 }, { "@pause" = "1s" }], or the path of a file
        io-not-found: source of step "in": "none.jsonl" does not exist
          help: paths start from the flow's folder, so this is DIR/none.jsonl
        wrong-script: script of source of step "in": is an integer 3
          help: a script is an array of rows and events, such as [{ a = 1 }, { "@pause" = "1s" }], or the path of a file
        wrong-type: column "a" of source of step "in": unknown type "strng", did you mean "string"? types are bool, int32, int64, uint32, uint64, float32, float64, string, binary, timestamp, date, json, list<type>, struct<name: type, ...>
          help: -
        wrong-value: source of step "in": "max" is 2, less than "min", which is 3
          help: -
        wrong-type: "demo" of source of step "in": expected "random_metric", found "metric"
          help: -
        wrong-type: "interval" of source of step "in": expected a duration such as "10s", "500ms" or "1h30m", found "0.7s": write a fraction in a shorter unit
          help: -
    "#]].assert_eq(&said);
}

#[test]
fn a_metric_has_as_many_rows_as_it_should() {
    let place = Place::new();
    let source = "{ demo = \"random_metric\", metric = \"cpu\", interval = \"1ms\", count = 5, min = 3, max = 4 }";
    place.run(source, "{ file = \"out.jsonl\" }").unwrap();
    let text = place.read("out.jsonl");
    assert_eq!(text.lines().count(), 5);
    assert!(text.lines().all(|line| line.starts_with("{\"metric\":\"cpu\",\"value\":")), "{text}");
    let fast = place.run("{ demo = \"random_metric\", interval = \"0s\", count = 20000 }", "{ file = \"out.jsonl\" }");
    assert_eq!(fast.unwrap().steps[0].1.rows_out, 20_000);
}
