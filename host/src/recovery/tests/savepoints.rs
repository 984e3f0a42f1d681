//! Savepoints, and stores made of them.

use super::super::check::check;
use super::super::error::{StoreError, Trouble};
use super::super::look::View;
use super::super::savepoint::{list, make, path_of, restore, restore_once};
use super::super::testing::{env, run_sample};
use super::*;
use crate::dataflow::env::Env;
use expect_test::{Expect, expect};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A store with four epochs, and a savepoint of it that is called `s`.
fn store() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    run_sample(folder.path(), 1..=4);
    let path = path_of(folder.path(), "s").unwrap();
    make(folder.path(), &path, &env()).unwrap();
    (folder, path)
}

/// Surroundings in which random numbers are others than those that the store was made with.
fn later_env() -> Env {
    let env = env();
    (0..2).for_each(|_| _ = env.random.next());
    env
}

fn shown(folder: &Path) -> Vec<(String, u64, Vec<u8>)> {
    let view = View::open(folder).unwrap();
    let mut rows = Vec::new();
    for step in view.steps() {
        let each = &mut |state: super::super::look::State<'_>| {
            rows.push((format!("{}/{}", step.id, state.key), state.epoch.0, state.value.to_vec()));
            Ok::<_, StoreError>(())
        };
        view.states(&step.id, None, each).unwrap();
        let kept = [view.sources(&step.id).unwrap(), view.sinks(&step.id).unwrap()].concat();
        rows.extend(kept.into_iter().map(|kept| (format!("{}/{}", step.id, kept.part), kept.epoch.0, kept.bytes)));
    }
    assert!(!rows.is_empty());
    rows
}

#[test]
fn a_store_made_of_a_savepoint_goes_on_where_that_was_made() {
    let (folder, savepoint) = store();
    let then = shown(folder.path());
    run_sample(folder.path(), 5..=6);
    assert_ne!(shown(folder.path()), then);
    let other = TempDir::new().unwrap();
    let made = restore(&savepoint, &other.path().join("a/b"), &env()).unwrap();
    assert_eq!((made.flow.as_str(), made.epoch), ("sample", 4));
    assert_eq!(shown(&other.path().join("a/b")), then);
    run_sample(&other.path().join("a/b"), 5..=6);
    assert_eq!(shown(&other.path().join("a/b")), shown(folder.path()));
    // The savepoint is as it was.
    assert_eq!(shown(&savepoint), then);
    let listed = list(folder.path()).unwrap();
    assert_eq!(listed.iter().map(|(name, made)| (name.as_str(), made.epoch)).collect::<Vec<_>>(), [("s", 4)]);
}

