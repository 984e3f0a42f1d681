//! Stores on a disk.

use super::super::catalogue::Identity;
use super::super::check::check;
use super::super::error::{StoreError, Trouble};
use super::super::sqlite;
use super::super::store::ClaimedStore;
use super::*;
use crate::data::ids::PartitionId;
use crate::data::key::groups_of;
use crate::dataflow::durable::Recovery;
use crate::dataflow::env::{Env, scripted};
use crate::dataflow::failure::FailureSlot;
use crate::dataflow::writers::Writers;
use expect_test::expect;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const OPTIONS: Options = Options { parts: 3, retention: 2 };

fn env() -> Env {
    scripted::env(Instant(1_700_000_000_000_000))
}

fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(folder, &wanted(&[step("sum"), step("in"), step("out")]), OPTIONS, &env())
}

/// A store that is claimed, and what ends when it has.
struct Running {
    store: ClaimedStore,
    writers: Writers,
    failure: FailureSlot,
}

impl Running {
    fn start(folder: &Path) -> Running {
        let (writers, failure) = (Writers::default(), FailureSlot::default());
        let store = open(folder).unwrap().claim(2, &env(), &failure, &writers).unwrap();
        Running { store, writers, failure }
    }

    fn wait_for(&self, epoch: u64) {
        while self.store.durable().newest() < Epoch(epoch) && !self.failure.is_set() {
            std::thread::yield_now();
        }
    }

    fn stop(self) {
        let Running { store, writers, failure } = self;
        drop(store);
        writers.wait(Duration::from_secs(60));
        assert_eq!(failure.get(), None);
    }
}

/// What is said when the store is opened.
fn refusal(folder: &Path) -> String {
    let error = open(folder).map(drop).unwrap_err();
    format!("{:?}: {}", error.trouble, error.message)
}

#[test]
fn what_all_workers_handed_in_is_there_after_the_next_start() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(&folder.path().join("a/b"));
    assert_eq!((running.store.first_epoch(), running.store.is_fresh()), (Epoch(1), true));
    let names: Vec<String> = (0..3000_u64).map(|n| n.to_string()).collect();
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (store, names) = (&running.store, &names);
            scope.spawn(move || {
                for epoch in 1..=3 {
                    let mine = names.iter().filter(|name| {
                        groups_of(worker, 3).contains(&crate::data::key::group_of(crate::data::key::hash(name)))
                    });
                    let rows: Vec<_> = mine.map(|name| (name.as_str(), Some(epoch))).collect();
                    store.state(&"sum".into(), Epoch(epoch), &changes(&rows)).unwrap();
                    let part = PartitionId::from(worker.to_string().as_str());
                    store.source(&"in".into(), &part, Epoch(epoch), vec![u8::try_from(epoch).unwrap()]).unwrap();
                    store.sink(&"out".into(), &part, Epoch(epoch), vec![]).unwrap();
                }
            });
        }
    });
    // Every worker says so, in its own time.
    [1, 2, 1, 2].into_iter().for_each(|epoch| running.store.seal(Epoch(epoch)));
    running.wait_for(2);
    assert_eq!(running.store.durable().newest(), Epoch(2));
    let late = running.store.source(&"in".into(), &"0".into(), Epoch(2), vec![]).unwrap_err();
    assert_eq!(late.message, "something of epoch 2 was handed in after it was sealed");
    running.stop();

    let running = Running::start(&folder.path().join("a/b"));
    assert_eq!((running.store.first_epoch(), running.store.is_fresh()), (Epoch(3), false));
    let mut keys = 0;
    let count = &mut |loaded: crate::data::key::Keys, values: arrow::array::BinaryArray| {
        keys += loaded.values().len();
        assert!(values.iter().all(|value| value == Some(&2_u64.to_le_bytes())));
        Ok(())
    };
    running.store.load_state(&"sum".into(), 0..KEY_GROUPS, count).unwrap();
    assert_eq!(keys, 3000);
    let position = |part: &str| {
        let all = running.store.load_sources(&"in".into()).unwrap();
        all.into_iter().find(|found| &*found.part.0 == part).map(|found| (found.epoch, found.position))
    };
    assert_eq!(
        (position("0"), position("2"), position("3")),
        (Some((Epoch(2), vec![2])), Some((Epoch(2), vec![2])), None)
    );
    let manifests = running.store.load_sinks(&"out".into()).unwrap();
    let manifests: Vec<_> = manifests.iter().map(|manifest| (manifest.epoch.0, &*manifest.part.0)).collect();
    assert_eq!(manifests, [(1, "0"), (1, "1"), (1, "2"), (2, "0"), (2, "1"), (2, "2")]);
    running.stop();
}

