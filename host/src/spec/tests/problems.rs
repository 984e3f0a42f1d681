//! What is said of wrong flow files.

use std::fmt::Write;

use expect_test::{Expect, expect};

use super::super::parse;
use super::env;

fn check(text: &str, expect: &Expect) {
    let (spec, problems) = parse(text, &env);
    assert!(!problems.is_empty(), "nothing is reported");
    let mut shown = problems.render("flow.toml", text, false);
    let whole = if spec.is_some() { "whole" } else { "not whole" };
    let _ = writeln!(shown, "\n({whole})");
    expect.assert_eq(&shown);
}

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    check(
        r#"flow = "a.b"
stpe = 1

[plugins.events]
pth = "x"
allow = { tpc = [] }

[plugins."bad name"]
path = "${env:HOME_DIR}/x"
limits = { memory = "64", stack = "off" }

[[step]]
name = "one"
op = 5
from = "a.b.c"
on_error = "drop"

[[step]]
nme = "two"
op = "map"
from = []
max_errors = -1
limits = { time_per_batch = "soon" }

[run]
wrokers = 1
epoch = 10
"#,
        &expect![[r#"
            error[bad-name]: "a.b" cannot be a name
             --> flow.toml:1:8
              |
            1 | flow = "a.b"
              |        ^^^^^
              |
              = help: a name has letters (a-z, A-Z), digits, "_" and "-"

            error[unknown-key]: unknown key "stpe" in the flow file
             --> flow.toml:2:1
              |
            2 | stpe = 1
              | ^^^^
              |
              = help: did you mean "step"?

            error[unknown-key]: unknown key "pth" in plugin "events"
             --> flow.toml:5:1
              |
            5 | pth = "x"
              | ^^^
              |
              = help: did you mean "path"?

            error[unknown-key]: unknown key "tpc" in "allow" of plugin "events"
             --> flow.toml:6:11
              |
            6 | allow = { tpc = [] }
              |           ^^^
              |
              = help: did you mean "tcp"?

            error[bad-name]: "bad name" cannot be a name
             --> flow.toml:8:10
              |
            8 | [plugins."bad name"]
              |          ^^^^^^^^^^
              |
              = help: a name has letters (a-z, A-Z), digits, "_" and "-"

            error[unset-variable]: environment variable "HOME_DIR" is not set
             --> flow.toml:9:9
              |
            9 | path = "${env:HOME_DIR}/x"
              |         ^^^^^^^^^^^^^^^
              |
              = help: set it, or give a default: ${env:HOME_DIR:-…}

            error[wrong-type]: "limits.memory" of plugin "bad name": expected a size such as "64MiB" or "10MB", found "64": units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024)
              --> flow.toml:10:21
               |
            10 | limits = { memory = "64", stack = "off" }
               |                     ^^^^

            error[wrong-type]: "op" of step "one": expected a string, found an integer 5
              --> flow.toml:14:6
               |
            14 | op = 5
               |      ^

            error[bad-name]: "from" of step "one": "a.b.c" names neither a step nor a port of one
              --> flow.toml:15:8
               |
            15 | from = "a.b.c"
               |        ^^^^^^^
               |
               = help: write "step" or "step.port"

            error[wrong-type]: "on_error" of step "one": expected "fail", "skip" or "dead_letter", found "drop"
              --> flow.toml:16:12
               |
            16 | on_error = "drop"
               |            ^^^^^^

            error[missing-key]: missing key "name" in the step
              --> flow.toml:18:1
               |
            18 | [[step]]
               | ^^^^^^^^
               |
               = help: add name = "…"

            error[wrong-type]: "from" of the step: expected steps, found none
              --> flow.toml:21:8
               |
            21 | from = []
               |        ^^
               |
               = help: write "a", "a.late", ["a", "b"] or { left = "a", right = "b" }

            error[wrong-type]: "max_errors" of the step: expected an integer from 0, found an integer -1
              --> flow.toml:22:14
               |
            22 | max_errors = -1
               |              ^^

            error[wrong-type]: "time_per_batch" of "limits" of the step: expected a duration such as "10s", "500ms" or "1h30m", found "soon": a number is missing
              --> flow.toml:23:29
               |
            23 | limits = { time_per_batch = "soon" }
               |                             ^^^^^^

            error[unknown-key]: unknown key "wrokers" in [run]
              --> flow.toml:26:1
               |
            26 | wrokers = 1
               | ^^^^^^^
               |
               = help: did you mean "workers"?

            error[wrong-type]: "epoch" of [run]: expected a duration such as "10s", "500ms" or "1h30m", found an integer 10
              --> flow.toml:27:9
               |
            27 | epoch = 10
               |         ^^

            (not whole)
        "#]],
    );
}

