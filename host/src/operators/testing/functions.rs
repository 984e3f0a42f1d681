//! Functions as closures, in place of plugins.

use super::table;
use crate::catalog::function::{FunctionError, FunctionInfo, FunctionKind, FunctionLibrary, StepLimits};
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{
    Applied, Finished, FoldFactory, FoldFn, InstanceCx, OpenFold, OpenSink, OpenSource, OpenStateful, OpenTransform,
    RowError, TransformFactory, TransformFn,
};
use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Functions by name; `p.sum` is always there.
#[derive(Default)]
pub struct Functions(pub BTreeMap<String, Function>);

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
        let kind = match self.0.get(reference) {
            Some(function) => function.kind,
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
        let function = &self.0[reference];
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

    fn open_stateful(&self, _: &str, _: &Schema, _: &str, _: &StepLimits) -> Result<OpenStateful, FunctionError> {
        unreachable!("no test needs it")
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

impl FoldFactory for SumFactory {
    fn instantiate(&self, _cx: &InstanceCx) -> Result<Box<dyn FoldFn>, LogicError> {
        Ok(Box::new(Sum(BTreeMap::new())))
    }
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

    fn snapshot(&mut self, groups: &[u32]) -> Result<Vec<Vec<u8>>, LogicError> {
        Ok(groups.iter().map(|group| self.0[group].to_le_bytes().to_vec()).collect())
    }

    fn restore(&mut self, groups: &[u32], states: &[Vec<u8>]) -> Result<(), LogicError> {
        let sums = states.iter().map(|state| i64::from_le_bytes(state.as_slice().try_into().unwrap()));
        self.0.extend(groups.iter().copied().zip(sums));
        Ok(())
    }

    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError> {
        self.0.retain(|group, _| !groups.contains(group));
        Ok(())
    }
}
