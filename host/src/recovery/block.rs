//! Blocks: the states of some keys as bytes, the unit in which states are written, merged and read.
//!
//! A block is an Arrow IPC stream of one batch, `key: utf8, value: binary?`, which pyarrow or DuckDB read as it is;
//! Zstandard where that is worth it. A null value says that the key has no state any more. Rows are sorted by the keys'
//! hashes, then the keys, and no key is there twice. A block lies within one *slice*: sixteen neighbouring key groups,
//! of which there are 64. A part of the store owns whole slices, and slices are what is compacted.

use crate::data::key::{self, KEY_GROUPS, Keys};
use crate::dataflow::durable::Changes;
use crate::dataflow::error::LogicError;
use arrow::array::{Array, AsArray, BinaryArray, StringArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::{self, CompressionType, MetadataVersion, root_as_message};
use std::sync::{Arc, LazyLock};

/// Slices of the key groups.
pub const SLICES: u64 = 64;
/// Groups of a slice.
pub(super) const GROUPS: u64 = KEY_GROUPS / SLICES;
/// Bytes of keys and values at which a block is full.
pub const FULL: usize = 256 << 10;
/// The longest key or state.
pub(super) const MOST_VALUE: usize = 16 << 20;
/// The most bytes that a block decodes to: nearly full, and then the longest key and state.
const MOST_DECODED: i64 = 40 << 20;

pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let value = Field::new("value", DataType::Binary, true);
    Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, false), value]))
});

/// States of some keys of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The key groups of its first row and of its last one.
    pub groups: (u64, u64),
    pub rows: u64,
    pub bytes: Vec<u8>,
    /// Whether the blocks of its slice that were encoded with it have all states of the slice. None of their values is null
    /// then.
    pub is_whole: bool,
}

/// A block's rows.
#[derive(Clone, Debug)]
pub struct Rows {
    pub keys: StringArray,
    pub values: BinaryArray,
    /// The hash of each key; never falling.
    pub hashes: Vec<u64>,
}

/// The slice that a key group lies in.
pub fn slice_of(group: u64) -> u64 {
    group / GROUPS
}

/// Whether changes can be encoded.
///
/// # Errors
/// A key or state is too large.
pub fn check(changes: &Changes) -> Result<(), LogicError> {
    let (keys, values) = (changes.keys.values(), &changes.values);
    if keys.len() != values.len() {
        return Err(LogicError::internal(format!("{} states for {} keys", values.len(), keys.len())));
    }
    let (key_ends, value_ends) = (keys.value_offsets(), values.value_offsets());
    if let Some(row) =
        (0..keys.len()).find(|&row| length(key_ends, row) > MOST_VALUE || length(value_ends, row) > MOST_VALUE)
    {
        let key: String = keys.value(row).chars().take(64).collect();
        let (bytes, most) = (length(key_ends, row).max(length(value_ends, row)), MOST_VALUE >> 20);
        let message = format!("the state of key {key:?} has {bytes} bytes, more than the {most} MiB that can be kept");
        return Err(LogicError::user(message));
    }
    Ok(())
}

/// Decodes a block that should have `rows` rows in `groups`. Whatever the bytes are, it takes no more memory than a
/// block can need, and what it returns is sound.
///
/// # Errors
/// The bytes are not what an [`Encoder`](super::encode::Encoder) makes; says what is wrong with them.
pub fn decode(bytes: &[u8], groups: (u64, u64), rows: u64) -> Result<Rows, String> {
    let mut rest = bytes;
    let (schema, _) = message(&mut rest)?;
    check_schema(schema)?;
    let (metadata, body) = message(&mut rest)?;
    if rest != [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0] {
        return Err("it does not end with its rows".to_owned());
    }
    let header = root_as_message(metadata).map_err(|error| error.to_string())?;
    let batch = header.header_as_record_batch().ok_or("it has no rows")?;
    check_sizes(&batch, body, rows)?;
    let body = Buffer::from(body);
    let batch = read_record_batch(&body, batch, SCHEMA.clone(), &Default::default(), None, &MetadataVersion::V5);
    let batch = batch.map_err(|error| error.to_string())?;
    let keys: StringArray = batch.column(0).as_string().clone();
    let values: BinaryArray = batch.column(1).as_binary().clone();
    let hashes = Keys::new(keys.clone()).hashes().to_vec();
    let is_sorted = |row: usize| match hashes[row - 1].cmp(&hashes[row]) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal => keys.value(row - 1) < keys.value(row),
        std::cmp::Ordering::Greater => false,
    };
    if !(1..keys.len()).all(is_sorted) {
        return Err("its keys are not sorted".to_owned());
    }
    let ends = (hashes.first().map(|&hash| key::group_of(hash)), hashes.last().map(|&hash| key::group_of(hash)));
    if ends != (Some(groups.0), Some(groups.1)) {
        return Err("its keys are of other groups".to_owned());
    }
    Ok(Rows { keys, values, hashes })
}

/// Cuts the next message off: its metadata and its body.
fn message<'a>(rest: &mut &'a [u8]) -> Result<(&'a [u8], &'a [u8]), String> {
    let cut = |rest: &mut &'a [u8], count: usize| {
        let (head, tail) = rest.split_at_checked(count).ok_or("it is cut short")?;
        *rest = tail;
        Ok::<_, String>(head)
    };
    if cut(rest, 4)? != [0xff; 4] {
        return Err("it is no Arrow stream".to_owned());
    }
    let length = i32::from_le_bytes(cut(rest, 4)?.try_into().expect("four bytes"));
    let metadata = cut(rest, usize::try_from(length).map_err(|_| "a length is negative")?)?;
    let message = root_as_message(metadata).map_err(|error| error.to_string())?;
    let body = cut(rest, usize::try_from(message.bodyLength()).map_err(|_| "a length is negative")?)?;
    Ok((metadata, body))
}

