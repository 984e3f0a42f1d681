//! How fast JSON lines become columns, next to the same lines becoming Rust structs.
//!
//! Both run in one process on the same text, so the ratio holds on a machine that is shared with others.

use std::hint::black_box;

use arrow::array::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use wxhost::data::schema::{Type, schema_of};
use wxhost::formats::json::{JsonDecoder, JsonEncoder};
use wxhost::formats::lines::LinesDecoder;
use wxhost::formats::{Decoder, Encoder};

const ROWS: usize = 4096;

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsing is what is measured")]
struct Event<'a> {
    #[serde(borrow)]
    user_id: &'a str,
    #[serde(borrow)]
    event: &'a str,
    #[serde(borrow)]
    timestamp: &'a str,
    value: f64,
    sequence: i64,
}

fn events() -> String {
    let kinds = ["purchase_completed", "page_viewed", "item_added_to_cart"];
    let line = |row: usize| {
        let (user, kind, value, second) = (row * 7919 % 10_000, kinds[row % 3], (row % 997) as f64 / 8.0, row % 60);
        format!(
            "{{\"user_id\":\"user-{user:06}\",\"event\":\"{kind}\",\"timestamp\":\"2022-01-02T03:04:{second:02}.{:06}Z\",\
             \"value\":{value:?},\"sequence\":{}}}\n",
            row * 31 % 1_000_000,
            1_000_000 + row
        )
    };
    (0..ROWS).map(line).collect()
}

fn decoder(timestamp: Type) -> JsonDecoder {
    let columns = [
        ("user_id", Type::String),
        ("event", Type::String),
        ("timestamp", timestamp),
        ("value", Type::Float64),
        ("sequence", Type::Int64),
    ];
    let columns = columns.map(|(name, column)| (name.to_owned(), column));
    JsonDecoder::columns(&schema_of(&columns)).expect("these types can be read")
}

fn decode(decoder: &mut dyn Decoder, text: &str) -> RecordBatch {
    let decoded = decoder.decode(text.as_bytes()).expect("lines can be decoded");
    assert_eq!((decoded.rows.num_rows(), decoded.errors.len()), (ROWS, 0));
    decoded.rows
}

fn formats(criterion: &mut Criterion) {
    let text = events();
    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("structs with sonic_rs", |bencher| {
        bencher.iter(|| {
            for line in text.lines() {
                black_box(sonic_rs::from_slice::<Event<'_>>(line.as_bytes()).expect("a line is an event"));
            }
        });
    });
    let mut as_text = decoder(Type::String);
    group.bench_function("columns", |bencher| bencher.iter(|| decode(&mut as_text, &text)));
    let mut as_instant = decoder(Type::Timestamp);
    group.bench_function("columns with a timestamp", |bencher| bencher.iter(|| decode(&mut as_instant, &text)));
    let mut values = JsonDecoder::values();
    group.bench_function("one json column", |bencher| bencher.iter(|| decode(&mut values, &text)));
    let mut lines = LinesDecoder::new();
    group.bench_function("lines", |bencher| bencher.iter(|| decode(&mut lines, &text)));

    let rows = decode(&mut as_instant, &text);
    let mut encoder = JsonEncoder::new(&rows.schema(), None);
    let mut out = Vec::new();
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            encoder.encode(&rows, None, &mut out).expect("rows can be written");
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, formats);
criterion_main!(benches);
