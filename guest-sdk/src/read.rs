//! How Rust values are read from columns, in place.
//!
//! Reading has two steps. When a function is opened, `Plan`s say which columns a type reads and refuse types that do
//! not fit. For every batch, a plan and the batch give a typed accessor (`Read::Column`), and the loop over rows asks
//! it for values; text is checked for UTF-8 once a column there.

use std::borrow::Cow;

use crate::bindings::wxhost::plugin::types::{Batch, Column, DataType, Schema, Values, VarSize};
use crate::error::{Error, Result};
use crate::schema::{field, list_columns, type_name};
use crate::time::{Date, Timestamp};

/// A value that can be read from a column, or a row that can be read from several.
///
/// Derived by `#[derive(Row)]` for structs. `'a` is the lifetime of the batch: `&'a str` points into it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a column",
    label = "not the type of a column or a row",
    note = "derive it with `#[derive(Row)]`, or use one of bool, i32, i64, u32, u64, f32, f64, &str, String, &[u8], Vec<u8>, Timestamp, Date, Json<T>, Option<T>, Vec<T>"
)]
pub trait Read<'a>: Sized {
    /// Gives the values of one batch.
    type Column;

    /// Names the type that is wanted, as flow files write it.
    fn wanted() -> String;

    /// Returns the members of a struct; nothing for a plain value.
    fn members() -> Option<Vec<Member>> {
        None
    }

    /// Checks that a field has the type wanted.
    fn plan(schema: &Schema, index: u32) -> Result<Plan, Mismatch>;

    /// Binds a column of a batch.
    fn column(plan: &Plan, batch: &'a Batch, place: Place) -> Result<Self::Column>;

    /// Reads one row.
    fn get(column: &Self::Column, row: usize) -> Result<Self, Fault>;
}

/// One field of a struct that is read: its name and how its column is checked.
pub struct Member {
    name: &'static str,
    wanted: fn() -> String,
    plan: fn(&Schema, u32) -> Result<Plan, Mismatch>,
}

impl Member {
    /// Describes a field of the type `T`.
    pub fn of<'a, T: Read<'a>>(name: &'static str) -> Self {
        Self { name, wanted: T::wanted, plan: T::plan }
    }
}

/// How a type reads the columns of a schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// A column as it is.
    Leaf,
    /// A list; the plan of its items.
    List(Box<Plan>),
    /// A struct; for each field the position of its column among the members, and its plan.
    Members(Vec<(usize, Plan)>),
}

/// Where in a batch a value stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// The columns of the batch: a row.
    Roots,
    /// A column of the arena.
    Column(u32),
}

/// Why a type does not fit a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    path: String,
    wanted: String,
    /// Nothing if there is no such column.
    found: Option<String>,
}

impl Mismatch {
    fn within(mut self, name: &str) -> Self {
        self.path = if self.path.is_empty() { name.to_owned() } else { format!("{name}.{}", self.path) };
        self
    }

    fn into_error(self, schema: &Schema) -> Error {
        let Self { path, wanted, found } = self;
        let columns = list_columns(schema);
        Error::user(match found {
            Some(found) => format!("column {path:?} is {found}, wanted {wanted}; columns: {columns}"),
            None => format!("no column {path:?} ({wanted}); columns: {columns}"),
        })
    }
}

/// Why a value could not be read. Boxed, because the good value is what the loop carries about.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault(Box<(String, String)>);

impl Fault {
    #[cold]
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Box::new((String::new(), message.into())))
    }

    #[cold]
    fn null() -> Self {
        Self::new("is null, and the field is no Option")
    }

    /// Says which field it was.
    #[cold]
    pub fn within(mut self, name: &str) -> Self {
        let path = &mut self.0.0;
        *path = if path.is_empty() { name.to_owned() } else { format!("{name}.{path}") };
        self
    }
}

impl From<Fault> for Error {
    #[cold]
    fn from(fault: Fault) -> Self {
        let (path, message) = *fault.0;
        Self::user(if path.is_empty() { format!("the value {message}") } else { format!("column {path:?} {message}") })
    }
}

/// How a function reads its rows: which columns cross the boundary and how they are bound.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPlan {
    /// Indexes into the roots of the input schema.
    pub reads: Vec<u32>,
    pub(crate) plan: Plan,
    /// The column of a plain value, for messages.
    pub(crate) value_column: Option<String>,
}

