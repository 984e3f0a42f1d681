//! Tests with a real component, built from `host/tests/odd-plugin`.

use super::library::{Library, PluginFile};
use super::project;
use super::round_trips::{all_types, batch_of};
use super::wasi::{Allow, AllowDir};
use crate::catalog::function::{FunctionKind, FunctionLibrary, StepLimits};
use crate::data::ids::WorkerIndex;
use crate::data::schema::schema_of;
use crate::data::time::Instant;
use crate::dataflow::env::real;
use crate::dataflow::error::{Domain, LogicError};
use crate::dataflow::user_fn::{Applied, Emitted, InstanceCx, Polled, RowError, StatefulFn};
use arrow::array::{AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

static COMPONENT: LazyLock<PathBuf> = LazyLock::new(|| {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd-plugin");
    project::resolve(&project).unwrap()
});
static CACHE: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn library_with(allow: Allow, cache: Option<&Path>) -> Library {
    let file = PluginFile { name: "odd".to_owned(), path: COMPONENT.clone(), allow, limits: StepLimits::default() };
    Library::new(vec![file], real::env(), cache).unwrap()
}

fn library() -> Library {
    library_with(Allow::default(), Some(CACHE.path()))
}

fn cx() -> InstanceCx {
    InstanceCx {
        step: "step".into(),
        worker: WorkerIndex(1),
        run_id: "test".into(),
        env: real::env(),
        meter: Arc::default(),
        migration: None,
    }
}

fn numbers(values: &[i64]) -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
}

fn schema() -> SchemaRef {
    schema_of(&[("x".to_owned(), "int64".parse().unwrap())])
}

fn limits() -> StepLimits {
    StepLimits { memory: Some(64 << 20), time_per_batch: Some(Duration::from_millis(200)) }
}

/// Applies a function to three rows.
fn apply_in(library: &Library, function: &str, config: &str, cx: &InstanceCx) -> Result<Applied, LogicError> {
    let open = library.open_transform(function, &schema(), config, &limits()).unwrap();
    let mut instance = open.factory.instantiate(cx)?;
    instance.apply(&numbers(&[4, 5, 6]))
}

fn apply(function: &str, config: &str) -> Result<Applied, LogicError> {
    apply_in(&library(), function, config, &cx())
}

#[test]
fn every_type_goes_through_a_component_and_back() {
    let library = library();
    let columns = all_types();
    for limits in [limits(), StepLimits { memory: None, time_per_batch: None }] {
        let open = library.open_transform("odd.echo", &schema_of(&columns), "", &limits).unwrap();
        assert_eq!(open.output, schema_of(&columns));
        assert_eq!(open.reads, (0..columns.len()).collect::<Vec<_>>());
        let mut instance = open.factory.instantiate(&cx()).unwrap();
        for (rows, seed) in [(1, 1), (8, 2), (1000, 3)] {
            let batch = batch_of(&columns, rows, seed);
            for batch in [batch.slice(rows / 3, rows - rows / 3), batch] {
                let applied = instance.apply(&batch).unwrap();
                assert_eq!(applied.rows.unwrap(), batch);
                assert_eq!((applied.parents, applied.errors), (None, vec![]));
            }
        }
    }
}

#[test]
fn a_filter_names_the_rows_that_it_keeps() {
    let applied = apply("odd.evens", "").unwrap();
    assert_eq!(applied.parents, Some(vec![0, 2]));
    assert!(applied.rows.is_none());
}

