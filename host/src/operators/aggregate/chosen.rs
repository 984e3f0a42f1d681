//! `min`, `max`, `first`, `last`: one of the values of a group, of those that are not null.

use super::accumulator::{Accumulator, each};
use super::bytes::{self, Bytes, Text};
use crate::data::schema::Type;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::RowError;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type,
    UInt64Type,
};
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::sync::Arc;

/// Which of two values stays.
pub(super) trait Rule: 'static {
    /// Whether NaN is no value.
    const SKIPS_NAN: bool;

    /// Whether a value takes the place of the one before; `order` is how it compares to that.
    fn takes(order: impl FnOnce() -> Ordering) -> bool;
}

/// The least.
pub(super) struct Min;
/// The greatest.
pub(super) struct Max;
/// The first to come.
pub(super) struct First;
/// The last to come.
pub(super) struct Last;

impl Rule for Min {
    const SKIPS_NAN: bool = true;

    #[inline]
    fn takes(order: impl FnOnce() -> Ordering) -> bool {
        order() == Ordering::Less
    }
}

impl Rule for Max {
    const SKIPS_NAN: bool = true;

    #[inline]
    fn takes(order: impl FnOnce() -> Ordering) -> bool {
        order() == Ordering::Greater
    }
}

impl Rule for First {
    const SKIPS_NAN: bool = false;

    #[inline]
    fn takes(_order: impl FnOnce() -> Ordering) -> bool {
        false
    }
}

impl Rule for Last {
    const SKIPS_NAN: bool = false;

    #[inline]
    fn takes(_order: impl FnOnce() -> Ordering) -> bool {
        true
    }
}

/// Whether values of a type can be held.
pub(super) fn holds(ty: &Type) -> bool {
    bytes::is_encodable(&ty.data_type())
}

/// Makes the states of a rule for a column of a type that can be held.
///
/// # Errors
/// It cannot.
pub(super) fn of<R: Rule>(column: usize, ty: &Type) -> Result<Box<dyn Accumulator>, LogicError> {
    Ok(match ty {
        Type::Bool => Box::new(Chosen::<Booleans, R>::new(column)),
        Type::Int32 => Box::new(Chosen::<Primitives<Int32Type>, R>::new(column)),
        Type::Int64 => Box::new(Chosen::<Primitives<Int64Type>, R>::new(column)),
        Type::Uint32 => Box::new(Chosen::<Primitives<UInt32Type>, R>::new(column)),
        Type::Uint64 => Box::new(Chosen::<Primitives<UInt64Type>, R>::new(column)),
        Type::Float32 => Box::new(Chosen::<Primitives<Float32Type>, R>::new(column)),
        Type::Float64 => Box::new(Chosen::<Primitives<Float64Type>, R>::new(column)),
        Type::Timestamp => Box::new(Chosen::<Primitives<TimestampMicrosecondType>, R>::new(column)),
        Type::Date => Box::new(Chosen::<Primitives<Date32Type>, R>::new(column)),
        Type::String | Type::Json => Box::new(Bytes::<Text, R>::new(column, Text)),
        other => Box::new(Bytes::<_, R>::new(column, bytes::Encoded::new(other.data_type())?)),
    })
}

/// Values of one machine word.
pub(super) trait Value: Copy + Default + 'static {
    /// Floats in their total order, in which -0 comes before 0, so that what is least is the same in any order of rows.
    fn order(self, other: Self) -> Ordering;

    fn is_nan(self) -> bool {
        false
    }

    fn to_bytes(self) -> [u8; 8];

    fn from_bytes(bytes: [u8; 8]) -> Self;
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Value for $ty {
            #[inline]
            fn order(self, other: Self) -> Ordering {
                self.cmp(&other)
            }

            fn to_bytes(self) -> [u8; 8] {
                (self as i64).to_le_bytes()
            }

            fn from_bytes(bytes: [u8; 8]) -> Self {
                i64::from_le_bytes(bytes) as $ty
            }
        }
    )*};
}

macro_rules! floats {
    ($($ty:ty),*) => {$(
        impl Value for $ty {
            #[inline]
            fn order(self, other: Self) -> Ordering {
                self.total_cmp(&other)
            }

            #[inline]
            fn is_nan(self) -> bool {
                <$ty>::is_nan(self)
            }

            fn to_bytes(self) -> [u8; 8] {
                u64::from(self.to_bits()).to_le_bytes()
            }

            fn from_bytes(bytes: [u8; 8]) -> Self {
                <$ty>::from_bits(u64::from_le_bytes(bytes) as _)
            }
        }
    )*};
}

integers!(i32, i64, u32, u64);
floats!(f32, f64);