impl RowPlan {
    /// Finds the columns of the row `T`, which the function takes as `parameter`.
    ///
    /// A struct's fields are found by name. A plain value takes the column with the parameter's name, or the only
    /// column there is.
    pub fn of<T: Read<'static>>(schema: &Schema, parameter: &str) -> Result<Self> {
        match T::members() {
            Some(members) => Self::of_members(schema, &members),
            None => Self::of_value::<T>(schema, parameter),
        }
    }

    fn of_members(schema: &Schema, members: &[Member]) -> Result<Self> {
        let mut reads = Vec::new();
        let mut plans = Vec::with_capacity(members.len());
        for member in members {
            let found = find(schema, &schema.roots, member.name).ok_or_else(|| missing(member));
            let root = found.map_err(|mismatch| mismatch.into_error(schema))?;
            let plan = (member.plan)(schema, schema.roots[root])
                .map_err(|mismatch| mismatch.within(member.name).into_error(schema))?;
            let root = root as u32;
            let position = reads.iter().position(|read| *read == root).unwrap_or_else(|| {
                reads.push(root);
                reads.len() - 1
            });
            plans.push((position, plan));
        }
        Ok(Self { reads, plan: Plan::Members(plans), value_column: None })
    }

    fn of_value<T: Read<'static>>(schema: &Schema, parameter: &str) -> Result<Self> {
        let parameter = parameter.trim_start_matches('_');
        let root = match (find(schema, &schema.roots, parameter), schema.roots.len()) {
            (Some(root), _) => root,
            (None, 1) => 0,
            (None, _) => {
                return Err(Error::user(format!(
                    "the parameter {parameter:?} is one value ({}), and no column has its name; name it like the \
                     column that it should read, or take a struct that derives Row; columns: {}",
                    T::wanted(),
                    list_columns(schema)
                )));
            }
        };
        let index = schema.roots[root];
        let name = field(schema, index).map_or_else(String::new, |field| field.name.clone());
        let plan = T::plan(schema, index).map_err(|mismatch| mismatch.within(&name).into_error(schema))?;
        Ok(Self { reads: vec![root as u32], plan, value_column: Some(name) })
    }

    /// Binds the columns of a batch.
    pub fn bind<'a, T: Read<'a>>(&self, batch: &'a Batch) -> Result<T::Column> {
        if batch.roots.len() != self.reads.len() {
            return Err(broken(format!("{} columns, not the {} asked for", batch.roots.len(), self.reads.len())));
        }
        let rows = batch.rows as usize;
        for root in &batch.roots {
            if column_at(batch, *root)?.rows as usize != rows {
                return Err(broken("columns of different lengths"));
            }
        }
        T::column(&self.plan, batch, Place::Roots)
    }

    /// Reads a row of bound columns.
    #[inline]
    pub fn get<'a, T: Read<'a>>(&self, column: &T::Column, row: usize) -> Result<T> {
        T::get(column, row).map_err(|fault| match &self.value_column {
            Some(name) => fault.within(name).into(),
            None => fault.into(),
        })
    }
}

fn find(schema: &Schema, indexes: &[u32], name: &str) -> Option<usize> {
    indexes.iter().position(|index| field(schema, *index).is_some_and(|field| field.name == name))
}

fn missing(member: &Member) -> Mismatch {
    Mismatch { path: member.name.to_owned(), wanted: (member.wanted)(), found: None }
}

/// Checks that a field is of one of the types in `accepted`.
pub(crate) fn plan_leaf(schema: &Schema, index: u32, wanted: &str, accepted: &[DataType]) -> Result<Plan, Mismatch> {
    let data_type = field(schema, index).map(|field| &field.data_type);
    if data_type.is_some_and(|data_type| accepted.contains(data_type)) {
        return Ok(Plan::Leaf);
    }
    let found = data_type.map(|data_type| type_name(schema, data_type));
    Err(Mismatch { path: String::new(), wanted: wanted.to_owned(), found })
}

