//! What flow a seed decides on, and what it should give.

use super::dull::{self, DropDull};
use super::random::Chance;
use super::sink::show;
use super::source::{Partition, Simulated};
use super::steps::{Rows, STEPS, Steps, functions};
use super::sum::Sum;
use crate::catalog::Catalog;
use crate::catalog::connector::Connector;
use crate::catalog::cx::FlowCx;
use crate::catalog::operator::Operator;
use crate::data::batch::Batch;
use crate::operators::OPERATORS;
use crate::operators::testing::table;
use crate::plan::{self, Plan};
use crate::spec;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

static ALL: LazyLock<Vec<&'static dyn Operator>> =
    LazyLock::new(|| OPERATORS.iter().copied().chain([&Sum as _, &DropDull as _]).collect());

/// Rows, and steps for them.
#[derive(Clone)]
pub struct Shape {
    /// The partitions of each source. Each key of a source is in one of them, so that its rows have an order.
    pub sources: BTreeMap<&'static str, Arc<Vec<Partition>>>,
    /// How often the input comes to an end.
    pub rounds: usize,
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
        let rounds = 1 + usize::from(chance.once_in(3));
        let is_dull_later = chance.once_in(3);
        let mut partition = |part: u64| {
            let mut at = 0;
            let count = chance.between(0, most);
            let first = if rounds > 1 { chance.between(0, count) } else { count };
            let rows: Vec<String> = (0..count)
                .map(|row| {
                    at += chance.below(20);
                    let second = at + 60 - chance.below(40);
                    let time = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
                    let (key, n) = (chance.below(keys), chance.between(1, 100));
                    let is_dull = if row < first { n > 95 } else { is_dull_later };
                    let n = if is_dull { 0 } else { n };
                    format!("p{part}k{key},{},{n},2024-01-01T{time}Z", part * 1_000 + row)
                })
                .collect();
            let rows = table(
                "key: string, id: int64, n: int64, t: timestamp",
                &rows.iter().map(String::as_str).collect::<Vec<_>>(),
            );
            Partition { rows, first: usize::try_from(first).unwrap() }
        };
        let mut source = |count: u64| Arc::new((0..count).map(&mut partition).collect::<Vec<_>>());
        let sources = BTreeMap::from([("in", source(1 + most % 4)), ("other", source(1 + keys % 2))]);
        let step = (!chance.once_in(2)).then(|| chance.index(STEPS.len()));
        Shape { sources, rounds, has_raw: chance.once_in(3), step }
    }

    /// The steps, unless what comes out is the running sums.
    fn steps(&self) -> Option<&'static Steps> {
        self.step.map(|step| &STEPS[step])
    }

    /// Whether what comes out is the running sums.
    pub fn has_sums(&self) -> bool {
        self.step.is_none()
    }

    /// Whether rows of the other source are of any use.
    fn has_other(&self) -> bool {
        self.steps().is_none_or(|steps| steps.text.contains("other_key"))
    }

    /// What is true of the rows of a sink and key.
    pub fn rows_of(&self, sink_and_key: &str) -> Rows {
        match self.steps() {
            Some(steps) if sink_and_key.starts_with("out:") => steps.rows,
            Some(_) if !sink_and_key.starts_with("raw:") => Rows::InAnyOrder,
            _ => Rows::InOrder,
        }
    }

    /// The sinks.
    fn sinks(&self) -> impl Iterator<Item = &'static str> {
        let other = self.has_sums().then_some("other_out");
        let ports = self.steps().map_or(&[][..], |steps| steps.ports);
        ["out"].into_iter().chain(other).chain(self.has_raw.then_some("raw")).chain(ports.iter().copied())
    }

    /// The keys of all rows.
    pub fn keys(&self) -> BTreeSet<String> {
        let parts = self.sources.values().flat_map(|source| source.iter());
        let of_part = |part: &Partition| -> Vec<String> {
            part.rows.column(0).as_string::<i32>().iter().map(|key| key.unwrap().to_owned()).collect()
        };
        parts.flat_map(of_part).collect()
    }

    /// The ids of a key's rows of a source until a round, in their order, without those that are dropped.
    pub fn ids(&self, source: &str, key: &str, round: usize) -> Vec<i64> {
        let of_part = |part: &Partition| -> Vec<i64> {
            let rows = part.until(round);
            let (keys, ids) = (rows.column(0).as_string::<i32>(), rows.column(1).as_primitive::<Int64Type>());
            let is_wanted = |row: &usize| keys.value(*row) == key;
            let kept = dull::kept(&rows).into_iter().map(|row| row as usize).filter(is_wanted);
            kept.map(|row| ids.value(row)).collect()
        };
        self.sources[source].iter().flat_map(of_part).collect()
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
        let key = "op = \"key_on\"\nkey = \"key\"";
        let drop = |name: &str| step(name, "op = \"drop_dull\"");
        let mut text = "flow = \"test\"\n".to_owned();
        if self.has_other() {
            text += &(source("other") + &drop("other_drop") + &step("other_key", key));
        }
        if self.has_sums() {
            text += &step("other_step", "op = \"sum\"");
        }
        text += &(source("in") + &drop("drop") + &step("key", key));
        match self.steps() {
            Some(steps) => text += &format!("[[step]]\n{}\n", steps.text.trim()),
            None => text += &step("step", "op = \"sum\""),
        }
        for sink in self.sinks() {
            let from = match sink {
                "out" => "step".to_owned(),
                "other_out" => "other_step".to_owned(),
                "raw" => "in".to_owned(),
                port => format!("step.{port}"),
            };
            text += &step(sink, &format!("op = \"output\"\nfrom = \"{from}\"\nsink = {{ simulated = \"{sink}\" }}"));
        }
        let (spec, problems) = spec::parse(&text, &|_| None);
        let spec = spec.unwrap_or_else(|| panic!("{problems}"));
        let simulated: &'static dyn Connector = Box::leak(Box::new(simulated));
        let connectors: &'static [&'static dyn Connector] = Box::leak(Box::new([simulated]));
        let catalog = Catalog { operators: &ALL, connectors };
        let functions = functions();
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

    /// The sums, and rows as they are, that readers see at the end of each round, by their sinks and keys, in their order.
    pub fn expected_sums(&self) -> Vec<BTreeMap<String, Vec<String>>> {
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        let mut at_ends = Vec::new();
        for round in 0..self.rounds {
            for (source, _, sink) in self.sums() {
                let brought: Vec<RecordBatch> = self.sources[source].iter().map(|part| part.of(round)).collect();
                for rows in &brought {
                    let numbers = |column: usize| rows.column(column).as_primitive::<Int64Type>();
                    for row in dull::kept(rows).into_iter().map(|row| row as usize) {
                        let (id, n) = (numbers(1).value(row), numbers(2).value(row));
                        let key = format!("{sink}{}", rows.column(0).as_string::<i32>().value(row));
                        let sum = sums.entry(key.clone()).or_default();
                        *sum = (sum.0 + 1, sum.1 + n);
                        expected.entry(key.clone()).or_default().push(format!("{key},{id},{},{}", sum.0, sum.1));
                    }
                }
                // An end that nothing came before, not even what is dropped, is no new one.
                if round == 0 || brought.iter().any(|rows| rows.num_rows() > 0) {
                    for (key, (count, sum)) in sums.iter().filter(|(key, _)| key.starts_with(sink)) {
                        expected.entry(key.clone()).or_default().push(format!("{key},-1,{count},{sum}"));
                    }
                }
            }
            for part in self.has_raw.then(|| &*self.sources["in"]).into_iter().flatten() {
                for row in show(&Batch::new(part.of(round))) {
                    let row = format!("raw:{row}");
                    expected.entry(Self::key_of(&row)).or_default().push(row);
                }
            }
            at_ends.push(expected.clone());
        }
        at_ends
    }

    /// How many rows a source has given that is at these positions, and how many of them are not dropped.
    pub fn rows_before(&self, source: &str, positions: &[(usize, usize)]) -> (i64, i64) {
        let before = |&(part, rows): &(usize, usize)| self.sources[source][part].rows.slice(0, rows);
        let kept: usize = positions.iter().map(|position| dull::kept(&before(position)).len()).sum();
        let all: usize = positions.iter().map(|(_, rows)| rows).sum();
        (i64::try_from(all).unwrap(), i64::try_from(kept).unwrap())
    }
}