#[test]
fn what_a_crash_left_in_the_log_is_in_the_savepoint() {
    let (folder, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (_, parts) = flips::write(folder.path());
    flips::copy(folder.path(), crashed.path());
    drop(parts);
    let savepoint = folder.path().join("copy");
    assert_eq!(make(crashed.path(), &savepoint, &env()).unwrap().epoch, 9);
    assert_eq!(shown(&savepoint), shown(folder.path()));
    let other = TempDir::new().unwrap();
    restore(&savepoint, other.path(), &env()).unwrap();
    assert_eq!(shown(other.path()), shown(folder.path()));
}

#[test]
fn a_restore_that_was_cut_short_is_made_again() {
    let (_folder, savepoint) = store();
    let other = TempDir::new().unwrap();
    // It had begun with another id.
    restore(&savepoint, other.path(), &env()).unwrap();
    fs::rename(other.path().join("part-0.sqlite3"), other.path().join("part-0.sqlite3.new")).unwrap();
    fs::write(other.path().join("part-0.sqlite3.new-wal"), "half").unwrap();
    let before = View::open(other.path()).err().map(|error| error.message);
    assert_eq!(before.as_deref(), Some("recovery store, part-0.sqlite3: missing, one of 2 files of the store"));
    restore(&savepoint, other.path(), &later_env()).unwrap();
    assert_eq!(shown(other.path()), shown(&savepoint));
    assert_eq!(check(other.path()).unwrap().problems, []);
}

#[test]
fn a_store_made_of_a_savepoint_is_another_store_than_that_which_it_was_made_of() {
    let (folder, savepoint) = store();
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let env = later_env();
    let id = |folder: &Path| View::open(folder).unwrap().id().to_owned();
    for other in [&one, &two] {
        restore(&savepoint, other.path(), &env).unwrap();
        assert_eq!(check(other.path()).unwrap().problems, []);
    }
    let ids: std::collections::BTreeSet<_> = [&folder, &one, &two].map(|folder| id(folder.path())).into();
    assert_eq!(ids.len(), 3, "{ids:?}");
    // They go on alike, and a file of one is no file of another.
    run_sample(folder.path(), 5..=12);
    run_sample(one.path(), 5..=12);
    for file in ["part-0.sqlite3", "part-1.sqlite3"] {
        let mixed = TempDir::new().unwrap();
        flips::copy(one.path(), mixed.path());
        fs::copy(folder.path().join(file), mixed.path().join(file)).unwrap();
        let error = View::open(mixed.path()).err().unwrap();
        assert_eq!(error.message, "recovery store, part-1.sqlite3: it is of another store than part-0.sqlite3");
    }
    // A savepoint of such a store is one like any other.
    let second = one.path().join("second");
    make(one.path(), &second, &env).unwrap();
    let three = TempDir::new().unwrap();
    restore(&second, three.path(), &env).unwrap();
    assert_eq!(shown(three.path()), shown(one.path()));
    assert!(!ids.contains(&id(three.path())));
}

#[test]
fn the_same_command_makes_a_store_once_and_goes_on_with_it() {
    let (folder, savepoint) = store();
    let other = TempDir::new().unwrap();
    restore_once(&savepoint, other.path(), &env()).unwrap();
    run_sample(other.path(), 5..=6);
    let then = shown(other.path());
    restore_once(&savepoint, other.path(), &env()).unwrap();
    assert_eq!(shown(other.path()), then);
    // Neither a store of another savepoint, nor that which the savepoint was made of, is taken for it.
    run_sample(folder.path(), 5..=6);
    let second = path_of(folder.path(), "t").unwrap();
    make(folder.path(), &second, &env()).unwrap();
    for (savepoint, folder) in [(&second, &other), (&savepoint, &folder)] {
        let error = restore_once(savepoint, folder.path(), &env()).unwrap_err();
        assert_eq!(error.trouble, Trouble::Refused);
        assert!(error.message.ends_with("there is a store in this folder"), "{error}");
    }
}

#[test]
fn savepoints_that_are_not_whole_and_folders_that_are_not_free_are_refused() {
    type Change = fn(&Path, &Path);
    let cases: &[(Change, Expect)] = &[
        (
            |savepoint, _| {
                let mut bytes = fs::read(savepoint.join("part-1.sqlite3")).unwrap();
                bytes[5000] ^= 1;
                fs::write(savepoint.join("part-1.sqlite3"), bytes).unwrap();
            },
            expect![[r#"
                Damaged: recovery store, STORE/savepoints/s/part-1.sqlite3: it is not as it was made: its hash is another
                help: use another savepoint, or a copy of this one"#]],
        ),
        (
            |savepoint, _| fs::remove_file(savepoint.join("part-0.sqlite3")).unwrap(),
            expect![[r#"
            Damaged: recovery store, STORE/savepoints/s/part-0.sqlite3: it is missing
            help: use another savepoint, or a copy of this one"#]],
        ),
        (
            |savepoint, _| fs::remove_file(savepoint.join("manifest.json")).unwrap(),
            expect![[r#"
            Refused: recovery store, STORE/savepoints/s/manifest.json: there is no savepoint here
            help: give the folder of a savepoint, made by "wxhost recovery savepoint""#]],
        ),
        (
            |savepoint, _| fs::write(savepoint.join("manifest.json"), "{").unwrap(),
            expect![[r#"
            Damaged: recovery store, STORE/savepoints/s/manifest.json: it is not a manifest
            help: use another savepoint, or a copy of this one"#]],
        ),
        (
            |savepoint, _| fs::write(savepoint.join("manifest.json"), "{\"version\": 2}").unwrap(),
            expect![[r#"
            Refused: recovery store, STORE/savepoints/s/manifest.json: it is of version 2, and this program reads version 1
            help: use the version of wxhost that wrote it"#]],
        ),
        (
            |_, folder| run_sample(folder, 1..=2),
            expect![[r#"
            Refused: recovery store, NEW: there is a store in this folder
            help: to go on from that store, run without a savepoint; else give a new folder"#]],
        ),
        (
            |_, folder| fs::write(folder.join("part-7.sqlite3"), "x").unwrap(),
            expect![[r#"
            Refused: recovery store, NEW: part-7.sqlite3 is there already
            help: to go on from that store, run without a savepoint; else give a new folder"#]],
        ),
        (
            |_, folder| fs::write(folder.join("part-1.sqlite3-wal"), "x").unwrap(),
            expect![[r#"
            Refused: recovery store, NEW: part-1.sqlite3-wal is left of another store
            help: to go on from that store, run without a savepoint; else give a new folder"#]],
        ),
    ];
    for (change, expect) in cases {
        let ((folder, savepoint), other) = (store(), TempDir::new().unwrap());
        change(&savepoint, other.path());
        let before = fs::read_dir(other.path()).unwrap().count();
        let error = restore(&savepoint, other.path(), &env()).unwrap_err();
        let text = format!("{:?}: {}\nhelp: {}", error.trouble, error.message, error.help.unwrap_or_default());
        let text = text.replace(&*folder.path().display().to_string(), "STORE");
        expect.assert_eq(&text.replace(&*other.path().display().to_string(), "NEW"));
        assert!(!other.path().join("part-0.sqlite3").exists() || before > 1);
    }
}
