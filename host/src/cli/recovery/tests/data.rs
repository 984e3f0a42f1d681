//! Commands that give data out.

use super::*;
use expect_test::expect;

#[test]
fn export_writes_rows_of_json_or_parquet() {
    let (folder, out) = (store(), TempDir::new().unwrap());
    let to = |name: &str| out.path().join(name).display().to_string();
    let run = |words: &[&str], name: &str| say(folder.path(), words, TEXT).replace(&to(name), name);
    expect![[r#"
        3 states at the end of epoch 7: all.jsonl
    "#]]
    .assert_eq(&run(&["export", "--to", &to("all.jsonl")], "all.jsonl"));
    expect![[r#"
        {"bytes":"AwAAAAAAAAA=","epoch":7,"key":"c","step":"count"}
        {"bytes":"BwAAAAAAAAA=","epoch":7,"key":"a","step":"count"}
        {"bytes":"bGluZSA3","epoch":7,"key":"a","step":"last"}
    "#]]
    .assert_eq(&fs::read_to_string(to("all.jsonl")).unwrap());
    run(&["export", "count", "--epoch", "2", "--to", &to("a.jsonl")], "a.jsonl");
    expect![[r#"
        {"bytes":"AgAAAAAAAAA=","epoch":2,"key":"b","step":"count"}
        {"bytes":"AAAAAAAAAAA=","epoch":1,"key":"c","step":"count"}
        {"bytes":"AgAAAAAAAAA=","epoch":2,"key":"a","step":"count"}
    "#]]
    .assert_eq(&fs::read_to_string(to("a.jsonl")).unwrap());
    expect![[r#"
        3 states at the end of epoch 7: a.parquet
    "#]]
    .assert_eq(&run(&["export", "count", "last", "--to", &to("a.parquet")], "a.parquet"));
    expect![[r#"
        step Utf8, key Utf8, epoch Int64, bytes Binary
        count c 7 0300000000000000
        count a 7 0700000000000000
        last a 7 6c696e652037
    "#]]
    .assert_eq(&read_parquet(&out.path().join("a.parquet")));
    expect![[r#"
        error: a.csv: the name of the file does not say in which form to write
        help: end it with .parquet or .jsonl
        exit code 2
    "#]]
    .assert_eq(&run(&["export", "--to", &to("a.csv")], "a.csv"));
    expect![[r#"
        error: no/a.jsonl.new: No such file or directory
        exit code 74
    "#]]
    .assert_eq(&run(&["export", "--to", &to("no/a.jsonl")], "no/a.jsonl"));
    assert_eq!(
        files(out.path()).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["a.jsonl", "a.parquet", "all.jsonl"]
    );
}

fn read_parquet(path: &Path) -> String {
    let file = fs::File::open(path).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let mut text = format!(
        "{}\n",
        reader
            .schema()
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect::<Vec<_>>()
            .join(", ")
    );
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let cell =
                |column: &arrow::array::ArrayRef| arrow::util::display::array_value_to_string(column, row).unwrap();
            text += &format!("{}\n", batch.columns().iter().map(cell).collect::<Vec<_>>().join(" "));
        }
    }
    text
}

#[test]
fn sql_answers_questions() {
    let folder = store();
    for (query, expect) in [
        (
            "SELECT step, count(*) AS keys, sum(bytes) FROM state GROUP BY step",
            expect![[r#"
            step   keys  sum(bytes)
            count     2          16
            last      1           6
        "#]],
        ),
        (
            "SELECT key, epoch, value, text FROM state ORDER BY step, key",
            expect![[r#"
            key  epoch  value             text
            a        7  0700000000000000  NULL
            c        7  0300000000000000  NULL
            a        7  6c696e652037      line 7
        "#]],
        ),
        (
            "SELECT * FROM sources, steps WHERE sources.step = steps.step",
            expect![[r#"
            step  part    epoch  position            text       step  kind   keys  bytes  newest
            in    in.txt      7  6f6666736574203730  offset 70  in    input     0      0       7
        "#]],
        ),
        (
            "SELECT epoch, manifest FROM sinks WHERE epoch > 5",
            expect![[r#"
            epoch  manifest
                6  ff06
                7  ff07
        "#]],
        ),
        (
            "SELECT * FROM executions",
            expect![[r#"
            execution  started_at            workers  resumed_from  wxhost
                    1  2023-11-14T22:13:20Z        3             0  0.1.0
                    2  2023-11-14T22:13:20Z        3             4  0.1.0
        "#]],
        ),
        (
            "SELECT * FROM epochs WHERE execution = 2",
            expect![[r#"
            epoch  execution  sealed_at
                5          2  2023-11-14T22:13:20Z
                6          2  2023-11-14T22:13:20Z
                7          2  2023-11-14T22:13:20Z
        "#]],
        ),
        (
            "SELECT key FROM state WHERE 0",
            expect![[r#"
            key
        "#]],
        ),
    ] {
        check(&folder, &["sql", query], &expect);
    }
    check_json(
        &folder,
        &["sql", "SELECT *, 1.5 AS real, NULL AS empty FROM state"],
        &expect![[r#"
            {"bytes":8,"empty":null,"epoch":7,"key":"c","real":1.5,"step":"count","text":null,"value":"AwAAAAAAAAA="}
            {"bytes":8,"empty":null,"epoch":7,"key":"a","real":1.5,"step":"count","text":null,"value":"BwAAAAAAAAA="}
            {"bytes":6,"empty":null,"epoch":7,"key":"a","real":1.5,"step":"last","text":"line 7","value":"bGluZSA3"}
        "#]],
    );
    check(
        &folder,
        &["sql", "SELECT count(*) FROM state", "--epoch", "2"],
        &expect![[r#"
        count(*)
               4
    "#]],
    );
}

#[test]
fn sql_that_is_wrong_or_would_write_is_refused_in_the_words_of_sqlite() {
    let (folder, elsewhere) = (store(), TempDir::new().unwrap());
    let target = elsewhere.path().join("x").display().to_string();
    for (query, message) in [
        ("SELEC 1", "near \"SELEC\": syntax error"),
        ("SELECT x FROM state", "no such column: x"),
        ("SELECT 1 FROM absent", "no such table: absent"),
        ("SELECT 1; SELECT 2", "there is more than one statement"),
        ("DELETE FROM state", "the query would change something; only SELECT is allowed"),
        (&format!("ATTACH '{target}' AS x"), "the query has no result"),
        (&format!("VACUUM INTO '{target}'"), "the query would change something; only SELECT is allowed"),
        ("SELECT load_extension('x')", "not authorized"),
        ("/* nothing */", "the query has no result"),
    ] {
        let said = say(folder.path(), &["sql", query], TEXT);
        assert!(
            said.starts_with(&format!("error: SQL: {message}")) && said.ends_with("exit code 2\n"),
            "{query}: {said}"
        );
    }
    assert!(files(elsewhere.path()).is_empty());
}

#[test]
fn nothing_that_looks_changes_anything() {
    let folder = store();
    let before = files(folder.path());
    for words in [&["ls"][..], &["check"], &["show", "count"], &["sql", "SELECT * FROM state"], &["savepoint", "a"]] {
        assert!(!say(folder.path(), words, TEXT).contains("exit code"), "{words:?}");
        assert!(files(folder.path()) == before, "{words:?}");
    }
}

#[test]
fn savepoints_are_stores_by_themselves() {
    let folder = store();
    check(
        &folder,
        &["savepoint", "one"],
        &expect![[r#"
        savepoint of flow "sample" at epoch 7: DIR/savepoints/one
    "#]],
    );
    check(
        &folder,
        &["savepoint", "one"],
        &expect![[r#"
        error: recovery store, DIR/savepoints/one: there is something of this name
        help: give another name, or remove what is there
        exit code 78
    "#]],
    );
    check(
        &folder,
        &["savepoint", "../one"],
        &expect![[r#"
        error: recovery store, DIR: a savepoint cannot be called "../one"
        help: use letters, digits, "-", "_" and "."; for another place, write --to PATH
        exit code 78
    "#]],
    );
    let copy = folder.path().join("savepoints/one");
    let ask = |folder: &Path| say(folder, &["sql", "SELECT step, key, epoch, value FROM state"], TEXT);
    assert_eq!(ask(&copy), ask(folder.path()));
    let other = TempDir::new().unwrap();
    let to = other.path().join("two").display().to_string();
    let said = say(folder.path(), &["savepoint", "--to", &to], JSON);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (json["epoch"].as_u64(), json["flow"].as_str(), json["path"].as_str()),
        (Some(7), Some("sample"), Some(&*to))
    );
    assert_eq!(ask(Path::new(&to)), ask(folder.path()));
}
