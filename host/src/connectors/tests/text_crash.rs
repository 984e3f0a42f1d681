//! Text files of a sink through crashes: after each operation, with any number of epochs on their way.

use super::Place;
use super::kept::{Execution, Fuel, Store, cx, flushed, run_through, write};
use crate::catalog::operator::StreamType;
use crate::data::batch::Batch;
use crate::data::schema::{Type, schema_of};
use crate::data::time::Epoch;
use crate::dataflow::durable::Manifest;
use crate::dataflow::sink::{SinkParts, Start};
use arrow::array::{RecordBatch, StringArray};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::Arc;

fn up() -> StreamType {
    StreamType::unkeyed(schema_of(&[("t".to_owned(), Type::String)]))
}

fn batch(texts: &[&str]) -> Batch {
    Batch::new(RecordBatch::try_new(up().schema, vec![Arc::new(StringArray::from(texts.to_vec()))]).unwrap())
}

fn input() -> Vec<Vec<Batch>> {
    vec![
        vec![],
        vec![batch(&["one", "two"]), batch(&["three"])],
        vec![],
        vec![batch(&["four"]), batch(&["five"]), batch(&["six"])],
        vec![batch(&["seven"]), batch(&["eight"])],
        vec![],
    ]
}

fn execution<'a>(place: &Place, parts: &'a dyn SinkParts, input: &'a [Vec<Batch>]) -> Execution<'a> {
    Execution { parts, input, workers: 1, lag: 0, ends: true, env: place.env.clone() }
}

