//! Stateless functions: map, filter, filter_map, flat_map, key_on.

use super::bindings::{transform, types, wire};
use super::convert::Columns;
use super::identify::Interface;
use super::instance::Guest;
use super::open::{self, Target};
use super::schema::{self, Visible};
use super::validate::{self, Lie, lie};
use crate::catalog::function::FunctionKind;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{Applied, InstanceCx, OpenTransform, RowError, TransformFactory, TransformFn};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use std::sync::Arc;
use wasmtime::component::TypedFunc;

/// Opens a function in a throw-away instance.
///
/// # Errors
/// The function refuses the schema or the configuration, or fails.
pub(super) fn open(target: Target, input: &Schema) -> Result<OpenTransform, LogicError> {
    let visible = Visible::of(input);
    let (_, _, shape) = open_in(target.throw_away()?, &target, &visible)?;
    let Shape { output, reads, extends } = shape.clone();
    let factory = Arc::new(Factory { shared: Arc::new(Shared { target, visible, shape }) });
    Ok(OpenTransform { output, reads, extends, factory })
}

/// What a function said of itself when it was opened.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    output: SchemaRef,
    reads: Vec<usize>,
    extends: bool,
}

struct Shared {
    target: Target,
    visible: Visible,
    shape: Shape,
}

struct Factory {
    shared: Arc<Shared>,
}

impl TransformFactory for Factory {
    fn instantiate(&self, cx: &InstanceCx) -> Result<Box<dyn TransformFn>, LogicError> {
        let Shared { target, visible, shape } = &*self.shared;
        let (mut guest, handle, opened) = open_in(target.instance(cx)?, target, visible)?;
        open::same(shape, &opened).map_err(|lie| guest.caught(lie))?;
        let apply = guest.function(Interface::Transform, "apply")?;
        Ok(Box::new(Transform { guest, apply, handle, shared: Arc::clone(&self.shared) }))
    }
}

fn open_in(mut guest: Guest, target: &Target, visible: &Visible) -> Result<(Guest, u32, Shape), LogicError> {
    let indices = target.compiled.transform.as_ref().expect("the library checked that the interface is exported");
    let calls = guest.load(|store, instance| indices.load(store, instance))?;
    let opened = guest.ask(|store| calls.call_open(store, &target.info.name, &visible.schema, &target.config))?;
    let handle = opened.handle;
    let shape = shape(opened, visible, target.info.kind).map_err(|lie| guest.caught(lie))?;
    Ok((guest, handle, shape))
}

fn shape(opened: transform::Opened, visible: &Visible, kind: FunctionKind) -> Result<Shape, Lie> {
    let output = schema::schema(opened.output)?;
    match kind {
        FunctionKind::KeyOn if output.fields().len() != 1 || *output.field(0).data_type() != DataType::Utf8 => {
            return lie!("other columns for a key than one of type string");
        }
        FunctionKind::Filter if !output.fields().is_empty() => return lie!("columns for a filter, which has none"),
        _ => {}
    }
    Ok(Shape { output, reads: visible.reads(&opened.reads)?, extends: opened.extends })
}

type Apply = TypedFunc<(u32, wire::Batch<'static>), (Result<transform::Applied, types::Error>,)>;

struct Transform {
    guest: Guest,
    apply: Apply,
    handle: u32,
    shared: Arc<Shared>,
}

impl TransformFn for Transform {
    fn apply(&mut self, rows: &RecordBatch) -> Result<Applied, LogicError> {
        let started = self.guest.started();
        let result = self.apply_unmeasured(rows);
        self.guest.account(started);
        result
    }
}

impl Transform {
    fn apply_unmeasured(&mut self, rows: &RecordBatch) -> Result<Applied, LogicError> {
        let Shared { target, shape, .. } = &*self.shared;
        let columns = Columns::of(rows, &shape.reads)?;
        let (guest, apply, handle) = (&mut self.guest, &self.apply, self.handle);
        let applied = columns.lend(|batch| guest.ask(|store| Ok(apply.call(store, (handle, batch))?.0)))?;
        check(applied, target.info.kind, rows.num_rows(), &shape.output).map_err(|lie| guest.caught(lie))
    }
}

/// Checks what became of `rows` rows.
fn check(applied: transform::Applied, kind: FunctionKind, rows: usize, output: &SchemaRef) -> Result<Applied, Lie> {
    let errors = validate::row_errors(applied.errors, rows)?;
    let returned = applied.rows.map(|batch| validate::rows(batch, output)).transpose()?;
    match (kind, &returned, &applied.parents) {
        (FunctionKind::Filter, Some(_), _) => return lie!("rows from a filter, which only names those that it keeps"),
        (FunctionKind::Filter, None, None) => return lie!("no `parents` from a filter"),
        (FunctionKind::FlatMap, _, None) => return lie!("no `parents` from a flat_map"),
        (FunctionKind::Map | FunctionKind::KeyOn, _, Some(_)) => return lie!("`parents` from a {kind}"),
        (FunctionKind::Filter, None, Some(_)) => {}
        (_, None, _) => return lie!("no rows"),
        (_, Some(returned), None) if returned.num_rows() != rows - errors.len() => {
            return lie!("{} rows for {rows} rows of which {} failed", returned.num_rows(), errors.len());
        }
        (_, Some(returned), Some(parents)) if returned.num_rows() != parents.len() => {
            return lie!("{} rows and {} `parents`", returned.num_rows(), parents.len());
        }
        _ => {}
    }
    if let Some(parents) = &applied.parents {
        check_parents(parents, rows, kind != FunctionKind::FlatMap, &errors)?;
    }
    Ok(Applied { rows: returned, parents: applied.parents, errors })
}

/// Checks that parents are within `rows`, never fall (or rise, if `is_single`), and did not fail.
fn check_parents(parents: &[u32], rows: usize, is_single: bool, errors: &[RowError]) -> Result<(), Lie> {
    if let Some(at) = parents.windows(2).position(|pair| pair[1] < pair[0] || (is_single && pair[1] == pair[0])) {
        return lie!("`parents` that go from {} to {}", parents[at], parents[at + 1]);
    }
    if let Some(&last) = parents.last()
        && last as usize >= rows
    {
        return lie!("a parent {last} of {rows} rows");
    }
    match errors.iter().find(|error| parents.binary_search(&error.row).is_ok()) {
        Some(error) => lie!("rows from row {}, and an error for it", error.row),
        None => Ok(()),
    }
}
