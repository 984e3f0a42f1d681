//! A Parquet file that a command writes, batch by batch.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io;

/// Bytes of a row group at most.
const GROUP: usize = 64 << 20;

/// A file that is being written.
pub struct TableWriter(ArrowWriter<File>);

impl TableWriter {
    /// Begins a file of these columns.
    ///
    /// # Errors
    /// The file cannot be written, or Parquet has no form for a column.
    pub fn new(file: File, schema: SchemaRef) -> io::Result<Self> {
        let properties = WriterProperties::builder()
            .set_created_by(concat!("wxhost ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_bytes(Some(GROUP))
            .build();
        ArrowWriter::try_new(file, schema, Some(properties)).map(TableWriter).map_err(to_io)
    }

    /// Writes some rows.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, rows: &RecordBatch) -> io::Result<()> {
        self.0.write(rows).map_err(to_io)
    }

    /// Writes what is left; then the file is whole and on disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(self) -> io::Result<()> {
        self.0.into_inner().map_err(to_io)?.sync_all()
    }
}

fn to_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}