#[test]
fn a_crash_anywhere_leaves_the_file_as_if_there_had_been_none() {
    for (sink, wanted) in [
        ("{ file = \"out/o.txt\" }", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n"),
        ("{ file = \"out/o.csv\" }", "t\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n"),
        ("{ file = \"out/o.csv\", header = false }", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n"),
    ] {
        let input = input();
        let name = if sink.contains("csv") { "out/o.csv" } else { "out/o.txt" };
        let lags = if sink.contains("header") { 1..2 } else { 0..3 };
        for lag in lags.filter(|lag| *lag == 1 || sink.contains("csv")) {
            for fuel in 0..40 {
                let place = Place::new();
                place.write(name, "old\n");
                let parts = place.sink(sink, &up());
                let run = Execution { lag, ..execution(&place, &*parts, &input) };
                run_through(&place, fuel, &run, &|place| {
                    let seen = place.read(name);
                    assert!(seen == "old\n" || wanted.starts_with(&seen), "{seen:?}");
                });
                assert_eq!(place.read(name), wanted, "lag {lag}, fuel {fuel}");
                assert_eq!(place.files(), [name], "lag {lag}, fuel {fuel}");
            }
        }
    }
}

#[test]
fn an_input_without_rows_makes_the_file_that_it_makes_without_recovery() {
    for (sink, wanted) in [("{ file = \"o.csv\" }", "t\n"), ("{ file = \"o.csv\", header = false }", "")] {
        for fuel in 0..8 {
            let place = Place::new();
            place.write("o.csv", "old\n");
            let parts = place.sink(sink, &up());
            run_through(&place, fuel, &execution(&place, &*parts, &[vec![], vec![]]), &|_| {});
            assert_eq!(place.read("o.csv"), wanted);
            // The input has grown since.
            let longer = [vec![], vec![], vec![batch(&["a"])], vec![batch(&["b"])]];
            let mut store = Store::default();
            execution(&place, &*parts, &longer[..2]).run(&mut store, &mut Fuel::endless()).unwrap();
            execution(&place, &*parts, &longer).run(&mut store, &mut Fuel::endless()).unwrap();
            assert_eq!(place.read("o.csv"), format!("{wanted}a\nb\n"));
        }
    }
}

#[test]
fn a_flow_that_is_stopped_before_any_row_leaves_the_old_file() {
    let place = Place::new();
    place.write("o.csv", "old\n");
    let parts = place.sink("{ file = \"o.csv\" }", &up());
    let stopped = [vec![]];
    let run = Execution { ends: false, ..execution(&place, &*parts, &stopped) };
    let mut store = Store::default();
    run.run(&mut store, &mut Fuel::endless()).unwrap();
    assert_eq!((place.read("o.csv").as_str(), store.manifests.len()), ("old\n", 0));
    assert_eq!(place.files(), ["o.csv"]);
}

#[test]
fn files_of_workers_that_are_gone_stay_and_are_gone_on_with_when_they_are_back() {
    let rows: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let input: Vec<Vec<Batch>> =
        rows.chunks(6).map(|rows| rows.iter().map(|row| batch(&[row.as_str()])).collect()).collect();
    for fuel in [2, 7, 12, 17, 23, 31, 1000] {
        let place = Place::new();
        let parts = place.sink("{ dir = \"out\", format = \"csv\" }", &up());
        let mut store = Store::default();
        for (part, workers) in [3, 1, 4, 2, 2, 3, 1, 3].into_iter().cycle().enumerate() {
            let until = (store.epochs as usize + 2).min(input.len());
            let run = Execution {
                workers,
                lag: part as u64 % 3,
                ends: until == input.len(),
                ..execution(&place, &*parts, &input[..until])
            };
            let done = run.run(&mut store, &mut Fuel(fuel + part)).unwrap();
            if done.is_some() && until == input.len() {
                break;
            }
        }
        let mut seen = Vec::new();
        for file in place.files() {
            let text = place.read(&file);
            let lines = text.strip_prefix("t\n").unwrap().lines();
            let numbers: Vec<u32> = lines.map(|line| line.parse().unwrap()).collect();
            assert!(numbers.is_sorted(), "{file}: {numbers:?}");
            seen.extend(numbers);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..60).collect::<Vec<_>>(), "fuel {fuel}: {:?}", place.files());
    }
}

/// A place in which the first two epochs are committed, and a third is staged; the store knows of all.
fn staged(sink: &str) -> (Place, Box<dyn SinkParts>, Vec<Manifest>) {
    let place = Place::new();
    let parts = place.sink(sink, &up());
    let cx = cx(1, 0, &place.env);
    let part = "o.txt".into();
    let mut opened = parts.open(&cx, &part, &Start::Kept { first: Epoch(1), last: None, orphans: &[] }).unwrap();
    let mut manifests = Vec::new();
    for (epoch, text) in [(1, "one"), (2, "two"), (3, "three")] {
        write(&mut opened, &batch(&[text]));
        let manifest = flushed(opened.writer.stage(Epoch(epoch)).unwrap().unwrap()).unwrap();
        if epoch < 3
            && let Some(flush) = opened.writer.commit(Epoch(epoch), &manifest).unwrap()
        {
            flush().unwrap();
        }
        manifests.push(Manifest { part: part.clone(), epoch: Epoch(epoch), manifest });
    }
    std::mem::forget(opened);
    (place, parts, manifests)
}

#[test]
fn commits_are_repeated_without_harm_also_from_the_middle_of_one() {
    for written in 0..6 {
        let (place, parts, manifests) = staged("{ file = \"o.txt\" }");
        let left: Vec<String> = place.files().into_iter().filter(|name| name.starts_with('.')).collect();
        let copy = fs::read(place.path(&left[0])).unwrap();
        // Died in the middle of the copying.
        OpenOptions::new().append(true).open(place.path("o.txt")).unwrap().write_all(&b"three\n"[..written]).unwrap();
        for execution in 2..4 {
            parts.verify(&manifests).unwrap();
            parts.resume(&cx(execution, 0, &place.env), &manifests).unwrap();
            assert_eq!(place.read("o.txt"), "one\ntwo\nthree\n");
            // Died before the staged file was gone.
            place.write(&left[0], &copy);
        }
        parts.resume(&cx(4, 0, &place.env), &manifests[2..]).unwrap();
        assert_eq!(place.files(), ["o.txt"]);
    }
}

#[test]
fn only_what_the_stores_own_dead_executions_left_is_removed() {
    let (place, parts, manifests) = staged("{ file = \"o.txt\" }");
    let others = [".o.txt.0therx1.7.part", ".o.txt.x.5t0rex1.7.part", ".o.txt.5t0rex1.part", ".p.txt.5t0rex1.7.part"];
    for name in others.iter().chain(&[".o.txt.5t0rex1.7.part", ".o.txt.5t0rex9.8.part"]) {
        place.write(name, "");
    }
    parts.resume(&cx(9, 0, &place.env), &manifests).unwrap();
    let mut wanted: Vec<&str> = others.iter().copied().chain([".o.txt.5t0rex9.8.part", "o.txt"]).collect();
    wanted.sort_unstable();
    assert_eq!(place.files(), wanted);
}

#[test]
fn a_file_that_is_not_as_the_store_knows_it_is_refused() {
    let mut said = String::new();
    let mut refused = |what: &str, change: &dyn Fn(&Place), known: &dyn Fn(Vec<Manifest>) -> Vec<Manifest>| {
        let (place, parts, manifests) = staged("{ file = \"o.txt\" }");
        change(&place);
        let before = place.files();
        let error = parts.verify(&known(manifests)).unwrap_err();
        assert_eq!(place.files(), before, "nothing is changed");
        let dir = place.path("").display().to_string();
        let line = format!("{what}: {}\n  help: {}\n", error.message, error.help.unwrap_or_default());
        said.push_str(&line.replace(&dir, "DIR/"));
    };
    let all = |manifests| manifests;
    refused("longer", &|place| place.write("o.txt", "one\ntwo\nthree\nfour\n"), &all);
    refused("older store", &|_| {}, &|manifests| manifests[..1].to_vec());
    refused("cut", &|place| place.write("o.txt", "one\n"), &all);
    refused("gone", &|place| fs::remove_file(place.path("o.txt")).unwrap(), &all);
    refused("changed", &|place| place.write("o.txt", "one\ntwO\n"), &all);
    let damage = |text: &'static str| {
        move |place: &Place| {
            let staged = place.files().into_iter().find(|name| name.starts_with('.')).unwrap();
            place.write(&staged, text);
        }
    };
    refused("damaged", &damage("thrEe\n"), &all);
    refused("damaged", &damage("thr"), &all);
    refused(
        "staging gone",
        &|place| {
            let staged = place.files().into_iter().find(|name| name.starts_with('.')).unwrap();
            fs::remove_file(place.path(&staged)).unwrap();
        },
        &all,
    );
    refused(
        "folder",
        &|place| {
            fs::remove_file(place.path("o.txt")).unwrap();
            fs::create_dir(place.path("o.txt")).unwrap();
        },
        &all,
    );
    expect_test::expect![[r#"
        longer: DIR/o.txt has 19 bytes, and this store knows of 14: the store is older than the file, or somebody else wrote to it
          help: go on from the newest copy of the store; or, if what is behind is not wanted, cut the file: truncate -s 14 "DIR/o.txt"
        older store: DIR/o.txt has 8 bytes, and this store knows of 4: the store is older than the file, or somebody else wrote to it
          help: go on from the newest copy of the store; or, if what is behind is not wanted, cut the file: truncate -s 4 "DIR/o.txt"
        cut: DIR/o.txt has 4 bytes, and 8 were written to it: it was cut or replaced
          help: put it back from a copy that is as new as the store; or begin anew with a new store, which writes the file anew
        gone: DIR/o.txt is gone, and 8 bytes were written to it
          help: put it back from a copy that is as new as the store; or begin anew with a new store, which writes the file anew
        changed: DIR/o.txt was changed: from byte 4 to 8 it is not as it was written
          help: put it back from a copy that is as new as the store; or begin anew with a new store, which writes the file anew
        damaged: DIR/.o.txt.5t0rex1.2.part is not as it was written
          help: it holds rows that are not in the output yet; put it back from a copy, or begin anew without the store and the output
        damaged: DIR/.o.txt.5t0rex1.2.part is not as it was written
          help: it holds rows that are not in the output yet; put it back from a copy, or begin anew without the store and the output
        staging gone: DIR/o.txt has 8 bytes, and 14 were written to it: it was cut or replaced
          help: put it back from a copy that is as new as the store; or begin anew with a new store, which writes the file anew
        folder: DIR/o.txt is no file any more, and rows were written to one
          help: put it back from a copy that is as new as the store; or begin anew with a new store, which writes the file anew
    "#]].assert_eq(&said);
}

#[test]
fn a_device_gets_rows_at_once() {
    let place = Place::new();
    let parts = place.sink("{ file = \"/dev/null\" }", &up());
    let input = input();
    let mut store = Store::default();
    execution(&place, &*parts, &input).run(&mut store, &mut Fuel::endless()).unwrap();
    assert!(store.manifests.is_empty());
}
