//! JSON columns as typed values.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::wxhost::plugin::types::{Batch, DataType, Field, Schema};
use crate::error::Result;
use crate::read::{Fault, Mismatch, Place, Plan, Read, Text, plan_leaf};
use crate::write::{Bytes, Write};

/// A value that stands in its column as JSON text. A column of the type `json`; text can be read, too.
///
/// Text that is no such value is an error of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Json<T>(pub T);

impl<'a, T: DeserializeOwned> Read<'a> for Json<T> {
    type Column = Text<'a>;

    fn wanted() -> String {
        "json".into()
    }

    fn plan(schema: &Schema, index: u32) -> Result<Plan, Mismatch> {
        plan_leaf(schema, index, "json", &[DataType::Json, DataType::String])
    }

    fn column(_: &Plan, batch: &'a Batch, place: Place) -> Result<Self::Column> {
        Text::bind(batch, place)
    }

    fn get(column: &Self::Column, row: usize) -> Result<Self, Fault> {
        let text = column.get(row)?;
        serde_json::from_str(text).map(Json).map_err(|error| Fault::new(format!("holds other JSON: {error}")))
    }
}

/// # Panics
///
/// Panics if serde cannot write the value as JSON, as with maps whose keys are no text.
impl<T: Serialize> Write for Json<T> {
    type Builder = Bytes;

    fn data_type(_: &mut Vec<Field>) -> DataType {
        DataType::Json
    }

    fn append_to(self, builder: &mut Self::Builder) {
        serde_json::to_writer(&mut builder.data, &self.0).expect("the value can be written as JSON");
        builder.end_value();
    }
}
