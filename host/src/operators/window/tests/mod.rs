//! Windows without timely: a machine whose logic joins texts, so that the order of rows shows.

mod crashes;
mod machine;
mod model;
mod resume;
mod stream;

use super::args::{Late, Rules, With};
use super::clock::{Clock, Stamp};
use super::logic::{Given, WindowLogic};
use super::machine::Machine;
use super::outputs::{DOWN, LATE, META_PORT, Outputs};
use super::step::{META, down_schema, late_schema};
use super::stream::Timing;
use super::windower::Windower;
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::schema::Type;
use crate::data::time::Instant;
use crate::dataflow::emit::{Emit, OnError, RowErrors};
use crate::dataflow::error::LogicError;
use crate::dataflow::idle::{IdleClock, IdlePart};
use crate::dataflow::keyed::Keyed;
use crate::dataflow::script::ScriptedClock;
use crate::dataflow::user_fn::RowError;
use crate::operators::testing::{show, table};
use arrow::array::{Array, AsArray, BinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const INPUT: &str = "t: timestamp, v: string";

fn rules(windower: Windower, wait: i64) -> Rules {
    Rules {
        clock: Clock::Event { wait, advances: true },
        windower,
        ordered: false,
        late: Late::Watermark,
        early: None,
        forget_after: i64::MAX,
    }
}

/// A row: its key, its time and its text. A text of "" cannot be taken in, "!" is given out at once.
type Row<'a> = (&'a str, i64, &'a str);

/// What came out, as text: `a 3 xyz` of the key a, the window 3 and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Out {
    down: Vec<String>,
    late: Vec<String>,
    meta: Vec<String>,
    /// Failures of windows, and how many rows failed.
    errors: Vec<String>,
}

impl Out {
    /// Key after key; what there is of a key stays in its order.
    fn by_key(mut self) -> Out {
        for port in [&mut self.down, &mut self.late, &mut self.meta, &mut self.errors] {
            port.sort_by(|one, other| one.split(' ').next().cmp(&other.split(' ').next()));
        }
        self
    }
}

