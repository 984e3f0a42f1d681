//! Parquet files of a sink through crashes: after each operation, with any number of epochs on their way.

use super::Place;
use super::kept::{Execution, Fuel, Store, run_through};
use crate::catalog::operator::StreamType;
use crate::data::batch::Batch;
use crate::data::schema::{Type, schema_of};
use crate::data::time::Instant;
use crate::dataflow::durable::Manifest;
use crate::dataflow::env::Clock;
use crate::dataflow::sink::SinkParts;
use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

fn up() -> StreamType {
    StreamType::unkeyed(schema_of(&[("k".to_owned(), Type::String), ("n".to_owned(), Type::Int64)]))
}

/// Rows with these numbers, whose folders are named by the last digit.
fn batch(numbers: impl IntoIterator<Item = i64>) -> Batch {
    let numbers: Vec<i64> = numbers.into_iter().collect();
    let keys = StringArray::from_iter_values(numbers.iter().map(|n| format!("k{}", n % 3)));
    let columns = vec![Arc::new(keys) as _, Arc::new(Int64Array::from(numbers)) as _];
    Batch::new(RecordBatch::try_new(up().schema, columns).unwrap())
}

/// So many epochs, of two batches of five rows each, but every third one without any.
fn input(epochs: i64) -> Vec<Vec<Batch>> {
    let batches = |epoch: i64| match epoch % 3 {
        1 => vec![],
        _ => vec![batch(epoch * 10..epoch * 10 + 5), batch(epoch * 10 + 5..epoch * 10 + 10)],
    };
    (0..epochs).map(batches).collect()
}

fn numbers_of(input: &[Vec<Batch>]) -> Vec<i64> {
    let rows = input.iter().flatten().flat_map(|batch| batch.rows().column(1).as_primitive::<Int64Type>().values());
    rows.copied().collect()
}

/// The numbers in the files that readers see, in order; each file is whole.
fn seen(place: &Place) -> Vec<i64> {
    let mut numbers = Vec::new();
    for name in place.files() {
        if name.rsplit('/').next().unwrap().starts_with('.') {
            continue;
        }
        let file = File::open(place.path(&name)).unwrap();
        for rows in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let rows = rows.unwrap();
            let column = rows.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
            assert!(name.contains("part-") && column.null_count() == 0);
            numbers.extend(column.values());
        }
    }
    numbers.sort_unstable();
    numbers
}

fn hidden(place: &Place) -> Vec<String> {
    place.files().into_iter().filter(|name| name.rsplit('/').next().unwrap().starts_with('.')).collect()
}

fn execution<'a>(place: &Place, parts: &'a dyn SinkParts, input: &'a [Vec<Batch>]) -> Execution<'a> {
    Execution { parts, input, workers: 1, lag: 0, ends: true, env: place.env.clone() }
}

#[test]
fn a_crash_anywhere_leaves_each_row_once_in_files_that_are_whole() {
    let input = input(6);
    let wanted = numbers_of(&input);
    for (at, sink) in [
        "{ parquet = \"out\", roll_rows = 12 }",
        "{ parquet = \"out\", partition_by = [\"k\"], roll_rows = 6 }",
        "{ parquet = \"out\", partition_by = [\"k\"], row_group_rows = 2 }",
    ]
    .into_iter()
    .enumerate()
    {
        for fuel in 0..50 {
            let place = Place::new();
            let parts = place.sink(sink, &up());
            let lag = (fuel + at) as u64 % 3;
            let run = Execution { lag, workers: 1 + fuel % 2, ..execution(&place, &*parts, &input) };
            run_through(&place, fuel, &run, &|place| {
                let seen = seen(place);
                assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{sink}, fuel {fuel}: {seen:?}");
            });
            assert_eq!(seen(&place), wanted, "{sink}, fuel {fuel}");
            assert_eq!(hidden(&place), Vec::<String>::new(), "{sink}, fuel {fuel}");
        }
    }
}

#[test]
fn rows_of_workers_that_are_gone_go_on_with_others() {
    let input = input(30);
    let wanted = numbers_of(&input);
    for fuel in [3, 11, 19, 26, 1000] {
        let place = Place::new();
        let parts = place.sink("{ parquet = \"out\", partition_by = [\"k\"], roll_rows = 20 }", &up());
        let mut store = Store::default();
        let mut most = 0;
        for (part, workers) in [3, 1, 2, 4, 1, 1, 3].into_iter().cycle().enumerate() {
            let until = (store.epochs as usize + 3).min(input.len());
            let ends = until == input.len();
            let lag = part as u64 % 3;
            let run = Execution { workers, lag, ends, ..execution(&place, &*parts, &input[..until]) };
            let done = run.run(&mut store, &mut Fuel(fuel + part)).unwrap();
            most = most.max(hidden(&place).len());
            if done.is_some() && ends {
                break;
            }
        }
        assert_eq!(seen(&place), wanted, "fuel {fuel}");
        assert_eq!(hidden(&place), Vec::<String>::new(), "fuel {fuel}");
        assert!(most < 20, "{most} hidden files");
    }
}

