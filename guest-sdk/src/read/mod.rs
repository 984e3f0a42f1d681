//! How Rust values are read from columns, in place.
//!
//! Reading has two steps. When a function is opened, `Plan`s say which columns a type reads and refuse types that do
//! not fit. For every batch, a plan and the batch give a typed accessor (`Read::Column`), and the loop over rows asks
//! it for values; text is checked for UTF-8 once a column there.

mod rows;
mod values;

pub use rows::{MemberPlaces, Members, RowPlan, plan_members, wanted_members};
pub use values::Text;

use crate::bindings::wxhost::plugin::types::{Batch, Column, DataType, Schema};
use crate::error::{Error, Result};
use crate::schema::{field, list_columns, type_name};

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

/// Checks that a field is of one of the types in `accepted`.
pub(crate) fn plan_leaf(schema: &Schema, index: u32, wanted: &str, accepted: &[DataType]) -> Result<Plan, Mismatch> {
    let data_type = field(schema, index).map(|field| &field.data_type);
    if data_type.is_some_and(|data_type| accepted.contains(data_type)) {
        return Ok(Plan::Leaf);
    }
    let found = data_type.map(|data_type| type_name(schema, data_type));
    Err(Mismatch { path: String::new(), wanted: wanted.to_owned(), found })
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
    #[inline(always)]
    pub fn is_null(&self, row: usize) -> bool {
        self.0.is_some_and(|bits| !bit(bits, row))
    }

    #[inline(always)]
    fn check(&self, row: usize) -> Result<(), Fault> {
        if self.is_null(row) { Err(Fault::null()) } else { Ok(()) }
    }
}

#[inline(always)]
pub(crate) fn bit(bits: &[u8], row: usize) -> bool {
    bits[row / 8] >> (row % 8) & 1 == 1
}
