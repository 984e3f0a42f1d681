//! Aggregates against a model that keeps all rows.

use super::super::testing::{show, table};
use super::accumulator::Function;
use super::set::{Aggregate, Aggregates, Of};
use crate::data::batch::Batch;
use crate::data::schema::Type;
use crate::dataflow::user_fn::FoldFn;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use std::sync::Arc;

/// All aggregates of all columns that they take.
fn all(rows: &RecordBatch) -> Vec<Aggregate> {
    let mut aggregates = vec![Aggregate { name: "rows".to_owned(), of: Of::Rows, ty: Type::Int64 }];
    for (index, field) in rows.schema().fields().iter().enumerate() {
        for (name, function) in Function::ALL {
            let column = Type::of(field);
            if let Some(ty) = function.output(&column) {
                let of = Of::Column { function, index, ty: column };
                aggregates.push(Aggregate { name: format!("{name}({})", field.name()), of, ty });
            }
        }
    }
    aggregates
}

type Row = (Option<i64>, Option<u64>, Option<f64>, Option<String>, Option<bool>);

fn any_row() -> impl Strategy<Value = Row> {
    use prop::option::of;
    // Sums of whole floats do not depend on their order.
    let float = prop_oneof![9 => (-50_i32..50).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(-0.0)];
    (of(-50_i64..50), of(0_u64..50), of(float), of("[ab]{0,2}"), of(prop::bool::ANY))
}

/// The rows as a batch, with a list and a time besides.
fn batch(rows: &[Row]) -> RecordBatch {
    let ints = || rows.iter().map(|row| row.0);
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(ints().map(|n| n.map(|n| vec![Some(n); 2])));
    RecordBatch::try_from_iter_with_nullable([
        ("i", Arc::new(ints().collect::<Int64Array>()) as ArrayRef, true),
        ("u", Arc::new(rows.iter().map(|row| row.1).collect::<UInt64Array>()), true),
        ("f", Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()), true),
        ("t", Arc::new(rows.iter().map(|row| row.3.as_deref()).collect::<StringArray>()), true),
        ("b", Arc::new(rows.iter().map(|row| row.4).collect::<BooleanArray>()), true),
        ("at", Arc::new(ints().collect::<TimestampMicrosecondArray>().with_timezone("UTC")), true),
        ("l", Arc::new(lists), true),
    ])
    .unwrap()
}

type SumAndMean<V> = fn(&[V]) -> (String, String);

