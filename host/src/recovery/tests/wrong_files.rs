//! Folders whose files are not those of a whole store: each is refused by the name of the file, with what can be done, by
//! flows and looks alike.

use super::super::compare::FlowStep;
use super::super::error::StoreError;
use super::super::look::View;
use super::super::resume::{Wanted, file_name};
use super::super::sqlite::SqlitePart;
use super::super::testing::{env, run_sample};
use super::*;
use expect_test::{Expect, expect};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn said(error: &StoreError, folder: &Path) -> String {
    let help = error.help.as_deref().unwrap_or("NO HELP");
    let text = format!("{:?}: {}\nhelp: {help}", error.trouble, error.message);
    text.replace(&*folder.display().to_string(), "DIR")
}

/// Changes a store of seven epochs with floor 6, and a backup of it as it was after four; the second one is another store.
#[track_caller]
fn check(change: impl Fn(&Path, &Path, &Path), expect: &Expect) {
    let (folder, backup, other) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    run_sample(folder.path(), 1..=4);
    flips::copy(folder.path(), backup.path());
    run_sample(folder.path(), 5..=7);
    // Before the floor a copy is too old; after it, a flow may go on from the epoch of the copy.
    for part in 0..2 {
        let mut part = SqlitePart::open(&folder.path().join(file_name(part))).unwrap();
        part.commit(Transaction::advance(part.catalogue(), Epoch(6), |_| true)).unwrap();
    }
    let steps = ["count", "last", "in", "out"].map(step);
    let random = env();
    random.random.next();
    let sample = "sample".into();
    let wanted = Wanted { flow: &sample, steps: &steps, drops: &[] };
    drop(Store::open(other.path(), &wanted, Options { parts: 2, retention: 9 }, &random).unwrap());
    change(folder.path(), backup.path(), other.path());
    let kinds = [("count", "fold"), ("last", "stateful"), ("in", "input"), ("out", "output")];
    let steps = kinds
        .map(|(id, kind)| FlowStep::from(super::super::catalogue::Step { kind: kind.to_owned(), ..step(id).step }));
    let sample = "sample".into();
    let wanted = Wanted { flow: &sample, steps: &steps, drops: &[] };
    let looked = said(&View::open(folder.path()).err().unwrap(), folder.path());
    let opened = Store::open(folder.path(), &wanted, Options::default(), &env());
    assert_eq!(said(&opened.err().unwrap(), folder.path()), looked);
    expect.assert_eq(&looked);
}

#[test]
fn a_part_that_is_missing_is_named() {
    check(
        |folder, _, _| fs::remove_file(folder.join("part-0.sqlite3")).unwrap(),
        &expect![[r#"
        Refused: recovery store, part-0.sqlite3: missing, one of 2 files of the store
        help: bring it back: a part of all state is in it"#]],
    );
    check(
        |folder, _, _| fs::remove_file(folder.join("part-1.sqlite3")).unwrap(),
        &expect![[r#"
        Refused: recovery store, part-1.sqlite3: missing, one of 2 files of the store
        help: bring it back: a part of all state is in it"#]],
    );
}

#[test]
fn a_part_of_another_time_or_store_is_named() {
    let put = |from: &Path, file: &str, folder: &Path| _ = fs::copy(from.join(file), folder.join(file)).unwrap();
    check(
        |folder, backup, _| put(backup, "part-1.sqlite3", folder),
        &expect![[r#"
        Refused: recovery store, part-1.sqlite3: it ends with epoch 4, but part-0.sqlite3 can only be resumed from epoch 6 on; it is an older copy
        help: restore all files of the store from copies of the same time"#]],
    );
    check(
        |folder, backup, _| put(backup, "part-0.sqlite3", folder),
        &expect![[r#"
        Refused: recovery store, part-0.sqlite3: it ends with epoch 4, but part-1.sqlite3 can only be resumed from epoch 6 on; it is an older copy
        help: restore all files of the store from copies of the same time"#]],
    );
    check(
        |folder, _, other| put(other, "part-1.sqlite3", folder),
        &expect![[r#"
        Refused: recovery store, part-1.sqlite3: it is of another store than part-0.sqlite3
        help: keep only files of one store in the folder"#]],
    );
    check(
        |folder, _, _| _ = fs::copy(folder.join("part-0.sqlite3"), folder.join("part-1.sqlite3")).unwrap(),
        &expect![[r#"
            Refused: recovery store, part-1.sqlite3: it was called part-0.sqlite3 before
            help: give each file the name that it had"#]],
    );
    check(
        |folder, _, _| _ = fs::copy(folder.join("part-0.sqlite3"), folder.join("part-2.sqlite3")).unwrap(),
        &expect![[r#"
            Refused: recovery store, part-2.sqlite3: it was called part-0.sqlite3 before
            help: give each file the name that it had"#]],
    );
}

#[test]
fn a_file_that_is_no_part_is_named() {
    let write = |folder: &Path, bytes: &[u8]| fs::write(folder.join("part-1.sqlite3"), bytes).unwrap();
    check(
        |folder, _, _| write(folder, b""),
        &expect![[r#"
        Damaged: recovery store, part-1.sqlite3: it is empty
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder"#]],
    );
    check(
        |folder, _, _| write(folder, &b"no database ".repeat(1000)),
        &expect![[r#"
        Damaged: recovery store, part-1.sqlite3: it is not an SQLite file
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder"#]],
    );
    check(
        |folder, _, _| {
            fs::remove_file(folder.join("part-1.sqlite3")).unwrap();
            let database = rusqlite::Connection::open(folder.join("part-1.sqlite3")).unwrap();
            database.execute_batch("CREATE TABLE t(x)").unwrap();
        },
        &expect![[r#"
            Refused: recovery store, part-1.sqlite3: it is not a part of a recovery store
            help: keep only the files of one store in the folder; if this one took the place of a part, put that back"#]],
    );
    check(
        |folder, _, _| {
            fs::remove_file(folder.join("part-1.sqlite3")).unwrap();
            fs::create_dir(folder.join("part-1.sqlite3")).unwrap();
        },
        &expect![[r#"
            Refused: recovery store, part-1.sqlite3: it is a folder
            help: keep only the files of one store in the folder; if this one took the place of a part, put that back"#]],
    );
    check(
        |folder, _, _| {
            let database = rusqlite::Connection::open(folder.join("part-1.sqlite3")).unwrap();
            database.pragma_update(None, "user_version", 9).unwrap();
        },
        &expect![[r#"
            Refused: recovery store, part-1.sqlite3: it is of format 9, and this program reads formats 1 to 2
            help: use the version of wxhost that wrote it"#]],
    );
}
