//! Dead letters: rows that failed, with why and where, as the rows of a step's port `errors`.

use super::error::LogicError;
use super::user_fn::RowError;
use crate::data::batch::Batch;
use crate::data::ids::{PartitionId, StepId};
use crate::data::schema::{Type, schema_of};
use crate::formats::Encoder;
use crate::formats::json::JsonEncoder;
use arrow::array::{Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, LazyLock};

/// How a row failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function returned an error for it.
    Returned,
    /// A format or a parser could not read it.
    Parse,
    /// A key or timestamp that the step needs is null or wrong.
    Value,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Returned => "returned",
            Kind::Parse => "parse",
            Kind::Value => "value",
        }
    }
}

/// A row that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub kind: Kind,
    pub message: String,
    pub partition: Option<PartitionId>,
    /// The number of its source row in the partition, from 1, as people count lines.
    pub position: Option<u64>,
    /// The row as JSON: an object, or a string for text that could not be read.
    pub row: String,
}

impl DeadLetter {
    /// Where the row came from, for people.
    pub fn place(&self) -> Option<String> {
        let partition = self.partition.as_ref()?;
        Some(match self.position {
            Some(position) => format!("{partition}:{position}"),
            None => partition.to_string(),
        })
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema_of(&[
        ("step".to_owned(), Type::String),
        ("kind".to_owned(), Type::String),
        ("message".to_owned(), Type::String),
        ("partition".to_owned(), Type::String),
        ("position".to_owned(), Type::Int64),
        ("row".to_owned(), Type::Json),
    ])
});

/// The schema of every port `errors`: `step: string, kind: string, message: string, partition: string, position: int64,
/// row: json`.
pub fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// Describes rows of a compact batch that failed. Their values are written out only `with_rows`.
///
/// # Errors
/// A row cannot be written as JSON, which no type of a plan causes.
pub fn of_rows(kind: Kind, batch: &Batch, errors: &[RowError], with_rows: bool) -> Result<Vec<DeadLetter>, LogicError> {
    let mut rows = vec![String::new(); errors.len()];
    if with_rows {
        let failed = UInt32Array::from_iter_values(errors.iter().map(|error| error.row));
        let failed = take_record_batch(batch.rows(), &failed)?;
        let mut text = Vec::new();
        JsonEncoder::new(failed.schema_ref(), None)
            .encode(&failed, None, &mut text)
            .map_err(|error| LogicError::internal(error.to_string()))?;
        let text = String::from_utf8(text).map_err(|error| LogicError::internal(error.to_string()))?;
        rows = text.lines().map(str::to_owned).collect();
    }
    Ok(errors
        .iter()
        .zip(rows)
        .map(|(error, row)| DeadLetter {
            kind,
            message: error.message.clone(),
            partition: batch.origin().map(|origin| origin.partition.clone()),
            position: batch.origin().map(|origin| origin.row(error.row) + 1),
            row,
        })
        .collect())
}

/// Makes the rows of the port `errors`.
///
/// # Errors
/// Arrow refuses the columns, which it has no reason for.
pub fn batch(step: &StepId, letters: &[DeadLetter]) -> Result<Batch, LogicError> {
    let text = |of: &dyn Fn(&DeadLetter) -> String| StringArray::from_iter_values(letters.iter().map(of));
    let partitions = letters.iter().map(|letter| letter.partition.as_ref().map(|partition| &*partition.0));
    let positions = letters.iter().map(|letter| letter.position.map(|at| i64::try_from(at).unwrap_or(i64::MAX)));
    let rows = RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(text(&|_| step.to_string())),
            Arc::new(text(&|letter| letter.kind.name().to_owned())),
            Arc::new(text(&|letter| letter.message.clone())),
            Arc::new(StringArray::from_iter(partitions)),
            Arc::new(Int64Array::from_iter(positions)),
            Arc::new(text(&|letter| letter.row.clone())),
        ],
    )?;
    Ok(Batch::new(rows))
}