/// Names a struct type by its members.
pub fn wanted_members(members: Option<Vec<Member>>) -> String {
    let members: Vec<_> =
        members.unwrap_or_default().iter().map(|member| format!("{}: {}", member.name, (member.wanted)())).collect();
    format!("struct<{}>", members.join(", "))
}

/// Finds the members of a nested struct.
pub fn plan_members(schema: &Schema, index: u32, members: Option<Vec<Member>>) -> Result<Plan, Mismatch> {
    let Some(DataType::Struct(children)) = field(schema, index).map(|field| &field.data_type) else {
        return plan_leaf(schema, index, &wanted_members(members), &[]);
    };
    let plan = |member: &Member| {
        let position = find(schema, children, member.name).ok_or_else(|| missing(member))?;
        let plan = (member.plan)(schema, children[position]).map_err(|mismatch| mismatch.within(member.name))?;
        Ok((position, plan))
    };
    members.unwrap_or_default().iter().map(plan).collect::<Result<_, _>>().map(Plan::Members)
}

/// The columns of a struct: its own nulls, and its fields as nested pairs.
pub struct Members<'a, F> {
    valid: Validity<'a>,
    /// `(first, (second, ()))`.
    pub fields: F,
}

impl<F> Members<'_, F> {
    /// Fails if the struct is null.
    #[inline]
    pub fn check(&self, row: usize) -> Result<(), Fault> {
        self.valid.check(row)
    }
}

/// The places of a struct's fields in a batch.
pub struct MemberPlaces<'a> {
    valid: Validity<'a>,
    fields: std::vec::IntoIter<(Plan, Place)>,
}

impl<'a> MemberPlaces<'a> {
    /// Finds them.
    pub fn of(plan: &Plan, batch: &'a Batch, place: Place) -> Result<Self> {
        let Plan::Members(plans) = plan else {
            return Err(broken("a plan that is not of a struct"));
        };
        let (valid, children) = match place {
            Place::Roots => (Validity(None), &batch.roots),
            Place::Column(index) => match column_at(batch, index)? {
                Column { values: Values::Struct(children), validity, rows } => {
                    (Validity::of(validity.as_deref(), *rows)?, children)
                }
                _ => return Err(broken("no struct where the schema has one")),
            },
        };
        let fields = plans.iter().map(|(position, plan)| {
            let child = children.get(*position).ok_or_else(|| broken("a struct without one of its members"))?;
            Ok((plan.clone(), Place::Column(*child)))
        });
        Ok(Self { valid, fields: fields.collect::<Result<Vec<_>>>()?.into_iter() })
    }

    /// Binds the next field.
    pub fn bind_next<T: Read<'a>>(&mut self, batch: &'a Batch) -> Result<T::Column> {
        let (plan, place) = self.fields.next().ok_or_else(|| broken("a struct without one of its members"))?;
        T::column(&plan, batch, place)
    }

    /// Sets the bound fields beside the struct's own nulls.
    pub fn finish<F>(self, fields: F) -> Members<'a, F> {
        Members { valid: self.valid, fields }
    }
}

/// Says that the host broke the contract.
#[cold]
pub(crate) fn broken(what: impl std::fmt::Display) -> Error {
    Error::internal(format!("the host sent {what}"))
}

pub(crate) fn column_at(batch: &Batch, index: u32) -> Result<&Column> {
    batch.columns.get(index as usize).ok_or_else(|| broken("a batch that names a column which it lacks"))
}

fn single(batch: &Batch, place: Place) -> Result<&Column> {
    match place {
        Place::Column(index) => column_at(batch, index),
        Place::Roots => match batch.roots.first() {
            Some(index) => column_at(batch, *index),
            None => Err(broken("no column")),
        },
    }
}

/// Which rows have a value.
#[derive(Clone, Copy)]
pub struct Validity<'a>(Option<&'a [u8]>);

impl<'a> Validity<'a> {
    fn of(bits: Option<&'a [u8]>, rows: u32) -> Result<Self> {
        match bits {
            Some(bits) if bits.len() < (rows as usize).div_ceil(8) => Err(broken("a bitmap that is too short")),
            bits => Ok(Self(bits)),
        }
    }

    /// Says whether a row has no value.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.0.is_some_and(|bits| !bit(bits, row))
    }

    #[inline]
    fn check(&self, row: usize) -> Result<(), Fault> {
        if self.is_null(row) { Err(Fault::null()) } else { Ok(()) }
    }
}

