//! Flows over text: `file`, `dir`, `stdin`, `stdout`.

use super::Place;
use expect_test::expect;

#[test]
fn rows_go_from_a_file_to_a_file() {
    let place = Place::new();
    place.write("in.jsonl", "{\"a\": 1, \"b\": \"x\"}\n\n{\"b\": \"y\"}");
    let report = place.run("{ file = \"in.jsonl\" }", "{ file = \"out/deep/out.jsonl\" }").unwrap();
    assert_eq!(place.read("out/deep/out.jsonl"), "{\"a\":1,\"b\":\"x\"}\n{\"a\":null,\"b\":\"y\"}\n");
    assert_eq!(place.files(), ["in.jsonl", "out/deep/out.jsonl"]);
    assert_eq!(report.steps[0].1.rows_out, 2);
}

#[test]
fn a_large_file_is_read_in_blocks() {
    let place = Place::new();
    let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    place.write("in.txt", &text);
    let report = place.run("{ file = \"in.txt\", chunk = \"1KiB\" }", "{ file = \"out.txt\" }").unwrap();
    assert_eq!(place.read("out.txt"), text);
    assert!(report.steps[1].1.batches_in > 100);
}

#[test]
fn formats_are_told_by_the_ending_or_by_name() {
    let place = Place::new();
    place.write("in.csv", "id,name,at\n1,\"a,b\",2024-01-01T00:00:00Z\n2,,2024-01-02T00:00:00Z\n");
    place.run("{ file = \"in.csv\" }", "{ file = \"out.jsonl\" }").unwrap();
    expect![[r#"
        {"id":1,"name":"a,b","at":"2024-01-01T00:00:00Z"}
        {"id":2,"name":"","at":"2024-01-02T00:00:00Z"}
    "#]]
    .assert_eq(&place.read("out.jsonl"));
    place
        .run("{ file = \"in.csv\", schema = { name = \"string\" } }", "{ file = \"out.csv\", delimiter = \";\" }")
        .unwrap();
    assert_eq!(place.read("out.csv"), "name\na,b\n\"\"\n");
    place.run("{ file = \"in.csv\", format = \"lines\" }", "{ file = \"out.txt\" }").unwrap();
    assert_eq!(place.read("out.txt"), place.read("in.csv"));
    place
        .run(
            "{ file = \"in.csv\", header = false, schema = \"a: string, b: string, c: string\" }",
            "{ file = \"out.csv\", header = false }",
        )
        .unwrap();
    assert_eq!(place.read("out.csv"), "id,name,at\n1,\"a,b\",2024-01-01T00:00:00Z\n2,\"\",2024-01-02T00:00:00Z\n");
    place.write("in.jsonl", "[1]\n{}\n3\n");
    place.run("{ file = \"in.jsonl\", schema = \"json\" }", "{ file = \"out.txt\" }").unwrap();
    assert_eq!(place.read("out.txt"), "[1]\n{}\n3\n");
}

#[test]
fn a_file_without_rows_makes_a_file_without_rows() {
    let place = Place::new();
    place.write("in.jsonl", "");
    place.run("{ file = \"in.jsonl\" }", "{ file = \"out.csv\" }").unwrap();
    assert_eq!(place.read("out.csv"), "value\n");
}

#[test]
fn a_source_that_cannot_be_read_is_refused_with_what_to_do() {
    let place = Place::new();
    place.write("events.jsonl", "{\"a\": 1}\n");
    place.write("folder/x", "");
    place.write("elf", "\x7fELF\0\0\0");
    place.write("text.gz", "\x1f\u{8b}");
    place.write("packed.gz", b"\x1f\x8b\x08\x00");
    place.write("x.parquet", "");
    place.write("numbers.jsonl", "1\n2\n");
    let mut said = String::new();
    for source in [
        "{ file = \"event.jsonl\" }",
        "{ file = \"nothing/like/it.txt\" }",
        "{ file = \"folder\" }",
        "{ file = \"elf\" }",
        "{ file = \"packed.gz\" }",
        "{ file = \"x.parquet\" }",
        "{ file = \"numbers.jsonl\" }",
        "{ file = \"events.jsonl\", schema = { a = \"int65\" } }",
        "{ file = \"events.jsonl\", schema = \"infr\" }",
        "{ file = \"events.jsonl\", delimiter = \";\" }",
        "{ file = \"events.jsonl\", format = \"jsn\", chnk = 3 }",
        "{ file = \"events.jsonl\", chunk = \"0B\" }",
        "{ file = \"events.jsonl\", format = \"csv\", schema = { b = \"int64\" } }",
        "{ file = \"events.jsonl\", format = \"csv\", header = false }",
        "{ stdin = true, format = \"json\" }",
        "{ dir = \"events.jsonl\" }",
        "{ dir = \"folder\", glob = \"*.csv\" }",
        "{ dir = \"folder\", glob = \"[\" }",
        "\"file\"",
    ] {
        said.push_str(&place.problems(source, "\"stdout\""));
    }
    expect![[r#"
        io-not-found: source of step "in": "event.jsonl" does not exist
          help: there is "events.jsonl" beside it; did you mean that?
        io-not-found: source of step "in": "nothing/like/it.txt" does not exist
          help: paths start from the flow's folder, so this is DIR/nothing/like/it.txt
        io-is-directory: source of step "in": "folder" is a folder, wanted a file
          help: to read all files in it: source = { dir = "folder", glob = "*" }
        io-not-text: source of step "in": "elf" is a binary file, not text
          help: name a text file, or read it with a connector for its kind
        io-not-text: source of step "in": "packed.gz" is gzip-compressed
          help: unpack it first, or pipe it: zcat … | wxhost run, with source = "stdin"
        wrong-format: source of step "in": "x.parquet" is a Parquet file
          help: read it with source = { parquet = "x.parquet" }
        cannot-infer: source of step "in": numbers.jsonl: cannot tell the columns from the first lines: line 1 is a number, not an object
          help: write the columns: schema = { user = "string" }, or read each line as one column of any JSON: schema = "json"
        wrong-type: column "a" of source of step "in": unknown type "int65", did you mean "int64"? types are bool, int32, int64, uint32, uint64, float32, float64, string, binary, timestamp, date, json, list<type>, struct<name: type, ...>
          help: -
        wrong-type: "schema" of source of step "in": expected columns, "infer" or "json", found "infr"
          help: for example schema = { user = "string", value = "float64" }
        wrong-key: source of step "in": "delimiter" is for csv only
          help: leave it out, or write format = "csv"
        unknown-key: unknown key "chnk" in source of step "in"
          help: did you mean "chunk"?
        wrong-type: "format" of source of step "in": expected "lines", "json" or "csv", found "jsn"
          help: did you mean "json"?
        wrong-value: source of step "in": a chunk has from 1B to 256MiB, not 0B
          help: -
        wrong-format: source of step "in": the column "b" is not in the header, which is "{\"a\": 1}"
          help: -
        cannot-infer: source of step "in": csv without a header needs the names of its fields
          help: write them in their order: schema = { id = "int64", name = "string" }
        cannot-infer: source of step "in": the columns cannot be told before the flow runs
          help: write them: schema = { user = "string", value = "float64" }; or, for json, schema = "json"
        io-not-directory: source of step "in": "events.jsonl" is a file, wanted a folder
          help: to read a single file: source = { file = "events.jsonl" }
        io-not-found: source of step "in": no file in "folder" matches "*.csv"
          help: it is DIR/folder
        wrong-value: source of step "in": "[" is no pattern of names: invalid range pattern
          help: for example glob = "*.jsonl"; a bracket itself is written [[]
        wrong-type: "file" of source of step "in": expected a string, found a boolean true
          help: -
    "#]].assert_eq(&said);
}

#[test]
fn a_sink_that_cannot_be_written_is_refused_with_what_to_do() {
    let place = Place::new();
    place.write("in.jsonl", "{\"a\": 1}\n");
    place.write("folder/x", "");
    let mut said = String::new();
    for sink in [
        "{ file = \"folder\" }",
        "{ file = \"out.txt\" }",
        "{ file = \"out.parquet\" }",
        "{ file = \"out.jsonl\", header = false }",
        "{ dir = \"in.jsonl\" }",
        "{ dir = \"folder\", files = 2 }",
        "{ dir = \"folder\", name = \"x\" }",
    ] {
        said.push_str(&place.problems("{ file = \"in.jsonl\" }", sink));
    }
    said.push_str(&place.failure("{ file = \"in.jsonl\" }", "{ file = \"in.jsonl/out.jsonl\" }"));
    expect![[r#"
        io-is-directory: sink of step "out": "folder" is a folder, wanted the path of a file
          help: name a file in it, or write several files with sink = { dir = "…" }
        wrong-format: sink of step "out": lines are written from one column of text, found a: int64; select one, or use the format json or csv
          help: -
        wrong-format: sink of step "out": "out.parquet" is the name of a Parquet file
          help: write Parquet files into a folder with sink = { parquet = "…" }
        wrong-key: sink of step "out": "header" is for csv only
          help: leave it out, or write format = "csv"
        io-not-directory: sink of step "out": "in.jsonl" is a file, wanted a folder
          help: name another folder; it is made if it is not there
        no-key: sink of step "out": "files" divides rows by their key, and they have none
          help: put a step before it: op = "key_on", key = "<column>"; or leave "files" out
        wrong-value: sink of step "out": the name "x" has no place for the number of the file
          help: for example name = "part-{}.jsonl", without folders
        step "out": cannot make the folder DIR/in.jsonl: File exists (os error 17)"#]].assert_eq(&said);
    assert_eq!(place.files(), ["folder/x", "in.jsonl"]);
}

#[test]
fn a_flow_that_fails_leaves_the_old_output() {
    let place = Place::new();
    place.write("out.jsonl", "old\n");
    place.write("in.jsonl", "{\"a\": 1}\n{\"a\": \"x\"}\n");
    let error = place.failure("{ file = \"in.jsonl\", schema = { a = \"int64\" } }", "{ file = \"out.jsonl\" }");
    expect![[r#"step "in", in.jsonl:2: column "a": expected int64, found string "x""#]].assert_eq(&error);
    assert_eq!(place.read("out.jsonl"), "old\n");
    assert_eq!(place.files(), ["in.jsonl", "out.jsonl"]);
    let full = place.failure("{ file = \"in.jsonl\", format = \"lines\" }", "{ file = \"/dev/full\" }");
    expect![[r#"step "out": cannot write /dev/full: No space left on device (os error 28)"#]].assert_eq(&full);
}

#[test]
fn the_files_of_a_folder_are_shared_over_workers() {
    for workers in [1, 3] {
        let place = Place { workers, ..Place::new() };
        for n in 0..5 {
            place.write(&format!("in/{n}.jsonl"), format!("{{\"n\": {n}}}\n"));
        }
        place.write("in/other.txt", "no");
        place.write("in/sub.jsonl/x", "no");
        place.run("{ dir = \"in\", glob = \"*.jsonl\" }", "{ dir = \"out\" }").unwrap();
        let written: Vec<String> = (0..workers).map(|n| place.read(&format!("out/part-{n}.jsonl"))).collect();
        let mut lines: Vec<&str> = written.iter().flat_map(|text| text.lines()).collect();
        lines.sort();
        assert_eq!(lines, ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}"]);
        assert_eq!(place.files().len(), 7 + workers);
    }
}

#[test]
fn rows_of_a_key_go_to_one_file_with_their_key() {
    let place = Place { workers: 2, ..Place::new() };
    let rows: String = (0..100).map(|n| format!("{{\"n\":{n},\"k\":\"k{}\"}}\n", n % 10)).collect();
    place.write("in/a.jsonl", &rows);
    place.write("in/b.jsonl", &rows);
    let steps = |sink: &str| {
        format!(
            "[[step]]\nname = \"in\"\nop = \"input\"\nsource = {{ dir = \"in\" }}\n[[step]]\nname = \"key\"\nop = \"key_on\"\nkey = \"k\"\nkey_name = \"by\"\n[[step]]\nname = \"out\"\nop = \"output\"\nsink = {sink}\n"
        )
    };
    let run = |sink: &str| place.run_plan(place.plan(&steps(sink)).unwrap()).unwrap();
    run("{ dir = \"out\", files = 3, name = \"{}.csv\" }");
    let mut owners = std::collections::BTreeMap::new();
    let mut count = 0;
    for file in 0..3 {
        let text = place.read(&format!("out/{file}.csv"));
        assert!(text.starts_with("by,n,k\n"), "{text}");
        for line in text.lines().skip(1) {
            let key = line.split(',').next().unwrap().to_owned();
            assert_eq!(*owners.entry(key).or_insert(file), file);
            count += 1;
        }
    }
    assert_eq!((count, owners.len()), (200, 10));
    run("{ parquet = \"pq\", partition_by = [\"by\"] }");
    let back = place.run("{ parquet = \"pq\", columns = [\"by\", \"k\"] }", "{ file = \"back.csv\" }").unwrap();
    assert_eq!(back.steps[0].1.rows_out, 200);
    assert!(place.read("back.csv").lines().skip(1).all(|line| line.split(',').next() == line.split(',').nth(1)));
}
