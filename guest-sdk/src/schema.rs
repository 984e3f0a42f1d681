//! Schemas as the host tells them: how types are written, and where columns are found.

use std::fmt::Write as _;

use crate::bindings::wxhost::plugin::types::{DataType, Field, Schema};

/// Returns the type of a field as flow files and messages write it.
pub fn type_name(schema: &Schema, data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Int32 => "int32".into(),
        DataType::Int64 => "int64".into(),
        DataType::Uint32 => "uint32".into(),
        DataType::Uint64 => "uint64".into(),
        DataType::Float32 => "float32".into(),
        DataType::Float64 => "float64".into(),
        DataType::String => "string".into(),
        DataType::Binary => "binary".into(),
        DataType::Timestamp => "timestamp".into(),
        DataType::Date => "date".into(),
        DataType::Json => "json".into(),
        DataType::List(item) => format!("list<{}>", field_type_name(schema, *item)),
        DataType::Struct(members) => format!("struct<{}>", list_fields(schema, members)),
    }
}

/// Returns the columns of a schema as a list for messages: `name: type, ...`.
pub fn list_columns(schema: &Schema) -> String {
    if schema.roots.is_empty() { "none".into() } else { list_fields(schema, &schema.roots) }
}

pub(crate) fn field(schema: &Schema, index: u32) -> Option<&Field> {
    schema.fields.get(index as usize)
}

fn field_type_name(schema: &Schema, index: u32) -> String {
    field(schema, index).map_or_else(|| "?".into(), |field| type_name(schema, &field.data_type))
}

fn list_fields(schema: &Schema, indexes: &[u32]) -> String {
    let mut text = String::new();
    for index in indexes {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let name = field(schema, *index).map_or("?", |field| field.name.as_str());
        write!(text, "{name}: {}", field_type_name(schema, *index)).expect("a String takes any text");
    }
    text
}
