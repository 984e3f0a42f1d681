//! A crash between any two transactions, again and again.

use super::super::catalogue::Layer;
use super::*;
use crate::data::key::groups_of;
use proptest::prelude::*;
use std::sync::LazyLock;

const PARTS: usize = 3;
const COUNT: usize = 12;

/// Keys of a few slices, in all parts.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let all: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
    let of_slice = |slice| all.iter().filter(move |key| block::slice_of(group_of(hash(key))) == slice).take(3).cloned();
    [3, 20, 21, 60].into_iter().flat_map(of_slice).collect()
});

/// The number of a key, and its new state.
type Change = (usize, Option<u64>);

/// Changes of one epoch, after which the states are `states`; of the key groups of `whole` all states are handed in.
fn changes_of(rows: &[Change], states: &States, whole: &Range<u64>) -> Changes {
    let mut rows: Vec<_> = rows.iter().map(|&(key, value)| (KEYS[key].as_str(), value)).collect();
    let others = states.iter().filter(|(key, _)| whole.contains(&group_of(hash(key))));
    let others = others.map(|(key, &value)| (key.as_str(), Some(value))).collect::<Vec<_>>();
    rows.extend(others);
    Changes { whole: whole.clone(), ..changes(&rows) }
}

/// An execution up to its crash.
#[derive(Clone, Debug)]
struct Run {
    /// Which parts it claims; if not all, it crashes in the middle of it.
    claims: [bool; PARTS],
    /// What its epochs change, and the key groups of which all states are handed in.
    epochs: Vec<(Vec<Change>, Range<u64>)>,
    /// Whether floors rise with seals.
    rises: bool,
    /// How many of the epochs each part seals before the crash.
    sealed: [prop::sample::Index; PARTS],
    /// Which parts compact, and how many epochs before the newest durable one.
    compacts: [Option<u64>; PARTS],
}