#[test]
fn an_idle_flow_writes_nothing_and_the_end_seals_what_is_left() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(folder.path());
    running.store.state(&"sum".into(), Epoch(1), &changes(&[("a", Some(1))])).unwrap();
    running.store.seal(Epoch(1));
    running.wait_for(1);
    running.store.seal(Epoch(7));
    assert_eq!(running.store.durable().newest(), Epoch(7));
    running.store.state(&"sum".into(), Epoch(9), &changes(&[("a", None), ("b", Some(2))])).unwrap();
    running.store.end();
    running.wait_for(9);
    running.stop();
    let store = open(folder.path()).unwrap();
    let sealed = store.shelf.parts[0].lock().unwrap().catalogue().sealed.clone();
    assert_eq!(sealed.iter().map(|sealed| sealed.epoch.0).collect::<Vec<_>>(), [1, 9]);
    assert_eq!(load_all(&store), States::from([("b".to_owned(), 2)]));
}

#[test]
fn many_epochs_with_compaction_in_between_are_the_states_of_the_last() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(folder.path());
    let names: Vec<String> = (0..200_u64).map(|n| n.to_string()).collect();
    let mut expected = States::new();
    for epoch in 1..=60_u64 {
        let rows = (0..).zip(&names).filter(|(n, _)| (n + epoch) % 7 == 0);
        let rows: Vec<_> = rows.map(|(n, name)| (name.as_str(), (n % 5 != epoch % 5).then_some(epoch))).collect();
        apply(&mut expected, &rows);
        running.store.state(&"sum".into(), Epoch(epoch), &changes(&rows)).unwrap();
        running.store.sink(&"out".into(), &"0".into(), Epoch(epoch), vec![]).unwrap();
        running.store.seal(Epoch(epoch));
        running.wait_for(epoch);
        running.store.committed(&"out".into(), &"0".into(), Epoch(epoch));
    }
    running.stop();
    let findings = check(folder.path()).unwrap();
    assert_eq!((findings.problems, findings.resume, findings.parts), (vec![], Some(Epoch(60)), 3));
    let store = open(folder.path()).unwrap();
    assert_eq!(load_all(&store), expected);
}

#[test]
fn files_that_are_not_those_of_the_store_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = |part: usize| folder.path().join(format!("part-{part}.sqlite3"));
    Running::start(folder.path()).stop();

    let held = open(folder.path()).unwrap();
    expect!["Busy: recovery store, part-0.sqlite3: another process has it open"].assert_eq(&refusal(folder.path()));
    drop(held);

    let whole = std::fs::read(path(1)).unwrap();
    std::fs::remove_file(path(1)).unwrap();
    expect!["Refused: recovery store, part-1.sqlite3: missing, one of 3 files of the store"]
        .assert_eq(&refusal(folder.path()));

    std::fs::write(path(1), "something else, and long enough to be taken for a file of SQLite".repeat(200)).unwrap();
    expect!["Damaged: recovery store, part-1.sqlite3: it is not an SQLite file"].assert_eq(&refusal(folder.path()));

    std::fs::write(path(1), "").unwrap();
    expect!["Damaged: recovery store, part-1.sqlite3: it is empty"].assert_eq(&refusal(folder.path()));

    std::fs::write(path(1), &whole).unwrap();
    let set = |pragma: &str, value: i64| {
        rusqlite::Connection::open(path(1)).unwrap().pragma_update(None, pragma, value).unwrap();
    };
    set("user_version", 3);
    expect!["Refused: recovery store, part-1.sqlite3: it is of format 3, and this program reads formats 1 to 2"]
        .assert_eq(&refusal(folder.path()));
    set("application_id", 1);
    expect!["Refused: recovery store, part-1.sqlite3: it is not a part of a recovery store"]
        .assert_eq(&refusal(folder.path()));

    std::fs::write(path(1), &whole).unwrap();
    std::fs::remove_file(path(0)).unwrap();
    expect!["Refused: recovery store, part-0.sqlite3: missing, one of 3 files of the store"]
        .assert_eq(&refusal(folder.path()));
}