#[test]
fn functions_are_found_by_name_and_others_suggested() {
    let library = library();
    let found = library.find("odd.Sum").unwrap();
    assert_eq!((found.kind, found.state_version), (FunctionKind::Fold, 1));
    for (reference, message, help) in [
        ("Sum", "\"Sum\" names no function of a plugin", "write it as \"plugin.function\""),
        ("wordcount.Sum", "no plugin \"wordcount\"", "plugins of the flow: odd"),
        (
            "odd.sun",
            "plugin \"odd\" has no function \"sun\"",
            "did you mean \"Sum\"? its functions: echo, evens, odd, odd_flat, Sum, Running, numbers, picky",
        ),
    ] {
        let error = library.find(reference).unwrap_err();
        assert_eq!((error.message.as_str(), error.help.as_deref()), (message, Some(help)));
    }
    let error = library.open_fold("odd.echo", &schema(), "", &limits()).err().unwrap();
    assert_eq!(error.message, "function \"odd.echo\" is a map, and here a fold is wanted");
    let description = library.describe("odd").unwrap();
    assert_eq!(description.functions.len(), 8);
    assert_eq!(description.digest, blake3::hash(&std::fs::read(&*COMPONENT).unwrap()).to_hex().to_string());
    assert!(description.imports.contains(&"wxhost:plugin/host@0.1.0".to_owned()));
    assert!(description.exports.contains(&"wxhost:plugin/fold@0.1.0".to_owned()));
}

#[test]
fn files_that_are_no_plugin_are_refused_when_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.wasm");
    for (bytes, expected) in [
        (&b"hello"[..], "is a text file, not a WebAssembly component"),
        (
            b"\0asm\x0d\0\x01\0",
            "is a component, but no plugin: it does not export wxhost:plugin/functions, but nothing",
        ),
        (b"\0asm\x0d\0\x01\0rest", "is no valid component: "),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let limits = StepLimits::default();
        let file = PluginFile { name: "x".to_owned(), path: path.clone(), allow: Allow::default(), limits };
        let error = Library::new(vec![file], real::env(), None).unwrap().find("x.f").unwrap_err();
        assert!(error.message.starts_with(&format!("plugin \"x\" ({})", path.display())), "{}", error.message);
        assert!(error.message.contains(expected), "{}", error.message);
        assert!(error.help.is_some());
    }
}

#[test]
fn a_function_that_does_not_open_is_refused_in_the_plan() {
    let library = library();
    for (config, expected) in [
        ("open-refuse", "function \"odd.odd\": no such configuration"),
        ("open-panic", "function \"odd.odd\" panicked at src/lib.rs:"),
        ("open-reads", "function \"odd.odd\" broke the plugin contract: it returned it reads column 7 of 1"),
        (
            "open-cycle",
            "function \"odd.odd\" broke the plugin contract: it returned its schema has a field at index 0 that is not before its parent",
        ),
    ] {
        let error = library.open_transform("odd.odd", &schema(), config, &limits()).err().unwrap();
        assert!(error.message.starts_with(expected), "{}", error.message);
    }
}

#[test]
fn a_guest_that_fails_says_why_and_is_not_called_again() {
    for (config, expected) in [
        ("panic", "panicked at src/lib.rs:"),
        ("spin", "took longer than the time limit of 200ms per batch"),
        ("bomb", "needed more than the memory limit of 64MiB"),
        ("recurse", "used more than its stack"),
        ("exit", "ended its instance by exit()"),
        ("much", "handed over more in one call than the memory limit of 64MiB allows"),
    ] {
        let library = library();
        let open = library.open_transform("odd.odd", &schema(), config, &limits()).unwrap();
        let mut instance = open.factory.instantiate(&cx()).unwrap();
        let error = instance.apply(&numbers(&[1, 2, 3])).unwrap_err();
        assert!(error.message.starts_with(&format!("function \"odd.odd\" {expected}")), "{config}: {error:?}");
        assert_eq!(error.domain, Domain::Plugin);
        assert!(error.help.is_some());
        if config == "panic" {
            assert!(error.message.ends_with(": this is too odd"), "{}", error.message);
            assert!(error.notes.iter().any(|note| note.contains("about to fail")), "{:?}", error.notes);
        }
        if config == "recurse" {
            assert!(error.help.as_ref().unwrap().starts_with("odd_plugin::recurse calls itself"), "{:?}", error.help);
            assert!(error.notes[0].contains("odd_plugin::recurse (20 times)"), "{:?}", error.notes);
        }
        let error = instance.apply(&numbers(&[1])).unwrap_err();
        assert_eq!(error.message, "function \"odd.odd\" cannot be called again after it failed");
    }
}