#[inline]
pub(crate) fn bit(bits: &[u8], row: usize) -> bool {
    bits[row / 8] >> (row % 8) & 1 == 1
}

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

    #[inline]
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

            #[inline]
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

            #[inline]
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

    #[inline]
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
        let text = std::str::from_utf8(&values.data).map_err(|_| broken("text that is no UTF-8"))?;
        Ok(Self { valid: Validity::of(column.validity.as_deref(), column.rows)?, offsets: &values.offsets, text })
    }

    #[inline]
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

            #[inline]
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

            #[inline]
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

    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::wxhost::plugin::types::{Field, ListData};

    fn schema(data_type: DataType) -> Schema {
        Schema { fields: vec![Field { name: "c".into(), data_type }], roots: vec![0] }
    }

    fn batch(rows: u32, validity: Option<Vec<u8>>, values: Values) -> Batch {
        Batch { rows, columns: vec![Column { rows, validity, values }], roots: vec![0] }
    }

    fn text(offsets: &[i32], data: &[u8]) -> Values {
        Values::VarSize(VarSize { offsets: offsets.to_vec(), data: data.to_vec() })
    }

    #[test]
    fn offsets_that_make_no_sense_fail_for_their_row_and_never_panic() {
        let plan = RowPlan::of::<&str>(&schema(DataType::String), "c").unwrap();
        let batch = batch(5, None, text(&[0, 1, 2, 1, -1, 99], "äb".as_bytes()));
        let column = plan.bind::<&str>(&batch).unwrap();
        for row in 0..5 {
            let error = plan.get::<&str>(&column, row).unwrap_err();
            assert_eq!(error.message(), "column \"c\" has text that is cut inside a character", "row {row}");
        }
    }

    #[test]
    fn batches_that_break_the_contract_are_refused_as_a_whole() {
        let text_plan = RowPlan::of::<&str>(&schema(DataType::String), "c").unwrap();
        let number_plan = RowPlan::of::<i64>(&schema(DataType::Int64), "c").unwrap();
        let of_text = |batch: &Batch| text_plan.bind::<&str>(batch).err().map(|error| error.message().to_owned());
        let of_number = |batch: &Batch| number_plan.bind::<i64>(batch).err().map(|error| error.message().to_owned());
        for (found, message) in [
            (of_text(&batch(1, None, text(&[0, 1], &[0xff]))), "the host sent text that is no UTF-8"),
            (
                of_text(&batch(2, None, text(&[0, 1], b"a"))),
                "the host sent a column of another type or length than the schema says",
            ),
            (
                of_number(&batch(2, None, Values::Int64(vec![1]))),
                "the host sent a column with another number of values than rows",
            ),
            (
                of_number(&batch(9, Some(vec![0xff]), Values::Int64(vec![1; 9]))),
                "the host sent a bitmap that is too short",
            ),
            (
                of_number(&Batch { rows: 1, columns: vec![], roots: vec![7] }),
                "the host sent a batch that names a column which it lacks",
            ),
        ] {
            assert_eq!(found.as_deref(), Some(message));
        }
    }

    #[test]
    fn lists_outside_of_their_items_fail_for_their_row() {
        let fields = vec![
            Field { name: "item".into(), data_type: DataType::Int64 },
            Field { name: "c".into(), data_type: DataType::List(0) },
        ];
        let plan = RowPlan::of::<Vec<i64>>(&Schema { fields, roots: vec![1] }, "c").unwrap();
        let items = Column { rows: 2, validity: None, values: Values::Int64(vec![1, 2]) };
        let lists = Values::List(ListData { offsets: vec![0, 2, 1, 9], child: 0 });
        let lists = Column { rows: 3, validity: None, values: lists };
        let batch = Batch { rows: 3, columns: vec![items, lists], roots: vec![1] };
        let column = plan.bind::<Vec<i64>>(&batch).unwrap();
        assert_eq!(plan.get::<Vec<i64>>(&column, 0), Ok(vec![1, 2]));
        assert!(plan.get::<Vec<i64>>(&column, 1).is_err());
        assert!(plan.get::<Vec<i64>>(&column, 2).is_err());
    }
}
