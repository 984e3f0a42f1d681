//! Stateless functions under test.

use std::marker::PhantomData;

use serde_json::{Map, Value};

use super::rows::{IntoRows, Rows, json_lines, plain};
use crate::error::Error;
use crate::transform::{Kind, Transform};

/// Tests a stateless function: `transform::<tokenize>()`.
pub fn transform<T: Transform>() -> TransformTest<T> {
    TransformTest { config: String::new(), function: PhantomData }
}

/// A stateless function under test.
pub struct TransformTest<T> {
    config: String,
    function: PhantomData<T>,
}

/// What became of the rows of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The rows as the next step sees them: of a filter those kept, of an extending function the whole rows.
    pub rows: Vec<Map<String, Value>>,
    /// For each row the input row that it came from.
    pub parents: Vec<u32>,
    /// The input rows that failed, and why.
    pub errors: Vec<(u32, String)>,
    /// The columns that the function returns, as `name: type, ...`.
    pub columns: String,
}

impl Output {
    /// Returns the rows as JSON lines; rows of the one column `value` as plain values.
    pub fn json_lines(&self) -> String {
        json_lines(&self.rows)
    }

    /// Returns the rows; those of the one column `value` as plain values.
    pub fn values(&self) -> Vec<Value> {
        self.rows.iter().map(plain).collect()
    }

    /// Returns the texts of rows of one text column: words, keys.
    ///
    /// # Panics
    ///
    /// Panics if the rows have other columns.
    pub fn texts(&self) -> Vec<String> {
        let text = |row: &Map<String, Value>| match row.values().next() {
            Some(Value::String(text)) if row.len() == 1 => text.clone(),
            _ => panic!("not a row of one text: {}", Value::Object(row.clone())),
        };
        self.rows.iter().map(text).collect()
    }
}

impl<T: Transform> TransformTest<T> {
    /// Sets the configuration, as JSON.
    pub fn config(mut self, config: impl ToString) -> Self {
        self.config = config.to_string();
        self
    }

    /// Opens the function for the rows and runs it on them.
    ///
    /// # Panics
    ///
    /// Panics if the function cannot be opened or if the whole call fails.
    pub fn run(&self, rows: impl IntoRows) -> Output {
        self.try_run(rows).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Opens the function for the rows and runs it on them, or says why it cannot.
    pub fn try_run(&self, rows: impl IntoRows) -> Result<Output, Error> {
        let input = rows.into_rows();
        let mut open = T::open(&input.schema, &self.config)?;
        let applied = (open.apply)(input.select(&open.reads))?;
        let failed: Vec<u32> = applied.errors.iter().map(|error| error.row).collect();
        let parents =
            applied.parents.unwrap_or_else(|| (0..input.batch.rows).filter(|row| !failed.contains(row)).collect());
        let schema = open.output;
        let columns = crate::schema::list_columns(&schema);
        let whole = input.to_json();
        let returned = applied.rows.map(|batch| Rows { schema, batch }.to_json());
        let rows = match returned {
            None => {
                assert_eq!(T::KIND, Kind::Filter, "only a filter returns no rows");
                parents.iter().map(|parent| whole[*parent as usize].clone()).collect()
            }
            Some(returned) => {
                assert_eq!(returned.len(), parents.len(), "every row has a parent");
                let extended = |(row, parent): (Map<String, Value>, &u32)| {
                    if !open.extends {
                        return row;
                    }
                    let mut whole = whole[*parent as usize].clone();
                    whole.extend(row);
                    whole
                };
                returned.into_iter().zip(&parents).map(extended).collect()
            }
        };
        let errors = applied.errors.into_iter().map(|error| (error.row, error.message)).collect();
        Ok(Output { rows, parents, errors, columns })
    }
}
