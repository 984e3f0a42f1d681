//! `demo`: rows out of nothing, for first steps.

use crate::catalog::connector::{CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::catalog::operator::StreamType;
use crate::data::ids::PartitionId;
use crate::data::schema::{Type, schema_of};
use crate::data::time::Instant;
use crate::dataflow::env::Clock;
use crate::dataflow::error::LogicError;
use crate::dataflow::source::{PartReader, Piece, Read, Reader, SourceParts};
use crate::dataflow::user_fn::InstanceCx;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{DurationText, Spanned};
use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Rows of a batch at most.
const BATCH: usize = 8192;

/// The connector `demo`.
pub(super) struct Demo;

#[derive(serde::Deserialize)]
struct Args {
    #[serde(rename = "demo")]
    _demo: Kind,
    #[serde(default = "default_metric")]
    metric: String,
    interval: Option<DurationText>,
    count: Option<u64>,
    seed: Option<u64>,
    min: Option<i64>,
    max: Option<Spanned<i64>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    RandomMetric,
}

fn default_metric() -> String {
    "random_metric".to_owned()
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema_of(&[
        ("metric".to_owned(), Type::String),
        ("value".to_owned(), Type::Int64),
        ("time".to_owned(), Type::Timestamp),
    ])
});

impl Connector for Demo {
    fn name(&self) -> &'static str {
        "demo"
    }

    fn doc(&self) -> &'static str {
        "Makes rows of a random metric at a steady pace.

Rows are `metric: string, value: int64, time: timestamp`; `time` is when the row was due. A row that is late does not make
later ones late.

Arguments:

- `demo`: `\"random_metric\"`.
- `metric` (default `\"random_metric\"`): the name of the metric.
- `interval` (default `\"700ms\"`): the time between two rows; `\"0s\"` is as fast as it goes.
- `count`: how many rows. Default: without end.
- `seed` (default 0): other seeds make other values, the same seed the same.
- `min`, `max` (default 0 and 9): the smallest and the largest value.

```toml
[[step]]
name = \"cpu\"
op = \"input\"
source = { demo = \"random_metric\", metric = \"cpu\", interval = \"100ms\", count = 10, max = 100 }
```
"
    }

    fn is_source(&self) -> bool {
        true
    }

    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        let args: Args = cx.args()?;
        let (min, max) = (args.min.unwrap_or(0), args.max.as_ref().map_or(9, |max| max.value));
        if max < min {
            let span = args.max.map_or(cx.span.clone(), |max| max.span);
            let message = format!("{}: \"max\" is {max}, less than \"min\", which is {min}", cx.what());
            return Err(Diagnostic::new("wrong-value", message).at(span).into());
        }
        let metric = Metric {
            name: args.metric.into(),
            interval: args.interval.map_or(Duration::from_millis(700), |interval| interval.0),
            count: args.count,
            seed: args.seed.unwrap_or(0),
            min,
            max,
        };
        let parts = Box::new(DemoSource { metric });
        Ok(CheckedSource { down: StreamType::unkeyed(SCHEMA.clone()), parts, notes: Vec::new() })
    }
}

#[derive(Clone)]
struct Metric {
    name: Arc<str>,
    interval: Duration,
    count: Option<u64>,
    seed: u64,
    min: i64,
    max: i64,
}

impl Metric {
    /// The value of a row, which is the same whenever it is made.
    fn value(&self, row: u64) -> i64 {
        let values = self.max.abs_diff(self.min);
        let random = mix(mix(self.seed) ^ row);
        let above = if values == u64::MAX { random } else { random % (values + 1) };
        self.min.wrapping_add_unsigned(above)
    }
}

/// Spreads a number over all numbers (the finaliser of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

struct DemoSource {
    metric: Metric,
}