/// What rows come to, one value after the other, worked out from all of them.
fn model(rows: &[Row]) -> Vec<String> {
    fn column<V: Clone + ToString>(
        values: Vec<V>,
        sum: Option<SumAndMean<V>>,
        order: Option<fn(&V, &V) -> std::cmp::Ordering>,
        is_nan: fn(&V) -> bool,
        found: &mut Vec<String>,
    ) {
        let null = || "null".to_owned();
        let show = |value: Option<&V>| value.map_or_else(null, V::to_string);
        found.push(values.len().to_string());
        let sums = sum.map(|sum| if values.is_empty() { (null(), null()) } else { sum(&values) });
        found.extend(sums.iter().map(|(sum, _)| sum.clone()));
        if let Some(order) = order {
            let ordered = || values.iter().filter(|value| !is_nan(value));
            found.push(show(ordered().min_by(|a, b| order(a, b))));
            found.push(show(ordered().max_by(|a, b| order(a, b))));
        }
        found.extend(sums.iter().map(|(_, mean)| mean.clone()));
        found.extend([show(values.first()), show(values.last())]);
    }
    fn float(value: f64) -> String {
        format!("{value:?}")
    }
    #[derive(Clone)]
    struct Float(f64);
    impl std::fmt::Display for Float {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&float(self.0))
        }
    }
    let found = &mut vec![rows.len().to_string()];
    let ints: Vec<i64> = rows.iter().filter_map(|row| row.0).collect();
    fn mean(sum: f64, count: usize) -> String {
        float(sum / count as f64)
    }
    column(
        ints.clone(),
        Some(|all| {
            let sum: i64 = all.iter().sum();
            (sum.to_string(), mean(sum as f64, all.len()))
        }),
        Some(i64::cmp),
        |_| false,
        found,
    );
    column(
        rows.iter().filter_map(|row| row.1).collect(),
        Some(|all| {
            let sum: u64 = all.iter().sum();
            (sum.to_string(), mean(sum as f64, all.len()))
        }),
        Some(u64::cmp),
        |_| false,
        found,
    );
    column(
        rows.iter().filter_map(|row| row.2).map(Float).collect(),
        Some(|all| {
            let sum = all.iter().fold(0.0, |sum, value| sum + value.0);
            (float(sum), mean(sum, all.len()))
        }),
        Some(|a, b| a.0.total_cmp(&b.0)),
        |value| value.0.is_nan(),
        found,
    );
    column(rows.iter().filter_map(|row| row.3.clone()).collect(), None, Some(String::cmp), |_| false, found);
    column(rows.iter().filter_map(|row| row.4).collect(), None, Some(bool::cmp), |_| false, found);
    let time = |value: Option<&i64>| {
        let time = value.map(|&micros| chrono::DateTime::from_timestamp_micros(micros).unwrap());
        time.map_or_else(|| "null".to_owned(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    };
    found.push(ints.len().to_string());
    found.extend([ints.iter().min(), ints.iter().max(), ints.first(), ints.last()].map(time));
    let lists = ints.iter().map(|n| format!("[{n}, {n}]")).collect();
    column::<String>(lists, None, None, |_| false, found);
    std::mem::take(found)
}

/// The cells of each row.
fn values(rows: RecordBatch) -> Vec<Vec<String>> {
    show(&Batch::new(rows))
        .into_iter()
        .map(|row| {
            let mut cells: Vec<String> = Vec::new();
            // A list has the separator in it.
            for part in row.split(", ") {
                match part.split_once('=') {
                    Some((_, value)) => cells.push(value.to_owned()),
                    None => *cells.last_mut().unwrap() += &format!(", {part}"),
                }
            }
            cells
        })
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// Rows, and which of them goes into which group.
    Update(Vec<Row>, Option<Vec<(u32, prop::sample::Index)>>),
    Merge(u32, u32),
    Release(u32),
    /// The states go through their encoding.
    Restore,
}

const GROUPS: u32 = 5;

fn any_step() -> impl Strategy<Value = Step> {
    let rows = prop::collection::vec(any_row(), 1..20);
    let entries = prop::option::of(prop::collection::vec((0..GROUPS, any::<prop::sample::Index>()), 0..30));
    prop_oneof![
        6 => (rows, entries).prop_map(|(rows, entries)| Step::Update(rows, entries)),
        2 => (0..GROUPS, 1..GROUPS).prop_map(|(into, by)| Step::Merge(into, (into + by) % GROUPS)),
        1 => (0..GROUPS).prop_map(Step::Release),
        1 => Just(Step::Restore),
    ]
}

proptest! {
    #[test]
    fn aggregates_are_those_of_all_rows(steps in prop::collection::vec(any_step(), 1..20)) {
        let aggregates = all(&batch(&[]));
        let mut fold = Aggregates::new(&aggregates).unwrap();
        let mut kept: Vec<Vec<Row>> = vec![Vec::new(); GROUPS as usize];
        for step in steps {
            match step {
                Step::Update(rows, entries) => {
                    let entries: Option<Vec<(u32, u32)>> = entries.map(|entries| {
                        entries.iter().map(|(group, row)| (*group, row.index(rows.len()) as u32)).collect()
                    });
                    let index: Option<Vec<u32>> = entries.as_ref().map(|all| all.iter().map(|(_, row)| *row).collect());
                    let groups: Vec<u32> = match &entries {
                        Some(entries) => entries.iter().map(|(group, _)| *group).collect(),
                        None => (0..rows.len() as u32).map(|row| row % GROUPS).collect(),
                    };
                    prop_assert!(fold.update(&groups, index.as_deref(), &batch(&rows)).unwrap().is_empty());
                    for (entry, &group) in groups.iter().enumerate() {
                        let row = index.as_ref().map_or(entry, |index| index[entry] as usize);
                        kept[group as usize].push(rows[row].clone());
                    }
                }
                Step::Merge(into, from) => {
                    fold.merge(&[into], &[from]).unwrap();
                    let more = std::mem::take(&mut kept[from as usize]);
                    kept[into as usize].extend(more);
                }
                Step::Release(group) => {
                    fold.release(&[group]).unwrap();
                    kept[group as usize].clear();
                }
                Step::Restore => {
                    let groups: Vec<u32> = (0..GROUPS).collect();
                    let states = fold.snapshot(&groups).unwrap();
                    fold = Aggregates::new(&aggregates).unwrap();
                    fold.restore(&groups, &states).unwrap();
                }
            }
        }
        let finished = fold.finish(&(0..GROUPS).collect::<Vec<_>>()).unwrap();
        prop_assert!(finished.errors.is_empty());
        prop_assert_eq!(values(finished.rows), kept.iter().map(|rows| model(rows)).collect::<Vec<_>>());
    }

    #[test]
    fn running_aggregates_are_those_after_each_row(rows in prop::collection::vec((0..3_u32, any_row()), 1..30)) {
        let aggregates = all(&batch(&[]));
        let (mut running, mut fold) = (Aggregates::new(&aggregates).unwrap(), Aggregates::new(&aggregates).unwrap());
        let (groups, rows): (Vec<u32>, Vec<Row>) = rows.into_iter().unzip();
        let all = batch(&rows);
        let (first, second) = (rows.len() / 2, rows.len() - rows.len() / 2);
        let mut found = values(running.running(&groups[..first], &all.slice(0, first)).unwrap().rows);
        found.extend(values(running.running(&groups[first..], &all.slice(first, second)).unwrap().rows));
        for (row, &group) in groups.iter().enumerate() {
            fold.update(&[group], Some(&[row as u32]), &all).unwrap();
            prop_assert_eq!(&found[row], &values(fold.finish(&[group]).unwrap().rows)[0]);
        }
    }

    #[test]
    fn saved_states_of_parts_come_to_the_whole(rows in prop::collection::vec((0..4_u32, any_row()), 1..60)) {
        let aggregates = all(&batch(&[]));
        let (mut whole, mut total) = (Aggregates::new(&aggregates).unwrap(), Aggregates::new(&aggregates).unwrap());
        for part in rows.chunks(7) {
            let (groups, rows): (Vec<u32>, Vec<Row>) = part.iter().cloned().unzip();
            whole.update(&groups, None, &batch(&rows)).unwrap();
            let mut local = Aggregates::new(&aggregates).unwrap();
            local.update(&groups, None, &batch(&rows)).unwrap();
            let mut groups = groups;
            groups.sort_unstable();
            groups.dedup();
            total.add(&groups, &local.save(&groups).unwrap()).unwrap();
        }
        prop_assert_eq!(values(total.finish(&[3, 0, 1, 2]).unwrap().rows), values(whole.finish(&[3, 0, 1, 2]).unwrap().rows));
    }
}

#[test]
fn a_sum_that_does_not_fit_fails_when_it_is_given_and_not_before() {
    let rows = table("n: int64, u: uint64", &["9223372036854775807,1", "1,18446744073709551615", "-2,", ",0", "5,5"]);
    let mut sums = Aggregates::new(&all(&rows)).unwrap();
    let running = sums.running(&[0, 0, 0, 0, 1], &rows).unwrap();
    let errors: Vec<(u32, &str)> = running.errors.iter().map(|error| (error.row, &*error.message)).collect();
    let of_u = "\"sum(u)\": the sum 18446744073709551616 is no uint64";
    let of_n = "\"sum(n)\": the sum 9223372036854775808 is no int64";
    assert_eq!(errors, [(1, of_n), (2, of_u), (3, of_u)]);
    assert_eq!(running.rows.num_rows(), 2);
    let finished = sums.finish(&[1, 0]).unwrap();
    assert_eq!((finished.rows.num_rows(), finished.errors[0].row, &*finished.errors[0].message), (1, 1, of_u));
    assert!(values(finished.rows)[0].contains(&"5".to_owned()));
}

#[test]
fn a_state_that_is_cut_off_or_too_long_is_refused() {
    let rows = table("n: int64", &["7"]);
    let mut counts = Aggregates::new(&all(&rows)).unwrap();
    counts.update(&[0], None, &rows).unwrap();
    let state = counts.snapshot(&[0]).unwrap().value(0).to_vec();
    let one = |state: &[u8]| BinaryArray::from_iter_values([state]);
    assert!(counts.restore(&[0], &one(&state[..state.len() - 1])).is_err());
    assert!(counts.restore(&[0], &one(&[&state[..], &[0]].concat())).is_err());
    assert!(counts.restore(&[0], &one(&state)).is_ok());
}

#[test]
fn what_has_no_order_or_is_no_number_has_fewer_aggregates() {
    for (ty, wanted) in [
        ("int32", "count sum min max mean first last"),
        ("bool", "count min max first last"),
        ("date", "count min max first last"),
        ("string", "count min max first last"),
        ("json", "count first last"),
        ("list<string>", "count first last"),
        ("struct<a: int64, b: list<date>>", "count first last"),
    ] {
        let ty: Type = ty.parse().unwrap();
        let there = Function::ALL.iter().filter(|(_, function)| function.output(&ty).is_some());
        assert_eq!(there.map(|(name, _)| *name).collect::<Vec<_>>().join(" "), wanted, "{ty}");
    }
}