#[test]
fn a_store_whose_making_was_cut_short_is_made_again() {
    let folder = TempDir::new().unwrap();
    let identity = Identity { store: "old".to_owned(), flow: "test".into(), part: 2, parts: 3 };
    sqlite::create(&folder.path().join("part-2.sqlite3"), identity).unwrap();
    std::fs::write(folder.path().join("part-1.sqlite3.new"), "half").unwrap();
    let store = open(folder.path()).unwrap();
    assert_eq!((store.resume().epoch, store.shelf.parts.len()), (Epoch(0), 3));
    let wrong = Options { parts: 65, ..OPTIONS };
    let other = folder.path().join("other");
    let error = Store::open(&other, &wanted(&[]), wrong, &env()).map(drop).unwrap_err();
    assert_eq!(error.trouble, Trouble::Refused);
    assert!(!other.exists());
}

#[test]
fn of_states_that_all_change_only_the_newest_are_kept() {
    let folder = TempDir::new().unwrap();
    let names: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    let all = |epoch: u64| names.iter().map(|name| (name.as_str(), Some(epoch))).collect::<Vec<_>>();
    let running = Running::start(folder.path());
    for epoch in 1..=20 {
        let whole = Changes { whole: 0..KEY_GROUPS, ..changes(&all(epoch)) };
        // What was handed in for the epoch before does not count, what is after does.
        running.store.state(&"sum".into(), Epoch(epoch), &changes(&[("0", Some(99)), ("500", Some(99))])).unwrap();
        running.store.state(&"sum".into(), Epoch(epoch), &whole).unwrap();
        running.store.state(&"sum".into(), Epoch(epoch), &changes(&[("1", None)])).unwrap();
        running.store.seal(Epoch(epoch));
        running.wait_for(epoch);
    }
    running.stop();
    let store = open(folder.path()).unwrap();
    for part in &store.shelf.parts {
        let part = part.lock().unwrap();
        assert_eq!(part.catalogue().floor, Epoch(17), "two epochs before the one that was durable");
        let epochs: BTreeSet<u64> = part.catalogue().blocks.iter().map(|block| block.epoch.0).collect();
        assert_eq!(epochs, (17..=20).collect());
    }
    let mut expected: States = names.iter().map(|name| (name.clone(), 20)).collect();
    expected.remove("1");
    assert_eq!(load_all(&store), expected);
}

#[test]
fn a_store_of_the_format_before_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let seal = |epoch: u64, rows: &[(&str, Option<u64>)]| {
        let running = Running::start(folder.path());
        running.store.state(&"sum".into(), Epoch(epoch), &changes(rows)).unwrap();
        running.store.seal(Epoch(epoch));
        running.wait_for(epoch);
        running.stop();
    };
    let paths = [0, 1, 2].map(|part| folder.path().join(format!("part-{part}.sqlite3")));
    let version = |path: &Path| -> i64 {
        rusqlite::Connection::open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    seal(1, &[("a", Some(1)), ("b", Some(2))]);
    for path in &paths {
        rusqlite::Connection::open(path).unwrap().pragma_update(None, "user_version", 1).unwrap();
    }
    assert_eq!(load_all(&open(folder.path()).unwrap()), States::from([("a".to_owned(), 1), ("b".to_owned(), 2)]));
    assert!(paths.iter().all(|path| version(path) == 1), "only a claim changes it");
    seal(2, &[("a", None)]);
    assert_eq!(load_all(&open(folder.path()).unwrap()), States::from([("b".to_owned(), 2)]));
    assert!(paths.iter().all(|path| version(path) == 2));
}

#[test]
fn the_tables_are_those_of_the_format() {
    let format = include_str!("../FORMAT.md");
    let columns = include_str!("../schema.sql").lines().filter(|line| !line.starts_with("--"));
    for word in columns.flat_map(|line| line.split(|c: char| !(c.is_ascii_lowercase() || c == '_'))) {
        assert!(word.len() < 2 || format.contains(&format!("`{word}`")), "{word} is not in FORMAT.md");
    }
}