#[test]
fn an_error_that_a_guest_returns_does_not_cost_the_instance() {
    let library = library();
    let open = library.open_transform("odd.odd", &schema(), "error", &limits()).unwrap();
    let mut instance = open.factory.instantiate(&cx()).unwrap();
    for _ in 0..2 {
        let error = instance.apply(&numbers(&[1, 2, 3])).unwrap_err();
        assert_eq!((error.domain, error.message.as_str()), (Domain::External, "function \"odd.odd\": the sky is down"));
    }
}

#[test]
fn a_guest_that_lies_is_told_of_by_function_and_lie() {
    for (function, config, expected) in [
        ("odd", "wrong-type", "column \"x\": int32 values, but its type is int64"),
        ("odd", "short", "column \"x\": 1 values for 3 rows"),
        ("odd", "rows", "column \"x\": 2 rows where there should be 3"),
        ("odd", "batch-rows", "2 rows for 3 rows of which 0 failed"),
        ("odd", "bitmap", "column \"x\": a validity bitmap of 0 bytes for 3 rows"),
        ("odd", "no-roots", "0 columns where its schema has 1"),
        ("odd", "root", "column \"x\": index 4 of 1 columns"),
        ("odd", "utf8", "column \"x\": row 1 is not UTF-8"),
        ("odd", "cut", "column \"x\": row 0 is not UTF-8"),
        ("odd", "fall", "column \"x\": offsets fall at row 1, from 2 to 1"),
        ("odd", "end", "column \"x\": offsets end at 9, the data at 3"),
        ("odd", "start", "column \"x\": offsets start at 1, not at 0"),
        ("odd", "negative", "column \"x\": offsets fall at row 0, from 0 to -1"),
        ("odd", "few-offsets", "column \"x\": 2 offsets for 3 rows; there should be one more than rows"),
        ("odd", "items", "column \"x\": offsets end at 5, the data at 2"),
        ("odd", "late-child", "column \"x[]\": a child at index 1, which is not before its parent at 0"),
        ("odd", "late-error", "an error for row 3 of 3"),
        ("odd", "unordered-errors", "an error for row 0 after one for row 1"),
        ("odd", "uncounted-error", "3 rows for 3 rows of which 1 failed"),
        ("odd", "parents", "`parents` from a map"),
        ("odd", "no-rows", "no rows"),
        ("odd_flat", "flat-none", "no `parents` from a flat_map"),
        ("odd_flat", "flat-falls", "`parents` that go from 2 to 1"),
        ("odd_flat", "flat-far", "a parent 3 of 3 rows"),
        ("odd_flat", "flat-few", "3 rows and 2 `parents`"),
        ("odd_flat", "flat-error", "rows from row 2, and an error for it"),
    ] {
        let error = apply(&format!("odd.{function}"), config).unwrap_err();
        let message = format!("function \"odd.{function}\" broke the plugin contract: it returned {expected}");
        assert_eq!(error.message, message, "{config}");
        assert_eq!(error.domain, Domain::Plugin);
    }
}

#[test]
fn a_guest_uses_what_the_host_offers_and_is_measured() {
    let cx = cx();
    let before = cx.env.clock.now().0;
    let rows = apply_in(&library(), "odd.odd", "host", &cx).unwrap().rows.unwrap();
    let now = rows.column(0).as_primitive::<Int64Type>().value(0);
    assert!(before <= now && now <= cx.env.clock.now().0);
    let figures = cx.meter.figures();
    assert_eq!(figures.counters, [("odd_calls".to_owned(), 2)].into());
    assert_eq!(figures.plugin_calls, 1);
    assert!(figures.plugin_time > Duration::ZERO);
    assert!(figures.plugin_memory >= 1 << 16);
    let error = apply_in(&library(), "odd.odd", "count", &cx).map(drop);
    assert_eq!((error, cx.meter.figures().counters.len()), (Ok(()), 257));
}

