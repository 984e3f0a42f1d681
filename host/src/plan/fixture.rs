//! A plan to explain and to draw.

use super::{Plan, PlannedPort, PlannedStep, PlannedUp};
use crate::catalog::operator::StreamType;
use crate::data::schema::{Type, schema_of};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::OnError;
use crate::dataflow::error::LogicError;

struct Nothing;

impl BuildStep for Nothing {
    fn build<'s>(&self, _cx: &mut BuildCx<'s>, _ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        Ok(Vec::new())
    }
}

fn rows(columns: &[(&str, Type)]) -> StreamType {
    let columns: Vec<_> = columns.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect();
    StreamType::unkeyed(schema_of(&columns))
}

fn step(id: &str, op: &'static str, line: usize, ports: Vec<(&'static str, StreamType)>) -> PlannedStep {
    PlannedStep {
        id: id.into(),
        op,
        line,
        ups: Vec::new(),
        ports: ports.into_iter().map(|(name, ty)| PlannedPort { name, ty }).collect(),
        build: std::sync::Arc::new(Nothing),
        on_error: OnError::Fail,
        max_errors: None,
        error_port: None,
        notes: Vec::new(),
        kept: None,
        meter: Default::default(),
    }
}

fn up(name: &str, step: usize, port: usize) -> PlannedUp {
    PlannedUp { name: name.to_owned(), step, port }
}

/// Orders are parsed, joined with their users and written; what cannot be parsed is written elsewhere.
pub fn plan() -> Plan {
    let line = rows(&[("value", Type::String)]);
    let order = rows(&[("user", Type::String), ("price \"net\"", Type::Float64)]);
    let keyed = StreamType { key: Some("user".into()), ..order.clone() };
    let errors = rows(&[("row", Type::Json)]);
    let mut parse = step("parse", "parse", 8, vec![("down", order.clone()), ("errors", errors)]);
    parse.ups = vec![up("in", 0, 0)];
    (parse.on_error, parse.max_errors, parse.error_port) = (OnError::DeadLetter, Some(10), Some(1));
    parse.notes = vec!["reads value as json".to_owned()];
    let mut by_user = step("by_user", "key_on", 15, vec![("down", keyed.clone())]);
    by_user.ups = vec![up("parse", 1, 0)];
    let mut sides = step("paid", "branch", 20, vec![("trues", keyed.clone()), ("falses", keyed.clone())]);
    sides.ups = vec![up("by_user", 2, 0)];
    let mut join = step("joined", "join", 25, vec![("down", keyed)]);
    join.ups = vec![up("left", 3, 0), up("right", 3, 1), up("by_user", 2, 0)];
    let mut out = step("out", "output", 30, Vec::new());
    out.ups = vec![up("joined", 4, 0)];
    let mut bad = step("bad", "output", 35, Vec::new());
    bad.ups = vec![up("parse", 1, 1)];
    Plan {
        flow: "orders".into(),
        steps: vec![step("in", "input", 3, vec![("down", line)]), parse, by_user, sides, join, out, bad],
    }
}
