//! Stores that cannot be gone on from, each with what is said of it.

use super::super::catalogue::Catalogue;
use super::super::compare::FlowStep;
use super::super::resume::resume;
use super::*;
use expect_test::{Expect, expect};

/// Two parts, claimed once, with epochs 1 to 3; part 1 has floor 2.
fn parts() -> Vec<Catalogue> {
    let world = World::new(2);
    let (_, mut parts) = world.claim(2);
    for part in &mut parts {
        (1..=3).for_each(|epoch| seal(part, epoch, &changes(&[("a", Some(epoch)), ("b", Some(1)), ("c", None)])));
    }
    compact(&mut parts[1], 2);
    parts.iter().map(|part| part.catalogue().clone()).collect()
}

fn check(change: impl FnOnce(&mut Vec<Catalogue>, &mut Vec<FlowStep>), expect: &Expect) {
    let (mut parts, mut steps) = (parts(), vec![step("sum")]);
    change(&mut parts, &mut steps);
    let resumed = resume(&parts.iter().collect::<Vec<_>>(), &wanted(&steps));
    let error = resumed.and_then(|resumed| resumed.check()).unwrap_err();
    let help = error.help.map_or(String::new(), |help| format!("\nhelp: {help}"));
    expect.assert_eq(&format!("{:?}: {}{help}", error.trouble, error.message));
}

#[test]
fn parts_of_one_store_and_one_time_are_resumed() {
    let parts = parts();
    let resumed = resume(&parts.iter().collect::<Vec<_>>(), &wanted(&[step("sum"), step("new")])).unwrap();
    assert_eq!((resumed.epoch, resumed.first_epoch(), resumed.execution), (Epoch(3), Epoch(4), 2));
    assert_eq!(resumed.compared.steps, BTreeMap::from([(1, step("sum").step), (2, step("new").step)]));
}

#[test]
fn what_is_of_another_store_is_refused() {
    check(
        |parts, _| parts[1].identity.flow = "other".into(),
        &expect![[r#"
        Refused: recovery store, part-1.sqlite3: it is of flow "other", not of "test"
        help: give each flow a folder of its own"#]],
    );
    check(
        |parts, _| parts[1].identity.store = "t".to_owned(),
        &expect![[r#"
        Refused: recovery store, part-1.sqlite3: it is of another store than part-0.sqlite3
        help: keep only files of one store in the folder"#]],
    );
    check(
        |parts, _| drop(parts.remove(1)),
        &expect![[r#"
        Refused: recovery store, part-1.sqlite3: missing, one of 2 files of the store
        help: bring it back: a part of all state is in it"#]],
    );
    check(
        |parts, _| parts[1] = parts[0].clone(),
        &expect![[r#"
        Refused: recovery store, part-1.sqlite3: missing, one of 2 files of the store
        help: bring it back: a part of all state is in it"#]],
    );
    check(
        |parts, _| parts[1].file = "part-7.sqlite3".to_owned(),
        &expect![[r#"
            Refused: recovery store, part-7.sqlite3: it was called part-1.sqlite3 before
            help: give each file the name that it had"#]],
    );
}

#[test]
fn what_is_of_another_time_is_refused() {
    let older = || {
        let world = World::new(2);
        let (_, mut parts) = world.claim(2);
        seal(&mut parts[0], 1, &changes(&[]));
        parts[0].catalogue().clone()
    };
    check(
        |parts, _| parts[0] = older(),
        &expect![[r#"
        Refused: recovery store, part-0.sqlite3: it ends with epoch 1, but part-1.sqlite3 can only be resumed from epoch 2 on; it is an older copy
        help: restore all files of the store from copies of the same time"#]],
    );
    // The store went on from epoch 1 by itself, and so has another epoch 2 than the copy that was put back.
    let forked = || {
        let world = World::new(2);
        let (_, mut parts) = world.claim(2);
        parts.iter_mut().for_each(|part| seal(part, 1, &changes(&[])));
        seal(&mut parts[0], 2, &changes(&[]));
        let copy = parts[0].catalogue().clone();
        let (_, mut parts) = world.claim(2);
        parts.iter_mut().for_each(|part| seal(part, 2, &changes(&[])));
        vec![copy, parts[1].catalogue().clone()]
    };
    check(
        |parts, _| *parts = forked(),
        &expect![[r#"
        Refused: recovery store, part-0.sqlite3: its epoch 2 is not that of part-1.sqlite3: they were written by different executions; one is an older copy
        help: restore all files of the store from copies of the same time"#]],
    );
}

#[test]
fn what_is_damaged_is_refused() {
    check(
        |parts, _| parts[0].blocks.last_mut().unwrap().crc ^= 1,
        &expect![[r#"
        Damaged: recovery store, part-0.sqlite3: what epoch 3 wrote is not there as it was written
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder"#]],
    );
    check(
        |parts, _| _ = parts[0].blocks.remove(0),
        &expect![[r#"
        Damaged: recovery store, part-0.sqlite3: what epoch 1 wrote is not there as it was written
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder"#]],
    );
    check(
        |parts, _| _ = parts[0].sealed.remove(1),
        &expect![[r#"
        Damaged: recovery store, part-0.sqlite3: what epoch 3 wrote is not there as it was written
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder"#]],
    );
    check(
        |parts, _| _ = parts[0].sealed.pop(),
        &expect![[r#"
        Damaged: recovery store, part-0.sqlite3: there are rows of epoch 3, which was never finished
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder"#]],
    );
    check(
        |parts, _| parts[1].blocks.iter_mut().find(|block| block.epoch <= Epoch(2)).unwrap().groups.0 -= 1,
        &expect![[r#"
            Damaged: recovery store, part-1.sqlite3: what was written up to epoch 2 is not there as it was written
            help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder"#]],
    );
    check(
        |parts, _| parts[1].floor = Epoch(3),
        &expect![[r#"
        Damaged: recovery store, part-1.sqlite3: what was written up to epoch 3 is not there as it was written
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder"#]],
    );
    check(
        |parts, _| parts[0].steps.get_mut(&1).unwrap().id = "other".into(),
        &expect![[r#"
        Damaged: recovery store, part-0.sqlite3: what was written up to epoch 0 is not there as it was written
        help: put a copy of all files of the store in its place, all of the same time, or begin with a new folder"#]],
    );
}

#[test]
fn steps_whose_state_would_be_lost_are_refused() {
    check(
        |_, steps| steps[0].step.id = "renamed".into(),
        &expect![[r#"
        Refused: recovery store, part-0.sqlite3: step "sum" (fold) has state here, but the flow has no such step
        help: if it has another name now, write renamed_from = "sum" in that step; --drop-state sum drops its state"#]],
    );
    check(
        |_, steps| steps[0].step.fingerprint = vec![2],
        &expect![[r#"
        Refused: recovery store, part-0.sqlite3: step "sum" (fold) has changed so that it cannot go on from the state it has here: what its state depends on
        help: undo the change; or --drop-state sum drops its state, and it begins anew"#]],
    );
}
