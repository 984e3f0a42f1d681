//! Flows that change between executions: what becomes of the states, and crashes on the way there.

use super::super::catalogue::{Catalogue, Step, StepNumber};
use super::super::compare::{FlowStep, Outcome, compare};
use super::super::resume::{Wanted, refusal, resume, ways_out};
use super::super::store::mark;
use super::*;
use crate::data::fingerprint::{Fingerprint, Function};
use crate::data::ids::StepId;
use expect_test::{Expect, expect};
use proptest::prelude::*;

/// A step that never changes.
const FLOW: &str = "flow/end";

/// A step whose states depend on an argument, and have a version.
pub(super) fn folds(id: &str, argument: u64, state_version: u32) -> FlowStep {
    let function = Some(Function { name: "sum".to_owned(), state_version });
    let arguments = BTreeMap::from([("by".to_owned(), argument.into())]);
    let fingerprint = Fingerprint { version: 1, arguments, function, ..Fingerprint::default() };
    Step { id: id.into(), kind: "fold".to_owned(), fingerprint: fingerprint.to_bytes() }.into()
}

pub(super) fn was(mut step: FlowStep, old: &str) -> FlowStep {
    step.renamed_from = Some(old.into());
    step
}

/// Seals an epoch of steps in one part, with marks of numbers that are retired.
fn seal(part: &mut dyn PartStore, epoch: u64, steps: &[(StepNumber, &Changes)], retires: &[StepNumber]) {
    let identity = &part.catalogue().identity;
    let is_mine = |group: u64| block::slice_of(group) * identity.parts / block::SLICES == identity.part;
    let mut blocks = Vec::new();
    for (number, changes) in steps {
        let encoded = encoded(changes).into_iter().filter(|block| is_mine(block.groups.0));
        blocks.extend(encoded.map(|block| handed_in(block, Epoch(epoch), *number)));
    }
    let marks = retires.iter().map(|&number| mark(number, Epoch(epoch))).collect();
    part.commit(Transaction::seal(part.catalogue(), Epoch(epoch), Instant(0), blocks, marks)).unwrap();
}

fn number_of(steps: &BTreeMap<StepNumber, Step>, id: &str) -> StepNumber {
    steps.iter().find(|(_, step)| &*step.id.0 == id).map(|(&number, _)| number).unwrap()
}

pub(super) fn open(world: &World, steps: &[FlowStep], drops: &[StepId]) -> Store {
    let parts = world.parts().into_iter().map(|part| Box::new(part) as _).collect();
    let flow = "test".into();
    Store::from_parts(parts, &Wanted { flow: &flow, steps, drops }, Options::default()).unwrap()
}

fn claimed(world: &World, store: &Store, count: usize) -> Vec<MemoryPart> {
    let mut parts = world.parts();
    parts[..count].iter_mut().for_each(|part| claim(part, store.resume()));
    parts
}

fn states_of(store: &Store, id: &str) -> States {
    let mut states = States::new();
    let each = &mut |keys: crate::data::key::Keys, values: arrow::array::BinaryArray| {
        for (key, value) in keys.values().iter().zip(values.iter()) {
            states.insert(key.unwrap().to_owned(), u64::from_le_bytes(value.unwrap().try_into().unwrap()));
        }
        Ok(())
    };
    store.shelf.load_state(&id.into(), 0..KEY_GROUPS, each).unwrap();
    states
}

/// A store in which steps have a state.
pub(super) fn stored(steps: &[FlowStep]) -> World {
    let world = World::new(2);
    let store = open(&world, steps, &[]);
    let numbers: Vec<StepNumber> = store.resume().compared.steps.keys().copied().collect();
    for part in &mut claimed(&world, &store, 2) {
        let rows = changes(&[("a", Some(1)), ("b", Some(2))]);
        seal(part, 1, &numbers.iter().map(|&number| (number, &rows)).collect::<Vec<_>>(), &[]);
    }
    world
}

/// Compares a flow with a store of a step "sum", of states of version 2.
pub(super) fn check(flow: &[FlowStep], drops: &[&str], expect: &Expect) {
    let world = stored(&[folds("sum", 1, 2), folds("sum/names", 1, 2), step(FLOW)]);
    check_with(&world, flow, drops, expect);
}

