//! The machine against a model of the specification: one row at a time, with maps.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What happens to a machine.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Row { input: usize, key: &'static str, time: i64, text: String },
    Idle(i64),
}

/// The specification, straight: every row is a batch of its own.
pub(super) struct Model {
    rules: Rules,
    keys: BTreeMap<&'static str, ModelKey>,
    out: Out,
}

#[derive(Default)]
struct ModelKey {
    watermark: Option<i64>,
    /// In the order in which they came.
    waiting: Vec<(i64, String)>,
    /// In the order in which they opened.
    windows: Vec<ModelWindow>,
    next_id: i64,
    /// Whether something happened to it since the last epoch, and the watermark that was kept of it.
    has_changed: bool,
    kept: Option<i64>,
}

struct ModelWindow {
    id: i64,
    open: i64,
    close: i64,
    text: String,
    has_row: bool,
    merged: BTreeSet<i64>,
}

impl Model {
    pub fn new(rules: Rules) -> Model {
        Model { rules, keys: BTreeMap::new(), out: Out::default() }
    }

    fn run(mut self, events: &[Event]) -> Out {
        events.iter().for_each(|event| self.take(event));
        self.end()
    }

    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Row { input, key, time, text } => self.row(key, *time, &mark(*input == 1, text)),
            Event::Idle(time) => {
                let keys: Vec<&str> = self.keys.keys().copied().collect();
                for key in keys {
                    let state = self.keys.get_mut(key).unwrap();
                    state.watermark = state.watermark.map(|watermark| watermark + time);
                    self.advance(key, self.keys[key].watermark);
                }
            }
        }
    }

    /// An epoch ends.
    pub fn epoch(&mut self) {
        for key in self.keys.values_mut() {
            if std::mem::take(&mut key.has_changed) {
                key.kept = key.watermark;
            }
        }
    }

    /// A crash behind the end of an epoch: idle time that passed without anything happening to a key is not kept.
    pub fn crash(&mut self) {
        self.keys.values_mut().for_each(|key| key.watermark = key.kept);
    }

    pub fn end(mut self) -> Out {
        let keys: Vec<&str> = self.keys.keys().copied().collect();
        for key in keys {
            self.advance(key, Some(i64::MAX));
        }
        self.out.by_key()
    }

    fn row(&mut self, key: &'static str, time: i64, text: &str) {
        let Clock::Event { wait, .. } = self.rules.clock else { panic!("the model has event time") };
        let state = self.keys.entry(key).or_default();
        let watermark = state.watermark.map_or(time - wait, |watermark| watermark.max(time - wait));
        state.watermark = Some(watermark);
        state.has_changed = true;
        if time >= watermark {
            if self.rules.ordered {
                state.waiting.push((time, text.to_owned()));
            } else {
                self.enter(key, time, text, None);
            }
        } else {
            self.late(key, time, text, watermark);
        }
        self.advance(key, Some(watermark));
    }

    fn late(&mut self, key: &'static str, time: i64, text: &str, watermark: i64) {
        match self.rules.windower {
            Windower::Aligned { .. } => {
                for (id, _, close) in self.aligned(time) {
                    if self.rules.late == Late::Watermark || close <= watermark {
                        self.out.late.push(format!("{key} {id} {text}"));
                    } else {
                        self.enter(key, time, text, Some(id));
                    }
                }
            }
            Windower::Session { gap } => {
                let mut windows = self.keys[key].windows.iter();
                let near = |window: &ModelWindow| window.open - gap <= time && time <= window.close + gap;
                if self.rules.late == Late::Window && (time >= watermark - gap || windows.any(near)) {
                    self.enter(key, time, text, None);
                } else {
                    self.out.late.push(format!("{key} -1 {text}"));
                }
            }
        }
    }

    /// All windows that hold a time: id, start and end.
    fn aligned(&self, time: i64) -> Vec<(i64, i64, i64)> {
        let Windower::Aligned { length, every, align_to } = self.rules.windower else { panic!("they are sessions") };
        let windows = (-500..500).map(|id| (id, align_to + id * every, align_to + id * every + length));
        windows.filter(|(_, open, close)| *open <= time && time < *close).collect()
    }

    /// A row enters its windows, or one of them.
    fn enter(&mut self, key: &'static str, time: i64, text: &str, only: Option<i64>) {
        let Windower::Session { gap } = self.rules.windower else {
            for (id, open, close) in self.aligned(time) {
                if only.is_none_or(|only| only == id) {
                    let windows = &mut self.keys.get_mut(key).unwrap().windows;
                    let at = windows.iter().position(|window| window.id == id).unwrap_or_else(|| {
                        windows.push(ModelWindow::new(id, open, close));
                        windows.len() - 1
                    });
                    windows[at].push(text);
                }
            }
            return;
        };
        let state = self.keys.get_mut(key).unwrap();
        let near = |window: &ModelWindow| window.open - gap <= time && time <= window.close + gap;
        let Some(window) = state.windows.iter_mut().find(|window| near(window)) else {
            state.windows.push(ModelWindow::new(state.next_id, time, time));
            state.next_id += 1;
            return state.windows.last_mut().unwrap().push(text);
        };
        window.open = window.open.min(time);
        window.close = window.close.max(time);
        window.push(text);
        // From the earliest on, sessions that are near become one.
        let mut order: Vec<usize> = (0..state.windows.len()).collect();
        order.sort_by_key(|&at| state.windows[at].open);
        let mut gone = Vec::new();
        let mut current = order[0];
        for &next in &order[1..] {
            if state.windows[next].open - state.windows[current].close > gap {
                current = next;
                continue;
            }
            let next = std::mem::replace(&mut state.windows[next], ModelWindow::new(i64::MIN, 0, 0));
            let into = &mut state.windows[current];
            into.close = into.close.max(next.close);
            into.text += &format!("({})", next.text);
            into.has_row |= next.has_row;
            into.merged.extend(next.merged);
            into.merged.insert(next.id);
            gone.push(());
        }
        state.windows.retain(|window| window.id != i64::MIN);
    }

    /// Releases the rows that wait and closes windows, at a watermark.
    fn advance(&mut self, key: &'static str, watermark: Option<i64>) {
        let Some(watermark) = watermark else { return };
        let state = self.keys.get_mut(key).unwrap();
        let (mut due, waiting) = std::mem::take(&mut state.waiting).into_iter().partition(|row| row.0 <= watermark);
        state.waiting = waiting;
        let due: &mut Vec<(i64, String)> = &mut due;
        due.sort_by_key(|row| row.0);
        state.has_changed |= !due.is_empty();
        for (time, text) in due {
            self.enter(key, *time, text, None);
        }
        let state = self.keys.get_mut(key).unwrap();
        let is_closed = |window: &ModelWindow| match self.rules.windower {
            Windower::Aligned { .. } => window.close <= watermark,
            Windower::Session { gap } => window.close < watermark - gap,
        };
        let (mut closed, open): (Vec<_>, Vec<_>) = std::mem::take(&mut state.windows).into_iter().partition(is_closed);
        state.windows = open;
        state.has_changed |= !closed.is_empty();
        closed.sort_by_key(|window| window.close);
        for window in closed.into_iter().filter(|window| window.has_row) {
            let ModelWindow { id, open, close, text, merged, .. } = window;
            self.out.down.push(format!("{key} {id} {text} {open}..{close}"));
            let merged: Vec<i64> = merged.into_iter().collect();
            self.out.meta.push(format!("{key} {id} {open}..{close} {merged:?}"));
        }
    }
}