#[test]
fn logs_do_not_grow_with_what_is_finished() {
    // One folder gets a row now and then and stays open, the others finish all the time.
    let input: Vec<Vec<Batch>> = (0..200)
        .map(|epoch| vec![batch((0..40).map(|n| (epoch * 40 + n) * 3)), batch([(epoch * 40) * 3 + 1])])
        .collect();
    let place = Place::new();
    let parts = place.sink("{ parquet = \"out\", partition_by = [\"k\"], roll_rows = 70 }", &up());
    let mut store = Store::default();
    let run = |until: usize, store: &mut Store| {
        let ends = until == input.len();
        let done = Execution { ends, ..execution(&place, &*parts, &input[..until]) }.run(store, &mut Fuel::endless());
        assert!(done.unwrap().is_some());
        hidden(&place).iter().map(|name| fs::metadata(place.path(name)).unwrap().len()).sum::<u64>()
    };
    let sizes: Vec<u64> = [60, 61, 130, 199].into_iter().map(|until| run(until, &mut store)).collect();
    assert!(sizes.iter().all(|size| (1..200_000).contains(size)), "{sizes:?}");
    run(200, &mut store);
    assert_eq!(
        (seen(&place), hidden(&place)),
        (
            {
                let mut all = numbers_of(&input);
                all.sort_unstable();
                all
            },
            vec![]
        )
    );
}

/// A clock that a test moves.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        // Begins anew with each execution in truth; here only its differences matter.
        Duration::from_micros(self.0.load(Ordering::Relaxed) as u64)
    }
}

#[test]
fn files_grow_old_over_executions_and_without_rows() {
    let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
    let mut place = Place::new();
    place.env.clock = clock.clone();
    let parts = place.sink("{ parquet = \"out\", roll_time = \"10s\" }", &up());
    let mut store = Store::default();
    let mut input = vec![vec![batch([1])]];
    let mut go = |input: &[Vec<Batch>], seconds: i64| {
        clock.0.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
        let run = Execution { ends: false, ..execution(&place, &*parts, input) };
        run.run(&mut store, &mut Fuel::endless()).unwrap();
        seen(&place)
    };
    assert_eq!(go(&input, 0), [0_i64; 0]);
    input.push(vec![]);
    assert_eq!(go(&input, 6), [0_i64; 0]);
    input.push(vec![batch([2])]);
    assert_eq!(go(&input, 3), [0_i64; 0]);
    input.push(vec![]);
    assert_eq!(go(&input, 2), [1, 2]);
}

#[test]
fn what_was_there_before_the_store_is_replaced_once() {
    let input = input(3);
    let old = |place: &Place| {
        for name in ["out/a/old.parquet", "out/older.parquet"] {
            place.write(name, "");
        }
    };
    for fuel in 0..25 {
        let place = Place::new();
        old(&place);
        let parts = place.sink("{ parquet = \"out\", roll_rows = 4, if_exists = \"replace\" }", &up());
        let run = Execution { lag: 1, ..execution(&place, &*parts, &input) };
        let mut store = run_through(&place, fuel, &run, &|_| {});
        assert_eq!(seen(&place), numbers_of(&input), "fuel {fuel}");
        assert!(!place.path("out/a").exists());
        // Later executions replace nothing.
        fs::create_dir_all(place.path("out/b")).unwrap();
        let longer = self::input(6);
        fs::copy(place.path(&place.files()[0]), place.path("out/b/part-new.parquet")).unwrap();
        let count = seen(&place).len();
        execution(&place, &*parts, &longer).run(&mut store, &mut Fuel::endless()).unwrap();
        assert_eq!(seen(&place).len(), count + numbers_of(&longer).len() - numbers_of(&input).len());
    }
    let place = Place::new();
    old(&place);
    let parts = place.sink("{ parquet = \"out\", if_exists = \"replace\" }", &up());
    execution(&place, &*parts, &[vec![]]).run(&mut Store::default(), &mut Fuel::endless()).unwrap();
    assert_eq!(place.files(), Vec::<String>::new(), "an input without rows replaces too");
}

#[test]
fn files_are_refused_only_by_the_first_execution() {
    let place = Place::new();
    let parts = place.sink("{ parquet = \"out\", roll_rows = 4, if_exists = \"fail\" }", &up());
    let input = input(6);
    let mut store = Store::default();
    execution(&place, &*parts, &input[..3]).run(&mut store, &mut Fuel::endless()).unwrap();
    execution(&place, &*parts, &input).run(&mut store, &mut Fuel::endless()).unwrap();
    assert_eq!(seen(&place), numbers_of(&input));
    let error = execution(&place, &*parts, &input).run(&mut Store::default(), &mut Fuel::endless()).unwrap_err();
    assert!(error.message.starts_with("there are Parquet files in "), "{error}");
}

