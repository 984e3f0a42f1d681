//! Looks into stores: of any epoch, in use, after a crash, where nothing can be written.

use super::super::error::{StoreError, Trouble};
use super::super::look::{State, View};
use super::flips::{copy, write};
use super::*;
use crate::data::key::groups_of;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The states that a look finds, with the epochs of their last changes.
fn states(view: &View) -> BTreeMap<String, (u64, u64)> {
    let mut states = BTreeMap::new();
    let each = &mut |State { key, epoch, value }: State<'_>| {
        let value = u64::from_le_bytes(value.try_into().unwrap());
        assert_eq!(states.insert(key.to_owned(), (epoch.0, value)), None, "{key} came twice");
        Ok::<_, StoreError>(())
    };
    view.states(&"sum".into(), None, each).unwrap();
    states
}

fn assert_is_of(view: &View, history: &[States]) {
    let found: States = states(view).into_iter().map(|(key, (_, value))| (key, value)).collect();
    assert!(found == history[usize::try_from(view.epoch().0).unwrap()], "wrong states of epoch {}", view.epoch());
    for kept in [view.sources(&"sum".into()).unwrap(), view.sinks(&"sum".into()).unwrap()] {
        let newest = kept.last().map(|kept| u64::from_le_bytes(kept.bytes.as_slice().try_into().unwrap()));
        assert_eq!(newest, Some(view.epoch().0));
    }
}

fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_store_can_be_looked_at_as_of_every_epoch_from_its_floor_on() {
    let folder = TempDir::new().unwrap();
    let (history, parts) = write(folder.path());
    drop(parts);
    let (floor, newest) = View::open(folder.path()).unwrap().epochs().clone().into_inner();
    assert_eq!((floor, newest), (Epoch(6), Epoch(9)));
    for epoch in 6..=9 {
        let view = View::open(folder.path()).unwrap().at(Epoch(epoch)).unwrap();
        assert_is_of(&view, &history);
        // Where a change can be told, it is: keys change in every fourth epoch.
        let states = states(&view);
        for (key, &(changed, _)) in &states {
            let key: u64 = key.trim_start_matches("key ").parse().unwrap();
            assert!(changed <= epoch && (changed <= 6 || (key + changed).is_multiple_of(4)), "{key} {changed}");
            assert!(!(7..=epoch).any(|later| later > changed && (key + later).is_multiple_of(4)), "{key} {changed}");
        }
    }
    for epoch in [5, 10] {
        let error = View::open(folder.path()).unwrap().at(Epoch(epoch)).err().unwrap();
        assert_eq!(error.help.as_deref(), Some("those of epochs 6 to 9 are"));
    }
}

#[test]
fn any_number_of_workers_loads_every_key_once() {
    let folder = TempDir::new().unwrap();
    let (history, parts) = write(folder.path());
    drop(parts);
    let view = View::open(folder.path()).unwrap();
    for workers in [1, 2, 3, 5, 7, 64, 100, 1024] {
        let mut all = States::new();
        for worker in 0..workers {
            for (key, value) in load(view.shelf(), groups_of(worker, workers)).unwrap() {
                assert_eq!(all.insert(key.clone(), value), None, "{key} came twice for {workers} workers");
            }
        }
        assert!(all == history[9], "{workers} workers");
    }
}

#[test]
fn a_key_is_found_without_the_others() {
    let folder = TempDir::new().unwrap();
    let (history, parts) = write(folder.path());
    drop(parts);
    let view = View::open(folder.path()).unwrap();
    for key in ["key 1", "key 17", "key 299", "key 300", ""] {
        let mut found = Vec::new();
        let each = &mut |state: State<'_>| {
            found.push((state.key.to_owned(), u64::from_le_bytes(state.value.try_into().unwrap())));
            Ok::<_, StoreError>(())
        };
        view.states(&"sum".into(), Some(key), each).unwrap();
        let expected = history[9].get(key).map(|&value| (key.to_owned(), value));
        assert_eq!(found, Vec::from_iter(expected));
    }
}

#[test]
fn the_log_of_a_crash_is_read_and_left_as_it_is() {
    let (folder, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (history, parts) = write(folder.path());
    copy(folder.path(), crashed.path());
    drop(parts);
    let before = bytes(crashed.path());
    assert!(before.iter().any(|(name, bytes)| name.ends_with("-wal") && !bytes.is_empty()));
    for _ in 0..2 {
        let view = View::open(crashed.path()).unwrap();
        assert_is_of(&view, &history);
        let again = View::open(crashed.path()).err().unwrap();
        assert_eq!((again.trouble, again.message.contains("part-0")), (Trouble::Busy, true));
        drop(view);
        assert!(bytes(crashed.path()) == before);
    }
}

#[test]
fn a_store_in_use_is_not_looked_into() {
    let folder = TempDir::new().unwrap();
    let (_, parts) = write(folder.path());
    let error = View::open(folder.path()).err().unwrap();
    assert_eq!(error.message, "recovery store, part-0.sqlite3: another process has it open");
    assert_eq!(error.help.as_deref(), Some("is the flow running already? stop it first"));
    drop(parts);
    drop(View::open(folder.path()).unwrap());
}

#[test]
fn a_protected_folder_is_looked_into_but_not_written() {
    let (folder, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (history, parts) = write(folder.path());
    copy(folder.path(), crashed.path());
    drop(parts);
    let protect = |folder: &Path, is_protected: bool| {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).chain([folder.to_owned()]) {
            let mut permissions = path.metadata().unwrap().permissions();
            permissions.set_readonly(is_protected);
            fs::set_permissions(path, permissions).unwrap();
        }
    };
    protect(folder.path(), true);
    protect(crashed.path(), true);
    let before = bytes(folder.path());
    assert_is_of(&View::open(folder.path()).unwrap(), &history);
    let opened = Store::open(folder.path(), &wanted(&[step("sum")]), Options::default(), &super::super::testing::env());
    let error = opened.err().unwrap();
    assert_eq!(error.message, "recovery store, part-0.sqlite3: it is read-only, or its folder is");
    assert!(error.help.is_some());
    assert!(bytes(folder.path()) == before);
    let error = View::open(crashed.path()).err().unwrap();
    let message = "recovery store, part-0.sqlite3: part-0.sqlite3-wal is beside it, and the folder cannot be written";
    assert_eq!((error.trouble, error.message.as_str()), (Trouble::Io, message));
    protect(folder.path(), false);
    protect(crashed.path(), false);
}