impl SourceParts for DemoSource {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        Ok(vec![PartitionId(self.metric.name.clone())])
    }

    fn open(&self, cx: &InstanceCx, _part: &PartitionId, position: Option<&[u8]>) -> Result<PartReader, LogicError> {
        let (due, made) = match position.map(<[u8; 16]>::try_from) {
            None => (cx.env.clock.now(), 0),
            Some(Ok(bytes)) => {
                let both = u128::from_le_bytes(bytes);
                (Instant((both >> 64) as i64), both as u64)
            }
            Some(Err(_)) => return Err(LogicError::internal("the stored position is not that of a metric")),
        };
        let reader = MetricReader { metric: self.metric.clone(), clock: cx.env.clock.clone(), due, made };
        Ok(PartReader { reader: Box::new(reader), decoder: None, length: None })
    }
}

struct MetricReader {
    metric: Metric,
    clock: Arc<dyn Clock>,
    /// When the next row is due.
    due: Instant,
    made: u64,
}

impl Reader for MetricReader {
    fn read(&mut self) -> Result<Read, LogicError> {
        let now = self.clock.now();
        let mut values = Vec::new();
        let mut times = Vec::new();
        let left = self.metric.count.map_or(u64::MAX, |count| count.saturating_sub(self.made));
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH);
        if most == 0 {
            return Ok(Read::End);
        }
        while values.len() < most && self.due <= now {
            values.push(self.metric.value(self.made));
            times.push(self.due.0);
            self.made += 1;
            self.due = if self.metric.interval.is_zero() { now } else { self.due.after(self.metric.interval) };
        }
        if values.is_empty() {
            return Ok(Read::Idle(self.due));
        }
        let names = StringArray::from_iter_values(values.iter().map(|_| &*self.metric.name));
        let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
        let columns = vec![Arc::new(names) as _, Arc::new(Int64Array::from(values)) as _, Arc::new(times) as _];
        let rows = RecordBatch::try_new(SCHEMA.clone(), columns)?;
        let position = (u128::from(self.due.0 as u64) << 64 | u128::from(self.made)).to_le_bytes().to_vec();
        Ok(Read::Piece { data: Piece::Rows(rows), position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_between_the_bounds_and_repeat() {
        let metric =
            |seed, min, max| Metric { name: "m".into(), interval: Duration::ZERO, count: None, seed, min, max };
        let values: Vec<i64> = (0..1000).map(|row| metric(7, -2, 3).value(row)).collect();
        assert_eq!((values.iter().min(), values.iter().max()), (Some(&-2), Some(&3)));
        assert_eq!(values, (0..1000).map(|row| metric(7, -2, 3).value(row)).collect::<Vec<_>>());
        assert_ne!(values, (0..1000).map(|row| metric(8, -2, 3).value(row)).collect::<Vec<_>>());
        assert_eq!(metric(1, 5, 5).value(9), 5);
        metric(1, i64::MIN, i64::MAX).value(3);
    }

    #[test]
    fn rows_go_on_from_every_position() {
        let env = crate::dataflow::env::scripted::env(Instant(9_000_000));
        let metric =
            Metric { name: "m".into(), interval: Duration::from_secs(1), count: Some(10), seed: 3, min: 0, max: 999 };
        let source = DemoSource { metric };
        let (step, worker, run_id, meter) =
            ("s".into(), crate::data::ids::WorkerIndex(0), "run".into(), Arc::default());
        let cx = InstanceCx { step, worker, run_id, env, meter, migration: None };
        let read = |position: Option<&[u8]>| {
            let mut reader = source.open(&cx, &"m".into(), position).unwrap().reader;
            match reader.read().unwrap() {
                Read::Piece { data: Piece::Rows(rows), position } => Some((rows, position)),
                _ => None,
            }
        };
        let beginning = u128::from(0_u64).to_le_bytes();
        let (all, end) = read(Some(&beginning)).unwrap();
        assert_eq!((all.num_rows(), read(Some(&end)).is_none()), (10, true));
        for made in 0..10_u64 {
            let position = (u128::from(made * 1_000_000) << 64 | u128::from(made)).to_le_bytes();
            let (rest, end_of_rest) = read(Some(&position)).unwrap();
            assert_eq!((rest, &end_of_rest), (all.slice(made as usize, 10 - made as usize), &end));
        }
    }
}
