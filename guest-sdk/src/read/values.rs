//! The values of one column: numbers, text, bytes, nulls, lists.

use std::borrow::Cow;

use crate::bindings::wxhost::plugin::types::{Batch, Column, DataType, Schema, Values, VarSize};
use crate::error::Result;
use crate::read::{Fault, Mismatch, Place, Plan, Read, Validity, bit, broken, column_at, plan_leaf, single};
use crate::schema::field;
use crate::time::{Date, Timestamp};

/// Numbers and times.
pub struct Plain<'a, T: Copy> {
    valid: Validity<'a>,
    values: Cow<'a, [T]>,
}

impl<'a, T: Copy> Plain<'a, T> {
    fn new(column: &'a Column, values: Cow<'a, [T]>) -> Result<Self> {
        if values.len() != column.rows as usize {
            return Err(broken("a column with another number of values than rows"));
        }
        Ok(Self { valid: Validity::of(column.validity.as_deref(), column.rows)?, values })
    }

    #[inline(always)]
    fn get(&self, row: usize) -> Result<T, Fault> {
        self.valid.check(row)?;
        Ok(self.values[row])
    }
}

/// Reads a number from columns of its own type and of types that it holds without loss.
macro_rules! read_number {
    ($type:ty, $name:literal, $own:ident $(, $narrower:ident)*) => {
        impl<'a> Read<'a> for $type {
            type Column = Plain<'a, $type>;

            fn wanted() -> String {
                $name.into()
            }

            fn plan(schema: &Schema, index: u32) -> Result<Plan, Mismatch> {
                plan_leaf(schema, index, $name, &[DataType::$own $(, DataType::$narrower)*])
            }

            fn column(_: &Plan, batch: &'a Batch, place: Place) -> Result<Self::Column> {
                let column = single(batch, place)?;
                let values = match &column.values {
                    Values::$own(values) => Cow::Borrowed(values.as_slice()),
                    $(Values::$narrower(values) => values.iter().map(|value| <$type>::from(*value)).collect(),)*
                    _ => return Err(broken("a column of another type than the schema says")),
                };
                Plain::new(column, values)
            }

            #[inline(always)]
            fn get(column: &Self::Column, row: usize) -> Result<Self, Fault> {
                column.get(row)
            }
        }
    };
}

read_number!(i32, "int32", Int32);
read_number!(i64, "int64", Int64, Int32, Uint32);
read_number!(u32, "uint32", Uint32);
read_number!(u64, "uint64", Uint64, Uint32);
read_number!(f32, "float32", Float32);
read_number!(f64, "float64", Float64, Float32, Int32, Uint32);

/// Reads a time from the numbers that it is kept in.
macro_rules! read_time {
    ($type:ty, $name:literal, $own:ident, $values:ident, $make:path, $number:ty) => {
        impl<'a> Read<'a> for $type {
            type Column = Plain<'a, $number>;

            fn wanted() -> String {
                $name.into()
            }

            fn plan(schema: &Schema, index: u32) -> Result<Plan, Mismatch> {
                plan_leaf(schema, index, $name, &[DataType::$own])
            }

            fn column(_: &Plan, batch: &'a Batch, place: Place) -> Result<Self::Column> {
                let column = single(batch, place)?;
                let Values::$values(values) = &column.values else {
                    return Err(broken("a column of another type than the schema says"));
                };
                Plain::new(column, Cow::Borrowed(values))
            }

            #[inline(always)]
            fn get(column: &Self::Column, row: usize) -> Result<Self, Fault> {
                column.get(row).map($make)
            }
        }
    };
}

read_time!(Timestamp, "timestamp", Timestamp, Int64, Timestamp::from_micros, i64);
read_time!(Date, "date", Date, Int32, Date::from_days, i32);

/// Booleans, one bit each.
pub struct Bits<'a> {
    valid: Validity<'a>,
    bits: &'a [u8],
}

impl<'a> Read<'a> for bool {
    type Column = Bits<'a>;

    fn wanted() -> String {
        "bool".into()
    }

    fn plan(schema: &Schema, index: u32) -> Result<Plan, Mismatch> {
        plan_leaf(schema, index, "bool", &[DataType::Boolean])
    }

    fn column(_: &Plan, batch: &'a Batch, place: Place) -> Result<Self::Column> {
        let column = single(batch, place)?;
        match &column.values {
            Values::Boolean(bits) if bits.len() >= (column.rows as usize).div_ceil(8) => {
                Ok(Bits { valid: Validity::of(column.validity.as_deref(), column.rows)?, bits })
            }
            _ => Err(broken("a column of another type or length than the schema says")),
        }
    }

    #[inline(always)]
    fn get(column: &Self::Column, row: usize) -> Result<Self, Fault> {
        column.valid.check(row)?;
        Ok(bit(column.bits, row))
    }
}

fn var_size(column: &Column) -> Result<&VarSize> {
    match &column.values {
        Values::VarSize(values) if values.offsets.len() == column.rows as usize + 1 => Ok(values),
        _ => Err(broken("a column of another type or length than the schema says")),
    }
}

/// Text, checked for UTF-8 as a whole.
pub struct Text<'a> {
    valid: Validity<'a>,
    offsets: &'a [i32],
    text: &'a str,
}

impl<'a> Text<'a> {
    pub(crate) fn bind(batch: &'a Batch, place: Place) -> Result<Self> {
        let column = single(batch, place)?;
        let values = var_size(column)?;
        let text = simdutf8::basic::from_utf8(&values.data).map_err(|_| broken("text that is no UTF-8"))?;
        Ok(Self { valid: Validity::of(column.validity.as_deref(), column.rows)?, offsets: &values.offsets, text })
    }

