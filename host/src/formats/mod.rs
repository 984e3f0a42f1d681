//! Bytes to batches and back. No I/O here.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub mod json;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub String);

pub struct Decoded {
    pub rows: RecordBatch,
    pub lines: Option<Vec<u32>>,
    pub errors: Vec<BadRow>,
    pub line_count: u32,
}

pub struct BadRow {
    pub line: u32,
    pub message: String,
    pub raw: String,
}

pub trait Decoder: Send {
    fn schema(&self) -> SchemaRef;
    fn decode(&mut self, chunk: &[u8]) -> Result<Decoded, FormatError>;
}

pub trait Framer: Send {
    fn complete(&mut self, buffer: &[u8], at_end: bool) -> Result<usize, FormatError>;
}