#[test]
fn other_problems_leave_the_spec_whole() {
    check(
        "flow = \"f\"\n[[step]]\nname = \"a\"\nop = \"x\"\nlimits = { memory = 5 }\nmax_errors = \"many\"\n[run]\nworkers = 0\n",
        &expect![[r#"
            error[wrong-type]: "memory" of "limits" of step "a": expected a size such as "64MiB" or "10MB", found an integer 5
             --> flow.toml:5:21
              |
            5 | limits = { memory = 5 }
              |                     ^

            error[wrong-type]: "max_errors" of step "a": expected an integer, found a string "many"
             --> flow.toml:6:14
              |
            6 | max_errors = "many"
              |              ^^^^^^

            error[wrong-type]: "workers" of [run]: expected an integer other than 0, found an integer 0
             --> flow.toml:8:11
              |
            8 | workers = 0
              |           ^

            (whole)
        "#]],
    );
}

#[test]
fn syntax_errors_are_reported_with_their_places() {
    check(
        "flow = \"f\nop = 1\n\n[[step]]\nname = 'a'\nname = 'b'\nx = 1 2 = 3\ny = \n[[step]\n",
        &expect![[r#"
            error[syntax]: invalid basic string, expected `"`
             --> flow.toml:1:10
              |
            1 | flow = "f
              |          ^

            error[syntax]: key "name" is written twice in one table
             --> flow.toml:6:1
              |
            6 | name = 'b'
              | ^^^^

            error[syntax]: string values must be quoted, expected literal string
             --> flow.toml:7:5
              |
            7 | x = 1 2 = 3
              |     ^^^

            error[syntax]: missing value
             --> flow.toml:8:5
              |
            8 | y = 
              |     ^

            error[syntax]: unclosed array table, expected `]`
             --> flow.toml:9:8
              |
            9 | [[step]
              |        ^

            (not whole)
        "#]],
    );
    check(
        "flow = \"f\"\nx = 99999999999999999999\ny = 1e999\nz = [-inf, nan]\n",
        &expect![[r#"
            error[syntax]: integer 99999999999999999999 does not fit into 64 bits with a sign
             --> flow.toml:2:5
              |
            2 | x = 99999999999999999999
              |     ^^^^^^^^^^^^^^^^^^^^

            error[syntax]: number 1e999 does not fit into 64 bits
             --> flow.toml:3:5
              |
            3 | y = 1e999
              |     ^^^^^

            (not whole)
        "#]],
    );
}

#[test]
fn tables_of_the_wrong_shape_are_explained() {
    check(
        "flow = \"f\"\nplugins = 1\ntest = 1\n[step]\nname = \"a\"\n[[run]]\n[[recovery]]\n",
        &expect![[r#"
        error[wrong-type]: expected [plugins.NAME], found an integer 1
         --> flow.toml:2:11
          |
        2 | plugins = 1
          |           ^
          |
          = help: write [plugins.NAME] with a path below it

        error[wrong-type]: expected [[test]], found an integer 1
         --> flow.toml:3:8
          |
        3 | test = 1
          |        ^
          |
          = help: write [[test]] above the keys that belong to it

        error[wrong-type]: expected [[step]], found a table
         --> flow.toml:4:1
          |
        4 | [step]
          | ^^^^^^
          |
          = help: write [[step]] above the keys that belong to it

        error[wrong-type]: expected [run], found several tables, or an array
         --> flow.toml:6:1
          |
        6 | [[run]]
          | ^^^^^^^
          |
          = help: write [run] above the keys that belong to it

        error[wrong-type]: expected [recovery], found several tables, or an array
         --> flow.toml:7:1
          |
        7 | [[recovery]]
          | ^^^^^^^^^^^^
          |
          = help: write [recovery] above the keys that belong to it

        (not whole)
    "#]],
    );
    check(
        "flow = \"f\"\nstep = [{ name = \"a\", op = \"b\" }, 5]\nplugins.p = \"x\"",
        &expect![[r#"
        error[wrong-type]: expected [[step]], found an integer 5
         --> flow.toml:2:35
          |
        2 | step = [{ name = "a", op = "b" }, 5]
          |                                   ^
          |
          = help: write [[step]] above the keys that belong to it

        error[wrong-type]: plugin "p": expected a table, found a string "x"
         --> flow.toml:3:13
          |
        3 | plugins.p = "x"
          |             ^^^
          |
          = help: write [plugins.p] with a path below it

        (not whole)
    "#]],
    );
    check(
        "",
        &expect![[r#"
            error[missing-key]: missing key "flow" in the flow file
            --> flow.toml
             = help: add flow = "…"

            error[missing-key]: the flow has no step
            --> flow.toml
             = help: add one: [[step]] with a name and an op

            (not whole)
        "#]],
    );
    check(
        "flow = 1\nstep = []",
        &expect![[r#"
            error[wrong-type]: "flow" of the flow file: expected a string, found an integer 1
             --> flow.toml:1:8
              |
            1 | flow = 1
              |        ^

            error[missing-key]: the flow has no step
             --> flow.toml:2:8
              |
            2 | step = []
              |        ^^

            (not whole)
        "#]],
    );
}
