//! The columnar form, for those who want the columns themselves.
//!
//! A type that implements [`Transform`] says which columns it reads and returns, and then gets whole batches. Columns
//! have the layout of Apache Arrow. It stands in `plugin!` and in tests like any other function.
//!
//! ```
//! use wxhost_guest::columns::{self, Applied, DataType, Kind, OpenTransform, Schema, Transform, Values};
//! use wxhost_guest::prelude::*;
//!
//! struct Double;
//!
//! impl Transform for Double {
//!     const KIND: Kind = Kind::Map;
//!     const DOC: &'static str = "Adds the column `double`, twice the column `n`.";
//!
//!     fn open(input: &Schema, config: &str) -> Result<OpenTransform> {
//!         columns::no_config(config)?;
//!         Ok(OpenTransform {
//!             reads: columns::find(input, &[("n", DataType::Int64)])?,
//!             output: columns::schema(&[("double", DataType::Int64)]),
//!             extends: true,
//!             apply: Box::new(|mut batch| {
//!                 let column = columns::take(&mut batch, 0)?;
//!                 let Values::Int64(values) = column.values else {
//!                     return Err(Error::internal("`find` has checked the type"));
//!                 };
//!                 let doubled = Values::Int64(values.iter().map(|n| 2 * n).collect());
//!                 let rows = columns::batch(vec![columns::Column { values: doubled, ..column }]);
//!                 Ok(Applied { rows: Some(rows), parents: None, errors: Vec::new() })
//!             }),
//!         })
//!     }
//! }
//!
//! let output = wxhost_guest::testing::transform::<Double>().run(wxhost_guest::testing::json(r#"{"n": 4} {"n": null}"#));
//! assert_eq!(output.json_lines(), "{\"double\":8,\"n\":4}\n{\"double\":null,\"n\":null}");
//! ```

pub use crate::bindings::wxhost::plugin::types::{
    Batch, Column, DataType, Field, ListData, RowError, Schema, Values, VarSize,
};
pub use crate::config::parse as config;
pub use crate::config::parse_none as no_config;
use crate::error::{Error, Result};
use crate::read::column_at;
use crate::schema::{field, list_columns, type_name};
pub use crate::transform::{Applied, Kind, OpenTransform, Transform};

/// Finds columns by name and type, for `reads`. Fails if one is not there.
pub fn find(input: &Schema, wanted: &[(&str, DataType)]) -> Result<Vec<u32>> {
    let one = |(name, data_type): &(&str, DataType)| {
        let is_it = |root: &u32| field(input, *root).is_some_and(|field| field.name == *name);
        let wanted_type = type_name(input, data_type);
        let columns = || list_columns(input);
        let position = input
            .roots
            .iter()
            .position(is_it)
            .ok_or_else(|| Error::user(format!("no column {name:?} ({wanted_type}); columns: {}", columns())))?;
        match field(input, input.roots[position]).map(|field| &field.data_type) {
            Some(found) if found == data_type => Ok(position as u32),
            found => {
                let found = found.map_or_else(|| "?".into(), |found| type_name(input, found));
                Err(Error::user(format!("column {name:?} is {found}, wanted {wanted_type}; columns: {}", columns())))
            }
        }
    };
    wanted.iter().map(one).collect()
}

/// Makes a schema of columns that are not nested.
pub fn schema(columns: &[(&str, DataType)]) -> Schema {
    let fields =
        columns.iter().map(|(name, data_type)| Field { name: (*name).to_owned(), data_type: data_type.clone() });
    Schema { fields: fields.collect(), roots: (0..columns.len() as u32).collect() }
}

/// Makes a batch of columns that are not nested and have as many rows each. There must be one at least.
pub fn batch(columns: Vec<Column>) -> Batch {
    let rows = columns.first().map_or(0, |column| column.rows);
    let roots = (0..columns.len() as u32).collect();
    Batch { rows, columns, roots }
}

/// Takes a column out of a batch, by its place in `reads`. Nested columns are left in `batch.columns`.
pub fn take(batch: &mut Batch, place: usize) -> Result<Column> {
    let root = *batch.roots.get(place).ok_or_else(|| Error::internal(format!("no column {place} in the batch")))?;
    column_at(batch, root)?;
    let empty = Column { rows: 0, validity: None, values: Values::Struct(Vec::new()) };
    Ok(std::mem::replace(&mut batch.columns[root as usize], empty))
}