#[test]
fn a_guest_may_do_nothing_that_it_was_not_allowed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rows = apply("odd.odd", "env").unwrap().rows.unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[0, 0, 0]);

    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (open, closed) = (listener.local_addr().unwrap(), other.local_addr().unwrap());
    let by_name = format!("localhost:{}", open.port());
    std::fs::write(input.path().join("ports"), format!("{open}\n{closed}\n{by_name}")).unwrap();
    let dir = |path: &Path, name: &str, can_write| AllowDir { path: path.to_owned(), name: name.to_owned(), can_write };
    let allow = Allow {
        tcp: vec![by_name],
        env: vec!["HOME".to_owned()],
        dirs: vec![dir(input.path(), "/in", false), dir(output.path(), "/out", true)],
    };
    let library = library_with(allow, Some(CACHE.path()));
    let rows = apply_in(&library, "odd.odd", "env", &cx()).unwrap().rows.unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(0), i64::from(std::env::var("HOME").is_ok()));
    let rows = apply_in(&library, "odd.odd", "connect", &cx()).unwrap().rows.unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[1, 0, 1]);
    assert_eq!(std::fs::read_to_string(output.path().join("done")).unwrap(), "yes");

    let missing = Allow { dirs: vec![dir(Path::new("/nowhere/at/all"), "/x", false)], ..Allow::default() };
    let error = library_with(missing, None).find("odd.echo").unwrap_err();
    assert!(error.message.starts_with("the directory /nowhere/at/all that plugin \"odd\" is allowed cannot be opened"));
}

#[test]
fn a_second_start_compiles_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let first = library_with(Allow::default(), Some(cache.path()));
    first.find("odd.echo").unwrap();
    assert!(first.cache_figures().misses > 0);
    let second = library_with(Allow::default(), Some(cache.path()));
    second.find("odd.echo").unwrap();
    let figures = second.cache_figures();
    assert_eq!(figures.misses, 0, "{figures:?}");
    assert!(figures.hits > 0);
}

#[test]
fn a_fold_keeps_merges_and_restores_its_groups() {
    let library = library();
    let open = library.open_fold("odd.Sum", &schema(), "", &limits()).unwrap();
    assert_eq!((open.output.as_ref(), open.state_version), (schema().as_ref(), 1));
    let mut fold = open.factory.instantiate(&cx()).unwrap();
    assert_eq!(fold.update(&[0, 1, 0], None, &numbers(&[1, 10, 2])).unwrap(), []);
    let errors = fold.update(&[2, 1, 1], Some(&[2, 0, 1]), &numbers(&[5, -6, 7])).unwrap();
    assert_eq!(
        errors.iter().map(|error| (error.row, error.message.as_str())).collect::<Vec<_>>(),
        [(2, "-6 is negative")]
    );
    assert_eq!(fold.finish(&[2, 0, 1]).unwrap().rows, numbers(&[7, 3, 15]));
    let states = fold.snapshot(&[1, 2]).unwrap();
    assert_eq!(states, BinaryArray::from_iter_values([15_i64.to_le_bytes(), 7_i64.to_le_bytes()]));
    fold.merge(&[0], &[1]).unwrap();
    fold.release(&[2]).unwrap();
    assert_eq!(fold.finish(&[0, 1, 2]).unwrap().rows, numbers(&[18, 0, 0]));

    let mut other = open.factory.instantiate(&cx()).unwrap();
    other.restore(&[3, 0], &states).unwrap();
    assert_eq!(other.finish(&[0, 3]).unwrap().rows, numbers(&[7, 15]));
}

#[test]
fn a_fold_that_lies_is_told_of_by_function_and_lie() {
    for (config, in_update, expected) in [
        ("few-rows", false, "1 rows for 2 groups of which 0 failed"),
        ("many-rows", false, "3 rows for 2 groups of which 0 failed"),
        ("both", false, "2 rows for 2 groups of which 1 failed"),
        ("far-error", true, "an error for row 2 of 2"),
    ] {
        let open = library().open_fold("odd.Sum", &schema(), config, &limits()).unwrap();
        let mut fold = open.factory.instantiate(&cx()).unwrap();
        let updated = fold.update(&[0, 1], None, &numbers(&[1, 2]));
        assert_eq!(updated.is_err(), in_update, "{config}");
        let error = if in_update { updated.unwrap_err() } else { fold.finish(&[0, 1]).unwrap_err() };
        let message = format!("function \"odd.Sum\" broke the plugin contract: it returned {expected}");
        assert_eq!((error.message, error.domain), (message, Domain::Plugin), "{config}");
        assert!(fold.finish(&[0, 1]).unwrap_err().message.ends_with("cannot be called again after it failed"));
    }
}

