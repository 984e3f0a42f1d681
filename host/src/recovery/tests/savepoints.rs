//! Savepoints, and stores made of them.

use super::super::error::StoreError;
use super::super::look::View;
use super::super::savepoint::{list, make, path_of, restore};
use super::super::testing::{env, run_sample};
use super::*;
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
    let made = restore(&savepoint, &other.path().join("a/b")).unwrap();
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
    restore(&savepoint, other.path()).unwrap();
    assert_eq!(shown(other.path()), shown(folder.path()));
}

#[test]
fn a_restore_that_was_cut_short_is_made_again() {
    let (_folder, savepoint) = store();
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("part-0.sqlite3.new"), "half").unwrap();
    fs::copy(savepoint.join("part-1.sqlite3"), other.path().join("part-1.sqlite3")).unwrap();
    restore(&savepoint, other.path()).unwrap();
    assert_eq!(shown(other.path()), shown(&savepoint));
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
        let error = restore(&savepoint, other.path()).unwrap_err();
        let text = format!("{:?}: {}\nhelp: {}", error.trouble, error.message, error.help.unwrap_or_default());
        let text = text.replace(&*folder.path().display().to_string(), "STORE");
        expect.assert_eq(&text.replace(&*other.path().display().to_string(), "NEW"));
        assert!(!other.path().join("part-0.sqlite3").exists() || before > 1);
    }
}