pub(super) fn check_with(world: &World, flow: &[FlowStep], drops: &[&str], expect: &Expect) {
    let drops: Vec<StepId> = drops.iter().map(|&drop| drop.into()).collect();
    let parts = world.parts();
    let catalogues: Vec<&Catalogue> = parts.iter().map(PartStore::catalogue).collect();
    let compared = compare(&catalogues, Epoch(1), flow, &drops);
    let mut lines = Vec::new();
    for verdict in &compared.verdicts {
        let before = verdict.renamed_from.as_ref().map_or(String::new(), |old| format!(" (was {old})"));
        lines.push(format!("{}{before}: {:?}", verdict.step, verdict.outcome));
    }
    for (number, step) in &compared.steps {
        let from = compared.loads.get(number).map_or(String::new(), |from| format!(", reads {from}"));
        lines.push(format!("  {number} {}{from}", step.id));
    }
    if !compared.retires.is_empty() {
        lines.push(format!("  retires {:?}", compared.retires));
    }
    if !compared.unused.is_empty() {
        lines.push(format!("  forgets {:?}", compared.unused));
    }
    for step in &compared.not_dropped {
        lines.push(format!("  does not drop {step}"));
    }
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn steps_are_compared_by_name_and_fingerprint() {
    let flow = |id: &str, argument, version| {
        vec![folds(id, argument, version), folds(&format!("{id}/names"), argument, version), step(FLOW)]
    };
    check(
        &flow("sum", 1, 2),
        &[],
        &expect![[r#"
        sum: Unchanged
        sum/names: Unchanged
        flow/end: Unchanged
          1 sum
          2 sum/names
          3 flow/end"#]],
    );
    check(
        &[flow("sum", 1, 2), vec![folds("more", 1, 1)]].concat(),
        &[],
        &expect![[r#"
        sum: Unchanged
        sum/names: Unchanged
        flow/end: Unchanged
        more: New
          1 sum
          2 sum/names
          3 flow/end
          4 more"#]],
    );
    check(
        &flow("sum", 1, 3),
        &[],
        &expect![[r#"
        sum: Migrated { from: 2, to: 3 }
        sum/names: Migrated { from: 2, to: 3 }
        flow/end: Unchanged
          3 flow/end
          4 sum, reads 1
          5 sum/names, reads 2
          retires [1, 2]"#]],
    );
    check(
        &flow("sum", 2, 3)[..1],
        &[],
        &expect![[r#"
        sum: Unreadable(["argument \"by\": 1 -> 2"])
        sum/names: Gone
        flow/end: Gone
          1 sum"#]],
    );
    check(
        &flow("sum", 1, 1),
        &["sum"],
        &expect![[r#"
        sum: Dropped
        sum/names: Dropped
        flow/end: Unchanged
          3 flow/end
          4 sum
          5 sum/names
          retires [1, 2]"#]],
    );
    check(
        &flow("other", 1, 2),
        &[],
        &expect![[r#"
        other: New
        other/names: New
        flow/end: Unchanged
        sum: Gone
        sum/names: Gone
          3 flow/end
          4 other
          5 other/names"#]],
    );
    check(
        &flow("other", 1, 2),
        &["sum"],
        &expect![[r#"
        other: New
        other/names: New
        flow/end: Unchanged
        sum: Dropped
        sum/names: Dropped
          3 flow/end
          4 other
          5 other/names
          retires [1, 2]"#]],
    );
}

#[test]
fn a_renamed_step_takes_its_state_along() {
    let renamed = |version| {
        let names = was(folds("total/names", 1, version), "sum/names");
        vec![was(folds("total", 1, version), "sum"), names, step(FLOW)]
    };
    check(
        &renamed(2),
        &[],
        &expect![[r#"
        total (was sum): Unchanged
        total/names (was sum/names): Unchanged
        flow/end: Unchanged
          1 total
          2 total/names
          3 flow/end"#]],
    );
    check(
        &renamed(3),
        &[],
        &expect![[r#"
        total (was sum): Migrated { from: 2, to: 3 }
        total/names (was sum/names): Migrated { from: 2, to: 3 }
        flow/end: Unchanged
          3 flow/end
          4 total, reads 1
          5 total/names, reads 2
          retires [1, 2]"#]],
    );
    for drop in ["sum", "total"] {
        check(
            &renamed(1),
            &[drop],
            &expect![[r#"
            total (was sum): Dropped
            total/names (was sum/names): Dropped
            flow/end: Unchanged
              3 flow/end
              4 total
              5 total/names
              retires [1, 2]"#]],
        );
    }
}

#[test]
fn of_two_states_of_one_step_none_is_chosen() {
    let world = || stored(&[folds("old", 1, 1), folds("old/names", 1, 1), folds("new", 1, 1)]);
    let flow = [was(folds("new", 1, 1), "old"), was(folds("new/names", 1, 1), "old/names")];
    check_with(
        &world(),
        &flow,
        &[],
        &expect![[r#"
        new: Ambiguous(StepId("old"))
        new/names (was old/names): Unchanged
          2 new/names
          3 new"#]],
    );
    check_with(
        &world(),
        &flow,
        &["old"],
        &expect![[r#"
        new: Unchanged
        new/names (was old/names): Dropped
        old: Dropped
          3 new
          4 new/names
          retires [2, 1]"#]],
    );
    check_with(
        &world(),
        &flow,
        &["new"],
        &expect![[r#"
        new (was old): Unchanged
        new/names (was old/names): Unchanged
        new: Dropped
          1 new
          2 new/names
          retires [3]"#]],
    );
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_ways_out() {
    let world = stored(&[folds("a", 1, 2), folds("a/names", 1, 2), folds("b", 1, 1), folds("c", 1, 1)]);
    let flow = [folds("a", 2, 1), folds("a/names", 2, 1), was(folds("c", 1, 1), "b")];
    let error = open(&world, &flow, &[]).resume().check().unwrap_err();
    expect![[r#"
        recovery store, part-0.sqlite3: step "a" (fold) has changed so that it cannot go on from the state it has here: argument "by": 1 -> 2; the state version of its function: 2 -> 1, and no function reads states of a newer one
        help: undo the change; or --drop-state a drops its state, and it begins anew
        note: step "c" (fold) has state here, and so has "b", which it is said to be renamed from; --drop-state c or --drop-state b drops one of the two"#]]
    .assert_eq(&format!("{error}\nhelp: {}\nnote: {}", error.help.clone().unwrap(), error.notes.join("\nnote: ")));
    let gone = open(&world, &[], &[]);
    let verdict = &gone.resume().compared.verdicts[0];
    expect![[r#"step "a" (fold) has state here, but the flow has no such step; if it has another name now, write renamed_from = "a" in that step; --drop-state a drops its state"#]]
        .assert_eq(&format!("{}; {}", refusal(verdict), ways_out(verdict)));
    assert!(open(&world, &flow, &["a".into(), "b".into()]).resume().check().is_ok());
}

#[test]
fn a_name_that_there_is_not_cannot_be_dropped() {
    let world = stored(&[folds("sum", 1, 2)]);
    let parts = world.parts();
    let catalogues: Vec<&Catalogue> = parts.iter().map(PartStore::catalogue).collect();
    let (flow, drops) = ("test".into(), ["sun".into()]);
    let error = resume(&catalogues, &Wanted { flow: &flow, steps: &[], drops: &drops }).unwrap_err();
    expect![[r#"recovery store, part-0.sqlite3: neither the flow nor the store has a step "sun" whose state could be dropped; did you mean "sum"?"#]]
        .assert_eq(&format!("{error}; {}", error.help.clone().unwrap()));
}

#[test]
fn a_state_that_was_dropped_is_forgotten_once_nothing_can_be_resumed_from_it() {
    let world = stored(&[folds("sum", 1, 2)]);
    let drops = ["sum".into()];
    let store = open(&world, &[], &drops);
    let mut parts = claimed(&world, &store, 2);
    // Until the first epoch is there, nothing is lost: the old flow can still go on.
    assert_eq!(states_of(&open(&world, &[folds("sum", 1, 2)], &[]), "sum").len(), 2);
    parts.iter_mut().for_each(|part| seal(part, 2, &[], &store.resume().compared.retires));
    let dropped = open(&world, &[folds("sum", 1, 2)], &[]);
    assert_eq!((states_of(&dropped, "sum").len(), &dropped.resume().compared.verdicts[0].outcome), (0, &Outcome::New));
    assert!(parts.iter().any(|part| !part.catalogue().blocks.is_empty()));
    parts.iter_mut().for_each(|part| compact(part, 2));
    assert!(parts.iter().all(|part| part.catalogue().blocks.is_empty() && part.catalogue().verify().is_ok()));
    // Given again, the command does nothing.
    let again = open(&world, &[], &drops);
    assert!(again.resume().check().is_ok() && again.resume().compared.retires.is_empty());
}

const PARTS: usize = 3;
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// An execution of a flow that was perhaps changed, up to its crash.
#[derive(Clone, Debug)]
struct Run {
    /// Whether the state's version is raised, and whether the step is changed so that its state is dropped.
    is_newer: bool,
    is_other: bool,
    is_renamed: bool,
    /// Parts that it claims; if not all, it crashes in the middle of it.
    claims: usize,
    epochs: Vec<Vec<(usize, Option<u64>)>>,
    /// How many of the epochs each part seals before the crash.
    sealed: [prop::sample::Index; PARTS],
    compacts: [Option<u8>; PARTS],
}

fn run() -> impl Strategy<Value = Run> {
    let change = (0..KEYS.len(), prop::option::weighted(0.7, 0..100_u64));
    let epochs = prop::collection::vec(prop::collection::vec(change, 0..5), 0..6);
    let claims = prop_oneof![1 => 0..PARTS, 3 => Just(PARTS)];
    let flow = (any::<bool>(), prop::bool::weighted(0.2), any::<bool>());
    (flow, claims, epochs, any::<[prop::sample::Index; PARTS]>(), any::<[Option<u8>; PARTS]>()).prop_map(
        |((is_newer, is_other, is_renamed), claims, epochs, sealed, compacts)| Run {
            is_newer,
            is_other,
            is_renamed,
            claims,
            epochs,
            sealed,
            compacts,
        },
    )
}

/// What is to be found at the end of an epoch: the number in the step's name, its argument, the version of its states, and the states, each with
/// the version that it is of.
type Moment = (u32, u64, u32, States);

fn of_version(version: u32, value: u64) -> u64 {
    u64::from(version) * 1000 + value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn after_any_crash_a_state_is_the_old_one_whole_or_the_new_one_whole(runs in prop::collection::vec(run(), 1..9)) {
        let world = World::new(PARTS);
        let (mut history, mut newest): (Vec<Moment>, _) = (vec![(0, 0, 1, States::new())], [0_u64; PARTS]);
        let (mut name, mut most) = (0, 0);
        for run in runs {
            let at = *newest.iter().min().unwrap();
            history.truncate(usize::try_from(at).unwrap() + 1);
            let (old, argument, version, mut states) = history.last().unwrap().clone();
            // What an execution before had begun with and not finished is not begun with again, unless this one does.
            let version_now = if run.is_newer { version + 1 } else { version };
            let argument_now = if run.is_other { most + 1 } else { argument };
            most = most.max(argument_now);
            // The name before stays in the flow until an epoch is there under the new one.
            name = if run.is_renamed { old + 1 } else { name.max(old) };
            let id = format!("n{name}");
            let mut flow = folds(&id, argument_now, version_now);
            if name > old {
                flow = was(flow, &format!("n{old}"));
            }
            let drops: Vec<StepId> = run.is_other.then(|| id.as_str().into()).into_iter().collect();
            let store = open(&world, &[step("other"), flow], &drops);
            prop_assert!(store.resume().check().is_ok(), "{:?}", store.resume());
            prop_assert_eq!(store.resume().epoch, Epoch(at));
            prop_assert_eq!(states_of(&store, "other").get("o").copied().unwrap_or(0), at);
            let loaded = states_of(&store, &id);
            let compared = &store.resume().compared;
            match compared.migrates.get(&StepId::from(id.as_str())) {
                Some(&from) => prop_assert_eq!((from, version_now), (version, version + 1)),
                None => prop_assert!(!run.is_newer || loaded.is_empty()),
            }
            if run.is_other {
                states.clear();
            }
            prop_assert_eq!(&loaded, &states);
            let mut parts = claimed(&world, &store, run.claims);
            newest[..run.claims].fill(at);
            if run.claims < PARTS {
                continue;
            }
            // All that was loaded is handed in anew by a migration.
            let is_migrated = !compared.loads.is_empty();
            let migrated = states.iter().map(|(key, value)| (key.clone(), of_version(version_now, value % 1000)));
            states = migrated.collect();
            let mut all = Vec::new();
            for (epoch, rows) in (at + 1..).zip(&run.epochs) {
                let rows = rows.iter().map(|&(key, value)| (KEYS[key].to_owned(), value));
                let rows = rows.map(|(key, value)| (key, value.map(|value| of_version(version_now, value))));
                let before = states.iter().map(|(key, &value)| (key.clone(), Some(value)));
                let before: Vec<_> = before.filter(|_| is_migrated && epoch == at + 1).collect();
                let rows: Vec<_> = before.into_iter().chain(rows).collect();
                let rows: Vec<_> = rows.iter().map(|(key, value)| (key.as_str(), *value)).collect();
                apply(&mut states, &rows);
                history.push((name, argument_now, version_now, states.clone()));
                let last: BTreeMap<_, _> = rows.into_iter().collect();
                all.push(changes(&last.into_iter().collect::<Vec<_>>()));
            }
            let numbers = (number_of(&compared.steps, "other"), number_of(&compared.steps, &id));
            for ((part, newest), count) in parts.iter_mut().zip(&mut newest).zip(run.sealed) {
                let count = count.index(run.epochs.len() + 1);
                for (epoch, rows) in (at + 1..).zip(&all[..count]) {
                    let retires: &[_] = if epoch == at + 1 { &compared.retires } else { &[] };
                    let other = changes(&[("o", Some(epoch))]);
                    seal(part, epoch, &[(numbers.0, &other), (numbers.1, rows)], retires);
                }
                *newest += count as u64;
            }
            let durable = *newest.iter().min().unwrap();
            for (part, delay) in parts.iter_mut().zip(run.compacts) {
                if let Some(delay) = delay {
                    compact(part, durable.saturating_sub(u64::from(delay % 4)));
                }
                prop_assert_eq!(part.catalogue().verify(), Ok(()));
            }
        }
    }
}
