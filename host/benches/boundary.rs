//! What it costs that user code is a component: a map over four columns and a fold over groups, each as a plugin with
//! and without limits, and as native code that does the same. Compare within one run.
//!
//! `cargo bench -p wxhost --bench boundary`

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{Int64Type, SchemaRef};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use wxhost::catalog::function::{FunctionLibrary, StepLimits};
use wxhost::data::ids::WorkerIndex;
use wxhost::data::schema::{Type, schema_of};
use wxhost::dataflow::env::real;
use wxhost::dataflow::user_fn::InstanceCx;
use wxhost::plugin::library::{Library, PluginFile};
use wxhost::plugin::project;
use wxhost::plugin::wasi::Allow;

/// That of the program; glibc's returns large buffers to the system after every batch.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 8192;
const GROUPS: u32 = 10_000;

fn library() -> Library {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bench/plugin");
    let path = project::resolve(&project).unwrap_or_else(|error| panic!("{}", error.message));
    let limits = StepLimits::default();
    let plugin = PluginFile { name: "bench".to_owned(), path, allow: Allow::default(), limits };
    Library::new(vec![plugin], real::env(), None).unwrap_or_else(|error| panic!("{}", error.message))
}

/// Limits off, and on.
fn limits() -> [(&'static str, StepLimits); 2] {
    let off = StepLimits { memory: None, time_per_batch: None };
    [("plugin, no limits", off), ("plugin, limits", StepLimits::default())]
}

fn cx() -> InstanceCx {
    InstanceCx {
        step: "bench".into(),
        worker: WorkerIndex(0),
        run_id: "bench".into(),
        env: real::env(),
        meter: Arc::default(),
    }
}

fn columns() -> SchemaRef {
    let columns = [("user", Type::String), ("page", Type::String), ("ts", Type::Int64), ("value", Type::Int64)];
    schema_of(&columns.map(|(name, column)| (name.to_owned(), column)))
}

fn rows() -> RecordBatch {
    let users = StringArray::from_iter_values((0..ROWS).map(|row| format!("user-{}", row * 7919 % 1000)));
    let pages = StringArray::from_iter_values((0..ROWS).map(|row| format!("/page/{}/", row * 104_729 % 500)));
    let times = Int64Array::from_iter_values((0..ROWS as i64).map(|row| 1_700_000_000_000_000 + row * 1000));
    let values = Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * 31 % 1009));
    let arrays: Vec<ArrayRef> = vec![Arc::new(users), Arc::new(pages), Arc::new(times), Arc::new(values)];
    RecordBatch::try_new(columns(), arrays).expect("the arrays are of the schema")
}

/// Does natively what the plugin's `boundary` does: cuts the texts, and calculates with the numbers.
fn native_map(rows: &RecordBatch) -> RecordBatch {
    let texts = |column: usize, cut: fn(&str) -> &str| -> ArrayRef {
        let texts = rows.column(column).as_string::<i32>();
        let mut offsets = Vec::with_capacity(texts.len() + 1);
        let mut data = Vec::with_capacity(texts.values().len());
        offsets.push(0);
        for row in 0..texts.len() {
            data.extend_from_slice(cut(texts.value(row)).as_bytes());
            offsets.push(data.len() as i32);
        }
        // Checks the text again, which safe code cannot go without.
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Arc::new(StringArray::try_new(offsets, Buffer::from_vec(data), None).expect("the texts are UTF-8"))
    };
    let numbers = |column: usize| rows.column(column).as_primitive::<Int64Type>().values();
    let times = numbers(2).iter().map(|time| time / 1000);
    let values = numbers(3).iter().zip(numbers(2)).map(|(value, time)| value.wrapping_mul(31).wrapping_add(*time));
    let arrays: Vec<ArrayRef> = vec![
        texts(0, |user| user.strip_prefix("user-").unwrap_or(user)),
        texts(1, |page| page.trim_end_matches('/')),
        Arc::new(Int64Array::from_iter_values(times)),
        Arc::new(Int64Array::from_iter_values(values)),
    ];
    RecordBatch::try_new(rows.schema(), arrays).expect("the arrays are of the schema")
}

fn map(criterion: &mut Criterion) {
    let (library, rows) = (library(), rows());
    let mut group = criterion.benchmark_group("map of 4 columns");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("native", |bencher| bencher.iter(|| native_map(black_box(&rows))));
    for (name, limits) in limits() {
        let open = library.open_transform("bench.boundary", &rows.schema(), "", &limits);
        let open = open.unwrap_or_else(|error| panic!("{}", error.message));
        let mut instance = open.factory.instantiate(&cx()).expect("the function opens again");
        let returned = instance.apply(&rows).expect("the function returns").rows.expect("a map returns rows");
        assert_eq!(returned.columns(), native_map(&rows).columns(), "native and plugin do the same");
        group.bench_function(name, |bencher| bencher.iter(|| instance.apply(black_box(&rows))));
    }
    group.finish();
}

fn fold(criterion: &mut Criterion) {
    let (library, rows) = (library(), rows());
    let rows = rows.project(&[3]).expect("the column is there");
    let groups: Vec<u32> = (0..ROWS as u32).map(|row| row.wrapping_mul(2_654_435_761) % GROUPS).collect();
    let mut group = criterion.benchmark_group("fold of 10k groups");
    group.throughput(Throughput::Elements(ROWS as u64));
    let mut slab = vec![(0_u64, 0_i64); GROUPS as usize];
    group.bench_function("native", |bencher| {
        bencher.iter(|| {
            let values = rows.column(0).as_primitive::<Int64Type>().values();
            for (&group, &value) in black_box(&groups).iter().zip(values) {
                let (count, sum) = &mut slab[group as usize];
                *count += 1;
                *sum = sum.wrapping_add(value);
            }
        });
    });
    for (name, limits) in limits() {
        let open = library.open_fold("bench.CountSum", &rows.schema(), "", &limits);
        let open = open.unwrap_or_else(|error| panic!("{}", error.message));
        let mut instance = open.factory.instantiate(&cx()).expect("the function opens again");
        group.bench_function(name, |bencher| bencher.iter(|| instance.update(black_box(&groups), None, &rows)));
    }
    group.finish();
}

criterion_group!(benches, map, fold);
criterion_main!(benches);