fn running(config: &str) -> Box<dyn StatefulFn> {
    let open = library().open_stateful("odd.Running", &schema(), config, &limits()).unwrap();
    open.factory.instantiate(&cx()).unwrap()
}

#[test]
fn a_stateful_function_keeps_its_groups_and_says_what_came_of_what() {
    let open = library().open_stateful("odd.Running", &schema(), "", &limits()).unwrap();
    assert_eq!((open.output.as_ref(), &open.reads[..], open.state_version), (schema().as_ref(), &[0][..], 1));
    let mut function = running("");
    let Emitted { rows, groups, parents, discarded, errors } =
        function.on_batch(&[4, 0, 4, 2, 2], &numbers(&[1, 10, 2, -3, 0]), Instant(100)).unwrap();
    assert_eq!((rows, groups), (numbers(&[101, 110, 203]), vec![4, 0, 4]));
    assert_eq!((parents, discarded), (Some(vec![0, 1, 2]), vec![2]));
    assert_eq!(errors, [RowError { row: 3, message: "-3 is negative".to_owned() }]);

    assert_eq!(function.notify_at(&[0, 2, 4]).unwrap(), [Some(Instant(110)), None, Some(Instant(203))]);
    let states = function.snapshot(&[0, 4]).unwrap();
    assert_eq!(states, BinaryArray::from_iter_values([110_i64.to_le_bytes(), 203_i64.to_le_bytes()]));
    let woken = function.on_notify(&[4, 0], Instant(1)).unwrap();
    assert_eq!((woken.rows, woken.groups, woken.parents), (numbers(&[204, 111]), vec![4, 0], None));
    let merged = function.merge(&[0], &[4], Instant(1)).unwrap();
    assert_eq!((merged.rows, merged.groups), (numbers(&[313]), vec![0]));
    let ended = function.on_eof(&[0], Instant(1)).unwrap();
    assert_eq!((ended.rows, ended.discarded), (numbers(&[]), vec![0]));
    assert_eq!(ended.errors, [RowError { row: 0, message: "odd".to_owned() }]);

    let mut other = open.factory.instantiate(&cx()).unwrap();
    other.restore(&[3, 1], &states).unwrap();
    other.release(&[1]).unwrap();
    assert_eq!(other.notify_at(&[3, 1]).unwrap(), [Some(Instant(110)), None]);
}

#[test]
fn a_stateful_function_that_lies_is_told_of_by_function_and_lie() {
    type Call = fn(&mut dyn StatefulFn) -> Result<(), LogicError>;
    let on_batch: Call = |it| it.on_batch(&[7, 8, 9], &numbers(&[1, 2, 3]), Instant(0)).map(drop);
    for (config, call, expected) in [
        ("few-groups", on_batch, "3 rows and 2 groups"),
        ("few-parents", on_batch, "3 rows and 2 `parents`"),
        ("falls", on_batch, "`parents` that go from 2 to 1"),
        ("far", on_batch, "a parent 3 of 3 rows"),
        ("other-group", on_batch, "a row of group 8 from row 0, which is of group 7"),
        ("unknown-group", on_batch, "a row of group 4, which was not handed in"),
        ("error", on_batch, "rows from row 1, and an error for it"),
        ("late-error", on_batch, "an error for row 3 of 3"),
        ("unknown-discard", on_batch, "that it discarded group 5, which was not handed in"),
        ("twice", on_batch, "that it discarded group 7 twice"),
        ("type", on_batch, "column \"x\": int32 values, but its type is int64"),
        ("parents", |it| it.on_notify(&[7], Instant(0)).map(drop), "`parents` from a call without rows"),
        ("few-times", |it| it.notify_at(&[7, 8]).map(drop), "1 times for 2 groups"),
    ] {
        let mut function = running(config);
        let error = call(&mut *function).unwrap_err();
        let message = format!("function \"odd.Running\" broke the plugin contract: it returned {expected}");
        assert_eq!((error.message, error.domain), (message, Domain::Plugin), "{config}");
        assert!(on_batch(&mut *function).unwrap_err().message.ends_with("cannot be called again after it failed"));
    }
    let emitted = running("no-parents").on_batch(&[7, 8, 9], &numbers(&[1, 2, 3]), Instant(0)).unwrap();
    assert_eq!((emitted.groups, emitted.parents), (vec![7, 8, 9], None));
    let error = library().open_stateful("odd.Running", &schema(), "version", &limits()).err().unwrap();
    assert!(error.message.ends_with("the state version 0 for a stateful function; they start at 1"));
}

