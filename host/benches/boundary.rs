//! What it costs that user code is a component: a map over four columns and a fold over groups, each as a plugin with
//! and without limits, and as native code that does the same. Compare within one run.
//!
//! `cargo bench -p wxhost --bench boundary`

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, Int64Builder, RecordBatch, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, SchemaRef};
use bench_plugin::{Visit, fingerprint_kernel, visit_kernel};
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
        migration: None,
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

/// Runs the plugin's kernel natively, row by row, from Arrow columns into Arrow builders that have room enough.
fn native_map(rows: &RecordBatch, kernel: impl Fn(Visit<'_>) -> Visit<'_>) -> RecordBatch {
    let (users, pages) = (rows.column(0).as_string::<i32>(), rows.column(1).as_string::<i32>());
    let numbers = |column: usize| rows.column(column).as_primitive::<Int64Type>().values();
    let (times, values) = (numbers(2), numbers(3));
    let text = |like: &StringArray| StringBuilder::with_capacity(like.len(), like.values().len());
    let (mut user, mut page) = (text(users), text(pages));
    let number = || Int64Builder::with_capacity(rows.num_rows());
    let (mut ts, mut value) = (number(), number());
    for row in 0..rows.num_rows() {
        let visit = Visit { user: users.value(row), page: pages.value(row), ts: times[row], value: values[row] };
        let visit = kernel(visit);
        user.append_value(visit.user);
        page.append_value(visit.page);
        ts.append_value(visit.ts);
        value.append_value(visit.value);
    }
    let arrays: Vec<ArrayRef> =
        vec![Arc::new(user.finish()), Arc::new(page.finish()), Arc::new(ts.finish()), Arc::new(value.finish())];
    RecordBatch::try_new(rows.schema(), arrays).expect("the arrays are of the schema")
}

fn map(criterion: &mut Criterion) {
    // A kernel that does next to nothing shows the boundary; one with some work, what users pay.
    map_with(criterion, "map of 4 columns", "bench.boundary", visit_kernel);
    map_with(criterion, "map of 4 columns with a hash of the texts", "bench.fingerprint", fingerprint_kernel);
}

fn map_with(criterion: &mut Criterion, name: &str, function: &str, kernel: fn(Visit<'_>) -> Visit<'_>) {
    let (library, rows) = (library(), rows());
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(ROWS as u64));
    // Each kernel by its own name and not by a pointer, so that it is inlined as a hand-written loop would have it.
    group.bench_function("native", |bencher| match function {
        "bench.boundary" => bencher.iter(|| native_map(black_box(&rows), visit_kernel)),
        _ => bencher.iter(|| native_map(black_box(&rows), fingerprint_kernel)),
    });
    for (name, limits) in limits() {
        let open = library.open_transform(function, &rows.schema(), "", &limits);
        let open = open.unwrap_or_else(|error| panic!("{}", error.message));
        let mut instance = open.factory.instantiate(&cx()).expect("the function opens again");
        let returned = instance.apply(&rows).expect("the function returns").rows.expect("a map returns rows");
        assert_eq!(returned.columns(), native_map(&rows, kernel).columns(), "native and plugin do the same");
        group.bench_function(name, |bencher| bencher.iter(|| instance.apply(black_box(&rows))));
    }
    group.finish();
}

/// A million rows in batches: group numbers and values, as integers or as floating point numbers.
fn stream(column: &Type) -> Vec<(Vec<u32>, RecordBatch)> {
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    let schema = schema_of(&[("value".to_owned(), column.clone())]);
    (0..1_000_000_usize.div_ceil(ROWS))
        .map(|_| {
            let groups = (0..ROWS).map(|_| (random() % u64::from(GROUPS)) as u32).collect();
            let values = Int64Array::from_iter_values((0..ROWS).map(|_| (random() % 1000) as i64));
            let values = cast(&values, &column.data_type()).expect("integers are numbers");
            (groups, RecordBatch::try_new(schema.clone(), vec![values]).expect("it is of the schema"))
        })
        .collect()
}

/// Folds a stream natively. Groups appear as they do in a stream, so the slab grows as it does in a plugin.
fn native_fold<T: ArrowPrimitiveType, S: Copy>(
    stream: &[(Vec<u32>, RecordBatch)],
    new: S,
    fold: impl Fn(&mut S, T::Native),
) -> Vec<S> {
    let mut slab: Vec<S> = Vec::new();
    for (groups, rows) in stream {
        for (&group, &value) in groups.iter().zip(rows.column(0).as_primitive::<T>().values()) {
            if group as usize >= slab.len() {
                slab.resize(group as usize + 1, new);
            }
            fold(&mut slab[group as usize], value);
        }
    }
    slab
}

fn fold(criterion: &mut Criterion) {
    let integers = stream(&Type::Int64);
    fold_with(criterion, "fold of 10k groups: count and sum", "bench.CountSum", &integers, |stream| {
        drop(black_box(native_fold::<Int64Type, (u64, i64)>(stream, (0, 0), |(count, sum), value| {
            *count += 1;
            *sum = sum.wrapping_add(value);
        })));
    });
    // What the windows of the side-by-side benchmarks fold.
    let floats = stream(&Type::Float64);
    let none = (0_u64, 0.0_f64, f64::NEG_INFINITY);
    fold_with(criterion, "fold of 10k groups: count, sum and max of floats", "bench.CountSumMax", &floats, |stream| {
        drop(black_box(native_fold::<Float64Type, _>(stream, none, |(count, sum, max), value| {
            *count += 1;
            *sum += value;
            *max = max.max(value);
        })));
    });
}

fn fold_with(
    criterion: &mut Criterion,
    name: &str,
    function: &str,
    stream: &[(Vec<u32>, RecordBatch)],
    native: impl Fn(&[(Vec<u32>, RecordBatch)]),
) {
    let (library, schema) = (library(), stream[0].1.schema());
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements((stream.len() * ROWS) as u64));
    group.bench_function("native", |bencher| bencher.iter(|| native(black_box(stream))));
    for (name, limits) in limits() {
        let open = library.open_fold(function, &schema, "", &limits);
        let open = open.unwrap_or_else(|error| panic!("{}", error.message));
        let mut instance = open.factory.instantiate(&cx()).expect("the function opens again");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for (groups, rows) in black_box(stream) {
                    instance.update(groups, None, rows).expect("the fold takes the rows");
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, map, fold);
criterion_main!(benches);
