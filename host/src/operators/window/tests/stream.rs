//! The watermark of a stream, from one execution to the next.

use super::super::clock::Moment;
use super::super::stream::{Stamping, StreamClock};
use super::resume::Store;
use super::*;
use crate::data::batch::{Mark, Origin};
use crate::dataflow::keyed::Kept;
use crate::operators::testing::emitted;
use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

const CLOCK: Clock = Clock::Event { wait: 10, advances: true };
const TUMBLING: Windower = Windower::Aligned { length: 100, every: 100, align_to: 0 };

fn mark(part: &str, watermark: Option<i64>) -> Mark {
    Mark { part: part.into(), watermark: watermark.map(Instant) }
}

/// The first half, at a place, gone on from what a store has.
fn stamping(place: &str, store: &Store) -> Stamping {
    let idle = Arc::new(IdleClock::new(Arc::new(ScriptedClock::new(Instant(0)))));
    let stamper = Stamp::of_column(0, "t", &Type::Timestamp).unwrap().build_column();
    let mut stamping = Stamping::new(CLOCK, stamper, &table(INPUT, &[]).schema(), idle, place.into());
    assert_eq!(stamping.keep(), Kept::Names);
    let keys = Keys::new(store.keys().map(Some).collect());
    let states: BinaryArray = store.values().map(|state| Some(state.as_slice())).collect();
    if !store.is_empty() {
        stamping.restore(&keys, &states, Instant(0)).unwrap();
    }
    stamping
}

fn epoch(stamping: &mut Stamping, store: &mut Store) -> bool {
    let Some(changes) = stamping.snapshot(Instant(0)).unwrap() else { return false };
    let changes = changes.keys.values().iter().flatten().zip(&changes.values);
    store.extend(changes.map(|(key, state)| (key.to_owned(), state.unwrap().to_vec())));
    true
}

fn rows(times: &[i64]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.iter().copied().map(Some).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Arc::new(times.iter().map(|time| Some(time.to_string())).collect::<StringArray>()),
    ];
    RecordBatch::try_new(table(INPUT, &[]).schema(), columns).unwrap()
}

/// Hands over rows of a partition; the watermarks that they get, and the marks.
fn stamp(stamping: &mut Stamping, partition: Option<&str>, times: &[i64]) -> (Vec<i64>, Vec<Mark>) {
    let origin =
        partition.map(|partition| Origin { source: "s".into(), partition: partition.into(), first_row: 0, rows: None });
    let batch = Batch::new(rows(times)).from_origin(origin);
    let given = emitted(|out| stamping.on_batch(0, batch, Instant(0), out));
    let of_rows = given.iter().filter(|batch| batch.mark().is_none());
    let watermarks = of_rows.flat_map(|batch| batch.rows().column(3).as_primitive::<Int64Type>().values().to_vec());
    (watermarks.collect(), given.iter().filter_map(|batch| batch.mark().cloned()).collect())
}

#[test]
fn partitions_go_on_where_they_were_whichever_worker_reads_them() {
    let mut store = Store::new();
    let mut first = stamping("0/0", &store);
    assert_eq!(first.wake_at(), None);
    stamp(&mut first, Some("p"), &[50, 60]);
    stamp(&mut first, None, &[40]);
    let mut other = stamping("1/0", &Store::new());
    stamp(&mut other, Some("p"), &[80]);
    let mut other_input = stamping("0/1", &Store::new());
    stamp(&mut other_input, Some("p"), &[500]);
    for part in [&mut first, &mut other, &mut other_input] {
        assert!(epoch(part, &mut store));
    }
    assert!(!epoch(&mut first, &mut store), "nothing has changed");
    stamp(&mut first, Some("p"), &[55]);
    assert!(!epoch(&mut first, &mut store), "rows that are behind change nothing");

    let mut next = stamping("5/0", &store);
    assert_eq!(next.wake_at(), Some(Instant(0)));
    let told = emitted(|out| next.on_wake(Instant(0), out));
    let told: Vec<Mark> = told.iter().filter_map(|batch| batch.mark().cloned()).collect();
    let resumed = [mark("/0", Some(30)), mark("/0/s/p", Some(70))];
    assert_eq!((told, next.wake_at()), (resumed.to_vec(), None));
    assert_eq!(stamp(&mut next, Some("p"), &[75, 60]), (vec![70, 70], vec![]));
    assert_eq!(stamp(&mut next, Some("p"), &[90]), (vec![80], vec![mark("5/0/s/p", Some(80))]));
    assert_eq!(stamp(&mut next, Some("q"), &[20]), (vec![10], vec![mark("5/0/s/q", Some(10))]));
    let ended = emitted(|out| next.on_eof(Instant(0), out));
    let ended: Vec<Mark> = ended.iter().filter_map(|batch| batch.mark().cloned()).collect();
    assert_eq!(ended, ["5/0/s/p", "5/0/s/q", "/0", "/0/s/p"].map(|part| mark(part, None)));
    assert!(epoch(&mut next, &mut store), "what has ended is kept, too");

    // Rows may come before the first half is woken.
    let mut next = stamping("0/0", &store);
    let (watermarks, marks) = stamp(&mut next, Some("p"), &[95]);
    assert_eq!((watermarks, marks.len(), marks[1].clone()), (vec![85], 4, mark("/0/s/p", Some(80))));
    assert_eq!(next.wake_at(), None);
}

