//! What flow a seed decides on, and what it should give.

use super::random::Chance;
use super::sink::show;
use super::source::Simulated;
use super::sum::Sum;
use crate::catalog::Catalog;
use crate::catalog::connector::Connector;
use crate::catalog::cx::FlowCx;
use crate::catalog::operator::Operator;
use crate::data::batch::Batch;
use crate::operators::OPERATORS;
use crate::operators::testing::{Functions, table};
use crate::plan::{self, Plan};
use crate::spec;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

static ALL: LazyLock<Vec<&'static dyn Operator>> =
    LazyLock::new(|| OPERATORS.iter().copied().chain([&Sum as _]).collect());

/// Steps that remember, between the steps `key` and `out`; and whether rows of a key come out in one order.
const STEPS: &[(&str, bool)] = &[
    ("op = \"count_final\"", true),
    ("op = \"collect\"\nmax_size = 3\ntimeout = \"1000h\"", true),
    ("op = \"max_final\"\nby = \"id\"", true),
    ("op = \"aggregate_running\"\naggregate = { total = \"sum(n)\" }", true),
    ("op = \"aggregate_final\"\naggregate = { total = \"sum(n)\", most = \"max(n)\" }", true),
    ("op = \"collect_window\"\nclock = { event = \"t\", wait = \"1m\" }\nwindow = { tumbling = \"20s\" }", false),
    (
        "op = \"count_window\"\nclock = { event = \"t\", wait = \"1m\" }\nwindow = { session = \"15s\" }\nwith = [\"open_time\"]",
        false,
    ),
    ("op = \"join\"\nfrom = { a = \"key\", b = \"other_key\" }\nemit = \"final\"", true),
];

/// Rows, and steps for them.
#[derive(Clone)]
pub struct Shape {
    /// The partitions of each source. Each key of a source is in one of them, so that its rows have an order.
    pub sources: BTreeMap<&'static str, Arc<Vec<RecordBatch>>>,
    /// Whether rows are written as they are, too.
    pub has_raw: bool,
    /// One of the steps; none: sums, of both sources.
    step: Option<usize>,
}

impl Shape {
    /// Draws one.
    pub fn draw(chance: &mut Chance) -> Shape {
        let most = chance.one_of(&[4, 25, 70]);
        let keys = chance.between(1, 5);
        let mut partition = |part: u64| {
            let mut at = 0;
            let rows: Vec<String> = (0..chance.between(0, most))
                .map(|row| {
                    at += chance.below(20);
                    let second = at + 60 - chance.below(10);
                    let time = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
                    let (key, n) = (chance.below(keys), chance.between(1, 100));
                    format!("p{part}k{key},{},{n},2024-01-01T{time}Z", part * 1_000 + row)
                })
                .collect();
            table(
                "key: string, id: int64, n: int64, t: timestamp",
                &rows.iter().map(String::as_str).collect::<Vec<_>>(),
            )
        };
        let mut source = |count: u64| Arc::new((0..count).map(&mut partition).collect::<Vec<_>>());
        let sources = BTreeMap::from([("in", source(1 + most % 4)), ("other", source(1 + keys % 2))]);
        let step = (!chance.once_in(2)).then(|| chance.index(STEPS.len()));
        Shape { sources, has_raw: chance.once_in(3), step }
    }

    /// Whether what comes out is the running sums.
    pub fn has_sums(&self) -> bool {
        self.step.is_none()
    }

    /// Whether rows of the other source are of any use.
    fn has_other(&self) -> bool {
        self.step.is_none_or(|step| STEPS[step].0.contains("other_key"))
    }

    /// Whether rows of a key have one order.
    pub fn is_in_order(&self) -> bool {
        self.step.is_none_or(|step| STEPS[step].1)
    }

    /// The sources, with the steps that sum them up and the sinks of those.
    pub fn sums(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        let all = &[("in", "step", "out:"), ("other", "other_step", "other_out:")];
        if self.has_other() { all } else { &all[..1] }
    }

    /// The checked flow.
    pub fn plan(&self, simulated: Simulated) -> Plan {
        let step = |name: &str, rest: &str| format!("[[step]]\nname = \"{name}\"\n{rest}\n");
        let source = |name: &str| step(name, &format!("op = \"input\"\nsource = {{ simulated = \"{name}\" }}"));
        let sink = |name: &str| step(name, &format!("op = \"output\"\nsink = {{ simulated = \"{name}\" }}"));
        let key = "op = \"key_on\"\nkey = \"key\"";
        let mut text = "flow = \"test\"\n".to_owned();
        if self.has_other() {
            text += &(source("other") + &step("other_key", key));
        }
        if self.has_sums() {
            text += &(step("other_step", "op = \"sum\"") + &sink("other_out"));
        }
        text += &(source("in") + &step("key", key));
        text += &step("step", self.step.map_or("op = \"sum\"", |step| STEPS[step].0));
        text += &sink("out");
        if self.has_raw {
            text += "[[step]]\nname = \"raw\"\nop = \"output\"\nfrom = \"in\"\nsink = { simulated = \"raw\" }\n";
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

    /// The sums, and rows as they are, that readers see in the end, by their sinks and keys, in their order.
    pub fn expected_sums(&self) -> BTreeMap<String, Vec<String>> {
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (source, _, sink) in self.sums() {
            let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
            for rows in &*self.sources[source] {
                let numbers = |column: usize| rows.column(column).as_primitive::<Int64Type>().values();
                for (row, (id, n)) in numbers(1).iter().zip(numbers(2)).enumerate() {
                    let key = rows.column(0).as_string::<i32>().value(row);
                    let sum = sums.entry(key.to_owned()).or_default();
                    *sum = (sum.0 + 1, sum.1 + n);
                    let row = format!("{sink}{key},{id},{},{}", sum.0, sum.1);
                    expected.entry(format!("{sink}{key}")).or_default().push(row);
                }
            }
            for (key, (count, sum)) in sums {
                let end = format!("{sink}{key},-1,{count},{sum}");
                expected.entry(format!("{sink}{key}")).or_default().push(end);
            }
        }
        for rows in self.has_raw.then(|| &*self.sources["in"]).into_iter().flatten() {
            for row in show(&Batch::new(rows.clone())) {
                let row = format!("raw:{row}");
                expected.entry(Self::key_of(&row)).or_default().push(row);
            }
        }
        expected
    }
}
