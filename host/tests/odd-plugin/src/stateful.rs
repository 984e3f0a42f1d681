//! The stateful function of the plugin.

use crate::exports::wxhost::plugin::fold;
use crate::exports::wxhost::plugin::stateful::{Emitted, Guest, Opened};
use crate::wxhost::plugin::types::{Batch, DataType, Error, RowError, Schema, Values, VarSize};
use crate::{OPEN, Plugin, SUMS, column, one_column, opened, user};

/// Emits no rows, and nothing else.
fn nothing() -> Emitted {
    let rows = Batch { rows: 0, columns: vec![column(0, Values::Int64(vec![]))], roots: vec![0] };
    Emitted { rows, groups: vec![], parents: None, discarded: vec![], errors: vec![] }
}

/// Emits a number for each of some groups.
fn numbers(groups: Vec<u32>, numbers: Vec<i64>) -> Emitted {
    let rows = groups.len() as u32;
    let rows = Batch { rows, columns: vec![column(rows, Values::Int64(numbers))], roots: vec![0] };
    Emitted { rows, groups, ..nothing() }
}

fn sum(group: u32) -> i64 {
    SUMS.with_borrow(|sums| sums.get(group as usize).copied().unwrap_or(0))
}

fn set_sum(group: u32, to: i64) {
    SUMS.with_borrow_mut(|sums| {
        let slots = sums.len().max(group as usize + 1);
        sums.resize(slots, 0);
        sums[group as usize] = to;
    });
}

/// The running sum of a group: 0 discards it, a negative number fails. The configuration makes it lie.
impl Guest for Plugin {
    fn open(function: String, _input: Schema, config: String) -> Result<Opened, Error> {
        let output = one_column(DataType::Int64);
        let state_version = u32::from(config != "version");
        Ok(Opened { handle: opened(function, config), output, reads: vec![0], state_version })
    }

    fn on_batch(handle: u32, groups: Vec<u32>, rows: Batch, now: i64) -> Result<Emitted, Error> {
        let column = &rows.columns[rows.roots[0] as usize];
        let Values::Int64(values) = &column.values else { return Err(user("not int64")) };
        let (mut of_rows, mut sums, mut parents, mut answer) = (vec![], vec![], vec![], nothing());
        for (row, (&group, &value)) in (0..).zip(groups.iter().zip(values)) {
            match value {
                0 => {
                    set_sum(group, 0);
                    answer.discarded.push(group);
                }
                1.. => {
                    set_sum(group, sum(group) + value + now);
                    of_rows.push(group);
                    sums.push(sum(group));
                    parents.push(row);
                }
                _ => answer.errors.push(RowError { row, message: format!("{value} is negative") }),
            }
        }
        let mut answer = Emitted {
            parents: Some(parents),
            errors: answer.errors,
            discarded: answer.discarded,
            ..numbers(of_rows, sums)
        };
        match OPEN.with_borrow(|open| open[handle as usize].1.clone()).as_str() {
            "few-groups" => drop(answer.groups.pop()),
            "few-parents" => drop(answer.parents.as_mut().map(Vec::pop)),
            "falls" => answer.parents.as_mut().unwrap().reverse(),
            "far" => *answer.parents.as_mut().unwrap().last_mut().unwrap() = 3,
            "other-group" => answer.groups[0] = 8,
            "no-parents" => answer.parents = None,
            "unknown-group" => {
                answer.parents = None;
                answer.groups[0] = 4;
            }
            "error" => answer.errors = vec![RowError { row: 1, message: "bad".to_owned() }],
            "late-error" => answer.errors = vec![RowError { row: 3, message: "bad".to_owned() }],
            "unknown-discard" => answer.discarded = vec![5],
            "twice" => answer.discarded = vec![7, 9, 7],
            "type" => answer.rows.columns[0].values = Values::Int32(vec![1, 2, 3]),
            _ => {}
        }
        Ok(answer)
    }

    fn on_notify(handle: u32, groups: Vec<u32>, now: i64) -> Result<Emitted, Error> {
        let sums = groups.iter().map(|&group| sum(group) + now).collect();
        let mut answer = numbers(groups, sums);
        if OPEN.with_borrow(|open| open[handle as usize].1 == "parents") {
            answer.parents = Some(answer.groups.clone());
        }
        Ok(answer)
    }

    fn on_eof(_handle: u32, groups: Vec<u32>, _now: i64) -> Result<Emitted, Error> {
        let odd = (0..).zip(&groups).filter(|(_, group)| sum(**group) % 2 != 0).map(|(row, _)| row);
        let errors = odd.map(|row| RowError { row, message: "odd".to_owned() }).collect();
        Ok(Emitted { errors, discarded: groups, ..nothing() })
    }

    fn merge(_handle: u32, into: Vec<u32>, from: Vec<u32>, _now: i64) -> Result<Emitted, Error> {
        for (&into, &from) in into.iter().zip(&from) {
            set_sum(into, sum(into) + sum(from));
            set_sum(from, 0);
        }
        let sums = into.iter().map(|&group| sum(group)).collect();
        Ok(numbers(into, sums))
    }

    fn notify_at(handle: u32, groups: Vec<u32>) -> Result<Vec<i64>, Error> {
        let mut times: Vec<i64> =
            groups.iter().map(|&group| Some(sum(group)).filter(|&sum| sum > 0).unwrap_or(i64::MAX)).collect();
        if OPEN.with_borrow(|open| open[handle as usize].1 == "few-times") {
            times.pop();
        }
        Ok(times)
    }

    fn snapshot(handle: u32, groups: Vec<u32>) -> Result<VarSize, Error> {
        <Plugin as fold::Guest>::snapshot(handle, groups)
    }

    fn restore(handle: u32, groups: Vec<u32>, states: VarSize) -> Result<(), Error> {
        <Plugin as fold::Guest>::restore(handle, groups, states)
    }

    fn release(handle: u32, groups: Vec<u32>) {
        <Plugin as fold::Guest>::release(handle, groups)
    }

    fn migrate(_function: String, _from_version: u32, states: VarSize) -> Result<VarSize, Error> {
        Ok(states)
    }
}
