//! States that are dropped because it was asked for, those that are not though it was, and those that are written anew.

use super::super::catalogue::Step;
use super::super::compare::FlowStep;
use super::super::testing::env;
use super::changed::{check, check_with, folds, open, stored, was};
use super::*;
use crate::data::fingerprint::Fingerprint;
use crate::dataflow::durable::Recovery;
use crate::dataflow::failure::FailureSlot;
use crate::dataflow::writers::Writers;
use expect_test::expect;
use std::time::Duration;

#[test]
fn a_state_that_would_be_migrated_is_dropped_if_that_was_asked_for() {
    let names = |id: &str, version| {
        let of = folds(&format!("{id}/names"), 1, version);
        let mut print = Fingerprint::parse(&of.step.fingerprint).unwrap();
        print.function = None;
        FlowStep { step: Step { fingerprint: print.to_bytes(), ..of.step }, ..of }
    };
    let world = stored(&[folds("sum", 1, 2), names("sum", 2)]);
    check_with(
        &world,
        &[folds("sum", 1, 3), names("sum", 3)],
        &["sum"],
        &expect![[r#"
            sum: Dropped
            sum/names: Dropped
              3 sum
              4 sum/names
              retires [1, 2]"#]],
    );
    // Under whichever of its names.
    let renamed = [was(folds("total", 1, 3), "sum"), was(names("total", 3), "sum/names")];
    for drop in ["sum", "total"] {
        check_with(
            &world,
            &renamed,
            &[drop],
            &expect![[r#"
            total (was sum): Dropped
            total/names (was sum/names): Dropped
              3 total
              4 total/names
              retires [1, 2]"#]],
        );
    }
}

#[test]
fn a_state_in_another_form_that_the_step_reads_is_written_anew_under_another_number() {
    let form = |version, state_version, reads| {
        let mut of = folds("sum", 1, state_version);
        let print = Fingerprint { version, ..Fingerprint::parse(&of.step.fingerprint).unwrap() };
        (of.step.fingerprint, of.reads) = (print.to_bytes(), reads);
        of
    };
    let world = stored(&[form(1, 1, &[])]);
    check_with(
        &world,
        &[form(2, 1, &[])],
        &[],
        &expect![[r#"
        sum: Unreadable(["its states have another form in this version of wxhost"])
          1 sum"#]],
    );
    check_with(
        &world,
        &[form(2, 1, &[1])],
        &[],
        &expect![[r#"
        sum: Kept([])
          2 sum, reads 1
          retires [1]"#]],
    );
    check_with(
        &world,
        &[form(2, 2, &[1])],
        &[],
        &expect![[r#"
        sum: Migrated { from: 1, to: 2 }
          2 sum, reads 1
          retires [1]"#]],
    );
    check_with(
        &world,
        &[form(2, 2, &[1])],
        &["sum"],
        &expect![[r#"
        sum: Dropped
          2 sum
          retires [1]"#]],
    );
}

#[test]
fn that_a_step_was_told_the_end_of_its_input_outlasts_a_migration() {
    let world = World::new(2);
    let run = |version, told: Option<u8>| {
        let (writers, failure) = (Writers::default(), FailureSlot::default());
        let store = open(&world, &[folds("sum", 1, version)], &[]).claim(1, &env(), &failure, &writers).unwrap();
        let found = store.load_sources(&"sum".into()).unwrap();
        let (sum, epoch) = ("sum".into(), store.first_epoch());
        store.state(&sum, epoch, &changes(&[("a", Some(1)), ("b", Some(2))])).unwrap();
        if let Some(told) = told {
            store.source(&sum, &"end".into(), epoch, vec![told]).unwrap();
        }
        store.end();
        drop(store);
        writers.wait(Duration::from_secs(60));
        assert_eq!(failure.get(), None);
        found.into_iter().map(|told| told.position[0]).collect::<Vec<_>>()
    };
    assert!(run(1, Some(1)).is_empty());
    for version in [2, 2, 3] {
        assert_eq!(run(version, None), [1], "{version}");
    }
    // What comes in the first epoch of a migration counts more than what was before.
    assert_eq!(run(4, Some(0)), [1]);
    assert_eq!(run(4, None), [0]);
}

#[test]
fn of_two_states_the_one_that_stays_is_migrated_unless_it_is_named_too() {
    let world = stored(&[folds("old", 1, 1), folds("new", 1, 1)]);
    let flow = [was(folds("new", 1, 2), "old")];
    check_with(
        &world,
        &flow,
        &["new"],
        &expect![[r#"
        new (was old): Migrated { from: 1, to: 2 }
        new: Dropped
          3 new, reads 1
          retires [1, 2]"#]],
    );
    check_with(
        &world,
        &flow,
        &["old"],
        &expect![[r#"
        new: Migrated { from: 1, to: 2 }
        old: Dropped
          3 new, reads 2
          retires [2, 1]"#]],
    );
    check_with(
        &world,
        &flow,
        &["old", "new"],
        &expect![[r#"
        new: Dropped
        old: Dropped
          3 new
          retires [2, 1]"#]],
    );
}

#[test]
fn what_goes_on_as_it_is_is_not_dropped_and_that_is_told() {
    // The command may be given again and again.
    let names = folds("sum/names", 1, 2);
    check(
        &[folds("sum", 1, 2), names, step("flow/end")],
        &["sum", "sum"],
        &expect![[r#"
        sum: Unchanged
        sum/names: Unchanged
        flow/end: Unchanged
          1 sum
          2 sum/names
          3 flow/end
          does not drop sum"#]],
    );
    // The same holds for a change that does a state no harm.
    let mut free = folds("sum", 1, 2);
    let mut print = Fingerprint::parse(&free.step.fingerprint).unwrap();
    print.free.insert("ttl".to_owned(), "1h".into());
    free.step.fingerprint = print.to_bytes();
    check_with(
        &stored(&[folds("sum", 1, 2)]),
        &[free],
        &["sum"],
        &expect![[r#"
        sum: Kept(["argument \"ttl\" is new: \"1h\""])
          1 sum
          does not drop sum"#]],
    );
    // Nothing is told of a step that has no state.
    check_with(
        &stored(&[folds("sum", 1, 2)]),
        &[folds("sum", 1, 2), folds("new", 1, 1)],
        &["new"],
        &expect![[r#"
        sum: Unchanged
        new: New
          1 sum
          2 new"#]],
    );
}
