//! Crashes at the ends of epochs against the model, which knows none.

use super::model::{Event, Model, events, rules_of_all_kinds};
use super::resume::{Store, Workers};
use super::*;
use proptest::prelude::*;

/// What comes behind an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Nothing,
    Batch,
    Epoch,
    /// An epoch, and a crash after which so many workers go on.
    Crash(usize),
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let cut = prop_oneof![
        8 => Just(Cut::Nothing),
        2 => Just(Cut::Batch),
        2 => Just(Cut::Epoch),
        1 => (1_usize..4).prop_map(Cut::Crash),
    ];
    prop::collection::vec(cut, 1..40)
}

/// Runs events through machines and the model.
fn run(rules: Rules, inputs: usize, events: &[Event], cuts: &[Cut]) -> (Out, Out) {
    let mut store = Store::new();
    let mut workers = Workers::start(rules, inputs, 1, &store, Instant(0));
    let mut model = Model::new(rules);
    let mut batch: Vec<Row<'_>> = Vec::new();
    let mut of = 0;
    for (at, event) in events.iter().enumerate() {
        let cut = cuts[at % cuts.len()];
        model.take(event);
        let is_other = !matches!(event, Event::Row { input, .. } if *input == of);
        if is_other && !batch.is_empty() {
            workers.rows(of, &std::mem::take(&mut batch));
        }
        match event {
            Event::Row { input, key, time, text } => {
                of = *input;
                batch.push((key, *time, text));
            }
            Event::Idle(time) => {
                workers.idle(*time);
            }
        }
        if cut != Cut::Nothing && !batch.is_empty() {
            workers.rows(of, &std::mem::take(&mut batch));
        }
        if matches!(cut, Cut::Epoch | Cut::Crash(_)) {
            workers.epoch(&mut store);
            model.epoch();
        }
        if let Cut::Crash(count) = cut {
            workers.crash(&store, count);
            model.crash();
        }
    }
    if !batch.is_empty() {
        workers.rows(of, &batch);
    }
    let mut out = workers.eof().take().by_key();
    assert_eq!(workers.open_windows(), 0);
    out.errors.clear();
    (out, model.end())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn machines_that_go_on_after_crashes_do_what_is_specified(
        rules in rules_of_all_kinds(),
        events in events(1),
        cuts in cuts(),
    ) {
        let (given, wanted) = run(rules, 1, &events, &cuts);
        prop_assert_eq!(given, wanted);
    }

    #[test]
    fn with_rows_of_several_inputs_they_do_too(
        rules in rules_of_all_kinds(),
        events in events(2),
        cuts in cuts(),
    ) {
        let (given, wanted) = run(rules, 2, &events, &cuts);
        prop_assert_eq!(given, wanted);
    }
}