#[test]
fn what_stood_for_a_partition_goes_once_a_worker_reads_it() {
    let mut stream = StreamClock::default();
    let mut at = |mark: Mark| {
        stream.take(CLOCK, &mark, Moment::default());
        CLOCK.watermark(stream.clock(), Moment::default())
    };
    assert_eq!(at(mark("/0/s/q", Some(100))), 100);
    assert_eq!(at(mark("/0/s/p", Some(70))), 100, "the watermark does not go back");
    assert_eq!(at(mark("/0/s/q", Some(100))), 100, "all workers tell");
    assert_eq!(at(mark("3/0/s/q", Some(300))), 100, "the other is not forgotten");
    assert_eq!(at(mark("4/0/s/p", Some(200))), 200);
    assert_eq!(at(mark("/0/s/p", Some(70))), 200, "what comes too late counts no more");
    assert_eq!(at(mark("4/0/s/p", Some(250))), 250);
    assert_eq!(at(mark("4/0/s/p", None)), 300);
}

/// Hands rows to the second half: key, time, watermark of their part.
fn second(bench: &mut Bench, all: &[(&str, i64, i64)]) {
    let plain = rows(&all.iter().map(|row| row.1).collect::<Vec<_>>());
    let stamps = [all.iter().map(|row| row.1).collect::<Int64Array>(), all.iter().map(|row| row.2).collect()];
    let columns = plain.columns().iter().cloned().chain(stamps.map(|stamp| Arc::new(stamp) as ArrayRef));
    let fields = plain.schema().fields().iter().cloned().collect::<Vec<_>>();
    let more = ["time", "watermark"].map(|name| Arc::new(Field::new(name, DataType::Int64, false)));
    let schema = Arc::new(Schema::new(fields.into_iter().chain(more).collect::<Vec<_>>()));
    let stamped = RecordBatch::try_new(schema, columns.collect()).unwrap();
    let batch = Batch::keyed(stamped, Keys::new(all.iter().map(|row| Some(row.0)).collect()));
    let now = bench.now();
    bench.call(|machine, out| machine.on_batch(0, batch, now, out));
}

fn tell(bench: &mut Bench, mark: &Mark) {
    let now = bench.now();
    bench.call(|machine, out| machine.on_mark(0, mark, now, out));
}

#[test]
fn the_second_half_knows_what_has_closed_before_any_mark_comes() {
    for ordered in [false, true] {
        let rules = Rules { clock: CLOCK, ordered, ..rules(TUMBLING, 10) };
        let start = || {
            let mut bench = Bench::of(rules, 1, Timing::Stamped(StreamClock::default()));
            bench.machine.keep();
            bench
        };
        let mut bench = start();
        second(&mut bench, &[("a", 50, 40), ("b", 120, 110)]);
        tell(&mut bench, &mark("0/0/s/p", Some(90)));
        // By idle time the first window closes; the watermark is 105 then.
        assert_eq!(bench.idle(15).take().down, ["a 0 50 0..100"]);
        let now = bench.now();
        let changes = bench.machine.snapshot(now).unwrap().unwrap();

        let mut bench = start();
        bench.machine.restore(&changes.keys, &changes.values, Instant(0)).unwrap();
        tell(&mut bench, &mark("/0/s/p", Some(90)));
        second(&mut bench, &[("a", 95, 90), ("c", 95, 90), ("b", 130, 120)]);
        let late = bench.take().late;
        assert_eq!(late, ["a 0 95", "c 0 95"], "{ordered}");
        tell(&mut bench, &mark("0/0/s/p", Some(190)));
        assert_eq!(bench.take(), Out::default());
        assert_eq!(bench.idle(10).take().down, ["b 1 120130 100..200"], "{ordered}");
    }
}
