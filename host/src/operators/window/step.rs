//! The declaration of a window step: its ports, and how it is built.

use super::args::{Windowing, With};
use super::logic::LogicFactory;
use super::machine::Machine;
use super::outputs::Outputs;
use super::stream::{OpenPartitions, Stamping, StreamClock, Timing, stamped_schema};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, StreamType};
use crate::data::schema::{Type, schema_of};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{keyed, local};
use crate::diag::{Diagnostic, Diagnostics};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
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
        let keeps = Keeps { has_names: self.per_stream, ..logic.keeps(Keeps::new().ignoring(self.ignores)) };
        let step = WindowStep { windowing: self, down, late, logic: Box::new(logic) };
        let checked = ports.into_iter().fold(Checked::new(step), |checked, (name, ty)| checked.port(name, ty));
        Ok(notes.into_iter().fold(checked.keeps(keeps), Checked::note))
    }

    /// The logic's columns, and those of `with`.
    fn down(&self, cx: &CheckCx<'_>, output: &SchemaRef) -> Result<SchemaRef, Diagnostics> {
        let down = down_schema(output, &self.with.value);
        let hidden = self.with.value.iter().map(|with| with.column().0).find(|name| **name == *self.key);
        let message = match (repeated(&down), hidden) {
            (Some(name), _) => format!("{}: its rows would have two columns \"{name}\"", cx.what()),
            (None, Some(name)) => format!("{}: \"with\" has a column \"{name}\", as the key is called", cx.what()),
            (None, None) => return Ok(down),
        };
        let help = "leave it out of \"with\"";
        Err(Diagnostic::new("duplicate-column", message).at(self.with.span.clone()).help(help).into())
    }

    /// The columns of rows that are late.
    fn late(&self, cx: &CheckCx<'_>) -> Result<SchemaRef, Diagnostics> {
        let sides: Vec<_> = self.sides.iter().map(|side| (side.name.clone(), side.schema.clone())).collect();
        let late = late_schema(&sides);
        let Some(name) = repeated(&late) else { return Ok(late) };
        let message = format!("{}: its port \"late\" would have two columns \"{name}\"", cx.what());
        let help = match sides.as_slice() {
            [_] => format!("rename the column in a step before it: op = \"select\", rename = {{ other = \"{name}\" }}"),
            _ => "name the upstreams differently: from = { left = \"…\", right = \"…\" }".to_owned(),
        };
        let side = self.sides.iter().rfind(|side| side.name == name).unwrap_or(&self.sides[0]);
        Err(Diagnostic::new("duplicate-column", message).at(side.span.clone()).help(help).into())
    }
}

/// The logic's columns, and those that are set beside them.
pub(super) fn down_schema(output: &SchemaRef, with: &[With]) -> SchemaRef {
    let added = with.iter().map(|with| with.column()).map(|(name, ty)| Arc::new(ty.field(&name)));
    let fields: Vec<FieldRef> = output.fields().iter().cloned().chain(added).collect();
    Arc::new(Schema::new(fields))
}

/// The columns of rows that are late: those of the only input, or of several a struct for each.
pub(super) fn late_schema(sides: &[(String, SchemaRef)]) -> SchemaRef {
    let id = ("window_id".to_owned(), Type::Int64);
    if let [(_, rows)] = sides {
        let fields: Vec<FieldRef> = rows.fields().iter().cloned().chain([Arc::new(id.1.field(&id.0))]).collect();
        return Arc::new(Schema::new(fields));
    }
    let structs = sides.iter().map(|(name, rows)| {
        let members = rows.fields().iter().map(|field| (field.name().clone(), Type::of(field)));
        (name.clone(), Type::Struct(members.collect()))
    });
    schema_of(&[("side".to_owned(), Type::String)].into_iter().chain(structs).chain([id]).collect::<Vec<_>>())
}

/// A name that two columns have.
fn repeated(schema: &Schema) -> Option<String> {
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    (1..names.len()).find(|&at| names[..at].contains(&names[at])).map(|at| names[at].clone())
}

pub(super) struct WindowStep {
    windowing: Windowing,
    down: SchemaRef,
    late: SchemaRef,
    logic: Box<dyn LogicFactory>,
}

impl BuildStep for WindowStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let Windowing { rules, per_stream, stamps, sides, key, with, .. } = &self.windowing;
        let instance = cx.instance();
        let stampers = stamps.iter().map(|stamp| stamp.build(&instance)).collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<SchemaRef> = sides.iter().map(|side| side.schema.clone()).collect();
        let outputs = Outputs {
            down: self.down.clone(),
            with: with.value.clone(),
            late: self.late.clone(),
            inputs: inputs.len(),
            key: key.clone(),
        };
        let logic = self.logic.build(cx)?;
        let idle = cx.execution.idle.clone();
        let (partitions, sources, progress) =
            (cx.execution.partitions.clone(), cx.sources.clone(), cx.progress.clone());
        let open: OpenPartitions = Box::new(move || partitions.open(&sources, |tick| progress.is_past(tick)));
        if !per_stream {
            return Ok(keyed(
                cx,
                ups,
                &inputs,
                3,
                Machine::new(*rules, outputs, &inputs, Timing::Read(stampers), logic, idle),
            ));
        }
        let machine = Machine::new(
            *rules,
            outputs,
            &inputs,
            Timing::Stamped(StreamClock::of_partitions(open)),
            logic,
            idle.clone(),
        );
        let stamped: Vec<SchemaRef> = inputs.iter().map(stamped_schema).collect();
        let stamp = |cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>| {
            let (mut stamped, mut failed) = (Vec::new(), Vec::new());
            for (input, ((up, stamper), rows)) in ups.into_iter().zip(stampers).zip(&inputs).enumerate() {
                let place = format!("{}/{input}", cx.worker().0);
                let mut streams = local(cx, up, Stamping::new(rules.clock, stamper, rows, idle.clone(), place));
                failed.extend(streams.split_off(1));
                stamped.extend(streams);
            }
            stamped.extend(failed);
            Ok(stamped)
        };
        cx.in_halves(ups, stamp, |cx, ups| Ok(keyed(cx, ups, &stamped, 3, machine)))
    }
}
