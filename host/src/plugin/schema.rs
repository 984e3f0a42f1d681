//! Schemas as they cross the boundary: an arena of fields, children first.

use super::bindings::types;
use super::validate::{Lie, lie};
use crate::data::schema::{Type, schema_of};
use arrow::datatypes::{Schema, SchemaRef};

/// How deep a guest's type may nest; reading it recurses.
const MAX_DEPTH: usize = 64;

/// What a guest is told of a schema.
#[derive(Debug)]
pub(super) struct Visible {
    pub(super) schema: types::Schema,
    /// For each column that the guest is told of its index in the whole schema.
    pub(super) columns: Vec<usize>,
    /// The columns of types that have no form in the contract, with their types.
    pub(super) hidden: Vec<(String, Type)>,
}

impl Visible {
    /// Tells of all columns that a guest could read.
    pub(super) fn of(schema: &Schema) -> Visible {
        let empty = types::Schema { fields: Vec::new(), roots: Vec::new() };
        let mut visible = Visible { schema: empty, columns: Vec::new(), hidden: Vec::new() };
        for (index, field) in schema.fields().iter().enumerate() {
            let column = Type::of(field);
            if column.is_guest_readable() {
                let root = add(&mut visible.schema.fields, field.name(), &column);
                visible.schema.roots.push(root);
                visible.columns.push(index);
            } else {
                visible.hidden.push((field.name().clone(), column));
            }
        }
        visible
    }

    /// Turns the indexes of the columns that a guest reads into indexes of the whole schema.
    pub(super) fn reads(&self, reads: &[u32]) -> Result<Vec<usize>, Lie> {
        let of = |&read: &u32| match self.columns.get(read as usize) {
            Some(&column) => Ok(column),
            None => lie!("it reads column {read} of {}", self.columns.len()),
        };
        reads.iter().map(of).collect()
    }

    /// Says which columns a guest cannot see, for an error about a missing column. None if it sees all.
    pub(super) fn help(&self) -> Option<String> {
        let (name, column) = self.hidden.first()?;
        Some(format!("the column \"{name}\" has the type {column}, which plugins cannot read"))
    }
}

fn add(fields: &mut Vec<types::Field>, name: &str, column: &Type) -> u32 {
    let data_type = match column {
        Type::Bool => types::DataType::Boolean,
        Type::Int32 => types::DataType::Int32,
        Type::Int64 => types::DataType::Int64,
        Type::Uint32 => types::DataType::Uint32,
        Type::Uint64 => types::DataType::Uint64,
        Type::Float32 => types::DataType::Float32,
        Type::Float64 => types::DataType::Float64,
        Type::String => types::DataType::String,
        Type::Binary => types::DataType::Binary,
        Type::Timestamp => types::DataType::Timestamp,
        Type::Date => types::DataType::Date,
        Type::Json => types::DataType::Json,
        Type::List(item) => types::DataType::List(add(fields, "item", item)),
        Type::Struct(members) => {
            types::DataType::Struct(members.iter().map(|(name, member)| add(fields, name, member)).collect())
        }
        Type::Other(_) => unreachable!("columns of other types are hidden"),
    };
    fields.push(types::Field { name: name.to_owned(), data_type });
    u32::try_from(fields.len() - 1).expect("a schema has fewer than 2^32 fields")
}

/// Makes an Arrow schema from what a guest says.
pub(super) fn schema(told: types::Schema) -> Result<SchemaRef, Lie> {
    let mut arena = Arena { fields: told.fields.into_iter().map(Some).collect() };
    let mut columns: Vec<(String, Type)> = Vec::with_capacity(told.roots.len());
    for &root in &told.roots {
        let (name, column) = arena.take(root, None, 0)?;
        if columns.iter().any(|(other, _)| *other == name) {
            return lie!("its schema names the column \"{name}\" twice");
        }
        columns.push((name, column));
    }
    Ok(schema_of(&columns))
}

/// The fields that were not taken yet. Each may be taken once, which bounds the work by what the guest sent.
struct Arena {
    fields: Vec<Option<types::Field>>,
}

impl Arena {
    fn take(&mut self, index: u32, parent: Option<u32>, depth: usize) -> Result<(String, Type), Lie> {
        if parent.is_some_and(|parent| index >= parent) {
            return lie!("its schema has a field at index {index} that is not before its parent");
        }
        if depth > MAX_DEPTH {
            return lie!("its schema nests more than {MAX_DEPTH} levels");
        }
        let Some(slot) = self.fields.get_mut(index as usize) else {
            return lie!("its schema names the field {index} of {}", self.fields.len());
        };
        let Some(field) = slot.take() else {
            return lie!("its schema names the field {index} twice");
        };
        let column = match field.data_type {
            types::DataType::Boolean => Type::Bool,
            types::DataType::Int32 => Type::Int32,
            types::DataType::Int64 => Type::Int64,
            types::DataType::Uint32 => Type::Uint32,
            types::DataType::Uint64 => Type::Uint64,
            types::DataType::Float32 => Type::Float32,
            types::DataType::Float64 => Type::Float64,
            types::DataType::String => Type::String,
            types::DataType::Binary => Type::Binary,
            types::DataType::Timestamp => Type::Timestamp,
            types::DataType::Date => Type::Date,
            types::DataType::Json => Type::Json,
            types::DataType::List(item) => Type::List(Box::new(self.take(item, Some(index), depth + 1)?.1)),
            types::DataType::Struct(members) => {
                let mut columns: Vec<(String, Type)> = Vec::with_capacity(members.len());
                for member in members {
                    let (name, column) = self.take(member, Some(index), depth + 1)?;
                    if columns.iter().any(|(other, _)| *other == name) {
                        return lie!("its schema names the member \"{}.{name}\" twice", field.name);
                    }
                    columns.push((name, column));
                }
                Type::Struct(columns)
            }
        };
        Ok((field.name, column))
    }
}
