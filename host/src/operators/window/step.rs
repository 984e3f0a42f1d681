//! The declaration of a window step: its ports, and how it is built.

use super::args::{Side, Windowing};
use super::logic::LogicFactory;
use super::machine::Machine;
use super::outputs::Outputs;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, StreamType};
use crate::data::schema::{Type, schema_of};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::keyed;
use crate::diag::{Diagnostic, Diagnostics};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// What is told of a window that has closed.
pub(super) static META: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema_of(&[
        ("window_id".to_owned(), Type::Int64),
        ("open_time".to_owned(), Type::Timestamp),
        ("close_time".to_owned(), Type::Timestamp),
        ("merged_ids".to_owned(), Type::List(Box::new(Type::Int64))),
    ])
});

impl Windowing {
    /// Declares the step: `output` is the schema of the rows that the logic gives.
    ///
    /// # Errors
    /// Two columns of a port would have the same name.
    pub fn step(self, cx: &CheckCx<'_>, output: &SchemaRef, logic: impl LogicFactory) -> Result<Checked, Diagnostics> {
        let mut problems = Diagnostics::new();
        let down = problems.take(self.down(cx, output));
        let late = problems.take(self.late(cx));
        let (Some(down), Some(late)) = (down, late) else { return Err(problems) };
        let ty = |schema: &SchemaRef| StreamType { schema: schema.clone(), key: Some(self.key.clone()) };
        let ports = [("down", ty(&down)), ("late", ty(&late)), ("meta", ty(&META))];
        let notes = self.notes.clone();
        let step = WindowStep { windowing: self, down, late, logic: Box::new(logic) };
        let checked = ports.into_iter().fold(Checked::new(step), |checked, (name, ty)| checked.port(name, ty));
        Ok(notes.into_iter().fold(checked, Checked::note))
    }

    /// The logic's columns, and those of `with`.
    fn down(&self, cx: &CheckCx<'_>, output: &SchemaRef) -> Result<SchemaRef, Diagnostics> {
        let mut fields = output.fields().to_vec();
        for with in &self.with.value {
            let (name, ty) = with.column();
            if fields.iter().any(|field| *field.name() == name) {
                let message = format!("{}: its rows would have two columns \"{name}\"", cx.what());
                let help = "leave it out of \"with\"";
                return Err(Diagnostic::new("duplicate-column", message).at(self.with.span.clone()).help(help).into());
            }
            fields.push(Arc::new(ty.field(&name)));
        }
        Ok(Arc::new(Schema::new_with_metadata(fields, output.metadata().clone())))
    }

    /// The columns of rows that are late: those of the only input, or of several a struct for each.
    fn late(&self, cx: &CheckCx<'_>) -> Result<SchemaRef, Diagnostics> {
        let mut columns: Vec<(String, Type)> = Vec::new();
        let clash = |side: &Side, name: &str| {
            let message = format!("{}: its port \"late\" would have two columns \"{name}\"", cx.what());
            let help = match self.sides.len() {
                1 => format!("rename the column in a step before it: op = \"select\", rename = {{ … = \"{name}\" }}"),
                _ => "name the upstreams differently: from = { left = \"…\", right = \"…\" }".to_owned(),
            };
            Diagnostics::from(Diagnostic::new("duplicate-column", message).at(side.span.clone()).help(help))
        };
        let id = ("window_id".to_owned(), Type::Int64);
        if let [side] = self.sides.as_slice() {
            if side.schema.column_with_name(&id.0).is_some() {
                return Err(clash(side, &id.0));
            }
            let fields = side.schema.fields().iter().cloned().chain([Arc::new(id.1.field(&id.0))]);
            return Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        }
        columns.push(("side".to_owned(), Type::String));
        for side in &self.sides {
            if side.name == id.0 || columns.iter().any(|(name, _)| *name == side.name) {
                return Err(clash(side, &side.name));
            }
            let members = side.schema.fields().iter().map(|field| (field.name().clone(), Type::of(field)));
            columns.push((side.name.clone(), Type::Struct(members.collect())));
        }
        columns.push(id);
        Ok(schema_of(&columns))
    }
}

pub(super) struct WindowStep {
    windowing: Windowing,
    down: SchemaRef,
    late: SchemaRef,
    logic: Box<dyn LogicFactory>,
}

impl BuildStep for WindowStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let Windowing { rules, stamps, sides, key, with, .. } = &self.windowing;
        let instance = cx.instance();
        let stampers = stamps.iter().map(|stamp| stamp.build(&instance)).collect::<Result<_, _>>()?;
        let inputs: Vec<SchemaRef> = sides.iter().map(|side| side.schema.clone()).collect();
        let outputs = Outputs {
            down: self.down.clone(),
            with: with.value.clone(),
            late: self.late.clone(),
            inputs: inputs.len(),
            key: key.clone(),
        };
        let logic = self.logic.build(cx)?;
        let machine = Machine::new(*rules, outputs, &inputs, stampers, logic, cx.execution.idle.clone());
        Ok(keyed(cx, ups, &inputs, 3, machine))
    }
}