/// The bytes of a row, from where rows end.
pub(super) fn length(ends: &[i32], row: usize) -> usize {
    (ends[row + 1] - ends[row]) as usize
}

fn check_schema(metadata: &[u8]) -> Result<(), String> {
    let message = root_as_message(metadata).map_err(|error| error.to_string())?;
    let fields = message.header_as_schema().and_then(|schema| schema.fields()).ok_or("it has no schema")?;
    let found: Vec<_> = fields.iter().map(|field| (field.name(), field.type_type(), field.nullable())).collect();
    match found == [(Some("key"), ipc::Type::Utf8, false), (Some("value"), ipc::Type::Binary, true)] {
        true => Ok(()),
        false => Err("its columns are not key and value".to_owned()),
    }
}

/// Arrow believes lengths before it allocates, so they are looked at first.
fn check_sizes(batch: &ipc::RecordBatch<'_>, body: &[u8], rows: u64) -> Result<(), String> {
    let rows = i64::try_from(rows).map_err(|_| "it has too many rows")?;
    let nodes = batch.nodes().ok_or("it has no columns")?;
    let is_node = |node: &ipc::FieldNode| node.length() == rows && (0..=rows).contains(&node.null_count());
    if rows == 0 || batch.length() != rows || nodes.len() != 2 || !nodes.iter().all(is_node) {
        return Err("it has another number of rows".to_owned());
    }
    if nodes.get(0).null_count() != 0 {
        return Err("a key is null".to_owned());
    }
    let mut decoded = rows;
    for (column, buffer) in batch.buffers().ok_or("it has no columns")?.iter().enumerate() {
        let (Ok(offset), Ok(length)) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length())) else {
            return Err("a length is negative".to_owned());
        };
        let end = offset.checked_add(length).ok_or("a length is too large")?;
        let bytes = body.get(offset..end).ok_or("a column is cut short")?;
        let size = match (batch.compression(), bytes.first_chunk::<8>().map(|size| i64::from_le_bytes(*size))) {
            // Not compressed after all: it would have become longer.
            (Some(_), Some(-1)) => buffer.length() - 8,
            (Some(_), Some(size)) => size,
            _ => buffer.length(),
        };
        if !(0..=MOST_DECODED).contains(&size) {
            return Err("a length is too large".to_owned());
        }
        // Each column has three buffers: of nulls, of offsets, of bytes. Arrow takes it for granted that offsets are
        // whole numbers.
        if column % 3 == 1 && size % 4 != 0 {
            return Err("its offsets are cut short".to_owned());
        }
        decoded = decoded.saturating_add(size);
    }
    if decoded > MOST_DECODED {
        return Err("it is too large".to_owned());
    }
    // Blocks were LZ4 before; stores of then are read.
    let is_known = |codec| codec == CompressionType::ZSTD || codec == CompressionType::LZ4_FRAME;
    if batch.compression().is_some_and(|compression| !is_known(compression.codec())) {
        return Err("its compression is unknown".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bytes, encoded};
    use super::*;
    use arrow::array::RecordBatch;
    use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        // The checksum is not asked here: these are the bytes that a mistake or an adversary could have written.
        #[test]
        fn no_bytes_make_decoding_panic_or_return_what_is_not_sound(
            is_large in any::<bool>(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()
        ) {
            let rows: Vec<_> = (0..if is_large { 400 } else { 7 })
                .map(|n| (n.to_string(), (n % 3 > 0).then(|| vec![b'x'; n % 50 * if is_large { 40 } else { 1 }])))
                .filter(|(key, _)| key::hash(key) >> 60 < if is_large { 1 } else { 16 })
                .collect();
            let block = encoded(&bytes(&rows)).remove(0);
            let mut bytes = block.bytes.clone();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let both = [bytes.clone(), bytes[..cut.index(bytes.len())].to_vec()];
            for rows in both.iter().filter_map(|bytes| decode(bytes, block.groups, block.rows).ok()) {
                prop_assert_eq!(rows.keys.len() as u64, block.rows);
                rows.keys.to_data().validate_full().unwrap();
                rows.values.to_data().validate_full().unwrap();
            }
        }
    }

    #[test]
    fn a_length_that_lies_is_refused_before_memory_is_taken_for_it() {
        let rows: Vec<_> = (0..4).map(|_| ("a".to_owned(), Some(vec![b'x'; 9000]))).collect();
        let block = encoded(&bytes(&rows)).remove(0);
        let size = 9000_i64.to_le_bytes();
        let at = block.bytes.windows(8).position(|window| window == size).unwrap();
        for lie in [i64::MAX, 1 << 40, -2] {
            let mut bytes = block.bytes.clone();
            bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
            assert_eq!(decode(&bytes, block.groups, block.rows).unwrap_err(), "a length is too large");
        }
    }

    #[test]
    fn blocks_that_are_lz4_are_read() {
        let rows: Vec<_> = (0..4).map(|n| ("a".to_owned(), Some(vec![n; 9000]))).collect();
        let block = encoded(&bytes(&rows)).remove(0);
        let now = decode(&block.bytes, block.groups, block.rows).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &SCHEMA, options).unwrap();
        let (keys, values) = (Arc::new(now.keys.clone()), Arc::new(now.values.clone()));
        writer.write(&RecordBatch::try_new(SCHEMA.clone(), vec![keys, values]).unwrap()).unwrap();
        let bytes = writer.into_inner().unwrap();
        assert_ne!(bytes, block.bytes);
        let before = decode(&bytes, block.groups, block.rows).unwrap();
        assert_eq!((before.keys, before.values, before.hashes), (now.keys, now.values, now.hashes));
    }
}