fn run() -> impl Strategy<Value = Run> {
    let change = (0..COUNT, prop::option::weighted(0.7, 0..100_u64));
    let whole = prop_oneof![Just(0..0), Just(0..KEY_GROUPS), (0..3_usize).prop_map(|worker| groups_of(worker, 3))];
    let epochs = prop::collection::vec((prop::collection::vec(change, 0..6), whole), 0..14);
    let claims = prop_oneof![1 => any::<[bool; PARTS]>(), 4 => Just([true; PARTS])];
    (claims, epochs, any::<bool>(), any::<[prop::sample::Index; PARTS]>(), any::<[Option<u8>; PARTS]>()).prop_map(
        |(claims, epochs, rises, sealed, compacts)| Run {
            claims,
            epochs,
            rises,
            sealed,
            compacts: compacts.map(|delay| delay.map(|delay| u64::from(delay % 4))),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn after_any_crash_the_state_is_that_of_the_newest_epoch_that_all_parts_have(runs in prop::collection::vec(run(), 1..6)) {
        let world = World::new(PARTS);
        // What the state was at the end of each epoch, and what each part has.
        let (mut history, mut newest) = (vec![States::new()], [0; PARTS]);
        for run in runs {
            let (store, mut parts) = world.claim_those(|part| run.claims[part]);
            let resume = *newest.iter().min().unwrap();
            prop_assert_eq!(store.resume().epoch, Epoch(resume));
            history.truncate(usize::try_from(resume).unwrap() + 1);
            prop_assert_eq!(&load_all(&store), &history[usize::try_from(resume).unwrap()]);
            prop_assert_eq!(positions(&store), (resume, resume));
            for (newest, _) in newest.iter_mut().zip(run.claims).filter(|(_, is_claimed)| *is_claimed) {
                *newest = resume;
            }
            if run.claims != [true; PARTS] {
                continue;
            }
            for (rows, _) in &run.epochs {
                let mut states = history.last().unwrap().clone();
                rows.iter().for_each(|&(key, value)| apply(&mut states, &[(&KEYS[key], value)]));
                history.push(states);
            }
            let counts = run.sealed.map(|count| count.index(run.epochs.len() + 1));
            let durable = resume + *counts.iter().min().unwrap() as u64;
            for ((part, newest), count) in parts.iter_mut().zip(&mut newest).zip(counts) {
                for (epoch, (rows, whole)) in (resume + 1..).zip(&run.epochs[..count]) {
                    let changes = changes_of(rows, &history[usize::try_from(epoch).unwrap()], whole);
                    let floor = compact::next_floor(part.catalogue(), Epoch(durable.min(epoch - 1)), 1);
                    seal_and_advance(part, epoch, &changes, floor.filter(|_| run.rises));
                }
                *newest += count as u64;
            }
            for (part, delay) in parts.iter_mut().zip(run.compacts) {
                if let Some(delay) = delay {
                    compact(part, durable.saturating_sub(delay));
                }
                prop_assert_eq!(part.catalogue().verify(), Ok(()));
            }
        }
    }
}

/// What happens to a store that keeps the rows of an epoch that was never finished: a later execution takes them for its
/// own. Two executions count three of each key; a third must not find six of one and four of the other.
#[test]
fn rows_of_an_epoch_that_died_never_come_back() {
    let (x, y) = ("a", "b");
    let world = World::new(2);
    let (_, mut parts) = world.claim(2);
    for part in &mut parts {
        seal(part, 1, &changes(&[(x, Some(2)), (y, Some(1))]));
    }
    // The crash: one part has epoch 2, the other has not.
    seal(&mut parts[0], 2, &changes(&[(x, Some(3)), (y, Some(3))]));
    let (store, mut parts) = world.claim(2);
    assert_eq!((store.resume().epoch, positions(&store)), (Epoch(1), (1, 1)));
    // The next execution ends its epoch 2 before it has read anything.
    for part in &mut parts {
        seal(part, 2, &changes(&[]));
    }
    let store = world.open();
    assert_eq!(store.resume().epoch, Epoch(2));
    assert_eq!(load_all(&store), States::from([(x.to_owned(), 2), (y.to_owned(), 1)]));
}

#[test]
fn any_number_of_workers_loads_each_key_once() {
    let world = World::new(3);
    let (_, mut parts) = world.claim(3);
    let names: Vec<String> = (0..20_000).map(|n| format!("key {n}")).collect();
    let mut expected = States::new();
    for epoch in 1..=4_u64 {
        let rows: Vec<_> = (0..).zip(&names).map(|(n, name)| (name.as_str(), (n % epoch == 0).then_some(n))).collect();
        let rows = &rows[..20_000 / usize::try_from(epoch).unwrap()];
        apply(&mut expected, rows);
        parts.iter_mut().for_each(|part| seal(part, epoch, &changes(rows)));
    }
    compact(&mut parts[1], 3);
    let store = world.open();
    for workers in [1, 3, 7, 100] {
        let mut states = States::new();
        for worker in 0..workers {
            for (key, value) in load(&store.shelf, groups_of(worker, workers)).unwrap() {
                assert_eq!(crate::data::key::worker_of(crate::data::key::hash(&key), workers), worker);
                assert_eq!(states.insert(key, value), None);
            }
        }
        assert!(states == expected, "{workers} workers");
    }
}

#[test]
fn deltas_that_are_merged_with_each_other_keep_what_was_discarded() {
    let world = World::new(1);
    let (_, mut parts) = world.claim(1);
    let names = (0..200_000).map(|n| format!("key {n}"));
    let names: Vec<_> = names.filter(|name| block::slice_of(group_of(hash(name))) == 0).collect();
    let (mut expected, mut merged) = (States::new(), Vec::new());
    for epoch in 1..=30_u64 {
        let rows = (0..).zip(&names).filter(|(n, _)| epoch == 1 || n % 400 == epoch / 2);
        let rows: Vec<_> = rows.map(|(n, name)| (name.as_str(), (epoch % 2 == 1).then_some(n + epoch))).collect();
        apply(&mut expected, &rows);
        seal(&mut parts[0], epoch, &changes(&rows));
        let advance = Transaction::advance(parts[0].catalogue(), Epoch(epoch), |_| true);
        parts[0].commit(advance).unwrap();
        while let Some(work) = compact::next_work(parts[0].catalogue()) {
            merged.push(work.into);
            let transaction = compact::merge(&parts[0], &work, &mut Encoder::new().unwrap(), || {}).unwrap();
            parts[0].commit(transaction).unwrap();
            assert!(load_all(&world.open()) == expected, "epoch {epoch}");
        }
    }
    assert_eq!(merged.iter().filter(|&&into| into == Layer::Base).count(), 1);
    assert!(merged.contains(&Layer::Delta));
    assert!(parts[0].catalogue().blocks.len() < 12);
    assert!(load_all(&world.open()) == expected);
}

#[test]
fn a_zombie_seals_nothing() {
    let world = World::new(1);
    let (_, mut zombie) = world.claim(1);
    let (_, mut parts) = world.claim(1);
    seal(&mut parts[0], 1, &changes(&[("a", Some(1))]));
    let transaction = Transaction::seal(zombie[0].catalogue(), Epoch(1), Instant(0), Vec::new(), Vec::new());
    let error = zombie[0].commit(transaction).unwrap_err();
    assert_eq!(error.message, "recovery store, part-0.sqlite3: another execution has taken the store over");
    assert_eq!(load_all(&world.open()), States::from([("a".to_owned(), 1)]));
}

#[test]
fn manifests_that_were_not_committed_are_kept_below_the_floor() {
    let world = World::new(1);
    let (_, mut parts) = world.claim(1);
    (1..=9).for_each(|epoch| seal(&mut parts[0], epoch, &changes(&[])));
    let advance = Transaction::advance(parts[0].catalogue(), Epoch(8), |sink| sink.epoch <= Epoch(3));
    parts[0].commit(advance).unwrap();
    let epochs =
        |manifests: Vec<crate::dataflow::durable::Manifest>| manifests.iter().map(|m| m.epoch.0).collect::<Vec<_>>();
    assert_eq!(epochs(world.open().load_sinks(&"sum".into()).unwrap()), [4, 5, 6, 7, 8, 9]);
    let advance = Transaction::advance(parts[0].catalogue(), Epoch(9), |_| true);
    parts[0].commit(advance).unwrap();
    assert_eq!(epochs(world.open().load_sinks(&"sum".into()).unwrap()), [9]);
    assert_eq!(positions(&world.open()), (9, 9));
}
