//! `sum` and `mean`.
//!
//! Integers are added up in 128 bits, which no number of rows fills: only a sum that is given out must fit its type, so
//! that it does not depend on the order of the rows which of them are too large. Sums of floats do depend on it in
//! their last digits.

use super::accumulator::{Accumulator, each, number};
use crate::data::schema::Type;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::RowError;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Float64Array, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use std::fmt::Display;
use std::marker::PhantomData;
use std::ops::AddAssign;
use std::sync::Arc;

/// The type of the sum of a column; none if it has no numbers.
pub(super) fn sum_of(column: &Type) -> Option<Type> {
    match column {
        Type::Int32 | Type::Int64 | Type::Uint32 => Some(Type::Int64),
        Type::Uint64 => Some(Type::Uint64),
        Type::Float32 | Type::Float64 => Some(Type::Float64),
        _ => None,
    }
}

/// Makes a sum, or a mean; `name` is that of the result.
///
/// # Errors
/// The column has no numbers.
pub(super) fn of(outcome: Outcome, name: &str, column: usize, ty: &Type) -> Result<Box<dyn Accumulator>, LogicError> {
    let name = name.to_owned();
    Ok(match ty {
        Type::Int32 => Box::new(Totals::<Int32Type, i128>::new(name, column, outcome)),
        Type::Int64 => Box::new(Totals::<Int64Type, i128>::new(name, column, outcome)),
        Type::Uint32 => Box::new(Totals::<UInt32Type, i128>::new(name, column, outcome)),
        Type::Uint64 => Box::new(Totals::<UInt64Type, i128>::new(name, column, outcome)),
        Type::Float32 => Box::new(Totals::<Float32Type, f64>::new(name, column, outcome)),
        Type::Float64 => Box::new(Totals::<Float64Type, f64>::new(name, column, outcome)),
        other => return Err(LogicError::internal(format!("{other} is no number"))),
    })
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Sum,
    Mean,
}

/// Sums by group, of columns of `T`, added up as `A`.
struct Totals<T, A> {
    /// Of the result.
    name: String,
    column: usize,
    outcome: Outcome,
    totals: Vec<Total<A>>,
    values: PhantomData<T>,
}

/// The sum of so many values. Both in one place: a group costs one look at memory.
#[derive(Clone, Copy, Default)]
struct Total<A> {
    sum: A,
    count: u64,
}

impl<A: Amount> Total<A> {
    #[inline]
    fn add(&mut self, other: Total<A>) {
        self.sum += other.sum;
        self.count += other.count;
    }

    /// None: there were no values.
    fn sum(self) -> Option<A> {
        (self.count > 0).then_some(self.sum)
    }

    fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.float() / self.count as f64)
    }
}

/// What values are added up as.
trait Amount: Copy + Default + AddAssign + 'static {
    fn float(self) -> f64;

    /// Makes a column of sums of `values`. A sum that the column cannot hold is null, and `refuse` is called with its
    /// index, itself and the type.
    fn sums(
        sums: impl Iterator<Item = Option<Self>>,
        values: &DataType,
        refuse: impl FnMut(usize, Self, Type),
    ) -> ArrayRef;

    fn to_bytes(self) -> [u8; 16];

    fn from_bytes(bytes: [u8; 16]) -> Self;
}

impl Amount for i128 {
    fn float(self) -> f64 {
        self as f64
    }

    fn sums(
        sums: impl Iterator<Item = Option<i128>>,
        values: &DataType,
        mut refuse: impl FnMut(usize, i128, Type),
    ) -> ArrayRef {
        let sums = sums.enumerate();
        if *values == DataType::UInt64 {
            let sums = sums.map(|(at, sum)| {
                let sum = sum?;
                u64::try_from(sum).inspect_err(|_| refuse(at, sum, Type::Uint64)).ok()
            });
            return Arc::new(sums.collect::<UInt64Array>());
        }
        let sums = sums.map(|(at, sum)| {
            let sum = sum?;
            i64::try_from(sum).inspect_err(|_| refuse(at, sum, Type::Int64)).ok()
        });
        Arc::new(sums.collect::<Int64Array>())
    }

    fn to_bytes(self) -> [u8; 16] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        i128::from_le_bytes(bytes)
    }
}

impl Amount for f64 {
    fn float(self) -> f64 {
        self
    }

    fn sums(
        sums: impl Iterator<Item = Option<f64>>,
        _values: &DataType,
        _refuse: impl FnMut(usize, f64, Type),
    ) -> ArrayRef {
        Arc::new(sums.collect::<Float64Array>())
    }

    fn to_bytes(self) -> [u8; 16] {
        u128::from(self.to_bits()).to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        f64::from_bits(u128::from_le_bytes(bytes) as u64)
    }
}

impl<T: ArrowPrimitiveType, A: Amount + Display + From<T::Native>> Totals<T, A> {
    fn new(name: String, column: usize, outcome: Outcome) -> Self {
        Totals { name, column, outcome, totals: Vec::new(), values: PhantomData }
    }

    /// Makes a column of totals.
    fn column(&self, totals: impl Iterator<Item = Total<A>>, refused: &mut Vec<RowError>) -> ArrayRef {
        if self.outcome == Outcome::Mean {
            return Arc::new(totals.map(Total::mean).collect::<Float64Array>());
        }
        A::sums(totals.map(Total::sum), &T::DATA_TYPE, |at, sum, ty| {
            refused.push(RowError { row: number(at), message: format!("\"{}\": the sum {sum} is no {ty}", self.name) });
        })
    }
}

impl<T: ArrowPrimitiveType, A: Amount + Display + From<T::Native>> Accumulator for Totals<T, A> {
    fn resize(&mut self, groups: usize) {
        self.totals.resize(groups, Total::default());
    }

    fn update(&mut self, groups: &[u32], index: Option<&[u32]>, rows: &RecordBatch) -> Result<(), LogicError> {
        let column = rows.column(self.column).as_primitive::<T>();
        let (values, totals) = (column.values(), self.totals.as_mut_slice());
        each(groups, index, column.nulls(), |group, row| {
            totals[group].add(Total { sum: values[row].into(), count: 1 });
        });
        Ok(())
    }

    fn running(
        &mut self,
        groups: &[u32],
        rows: &RecordBatch,
        refused: &mut Vec<RowError>,
    ) -> Result<ArrayRef, LogicError> {
        let column = rows.column(self.column).as_primitive::<T>();
        let mut after = Vec::with_capacity(groups.len());
        for (row, &group) in groups.iter().enumerate() {
            let total = &mut self.totals[group as usize];
            if column.is_valid(row) {
                total.add(Total { sum: column.value(row).into(), count: 1 });
            }
            after.push(*total);
        }
        Ok(self.column(after.into_iter(), refused))
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) {
        for (&into, &from) in into.iter().zip(from) {
            let from = std::mem::take(&mut self.totals[from as usize]);
            self.totals[into as usize].add(from);
        }
    }

    fn finish(&self, groups: &[u32], refused: &mut Vec<RowError>) -> Result<ArrayRef, LogicError> {
        Ok(self.column(groups.iter().map(|&group| self.totals[group as usize]), refused))
    }

    fn reset(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.totals[group as usize] = Total::default());
    }

    fn save(&self, group: u32, bytes: &mut Vec<u8>) {
        let total = self.totals[group as usize];
        bytes.extend(total.sum.to_bytes());
        bytes.extend(total.count.to_le_bytes());
    }

    fn load(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let sum = A::from_bytes(*bytes.split_off(..16)?.first_chunk()?);
        let count = u64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?);
        self.totals[group as usize] = Total { sum, count };
        Some(())
    }
}
