//! Commands that tell what is there.

use super::*;
use expect_test::expect;

#[test]
fn ls_lists_executions_steps_sources_sinks_and_savepoints() {
    let folder = store();
    say(folder.path(), &["savepoint", "before-upgrade"], TEXT);
    check(
        &folder,
        &["ls"],
        &expect![[r#"
        flow    sample
        store   DIR, 2 files, 163840 bytes
        epochs  newest durable 7, floor 0

        executions
          number  started               workers  resumed from  wxhost
               1  2023-11-14T22:13:20Z        3             0  0.1.0
               2  2023-11-14T22:13:20Z        3             4  0.1.0

        steps
          step   kind      keys  bytes  stored  newest epoch
          count  fold         2     16    6160             7
          last   stateful     1      6    3080             7
          in     input        0      0       0             7
          out    output       0      0       0             7

        sources
          step  partition  epoch  bytes  position
          in    in.txt         7      9  6f6666736574203730  "offset 70"

        sinks
          step  partition  manifests  of epochs
          out   0                  7  1 to 7

        savepoints
          name            epoch  made                  wxhost
          before-upgrade      7  2023-11-14T22:13:20Z  0.1.0
    "#]],
    );
    check_json(
        &folder,
        &["ls"],
        &expect![[r#"
        {
          "executions": [
            {
              "number": 1,
              "resumed_from": 0,
              "started_at": "2023-11-14T22:13:20Z",
              "workers": 3,
              "wxhost": "0.1.0"
            },
            {
              "number": 2,
              "resumed_from": 4,
              "started_at": "2023-11-14T22:13:20Z",
              "workers": 3,
              "wxhost": "0.1.0"
            }
          ],
          "floor": 0,
          "flow": "sample",
          "folder": "DIR",
          "newest_epoch": 7,
          "parts": 2,
          "savepoints": [
            {
              "blake3": {
                "part-0.sqlite3": "a4acb59c33b6e6e2644f6bee5cfa401a13d99dcb84f772a0f6f91a1eb9bf13a9",
                "part-1.sqlite3": "b080e10ace6b350dac78810858f85b4ab5be43a0dfc37f10fcc061f916ea1990"
              },
              "epoch": 7,
              "flow": "sample",
              "made_at": "2023-11-14T22:13:20Z",
              "name": "before-upgrade",
              "store": "00000000000000000000000000000001",
              "version": 1,
              "wxhost": "0.1.0"
            }
          ],
          "sinks": [
            {
              "epochs": [
                1,
                2,
                3,
                4,
                5,
                6,
                7
              ],
              "part": "0",
              "step": "out"
            }
          ],
          "size": 163840,
          "sources": [
            {
              "epoch": 7,
              "part": "in.txt",
              "position": {
                "base64": "b2Zmc2V0IDcw",
                "text": "offset 70"
              },
              "step": "in"
            }
          ],
          "steps": [
            {
              "bytes": 16,
              "fingerprint": "01",
              "keys": 2,
              "kind": "fold",
              "newest_epoch": 7,
              "step": "count",
              "stored": 6160
            },
            {
              "bytes": 6,
              "fingerprint": "01",
              "keys": 1,
              "kind": "stateful",
              "newest_epoch": 7,
              "step": "last",
              "stored": 3080
            },
            {
              "bytes": 0,
              "fingerprint": "01",
              "keys": 0,
              "kind": "input",
              "newest_epoch": 7,
              "step": "in",
              "stored": 0
            },
            {
              "bytes": 0,
              "fingerprint": "01",
              "keys": 0,
              "kind": "output",
              "newest_epoch": 7,
              "step": "out",
              "stored": 0
            }
          ],
          "store": "00000000000000000000000000000001"
        }
    "#]],
    );
}

#[test]
fn show_shows_states_positions_and_manifests() {
    let folder = store();
    check(
        &folder,
        &["show", "count"],
        &expect![[r#"
        key  epoch  bytes  value
        c        7      8  0300000000000000
        a        7      8  0700000000000000
    "#]],
    );
    check(
        &folder,
        &["show", "last", "a"],
        &expect![[r#"
        key       a
        epoch     7
        bytes     6
        value     6c696e652037
        text      "line 7"
    "#]],
    );
    check(
        &folder,
        &["show", "in"],
        &expect![[r#"
        partition  epoch  bytes  position
        in.txt         7      9  6f6666736574203730  "offset 70"
    "#]],
    );
    check(
        &folder,
        &["show", "out", "--epoch", "2"],
        &expect![[r#"
        partition  epoch  bytes  manifest
        0              1      2  ff01
        0              2      2  ff02
    "#]],
    );
    check_json(
        &folder,
        &["show", "last"],
        &expect![[r#"
        {"bytes":6,"epoch":7,"key":"a","step":"last","value":{"base64":"bGluZSA3","text":"line 7"}}
    "#]],
    );
    check_json(
        &folder,
        &["show", "in", "in.txt"],
        &expect![[r#"
        {"bytes":9,"epoch":7,"part":"in.txt","position":{"base64":"b2Zmc2V0IDcw","text":"offset 70"},"step":"in"}
    "#]],
    );
}

#[test]
fn show_shows_earlier_epochs() {
    let folder = store();
    check(
        &folder,
        &["show", "count", "--epoch", "2"],
        &expect![[r#"
        key  epoch  bytes  value
        b        2      8  0200000000000000
        c        1      8  0000000000000000
        a        2      8  0200000000000000
    "#]],
    );
    check(
        &folder,
        &["show", "in", "--epoch", "4"],
        &expect![[r#"
        partition  epoch  bytes  position
        in.txt         4      9  6f6666736574203430  "offset 40"
    "#]],
    );
    check(&folder, &["show", "count", "--epoch", "0"], &expect![[r#""#]]);
    check(
        &folder,
        &["show", "count", "--epoch", "8"],
        &expect![[r#"
        error: recovery store, DIR: the states at the end of epoch 8 are not known
        help: those of epochs 0 to 7 are
        exit code 2
    "#]],
    );
}

#[test]
fn what_is_not_there_is_said() {
    let folder = store();
    check(
        &folder,
        &["show", "cuont"],
        &expect![[r#"
        error: there is no step "cuont" in the store
        help: did you mean "count"?
        exit code 2
    "#]],
    );
    check(
        &folder,
        &["show", "x"],
        &expect![[r#"
        error: there is no step "x" in the store
        help: there are "count", "last", "in", "out"
        exit code 2
    "#]],
    );
    check(
        &folder,
        &["show", "count", "b"],
        &expect![[r#"
        error: step "count" has nothing for "b" at the end of epoch 7
        help: "wxhost recovery show count" shows all that it has
        exit code 2
    "#]],
    );
    let empty = TempDir::new().unwrap();
    for words in [&["ls"][..], &["check"], &["show", "a"], &["savepoint", "a"], &["sql", "SELECT 1"]] {
        let said = say(empty.path(), words, TEXT);
        assert!(said.starts_with("error: recovery store, DIR: there is no store in this folder\nhelp: "), "{said}");
        assert!(said.ends_with("exit code 78\n"), "{said}");
    }
    expect![[r#"
        error: recovery store, DIR: there is no such folder
        help: give the folder that "wxhost run --recovery" was given
        exit code 78
    "#]]
    .assert_eq(&say(&empty.path().join("nothing"), &["ls"], TEXT).replace(&*empty.path().display().to_string(), "DIR"));
    let line = Line::try_parse_from(["recovery", "ls"]).unwrap();
    let failure = execute(&line.args, &env(), TEXT, &mut |_| Ok(()));
    if std::env::var_os("WXHOST_RECOVERY").is_none() {
        expect![[r#"
            error: the folder of the store is not given
            help: write --recovery DIR, or set WXHOST_RECOVERY
        "#]]
        .assert_eq(&failure.unwrap_err().render(TEXT));
    }
}

#[test]
fn check_says_what_was_checked_or_what_is_damaged() {
    let folder = store();
    check(
        &folder,
        &["check"],
        &expect![[r#"
        2 files: pages, tables and the chain of 7 epochs
        21 blocks: checksums, and 21 rows in 9240 bytes
        14 positions and manifests: checksums
        all is sound; an execution goes on after epoch 7
    "#]],
    );
    check_json(
        &folder,
        &["check"],
        &expect![[r#"
        {
          "blocks": 21,
          "bytes": 9240,
          "epochs": 7,
          "files": 2,
          "newest_epoch": 7,
          "positions": 14,
          "rows": 21
        }
    "#]],
    );
    let path = folder.path().join("part-1.sqlite3");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute("UPDATE deltas SET block = zeroblob(length(block)) WHERE id = 2", []).unwrap();
    database.close().unwrap();
    let text = say(folder.path(), &["check"], TEXT);
    expect![[r#"
        error: recovery store, part-1.sqlite3: block 2 of table deltas, of step "count" and epoch 1, is damaged: its checksum is wrong
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder
        exit code 78
    "#]].assert_eq(&text);
    let text = say(folder.path(), &["savepoint", "a"], TEXT);
    expect![[r#"
        error: recovery store, part-1.sqlite3: block 2 of table deltas, of step "count" and epoch 1, is damaged: its checksum is wrong
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder
        exit code 78
    "#]].assert_eq(&text);
    assert!(!folder.path().join("savepoints/a").exists());
}
