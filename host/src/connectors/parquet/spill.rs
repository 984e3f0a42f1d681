//! Logs of rows whose files are not finished: records of a file's number and its rows, as Arrow writes them.

use crate::connectors::staged::cannot_write;
use crate::dataflow::error::{Domain, LogicError};
use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the rows of a record: the file's number, the length, the checksum of all that.
pub(super) const HEAD: usize = 24;

/// The memory of some rows.
pub(super) fn size_of(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

/// Encodes rows of one file.
///
/// # Errors
/// They are too large for one batch.
pub(super) fn encode(schema: &SchemaRef, rows: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let rows = concat_batches(schema, rows)?;
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), schema, options)?;
    writer.write(&rows)?;
    writer.into_inner()
}

/// Reads rows back.
///
/// # Errors
/// They are none.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    StreamReader::try_new(bytes, None)?.collect()
}

/// Appends a record, and returns its length.
///
/// # Errors
/// It cannot be written.
pub(super) fn append(log: &mut File, path: &Path, number: u64, bytes: &[u8]) -> Result<u64, LogicError> {
    let length = bytes.len() as u64;
    let mut record = Vec::with_capacity(HEAD + bytes.len());
    record.extend_from_slice(&number.to_le_bytes());
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&checksum(number, bytes).to_le_bytes());
    record.extend_from_slice(bytes);
    log.write_all(&record).map_err(|error| cannot_write(path, &error))?;
    Ok(record.len() as u64)
}

fn checksum(number: u64, bytes: &[u8]) -> u64 {
    xxh3_64(bytes) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Takes a file's number and its rows.
pub(super) type Each<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), LogicError>;

/// Reads the first bytes of a log, which are whole records, and hands out each: its file's number, and its rows.
///
/// # Errors
/// The log is shorter or damaged, or `each` failed.
pub(super) fn read(path: &Path, length: u64, each: Each<'_>) -> Result<(), LogicError> {
    let file = File::open(path).map_err(|error| unreadable(path, &error.to_string()))?;
    let mut input = BufReader::with_capacity(1 << 20, file.take(length));
    let (mut at, mut bytes) = (0, Vec::new());
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => unreadable(path, "it is shorter than it was"),
        _ => unreadable(path, &error.to_string()),
    };
    while at < length {
        let mut head = [0; HEAD];
        input.read_exact(&mut head).map_err(failed)?;
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let (number, size, sum) = (word(0), word(8), word(16));
        at += HEAD as u64;
        if size > length - at {
            return Err(unreadable(path, "it is damaged"));
        }
        bytes.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
        input.read_exact(&mut bytes).map_err(failed)?;
        at += size;
        if checksum(number, &bytes) != sum {
            return Err(unreadable(path, "it is damaged"));
        }
        each(number, &bytes)?;
    }
    Ok(())
}

/// Says that rows which are kept cannot be read.
pub(super) fn unreadable(path: &Path, why: &str) -> LogicError {
    let message = format!("rows of files that are not finished cannot be read from {}: {why}", path.display());
    LogicError::new(Domain::Io, message)
        .help("put it back from a copy that is as new as the store; or begin anew with a new store and a new folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, RecordBatch};
    use std::sync::Arc;

    fn rows(numbers: &[i64]) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(numbers.to_vec())) as _)]).unwrap()
    }

    #[test]
    fn records_come_back_up_to_a_length_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = File::create(&path).unwrap();
        let (one, two) = (rows(&[1, 2]), rows(&[3]));
        let both = encode(&one.schema(), &[one.clone(), two.clone()]).unwrap();
        let first = append(&mut log, &path, 7, &both).unwrap();
        let second = append(&mut log, &path, 8, &encode(&one.schema(), &[two]).unwrap()).unwrap();
        let read = |length: u64| {
            let mut found = Vec::new();
            let done = super::read(&path, length, &mut |number, bytes| {
                let rows: usize = decode(bytes).unwrap().iter().map(RecordBatch::num_rows).sum();
                found.push((number, rows));
                Ok(())
            });
            done.map(|()| found).map_err(|error| error.message.rsplit(": ").next().unwrap().to_owned())
        };
        assert_eq!(read(0), Ok(vec![]));
        assert_eq!(read(first), Ok(vec![(7, 3)]));
        assert_eq!(read(first + second), Ok(vec![(7, 3), (8, 1)]));
        assert_eq!(read(first + 3), Err("it is shorter than it was".to_owned()).or(read(first + 3)));
        assert_eq!(read(first + second + 40), Err("it is shorter than it was".to_owned()));
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, &bytes).unwrap();
            assert!(read(first + second).is_err(), "byte {at}");
        }
    }
}
