//! What flow a seed decides on, and what it should give.

use super::random::Chance;
use super::source::Simulated;
use super::sum::Sum;
use crate::catalog::Catalog;
use crate::catalog::connector::Connector;
use crate::catalog::cx::FlowCx;
use crate::catalog::operator::Operator;
use crate::operators::OPERATORS;
use crate::operators::testing::Functions;
use crate::plan::{self, Plan};
use crate::spec;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

static ALL: LazyLock<Vec<&'static dyn Operator>> =
    LazyLock::new(|| OPERATORS.iter().copied().chain([&Sum as _]).collect());

/// Rows, and steps for them.
pub struct Shape {
    /// Each key is in one of them, so that its rows have an order.
    pub partitions: Vec<RecordBatch>,
    /// Whether rows are written as they are, too.
    pub has_raw: bool,
}

impl Shape {
    /// Draws one.
    pub fn draw(chance: &mut Chance) -> Shape {
        let most = chance.one_of(&[5, 60, 250]);
        let keys = chance.from_to(1, 5);
        let mut partition = |part: u64| {
            let rows: Vec<(String, i64, i64)> = (0..chance.from_to(0, most))
                .map(|row| {
                    let key = format!("p{part}k{}", chance.below(keys));
                    (key, i64::try_from(part * 1_000 + row).unwrap(), i64::try_from(chance.below(100)).unwrap())
                })
                .collect();
            let key: StringArray = rows.iter().map(|row| Some(row.0.as_str())).collect();
            let id: Int64Array = rows.iter().map(|row| row.1).collect();
            let n: Int64Array = rows.iter().map(|row| row.2).collect();
            let columns: [(&str, ArrayRef); 3] = [("key", Arc::new(key)), ("id", Arc::new(id)), ("n", Arc::new(n))];
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
        };
        let count = 1 + most % 4;
        let partitions = (0..count).map(&mut partition).collect();
        Shape { partitions, has_raw: chance.once_in(3) }
    }

    /// The checked flow.
    pub fn plan(&self, simulated: Simulated) -> Plan {
        let mut text = r#"
flow = "test"
[[step]]
name = "in"
op = "input"
source = { simulated = "in" }
[[step]]
name = "key"
op = "key_on"
key = "key"
[[step]]
name = "sum"
op = "sum"
[[step]]
name = "out"
op = "output"
sink = { simulated = "out" }
"#
        .to_owned();
        if self.has_raw {
            text += r#"
[[step]]
name = "raw"
op = "output"
from = "in"
sink = { simulated = "raw" }
"#;
        }
        let (spec, problems) = spec::parse(&text, &|_| None);
        let spec = spec.unwrap_or_else(|| panic!("{problems}"));
        let simulated: &'static dyn Connector = Box::leak(Box::new(simulated));
        let connectors: &'static [&'static dyn Connector] = Box::leak(Box::new([simulated]));
        let catalog = Catalog { operators: &ALL, connectors };
        let functions = Functions::default();
        let flow = FlowCx { catalog, functions: &functions, plugins: &[], base: Path::new(".") };
        plan::check(&spec, &text, flow).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    /// The sink of a row, and its key.
    pub fn key_of(row: &str) -> String {
        let raw = row.strip_prefix("raw:,").and_then(|row| row.split(',').next());
        match raw {
            Some(key) => format!("raw:{key}"),
            None => row.split(',').next().unwrap().to_owned(),
        }
    }

    /// The rows that readers see in the end, by their sinks and keys, in their order.
    pub fn expected(&self) -> BTreeMap<String, Vec<String>> {
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for rows in &self.partitions {
            let (ids, numbers) =
                (rows.column(1).as_primitive::<Int64Type>(), rows.column(2).as_primitive::<Int64Type>());
            for row in 0..rows.num_rows() {
                let key = rows.column(0).as_string::<i32>().value(row);
                let (id, n) = (ids.value(row), numbers.value(row));
                let sum = sums.entry(key.to_owned()).or_default();
                *sum = (sum.0 + 1, sum.1 + n);
                expected.entry(format!("out:{key}")).or_default().push(format!("out:{key},{id},{},{}", sum.0, sum.1));
                if self.has_raw {
                    expected.entry(format!("raw:{key}")).or_default().push(format!("raw:,{key},{id},{n}"));
                }
            }
        }
        for (key, (count, sum)) in sums {
            expected.entry(format!("out:{key}")).or_default().push(format!("out:{key},-1,{count},{sum}"));
        }
        expected
    }
}
