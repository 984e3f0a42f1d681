//! Functions as closures, in place of plugins.

use super::table;
use crate::catalog::function::{FunctionError, FunctionInfo, FunctionKind, FunctionLibrary, StepLimits};
use crate::data::time::Instant;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{
    Applied, Emitted, Finished, FoldFactory, FoldFn, InstanceCx, MigrateStates, OpenFold, OpenSink, OpenSource,
    OpenStateful, OpenTransform, RowError, StatefulFactory, StatefulFn, TransformFactory, TransformFn,
};
use arrow::array::{Array, AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Functions by name; `p.sum` is always there.
#[derive(Default)]
pub struct Functions {
    pub transforms: BTreeMap<String, Function>,
    pub statefuls: BTreeMap<String, Calls>,
}

/// A stateless function.
pub struct Function {
    pub kind: FunctionKind,
    pub output: SchemaRef,
    pub extends: bool,
    pub apply: Arc<dyn Fn(&RecordBatch) -> Applied + Send + Sync>,
}

/// The fold that every bench has, `p.sum`: adds up the first column; a sum of 13 cannot be finished.
const SUM: &str = "p.sum";

impl FunctionLibrary for Functions {
    fn find(&self, reference: &str) -> Result<FunctionInfo, FunctionError> {
        let kind = match self.transforms.get(reference) {
            Some(function) => function.kind,
            None if self.statefuls.contains_key(reference) => FunctionKind::Stateful,
            None if reference == SUM => FunctionKind::Fold,
            None => return Err(FunctionError { message: format!("no function \"{reference}\""), help: None }),
        };
        let (doc, config_schema) = Default::default();
        Ok(FunctionInfo { name: reference.to_owned(), kind, doc, state_version: 0, config_schema })
    }

    fn open_transform(
        &self,
        reference: &str,
        input: &Schema,
        _config: &str,
        _limits: &StepLimits,
    ) -> Result<OpenTransform, FunctionError> {
        let function = &self.transforms[reference];
        Ok(OpenTransform {
            output: function.output.clone(),
            reads: (0..input.fields().len()).collect(),
            extends: function.extends,
            factory: Arc::new(Factory(function.apply.clone())),
        })
    }

    fn open_fold(&self, _: &str, _: &Schema, _: &str, _: &StepLimits) -> Result<OpenFold, FunctionError> {
        let output = table("sum: int64", &[]).schema();
        Ok(OpenFold { output, reads: vec![0], state_version: 1, factory: Arc::new(SumFactory) })
    }

    fn open_stateful(&self, name: &str, _: &Schema, _: &str, _: &StepLimits) -> Result<OpenStateful, FunctionError> {
        let output = table("value: int64", &[]).schema();
        let factory = Arc::new(CallsFactory(self.statefuls[name].clone()));
        Ok(OpenStateful { output, reads: vec![0], state_version: 1, factory })
    }

    fn open_source(&self, _: &str, _: &str, _: &StepLimits) -> Result<OpenSource, FunctionError> {
        unreachable!("no test needs it")
    }

    fn open_sink(&self, _: &str, _: &Schema, _: &str, _: &StepLimits) -> Result<OpenSink, FunctionError> {
        unreachable!("no test needs it")
    }
}

struct Factory(Arc<dyn Fn(&RecordBatch) -> Applied + Send + Sync>);

impl TransformFactory for Factory {
    fn instantiate(&self, _cx: &InstanceCx) -> Result<Box<dyn TransformFn>, LogicError> {
        Ok(Box::new(Instance(self.0.clone())))
    }
}

struct Instance(Arc<dyn Fn(&RecordBatch) -> Applied + Send + Sync>);

impl TransformFn for Instance {
    fn apply(&mut self, rows: &RecordBatch) -> Result<Applied, LogicError> {
        Ok(self.0(rows))
    }
}

struct SumFactory;

impl MigrateStates for SumFactory {}

impl FoldFactory for SumFactory {
    fn instantiate(&self, _cx: &InstanceCx) -> Result<Box<dyn FoldFn>, LogicError> {
        Ok(sum())
    }
}

/// Makes an instance of `p.sum`.
pub fn sum() -> Box<dyn FoldFn> {
    Box::new(Sum(BTreeMap::new()))
}

struct Sum(BTreeMap<u32, i64>);

impl FoldFn for Sum {
    fn update(
        &mut self,
        groups: &[u32],
        index: Option<&[u32]>,
        rows: &RecordBatch,
    ) -> Result<Vec<RowError>, LogicError> {
        let values = rows.column(0).as_primitive::<Int64Type>();
        let mut errors = Vec::new();
        for (entry, &group) in groups.iter().enumerate() {
            let row = index.map_or(entry, |index| index[entry] as usize);
            if values.is_null(row) {
                errors.push(RowError { row: entry as u32, message: "no number".into() });
            } else {
                *self.0.entry(group).or_default() += values.value(row);
            }
        }
        Ok(errors)
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<(), LogicError> {
        for (into, from) in into.iter().zip(from) {
            let from = self.0.remove(from).unwrap_or_default();
            *self.0.entry(*into).or_default() += from;
        }
        Ok(())
    }

    fn finish(&mut self, groups: &[u32]) -> Result<Finished, LogicError> {
        let (mut sums, mut errors) = (Vec::new(), Vec::new());
        for (row, group) in groups.iter().enumerate() {
            match self.0.get(group).copied().unwrap_or_default() {
                13 => errors.push(RowError { row: row as u32, message: "unlucky".into() }),
                sum => sums.push(sum),
            }
        }
        let rows = RecordBatch::try_new(table("sum: int64", &[]).schema(), vec![Arc::new(Int64Array::from(sums))]);
        Ok(Finished { rows: rows.unwrap(), errors })
    }

    fn snapshot(&mut self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        Ok(groups.iter().map(|group| Some(self.0[group].to_le_bytes())).collect())
    }

    fn restore(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        let sums = states.iter().map(|state| i64::from_le_bytes(state.unwrap().try_into().unwrap()));
        self.0.extend(groups.iter().copied().zip(sums));
        Ok(())
    }

    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError> {
        for group in groups {
            self.0.remove(group);
        }
        Ok(())
    }
}

/// A call of a stateful function: it sees and sets the state, and emits numbers or fails. None discards the state.
type Call<A> = fn(&mut Option<i64>, A, Instant) -> Result<Vec<i64>, String>;

/// A stateful function of rows whose first column is a number; its states are numbers too.
#[derive(Clone)]
pub struct Calls {
    pub on_row: Call<i64>,
    pub on_notify: Call<()>,
    pub on_eof: Call<()>,
    pub notify_at: fn(i64) -> Option<i64>,
    /// Whether it says which row each row came of.
    pub tells_parents: bool,
}

impl Default for Calls {
    fn default() -> Self {
        let nothing: Call<()> = |_, (), _| Ok(Vec::new());
        let on_row: Call<i64> = |_, _, _| Ok(Vec::new());
        Calls { on_row, on_notify: nothing, on_eof: nothing, notify_at: |_| None, tells_parents: true }
    }
}

impl Calls {
    /// Makes an instance.
    pub fn instance(&self) -> Box<dyn StatefulFn> {
        Box::new(Live { calls: self.clone(), states: BTreeMap::new() })
    }
}

struct CallsFactory(Calls);

impl MigrateStates for CallsFactory {}

impl StatefulFactory for CallsFactory {
    fn instantiate(&self, _cx: &InstanceCx) -> Result<Box<dyn StatefulFn>, LogicError> {
        Ok(self.0.instance())
    }
}

struct Live {
    calls: Calls,
    states: BTreeMap<u32, i64>,
}

/// What calls have emitted so far: group, parent and number of each row.
#[derive(Default)]
struct Answer {
    rows: Vec<(u32, u32, i64)>,
    called: Vec<u32>,
    errors: Vec<RowError>,
}

impl Live {
    fn call<A>(&mut self, call: Call<A>, argument: A, now: Instant, at: usize, group: u32, answer: &mut Answer) {
        let before = self.states.remove(&group);
        let (mut state, row) = (before, u32::try_from(at).unwrap());
        answer.called.push(group);
        match call(&mut state, argument, now) {
            Ok(numbers) => answer.rows.extend(numbers.into_iter().map(|number| (group, row, number))),
            Err(message) => {
                answer.errors.push(RowError { row, message });
                state = before;
            }
        }
        self.states.extend(state.map(|state| (group, state)));
    }

    fn emitted(&self, mut answer: Answer, tells_parents: bool) -> Emitted {
        answer.called.sort_unstable();
        answer.called.dedup();
        answer.called.retain(|group| !self.states.contains_key(group));
        let numbers: Int64Array = answer.rows.iter().map(|row| row.2).collect();
        Emitted {
            rows: RecordBatch::try_new(table("value: int64", &[]).schema(), vec![Arc::new(numbers)]).unwrap(),
            groups: answer.rows.iter().map(|row| row.0).collect(),
            parents: tells_parents.then(|| answer.rows.iter().map(|row| row.1).collect()),
            discarded: answer.called,
            errors: answer.errors,
        }
    }

    fn for_groups(&mut self, call: Call<()>, groups: &[u32], now: Instant) -> Emitted {
        let mut answer = Answer::default();
        for (at, &group) in groups.iter().enumerate() {
            assert!(self.states.contains_key(&group), "only groups with a state are called");
            self.call(call, (), now, at, group, &mut answer);
        }
        self.emitted(answer, false)
    }
}

impl StatefulFn for Live {
    fn on_batch(&mut self, groups: &[u32], rows: &RecordBatch, now: Instant) -> Result<Emitted, LogicError> {
        let numbers = rows.column(0).as_primitive::<Int64Type>();
        assert_eq!(groups.len(), numbers.len());
        let mut answer = Answer::default();
        for (row, &group) in groups.iter().enumerate() {
            self.call(self.calls.on_row, numbers.value(row), now, row, group, &mut answer);
        }
        Ok(self.emitted(answer, self.calls.tells_parents))
    }

    fn on_notify(&mut self, groups: &[u32], now: Instant) -> Result<Emitted, LogicError> {
        Ok(self.for_groups(self.calls.on_notify, groups, now))
    }

    fn on_eof(&mut self, groups: &[u32], now: Instant) -> Result<Emitted, LogicError> {
        Ok(self.for_groups(self.calls.on_eof, groups, now))
    }

    fn merge(&mut self, into: &[u32], from: &[u32], _now: Instant) -> Result<Emitted, LogicError> {
        for (into, from) in into.iter().zip(from) {
            let from = self.states.remove(from).unwrap_or_default();
            *self.states.entry(*into).or_default() += from;
        }
        Ok(self.emitted(Answer::default(), false))
    }

    fn notify_at(&mut self, groups: &[u32]) -> Result<Vec<Option<Instant>>, LogicError> {
        Ok(groups.iter().map(|group| (self.calls.notify_at)(self.states[group]).map(Instant)).collect())
    }

    fn snapshot(&mut self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        Ok(groups.iter().map(|group| Some(self.states[group].to_le_bytes())).collect())
    }

    fn restore(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        let states = states.iter().map(|state| i64::from_le_bytes(state.unwrap().try_into().unwrap()));
        self.states.extend(groups.iter().copied().zip(states));
        Ok(())
    }

    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError> {
        self.states.retain(|group, _| !groups.contains(group));
        Ok(())
    }
}