#[test]
fn a_folder_that_is_not_as_the_store_knows_it_is_refused() {
    let mut said = String::new();
    let mut refused = |what: &str, change: &dyn Fn(&Place, &mut Vec<Manifest>)| {
        let place = Place::new();
        let parts = place.sink("{ parquet = \"out\", roll_rows = 12 }", &up());
        let input = input(6);
        let mut store = Store::default();
        let run = |until: usize, store: &mut Store| {
            let run = Execution { ends: false, ..execution(&place, &*parts, &input[..until]) };
            run.run(store, &mut Fuel::endless()).unwrap();
        };
        run(3, &mut store);
        let older = store.clone();
        run(6, &mut store);
        let mut manifests = store.manifests.clone();
        if what.starts_with("older") {
            manifests = older.manifests;
        }
        change(&place, &mut manifests);
        let before = place.files();
        match parts.verify(&manifests) {
            Ok(()) => said.push_str(&format!("{what}: -\n")),
            Err(error) => {
                let line = format!("{what}: {}\n  help: {}\n", error.message, error.help.unwrap_or_default());
                said.push_str(&line.replace(&place.path("").display().to_string(), "DIR/"));
            }
        }
        assert_eq!(place.files(), before, "nothing is changed");
    };
    let last = |place: &Place| place.files().into_iter().rfind(|name| name.contains("/part-5t0rex2")).unwrap();
    let log = |place: &Place| hidden(place).into_iter().rfind(|name| name.contains(".rows-")).unwrap();
    refused("as it was", &|_, _| {});
    refused("older store", &|_, _| {});
    refused("changed", &|place, _| place.write(&last(place), "PAR1"));
    refused("taken away", &|place, _| fs::remove_file(place.path(&last(place))).unwrap());
    refused("gone", &|place, manifests| {
        // Nothing is open any more.
        manifests.iter_mut().for_each(|manifest| {
            let mut state: serde_json::Value = serde_json::from_slice(&manifest.manifest).unwrap();
            state["open"] = serde_json::json!([]);
            state["logs"] = serde_json::json!([]);
            manifest.manifest = state.to_string().into_bytes();
        });
        fs::remove_dir_all(place.path("out")).unwrap();
    });
    refused("log cut", &|place, _| place.write(&log(place), "x"));
    refused("log gone", &|place, _| fs::remove_file(place.path(&log(place))).unwrap());
    expect_test::expect![[r#"
        as it was: -
        older store: this store does not know of DIR/out/part-5t0rex2-0-0.parquet: it is older than the file
          help: go on from the newest copy of the store; or, if what came later is not wanted, remove the files of it
        changed: DIR/out/part-5t0rex2-0-1.parquet was changed: it has 4 bytes, and 793 were written
          help: put it back from a copy that is as new as the store; or begin anew with a new store and a new folder
        taken away: -
        gone: DIR/out is gone, and files were written to it
          help: put it back from a copy that is as new as the store; or begin anew with a new store and a new folder
        log cut: rows of files that are not finished cannot be read from DIR/out/.rows-0-1.5t0rex2.part: it is shorter than it was
          help: put it back from a copy that is as new as the store; or begin anew with a new store and a new folder
        log gone: rows of files that are not finished cannot be read from DIR/out/.rows-0-1.5t0rex2.part: No such file or directory (os error 2)
          help: put it back from a copy that is as new as the store; or begin anew with a new store and a new folder
    "#]].assert_eq(&said);
}

#[test]
fn damaged_rows_and_other_columns_are_refused_when_files_are_made_anew() {
    let place = Place::new();
    let sink = "{ parquet = \"out\" }";
    let parts = place.sink(sink, &up());
    let input = input(3);
    let mut store = Store::default();
    Execution { ends: false, ..execution(&place, &*parts, &input[..1]) }.run(&mut store, &mut Fuel::endless()).unwrap();
    let other = StreamType::unkeyed(schema_of(&[("k".to_owned(), Type::String)]));
    let changed = place.sink(sink, &other);
    let error =
        execution(&place, &*changed, &[vec![], vec![]]).run(&mut store.clone(), &mut Fuel::endless()).unwrap_err();
    assert_eq!(
        error.message,
        "files that are not finished have the columns k: string, n: int64, and the sink now has k: string"
    );
    let log = hidden(&place).remove(0);
    let mut bytes = fs::read(place.path(&log)).unwrap();
    bytes[100] ^= 1;
    fs::write(place.path(&log), bytes).unwrap();
    let error = execution(&place, &*parts, &input).run(&mut store, &mut Fuel::endless()).unwrap_err();
    assert!(error.message.ends_with("it is damaged"), "{error}");
}

#[test]
fn files_of_other_flows_in_the_folder_are_left_alone() {
    let place = Place::new();
    let parts = place.sink("{ parquet = \"out\", roll_rows = 4 }", &up());
    let others =
        ["out/.part-0-3.parquet.0therx1.part", "out/.rows-0-0.0therx1.part", "out/.part-0-1.parquet.99aa.part"];
    for name in others.iter().chain(&["out/.rows-0-0.5t0rex0.part", "out/.part-0-3.parquet.5t0rex0.part"]) {
        place.write(name, "");
    }
    let input = input(3);
    execution(&place, &*parts, &input).run(&mut Store::default(), &mut Fuel::endless()).unwrap();
    let mut wanted = others.to_vec();
    wanted.sort_unstable();
    assert_eq!(hidden(&place), wanted);
    assert_eq!(seen(&place), numbers_of(&input));
}