/// A batch in which every other row does not count.
fn batch_of(rows: &[Row<'_>]) -> Batch {
    let twice = || rows.iter().flat_map(|row| [row, row]);
    let times: TimestampMicrosecondArray = twice().map(|row| Some(row.1)).collect();
    let texts: StringArray = twice().map(|row| Some(row.2).filter(|text| !text.is_empty())).collect();
    let columns: Vec<Arc<dyn Array>> = vec![Arc::new(times.with_timezone("UTC")), Arc::new(texts)];
    let columns = RecordBatch::try_new(table(INPUT, &[]).schema(), columns).unwrap();
    let keys = Keys::new(twice().map(|row| Some(row.0)).collect());
    let counting: Vec<u32> = (0..rows.len() as u32).map(|row| 2 * row).collect();
    Batch::keyed(columns, keys).select(&counting)
}

/// A machine and its surroundings.
struct Bench {
    machine: Machine,
    clock: Arc<ScriptedClock>,
    part: IdlePart,
    out: Out,
}

impl Bench {
    fn new(rules: Rules, inputs: usize) -> Bench {
        let stamp = || Stamp::of_column(0, "t", &Type::Timestamp).unwrap().build_column();
        let stampers = match rules.clock {
            Clock::System => Vec::new(),
            Clock::Event { .. } => (0..inputs).map(|_| stamp()).collect(),
        };
        Bench::of(rules, inputs, Timing::Read(stampers))
    }

    fn of(rules: Rules, inputs: usize, times: Timing) -> Bench {
        let clock = Arc::new(ScriptedClock::new(Instant(0)));
        let idle = Arc::new(IdleClock::new(clock.clone()));
        let part = idle.part();
        let schema = table(INPUT, &[]).schema();
        let inputs: Vec<SchemaRef> = vec![schema.clone(); inputs];
        let with = vec![With::WindowId, With::OpenTime, With::CloseTime];
        let sides: Vec<(String, SchemaRef)> =
            inputs.iter().enumerate().map(|(at, schema)| (format!("side{at}"), schema.clone())).collect();
        let outputs = Outputs {
            down: down_schema(&table("text: string", &[]).schema(), &with),
            with,
            late: late_schema(&sides),
            inputs: inputs.len(),
            key: "k".into(),
        };
        let logic = Box::new(Concat(BTreeMap::new()));
        let machine = Machine::new(rules, outputs, &inputs, times, logic, idle);
        Bench { machine, clock, part, out: Out::default() }
    }

    /// Hands over a batch.
    fn rows(&mut self, input: usize, rows: &[Row<'_>]) -> &mut Self {
        let (now, batch) = (self.now(), batch_of(rows));
        self.call(|machine, out| machine.on_batch(input, batch, now, out))
    }

    fn now(&self) -> Instant {
        crate::dataflow::env::Clock::now(&*self.clock)
    }

    /// System time goes on while the input is not idle.
    fn busy(&mut self, micros: i64) -> &mut Self {
        self.clock.set(Instant(self.now().0 + micros));
        let now = self.now();
        match self.machine.wake_at() {
            Some(at) if at <= now => self.call(|machine, out| machine.on_wake(now, out)),
            _ => self,
        }
    }

    /// System time goes on and the input is idle; the machine is woken at each time that it wants.
    fn idle(&mut self, micros: i64) -> &mut Self {
        self.part.set_idle(true);
        let end = Instant(self.now().0 + micros);
        loop {
            let idle = self.machine.wake_at_idle().and_then(|at| self.machine.idle().due(at));
            let due = self.machine.wake_at().into_iter().chain(idle).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.clock.set(due.max(self.now()));
            let now = self.now();
            self.call(|machine, out| machine.on_wake(now, out));
            let idle = self.machine.wake_at_idle().and_then(|at| self.machine.idle().due(at));
            let next = self.machine.wake_at().into_iter().chain(idle).min();
            assert!(next.is_none_or(|next| next > now), "an alarm that has gone off stands again");
        }
        self.clock.set(end);
        self.part.set_idle(false);
        self
    }

    fn eof(&mut self) -> &mut Self {
        let now = self.now();
        self.call(|machine, out| machine.on_eof(now, out))
    }

    /// What came out since this was last called.
    fn take(&mut self) -> Out {
        std::mem::take(&mut self.out)
    }

    fn call(&mut self, call: impl FnOnce(&mut Machine, &mut Emit<'_>) -> Result<(), LogicError>) -> &mut Self {
        let errors = RowErrors {
            step: "s".into(),
            on_error: OnError::DeadLetter,
            max_errors: None,
            port: Some(3),
            meter: Arc::default(),
            taken: Arc::default(),
        };
        let mut given = Vec::new();
        call(&mut self.machine, &mut Emit::new(&mut given, &errors)).unwrap();
        for (port, batch) in given {
            self.out.take_in(port, &batch);
        }
        self
    }
}

impl Out {
    fn take_in(&mut self, port: usize, batch: &Batch) {
        let rows = batch.rows();
        let time = |name: &str, row: usize| {
            let column = rows.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>();
            if column.is_null(row) { "?".to_owned() } else { column.value(row).to_string() }
        };
        let id = |row: usize| {
            rows.column_by_name("window_id").unwrap().as_primitive::<arrow::datatypes::Int64Type>().value(row)
        };
        let key = |row: usize| batch.keys().unwrap().values().value(row).to_owned();
        for row in 0..batch.num_rows() {
            match port {
                DOWN => {
                    let text = rows.column(0).as_string::<i32>().value(row);
                    let (open, close) = (time("open_time", row), time("close_time", row));
                    self.down.push(format!("{} {} {text} {open}..{close}", key(row), id(row)));
                }
                LATE if rows.num_columns() == 3 => {
                    let text = rows.column(1).as_string::<i32>();
                    let text = if text.is_null(row) { "" } else { text.value(row) };
                    self.late.push(format!("{} {} {text}", key(row), id(row)));
                }
                LATE => {
                    let side = rows.column(0).as_string::<i32>().value(row);
                    let sides = rows.columns()[1..rows.num_columns() - 1].iter();
                    assert_eq!(sides.filter(|side| side.is_valid(row)).count(), 1);
                    let texts = rows.column_by_name(side).unwrap().as_struct().column(1).as_string::<i32>();
                    let text = if texts.is_null(row) { "" } else { texts.value(row) };
                    self.late.push(format!("{} {} {}", key(row), id(row), mark(side == "side1", text)));
                }
                META_PORT => {
                    assert_eq!(rows.schema(), *META);
                    let merged = rows.column(3).as_list::<i32>().value(row);
                    let merged = merged.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
                    let (open, close) = (time("open_time", row), time("close_time", row));
                    self.meta.push(format!("{} {} {open}..{close} {merged:?}", key(row), id(row)));
                }
                _ => self.errors.push(show(batch)[row].clone()),
            }
        }
    }
}

/// How a text of the second input shows.
fn mark(is_second: bool, text: &str) -> String {
    if is_second { text.to_uppercase() } else { text.to_owned() }
}

/// Joins texts. A window with "e" cannot be finished.
struct Concat(BTreeMap<u32, String>);

impl WindowLogic for Concat {
    fn on_rows(
        &mut self,
        input: usize,
        slots: &[u32],
        rows: &RecordBatch,
        index: &[u32],
        _now: Instant,
    ) -> Result<Given, LogicError> {
        let texts = rows.column(1).as_string::<i32>();
        let (mut given, mut of, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, (&slot, &row)) in (0..).zip(slots.iter().zip(index)) {
            let state = self.0.entry(slot).or_default();
            if texts.is_null(row as usize) {
                errors.push(RowError { row: entry, message: "no text".into() });
                continue;
            }
            let text = texts.value(row as usize);
            state.push_str(&mark(input == 1, text));
            if text == "!" {
                given.push(state.clone());
                of.push(slot);
            }
        }
        Ok(Given { rows: (!of.is_empty()).then(|| (texts_of(given), of)), errors })
    }

    fn merge(&mut self, into: &[u32], from: &[u32], _now: Instant) -> Result<Given, LogicError> {
        for (into, from) in into.iter().zip(from) {
            let from = self.0.remove(from).unwrap();
            self.0.get_mut(into).unwrap().push_str(&format!("({from})"));
        }
        Ok(Given::default())
    }

    fn early(&mut self, slots: &[u32], _now: Instant) -> Result<Given, LogicError> {
        let (mut given, mut of, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (at, slot) in (0..).zip(slots) {
            match &self.0[slot] {
                text if text.contains('e') => errors.push(RowError { row: at, message: "an e".into() }),
                text => {
                    given.push(text.clone());
                    of.push(*slot);
                }
            }
        }
        Ok(Given { rows: Some((texts_of(given), of)), errors })
    }

    fn close(&mut self, slots: &[u32], now: Instant) -> Result<Given, LogicError> {
        let given = self.early(slots, now);
        for slot in slots {
            self.0.remove(slot).unwrap();
        }
        given
    }

    fn save(&mut self, slots: &[u32]) -> Result<BinaryArray, LogicError> {
        assert!(!slots.is_empty());
        // A window without text has no state, as that of a function which has discarded it.
        Ok(slots.iter().map(|slot| Some(&self.0[slot]).filter(|text| !text.is_empty())).collect())
    }

    fn load(&mut self, slots: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        for (&slot, state) in slots.iter().zip(states) {
            let text = String::from_utf8(state.unwrap_or_default().to_vec()).unwrap();
            assert!(self.0.insert(slot, text).is_none());
        }
        Ok(())
    }
}

fn texts_of(texts: Vec<String>) -> RecordBatch {
    RecordBatch::try_new(table("text: string", &[]).schema(), vec![Arc::new(StringArray::from(texts))]).unwrap()
}
