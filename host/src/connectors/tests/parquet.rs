//! Flows over Parquet.

use super::Place;
use expect_test::expect;

const ROWS: &str = "{\"year\":2024,\"page\":\"/home\",\"user\":\"ann\",\"tags\":[\"a\",\"b\"]}
{\"year\":2024,\"page\":null,\"user\":\"bob\",\"tags\":[]}
{\"year\":2025,\"page\":\"/home\",\"user\":null,\"tags\":null}
{\"year\":2024,\"page\":\"/home\",\"user\":\"cy\",\"tags\":[\"c\"]}
";

/// The folders of files, their names without what differs from run to run.
fn folders(place: &Place) -> Vec<String> {
    let files = place.files().into_iter().filter(|file| file.ends_with(".parquet"));
    files.map(|file| file.split("/part-").next().unwrap().to_owned()).collect()
}

#[test]
fn rows_go_to_folders_of_their_values_and_come_back() {
    let place = Place::new();
    place.write("in.jsonl", ROWS);
    place.run("{ file = \"in.jsonl\" }", "{ parquet = \"out\", partition_by = [\"year\", \"page\"] }").unwrap();
    assert_eq!(
        folders(&place),
        ["out/year=2024/page=%2Fhome", "out/year=2024/page=__HIVE_DEFAULT_PARTITION__", "out/year=2025/page=%2Fhome"]
    );
    place.run("{ parquet = \"out\" }", "{ file = \"back.jsonl\" }").unwrap();
    let mut lines: Vec<String> = place.read("back.jsonl").lines().map(str::to_owned).collect();
    lines.sort();
    expect![[r#"
        {"user":"ann","tags":["a","b"],"year":2024,"page":"/home"}
        {"user":"bob","tags":[],"year":2024,"page":null}
        {"user":"cy","tags":["c"],"year":2024,"page":"/home"}
        {"user":null,"tags":null,"year":2025,"page":"/home"}"#]]
    .assert_eq(&lines.join("\n"));
    place
        .run("{ parquet = \"out\", columns = [\"year\"], glob = \"year=2025/**/*\" }", "{ file = \"y.jsonl\" }")
        .unwrap();
    assert_eq!(place.read("y.jsonl"), "{\"year\":2025}\n");
}

#[test]
fn files_roll_and_many_partitions_stay_bounded() {
    let place = Place::new();
    let rows: String = (0..30_000).map(|n| format!("{{\"n\":{n},\"p\":{}}}\n", n % 300)).collect();
    place.write("in.jsonl", &rows);
    for (name, compression, roll) in [
        ("a", "zstd", "roll_rows = 7000"),
        ("b", "none", "partition_by = [\"p\"]"),
        ("c", "lz4", "roll_size = \"20KiB\", row_group_rows = 1000"),
    ] {
        let sink = format!("{{ parquet = \"{name}\", compression = \"{compression}\", {roll} }}");
        place.run("{ file = \"in.jsonl\", chunk = \"64KiB\" }", &sink).unwrap();
        let files = place.files().iter().filter(|file| file.starts_with(&format!("{name}/"))).count();
        match name {
            "a" => assert_eq!(files, 5),
            _ => assert!(files > 3, "{files}"),
        }
        let back =
            place.run(&format!("{{ parquet = \"{name}\", columns = [\"n\"] }}"), "{ file = \"back.jsonl\" }").unwrap();
        assert_eq!(back.steps[0].1.rows_out, 30_000);
        let mut numbers: Vec<u32> = place
            .read("back.jsonl")
            .lines()
            .map(|line| line.trim_start_matches("{\"n\":").trim_end_matches('}').parse().unwrap())
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..30_000));
    }
}

#[test]
fn what_is_there_is_kept_refused_or_replaced() {
    let place = Place::new();
    place.write("in.jsonl", ROWS);
    let run = |sink: &str| place.run("{ file = \"in.jsonl\" }", sink).unwrap();
    run("{ parquet = \"out\", partition_by = [\"user\"] }");
    run("{ parquet = \"out\" }");
    assert_eq!(folders(&place).len(), 5);
    run("{ parquet = \"out\", if_exists = \"replace\" }");
    assert_eq!(folders(&place), ["out"]);
    assert!(!place.path("out/user=ann").exists());
    run("{ parquet = \"new\", if_exists = \"fail\" }");
    expect![[r#"step "out": there are Parquet files in DIR/out"#]]
        .assert_eq(&place.failure("{ file = \"in.jsonl\" }", "{ parquet = \"out\", if_exists = \"fail\" }"));
    assert_eq!(folders(&place), ["new", "out"]);
}

#[test]
fn a_flow_that_fails_leaves_no_file() {
    let place = Place::new();
    place.write("in.jsonl", format!("{ROWS}{{\"year\":\"x\"}}\n"));
    place.failure(
        "{ file = \"in.jsonl\", schema = { year = \"int64\" }, chunk = \"100B\" }",
        "{ parquet = \"out\", row_group_rows = 1 }",
    );
    assert_eq!(place.files(), ["in.jsonl"]);
}

#[test]
fn what_parquet_cannot_do_is_refused() {
    let place = Place::new();
    place.write("in.jsonl", ROWS);
    place.write("broken.parquet", "PAR1 no PAR1");
    place.run("{ file = \"in.jsonl\" }", "{ parquet = \"out\" }").unwrap();
    let mut said = String::new();
    for sink in [
        "{ parquet = \"new\", partition_by = [\"yaer\", \"tags\", \"user\", \"user\"] }",
        "{ parquet = \"new\", compression = \"brotli\" }",
        "{ parquet = \"new\", roll_rows = 0 }",
        "{ parquet = \"in.jsonl\" }",
    ] {
        said.push_str(&place.problems("{ file = \"in.jsonl\" }", sink));
    }
    let one = "{ file = \"in.jsonl\", schema = { user = \"string\" } }";
    said.push_str(&place.problems(one, "{ parquet = \"new\", partition_by = [\"user\"] }"));
    for source in [
        "{ parquet = \"broken.parquet\" }",
        "{ parquet = \"nothing\" }",
        "{ parquet = \"in.jsonl\" }",
        "{ parquet = \"out\", glob = \"*.pq\" }",
        "{ parquet = \"out\", columns = [\"usr\"] }",
    ] {
        said.push_str(&place.problems(source, "\"stdout\""));
    }
    expect![[r#"
        no-column: sink of step "out": no column "yaer"
          help: did you mean "year"?; its rows are: year: int64, page: string, user: string, tags: list<string>
        wrong-type: sink of step "out": column "tags" is list<string>, which cannot name folders
          help: folders are named by strings, integers, booleans, dates and timestamps
        wrong-value: sink of step "out": column "user" names folders twice
          help: leave one out
        wrong-type: "compression" of sink of step "out": expected "snappy", "zstd", "lz4", "gzip" or "none", found "brotli"
          help: -
        wrong-type: "roll_rows" of sink of step "out": expected an integer other than 0, found an integer 0
          help: -
        io-not-directory: sink of step "out": "in.jsonl" is a file, wanted a folder
          help: name another folder; it is made if it is not there
        wrong-type: sink of step "out": all columns name folders, so that none is left for the files
          help: put a step before it that selects or makes other columns: op = "select"
        io-not-parquet: source of step "in": DIR/broken.parquet cannot be read as Parquet: EOF: Parquet file too small. Size is 12 but need 544173608
          help: check that it is a Parquet file and was written to its end
        io-not-found: source of step "in": "nothing" does not exist
          help: paths start from the flow's folder, so this is DIR/nothing
        io-not-parquet: source of step "in": DIR/in.jsonl cannot be read as Parquet: Parquet error: Invalid Parquet file. Corrupt footer
          help: check that it is a Parquet file and was written to its end
        io-not-found: source of step "in": no file in "out" matches "*.pq"
          help: it is DIR/out
        no-column: source of step "in": no column "usr"
          help: did you mean "user"?; its rows are: year: int64, page: string, user: string, tags: list<string>
    "#]].assert_eq(&said);
}