impl Value for bool {
    fn order(self, other: Self) -> Ordering {
        self.cmp(&other)
    }

    fn to_bytes(self) -> [u8; 8] {
        u64::from(self).to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 8]) -> Self {
        u64::from_le_bytes(bytes) != 0
    }
}

/// Columns of a type.
trait Column: 'static {
    type Value: Value;

    /// What reads the value of a row that is not null.
    fn read(column: &ArrayRef) -> impl Fn(usize) -> Self::Value;

    fn write(values: impl Iterator<Item = Option<Self::Value>>) -> ArrayRef;
}

struct Primitives<T>(PhantomData<T>);

impl<T: ArrowPrimitiveType> Column for Primitives<T>
where
    T::Native: Value,
{
    type Value = T::Native;

    fn read(column: &ArrayRef) -> impl Fn(usize) -> T::Native {
        let values = column.as_primitive::<T>().values().as_ref();
        |row| values[row]
    }

    fn write(values: impl Iterator<Item = Option<T::Native>>) -> ArrayRef {
        let column: PrimitiveArray<T> = values.collect();
        match T::DATA_TYPE {
            DataType::Timestamp(..) => Arc::new(column.with_data_type(Type::Timestamp.data_type())),
            _ => Arc::new(column),
        }
    }
}

struct Booleans;

impl Column for Booleans {
    type Value = bool;

    fn read(column: &ArrayRef) -> impl Fn(usize) -> bool {
        let values = column.as_boolean().values();
        |row| values.value(row)
    }

    fn write(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
        Arc::new(values.collect::<BooleanArray>())
    }
}

/// The chosen values, by group.
struct Chosen<C: Column, R> {
    column: usize,
    slots: Vec<Slot<C::Value>>,
    rule: PhantomData<R>,
}

/// The value of a group. It and whether it is there stand in one place: a group costs one look at memory.
#[derive(Clone, Copy, Default)]
struct Slot<V> {
    value: V,
    is_set: bool,
}

impl<V: Value> Slot<V> {
    #[inline]
    fn take<R: Rule>(&mut self, value: V) {
        if R::SKIPS_NAN && value.is_nan() {
            return;
        }
        if !self.is_set || R::takes(|| value.order(self.value)) {
            *self = Slot { value, is_set: true };
        }
    }

    fn get(self) -> Option<V> {
        self.is_set.then_some(self.value)
    }
}

impl<C: Column, R: Rule> Chosen<C, R> {
    fn new(column: usize) -> Self {
        Chosen { column, slots: Vec::new(), rule: PhantomData }
    }
}

impl<C: Column, R: Rule> Accumulator for Chosen<C, R> {
    fn resize(&mut self, groups: usize) {
        self.slots.resize(groups, Slot::default());
    }

    fn update(&mut self, groups: &[u32], index: Option<&[u32]>, rows: &RecordBatch) -> Result<(), LogicError> {
        let column = rows.column(self.column);
        let (value, slots) = (C::read(column), self.slots.as_mut_slice());
        each(groups, index, column.nulls(), |group, row| slots[group].take::<R>(value(row)));
        Ok(())
    }

    fn running(
        &mut self,
        groups: &[u32],
        rows: &RecordBatch,
        _refused: &mut Vec<RowError>,
    ) -> Result<ArrayRef, LogicError> {
        let column = rows.column(self.column);
        let (value, slots) = (C::read(column), self.slots.as_mut_slice());
        Ok(C::write(groups.iter().enumerate().map(|(row, &group)| {
            let slot = &mut slots[group as usize];
            if column.is_valid(row) {
                slot.take::<R>(value(row));
            }
            slot.get()
        })))
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) {
        for (&into, &from) in into.iter().zip(from) {
            if let Some(value) = std::mem::take(&mut self.slots[from as usize]).get() {
                self.slots[into as usize].take::<R>(value);
            }
        }
    }

    fn finish(&self, groups: &[u32], _refused: &mut Vec<RowError>) -> Result<ArrayRef, LogicError> {
        Ok(C::write(groups.iter().map(|&group| self.slots[group as usize].get())))
    }

    fn reset(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.slots[group as usize] = Slot::default());
    }

    fn save(&self, group: u32, bytes: &mut Vec<u8>) {
        let slot = self.slots[group as usize];
        bytes.push(u8::from(slot.is_set));
        bytes.extend(slot.value.to_bytes());
    }

    fn load(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let is_set = *bytes.split_off_first()? != 0;
        let value = C::Value::from_bytes(*bytes.split_off(..8)?.first_chunk()?);
        self.slots[group as usize] = Slot { value, is_set };
        Some(())
    }
}