#[test]
fn a_source_is_read_part_by_part_and_resumes() {
    let library = library();
    let open = library.open_source("odd.numbers", "", &limits()).unwrap();
    assert_eq!(open.output, schema());
    assert_eq!(open.factory.list_parts().unwrap(), ["a", "b"]);
    let cx = cx();
    let position = std::thread::scope(|scope| {
        let part = open.factory.build_part(&cx, "a", None).unwrap();
        let read = move || {
            let mut part = part;
            assert!(matches!(part.next_batch(3).unwrap(), Polled::Rows(rows) if rows == numbers(&[0, 1, 2])));
            let position = part.snapshot().unwrap();
            part.close().unwrap();
            position
        };
        scope.spawn(read).join().unwrap()
    });
    let mut part = open.factory.build_part(&cx, "a", Some(&position)).unwrap();
    assert!(matches!(part.next_batch(3).unwrap(), Polled::Rows(rows) if rows == numbers(&[3])));
    assert!(matches!(part.next_batch(3).unwrap(), Polled::Idle(Instant(77))));
    assert!(matches!(part.next_batch(3).unwrap(), Polled::End));
    assert!(open.factory.build_part(&cx, "c", None).is_err());
}

#[test]
fn a_sink_refuses_rows_and_commits() {
    let library = library();
    let open = library.open_sink("odd.picky", &schema(), "", &limits()).unwrap();
    assert_eq!((open.reads, open.two_phase), (vec![0], true));
    assert_eq!(open.factory.list_parts().unwrap(), [""; 0]);
    let mut part = open.factory.build_part(&cx(), "0", None).unwrap();
    let refused = part.write(&numbers(&[2, 3, 4])).unwrap();
    assert_eq!(refused.iter().map(|error| error.row).collect::<Vec<_>>(), [1]);
    assert_eq!(part.snapshot().unwrap(), 6_i64.to_le_bytes());
    let staged = part.pre_commit(9).unwrap();
    part.commit(9, &staged).unwrap();
    assert_eq!(part.commit(10, &staged).unwrap_err().domain, Domain::User);
    part.close().unwrap();
}

#[test]
fn the_words_of_lines_are_split_by_a_plugin_of_the_sdk() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/wordcount");
    let path = project::resolve(&project).unwrap();
    let plugin = PluginFile { name: "wc".to_owned(), path, allow: Allow::default(), limits: StepLimits::default() };
    let library = Library::new(vec![plugin], real::env(), Some(CACHE.path())).unwrap();
    assert_eq!(library.find("wc.tokenize").unwrap().kind, FunctionKind::FlatMap);
    let lines = StringArray::from(vec![Some("to be, or"), None, Some(""), Some("not")]);
    let lines =
        RecordBatch::try_new(schema_of(&[("value".to_owned(), "string".parse().unwrap())]), vec![Arc::new(lines)])
            .unwrap();
    let open = library.open_transform("wc.tokenize", &lines.schema(), "", &StepLimits::default()).unwrap();
    let mut instance = open.factory.instantiate(&cx()).unwrap();
    let applied = instance.apply(&lines).unwrap();
    let words = applied.rows.unwrap();
    let words: Vec<_> = words.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(words, ["to", "be", "or", "not"]);
    assert_eq!(applied.parents, Some(vec![0, 0, 0, 3]));
    assert_eq!(applied.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [1]);

    let wrong = schema_of(&[("value".to_owned(), "int64".parse().unwrap())]);
    let error = library.open_transform("wc.tokenize", &wrong, "", &StepLimits::default()).err().unwrap();
    assert!(error.message.starts_with("function \"wc.tokenize\": "), "{}", error.message);
}