impl ModelWindow {
    fn new(id: i64, open: i64, close: i64) -> Self {
        ModelWindow { id, open, close, text: String::new(), has_row: false, merged: BTreeSet::new() }
    }

    fn push(&mut self, text: &str) {
        self.text += text;
        self.has_row |= !text.is_empty();
    }
}

/// Runs events through the machine. `cuts` says after which rows a batch ends; it ends at other events anyway.
fn run(rules: Rules, inputs: usize, events: &[Event], cuts: &[bool]) -> Out {
    let mut bench = Bench::new(rules, inputs);
    let mut batch: Vec<Row<'_>> = Vec::new();
    let mut of = 0;
    let flush = |bench: &mut Bench, of: usize, batch: &mut Vec<Row<'_>>| {
        if !batch.is_empty() {
            bench.rows(of, batch);
            batch.clear();
        }
    };
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Row { input, key, time, text } => {
                if *input != of || cuts[at % cuts.len()] {
                    flush(&mut bench, of, &mut batch);
                }
                of = *input;
                batch.push((key, *time, text));
            }
            Event::Idle(time) => {
                flush(&mut bench, of, &mut batch);
                bench.idle(*time);
            }
        }
    }
    flush(&mut bench, of, &mut batch);
    let mut out = bench.eof().take().by_key();
    assert_eq!(bench.machine.open_windows(), 0);
    out.errors.clear();
    out
}

fn windower() -> impl Strategy<Value = Windower> {
    prop_oneof![
        (1_i64..20, -5_i64..5).prop_map(|(length, align_to)| Windower::tumbling(length, align_to)),
        (1_i64..20, 1_i64..20, -5_i64..5).prop_map(|(length, every, align_to)| Windower::sliding(
            length,
            every.min(length),
            align_to
        )),
        (0_i64..12).prop_map(Windower::session),
    ]
}

pub(super) fn rules_of_all_kinds() -> impl Strategy<Value = Rules> {
    let late = prop_oneof![Just(Late::Watermark), Just(Late::Window)];
    (windower(), 0_i64..40, any::<bool>(), late).prop_map(|(windower, wait, ordered, late)| Rules {
        ordered,
        late,
        ..rules(windower, wait)
    })
}

/// Rows whose times go up and down while they grow, and some stretches of idle time.
pub(super) fn events(inputs: usize) -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![
        12 => (0..inputs, prop::sample::select(vec!["a", "b", "c"]), -25_i64..30, 0_u8..27).prop_map(Some),
        1 => Just(None),
    ];
    (prop::collection::vec((step, 1_i64..15), 0..80)).prop_map(|steps| {
        let mut now = 0;
        let event = |(step, pause): (Option<(usize, &'static str, i64, u8)>, i64)| match step {
            Some((input, key, ahead, letter)) => {
                now += pause / 4;
                // Other letters than "e", at which windows fail, and one that is none, at which rows do.
                let text = match letter {
                    4 => String::new(),
                    26 => "-".to_owned(),
                    letter => char::from(b'a' + letter).to_string(),
                };
                Event::Row { input, key, time: now + ahead, text }
            }
            None => Event::Idle(pause),
        };
        steps.into_iter().map(event).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_machine_does_what_is_specified_wherever_batches_are_cut(
        rules in rules_of_all_kinds(),
        events in events(1),
        cuts in prop::collection::vec(prop::bool::weighted(0.2), 1..40),
    ) {
        prop_assert_eq!(run(rules, 1, &events, &cuts), Model::new(rules).run(&events));
    }

    #[test]
    fn rows_of_several_inputs_do_too(
        rules in rules_of_all_kinds(),
        events in events(2),
        cuts in prop::collection::vec(prop::bool::weighted(0.2), 1..40),
    ) {
        prop_assert_eq!(run(rules, 2, &events, &cuts), Model::new(rules).run(&events));
    }
}