    #[inline(always)]
    pub(crate) fn get(&self, row: usize) -> Result<&'a str, Fault> {
        self.valid.check(row)?;
        // Offsets that cut a character, or that are out of order, must not take the instance down.
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        self.text.get(range).ok_or_else(|| Fault::new("has text that is cut inside a character"))
    }
}

/// Reads text in place, or copies it.
macro_rules! read_text {
    ($type:ty, $make:expr) => {
        impl<'a> Read<'a> for $type {
            type Column = Text<'a>;

            fn wanted() -> String {
                "string".into()
            }

            fn plan(schema: &Schema, index: u32) -> Result<Plan, Mismatch> {
                plan_leaf(schema, index, "string", &[DataType::String, DataType::Json])
            }

            fn column(_: &Plan, batch: &'a Batch, place: Place) -> Result<Self::Column> {
                Text::bind(batch, place)
            }

            #[inline(always)]
            fn get(column: &Self::Column, row: usize) -> Result<Self, Fault> {
                column.get(row).map($make)
            }
        }
    };
}

read_text!(&'a str, |text| text);
read_text!(String, str::to_owned);
read_text!(Cow<'a, str>, Cow::Borrowed);

/// Bytes.
pub struct Bytes<'a> {
    valid: Validity<'a>,
    offsets: &'a [i32],
    data: &'a [u8],
}

/// Reads bytes in place, or copies them.
macro_rules! read_bytes {
    ($type:ty, $make:expr) => {
        impl<'a> Read<'a> for $type {
            type Column = Bytes<'a>;

            fn wanted() -> String {
                "binary".into()
            }

            fn plan(schema: &Schema, index: u32) -> Result<Plan, Mismatch> {
                plan_leaf(schema, index, "binary", &[DataType::Binary, DataType::String, DataType::Json])
            }

            fn column(_: &Plan, batch: &'a Batch, place: Place) -> Result<Self::Column> {
                let column = single(batch, place)?;
                let values = var_size(column)?;
                let valid = Validity::of(column.validity.as_deref(), column.rows)?;
                Ok(Bytes { valid, offsets: &values.offsets, data: &values.data })
            }

            #[inline(always)]
            fn get(column: &Self::Column, row: usize) -> Result<Self, Fault> {
                column.valid.check(row)?;
                let range = column.offsets[row] as usize..column.offsets[row + 1] as usize;
                column.data.get(range).map($make).ok_or_else(|| Fault::new("has offsets out of order"))
            }
        }
    };
}

read_bytes!(&'a [u8], |bytes| bytes);
read_bytes!(Vec<u8>, <[u8]>::to_vec);

/// A column whose nulls are values.
pub struct Nullable<'a, C> {
    valid: Validity<'a>,
    column: C,
}

impl<'a, T: Read<'a>> Read<'a> for Option<T> {
    type Column = Nullable<'a, T::Column>;

    fn wanted() -> String {
        T::wanted()
    }

    fn plan(schema: &Schema, index: u32) -> Result<Plan, Mismatch> {
        T::plan(schema, index)
    }

    fn column(plan: &Plan, batch: &'a Batch, place: Place) -> Result<Self::Column> {
        let own = single(batch, place)?;
        // A struct in an Option is a column of its own even when it is all there is in the batch.
        let place = match place {
            Place::Roots => Place::Column(batch.roots[0]),
            place => place,
        };
        let valid = Validity::of(own.validity.as_deref(), own.rows)?;
        Ok(Nullable { valid, column: T::column(plan, batch, place)? })
    }

    #[inline(always)]
    fn get(column: &Self::Column, row: usize) -> Result<Self, Fault> {
        if column.valid.is_null(row) { Ok(None) } else { T::get(&column.column, row).map(Some) }
    }
}

/// Lists.
pub struct Lists<'a, C> {
    valid: Validity<'a>,
    offsets: &'a [i32],
    items: C,
    item_rows: usize,
}

impl<'a, T: Read<'a>> Read<'a> for Vec<T> {
    type Column = Lists<'a, T::Column>;

    fn wanted() -> String {
        format!("list<{}>", T::wanted())
    }

    fn plan(schema: &Schema, index: u32) -> Result<Plan, Mismatch> {
        match field(schema, index).map(|field| &field.data_type) {
            Some(DataType::List(item)) => {
                T::plan(schema, *item).map(|plan| Plan::List(Box::new(plan))).map_err(|m| m.within("[]"))
            }
            _ => plan_leaf(schema, index, &Self::wanted(), &[]),
        }
    }

    fn column(plan: &Plan, batch: &'a Batch, place: Place) -> Result<Self::Column> {
        let column = single(batch, place)?;
        let (Plan::List(plan), Values::List(lists)) = (plan, &column.values) else {
            return Err(broken("no list where the schema has one"));
        };
        if lists.offsets.len() != column.rows as usize + 1 {
            return Err(broken("a list with another number of offsets than rows"));
        }
        Ok(Lists {
            valid: Validity::of(column.validity.as_deref(), column.rows)?,
            offsets: &lists.offsets,
            items: T::column(plan, batch, Place::Column(lists.child))?,
            item_rows: column_at(batch, lists.child)?.rows as usize,
        })
    }

    fn get(column: &Self::Column, row: usize) -> Result<Self, Fault> {
        column.valid.check(row)?;
        let (start, end) = (column.offsets[row] as usize, column.offsets[row + 1] as usize);
        if start > end || end > column.item_rows {
            return Err(Fault::new("has offsets out of order"));
        }
        (start..end).map(|item| T::get(&column.items, item).map_err(|fault| fault.within("[]"))).collect()
    }
}
