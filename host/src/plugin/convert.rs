//! Arrow batches as a guest is given them: the columns it reads, flattened into an arena of plain buffers.
//!
//! Buffers are shared with the batch where Arrow's layout is the contract's; what a slice left askew (a bitmap that
//! starts inside a byte, offsets that do not start at 0) is copied straight.

use super::bindings::wire;
use crate::dataflow::error::LogicError;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    UInt32Type, UInt64Type,
};

/// Columns ready to be handed over; holds on to the buffers of the batch they came from.
#[derive(Debug)]
pub(super) struct Columns {
    rows: u32,
    arena: Vec<Column>,
    roots: Vec<u32>,
}

#[derive(Debug)]
struct Column {
    rows: u32,
    validity: Option<Buffer>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Boolean(Buffer),
    Int32(ScalarBuffer<i32>),
    Int64(ScalarBuffer<i64>),
    Uint32(ScalarBuffer<u32>),
    Uint64(ScalarBuffer<u64>),
    Float32(ScalarBuffer<f32>),
    Float64(ScalarBuffer<f64>),
    VarSize { offsets: ScalarBuffer<i32>, data: Buffer },
    List { offsets: ScalarBuffer<i32>, child: u32 },
    Struct(Vec<u32>),
}

impl Columns {
    /// Takes the columns `reads` of a batch, in that order.
    ///
    /// # Errors
    /// A column has a type that guests cannot read; the plan has refused such a flow, so this is an internal error.
    pub(super) fn of(batch: &RecordBatch, reads: &[usize]) -> Result<Columns, LogicError> {
        let mut columns =
            Columns { rows: count(batch.num_rows())?, arena: Vec::with_capacity(reads.len()), roots: Vec::new() };
        for &index in reads {
            let root = columns.add(batch.column(index))?;
            columns.roots.push(root);
        }
        Ok(columns)
    }

    /// Lends the columns in the form that crosses the boundary.
    pub(super) fn lend<R>(&self, to: impl FnOnce(wire::Batch<'_>) -> R) -> R {
        let columns: Vec<wire::Column<'_>> = self.arena.iter().map(Column::lend).collect();
        to(wire::Batch { rows: self.rows, columns: &columns, roots: &self.roots })
    }

    /// Adds a column, its children first, and returns its index.
    fn add(&mut self, array: &ArrayRef) -> Result<u32, LogicError> {
        let values = match array.data_type() {
            DataType::Boolean => Values::Boolean(array.as_boolean().values().sliced()),
            DataType::Int32 => Values::Int32(primitive::<Int32Type>(array)),
            DataType::Int64 => Values::Int64(primitive::<Int64Type>(array)),
            DataType::UInt32 => Values::Uint32(primitive::<UInt32Type>(array)),
            DataType::UInt64 => Values::Uint64(primitive::<UInt64Type>(array)),
            DataType::Float32 => Values::Float32(primitive::<Float32Type>(array)),
            DataType::Float64 => Values::Float64(primitive::<Float64Type>(array)),
            DataType::Date32 => Values::Int32(primitive::<Date32Type>(array)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Int64(primitive::<TimestampMicrosecondType>(array))
            }
            DataType::Utf8 => {
                let strings = array.as_string::<i32>();
                var_size(strings.offsets(), strings.values())
            }
            DataType::Binary => {
                let blobs = array.as_binary::<i32>();
                var_size(blobs.offsets(), blobs.values())
            }
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                let (offsets, start, end) = rebased(lists.offsets());
                let child = self.add(&lists.values().slice(start, end - start))?;
                Values::List { offsets, child }
            }
            DataType::Struct(_) => {
                let members = array.as_struct().columns().iter().map(|member| self.add(member));
                Values::Struct(members.collect::<Result<_, _>>()?)
            }
            other => {
                return Err(LogicError::internal(format!("a column of type {other} was to be handed to a plugin")));
            }
        };
        let validity = array.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.inner().sliced());
        let index = count(self.arena.len())?;
        self.arena.push(Column { rows: count(array.len())?, validity, values });
        Ok(index)
    }
}

impl Column {
    fn lend(&self) -> wire::Column<'_> {
        let values = match &self.values {
            Values::Boolean(bits) => wire::Values::Boolean(bits),
            Values::Int32(values) => wire::Values::Int32(values),
            Values::Int64(values) => wire::Values::Int64(values),
            Values::Uint32(values) => wire::Values::Uint32(values),
            Values::Uint64(values) => wire::Values::Uint64(values),
            Values::Float32(values) => wire::Values::Float32(values),
            Values::Float64(values) => wire::Values::Float64(values),
            Values::VarSize { offsets, data } => wire::Values::VarSize(wire::VarSize { offsets, data }),
            Values::List { offsets, child } => wire::Values::List(wire::ListData { offsets, child: *child }),
            Values::Struct(members) => wire::Values::Struct(members),
        };
        wire::Column { rows: self.rows, validity: self.validity.as_deref(), values }
    }
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> ScalarBuffer<T::Native> {
    array.as_primitive::<T>().values().clone()
}

fn var_size(offsets: &OffsetBuffer<i32>, data: &Buffer) -> Values {
    let (offsets, start, end) = rebased(offsets);
    Values::VarSize { offsets, data: data.slice_with_length(start, end - start) }
}

/// Returns the offsets starting at 0, and the range that they named before.
fn rebased(offsets: &OffsetBuffer<i32>) -> (ScalarBuffer<i32>, usize, usize) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let rebased = match first {
        0 => offsets.inner().clone(),
        _ => offsets.iter().map(|offset| offset - first).collect(),
    };
    (rebased, first as usize, last as usize)
}

fn count(rows: usize) -> Result<u32, LogicError> {
    u32::try_from(rows).map_err(|_| LogicError::internal(format!("a batch of {rows} rows is too large for a plugin")))
}
