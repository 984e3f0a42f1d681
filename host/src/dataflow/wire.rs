//! The byte form of batches between processes: Arrow IPC messages without their schemas.
//!
//! Layout, all numbers little-endian: `length: u64` of what follows without padding, `crc: u32` of it, then `schema:
//! u64`, `flags: u8`, the origin if flagged (`first_row: u64`, then the names of source and partition, each as
//! `length: u32`, text; if flagged `rows: u32` and one `u32` for each; of a mark `watermark: i64`, its name, and nothing
//! more), then two IPC messages (rows; keys if flagged), each as `metadata length: u32`, `body length: u64`, metadata, body.
//! Padded with zeros to a multiple of 8 bytes, which timely needs.
//!
//! Timely decodes without saying which edge a message is for, so the schema's id travels along and is looked up in a
//! table of this process. Every process builds the same dataflow and so fills it alike before data flows.

use crate::data::batch::{Batch, Mark, Origin};
use crate::data::key::Keys;
use crate::data::time::Instant;
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use xxhash_rust::xxh3::xxh3_64;

const KEYED: u8 = 1;
const ORIGIN: u8 = 2;
const ORIGIN_ROWS: u8 = 4;
const MARK: u8 = 8;
/// The part of a mark has ended.
const ENDED: u8 = 16;

static SCHEMAS: LazyLock<RwLock<BTreeMap<u64, SchemaRef>>> = LazyLock::new(RwLock::default);

static KEY_SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, false)])));

/// Why bytes are not a batch.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the message is cut short")]
    Short,
    #[error("the message's checksum is wrong")]
    Checksum,
    #[error("no edge of this flow has the schema {0:016x}")]
    Schema(u64),
    #[error("the message is malformed: {0}")]
    Malformed(String),
}

impl From<ArrowError> for WireError {
    fn from(error: ArrowError) -> Self {
        WireError::Malformed(error.to_string())
    }
}

/// Makes the schema of an edge known to this process. Called on every edge that exchanges, when it is built.
pub fn register(schema: &SchemaRef) {
    let mut schemas = SCHEMAS.write().unwrap_or_else(PoisonError::into_inner);
    schemas.entry(schema_id(schema)).or_insert_with(|| schema.clone());
}

fn schema_id(schema: &Schema) -> u64 {
    xxh3_64(format!("{:?}", schema.fields()).as_bytes())
}

/// Encodes the rows that count.
///
/// # Panics
/// The rows are too large for one batch, or of a type that Arrow IPC cannot carry; plans have neither.
pub fn encode(batch: &Batch) -> Vec<u8> {
    let batch = batch.clone().compact().expect("the rows of a batch fit a batch");
    let mut payload = Vec::new();
    payload.extend_from_slice(&schema_id(batch.rows().schema_ref()).to_le_bytes());
    if let Some(mark) = batch.mark() {
        payload.push(if mark.watermark.is_some() { MARK } else { MARK | ENDED });
        payload.extend_from_slice(&mark.watermark.unwrap_or_default().0.to_le_bytes());
        name(&mark.part, &mut payload);
        return frame(&payload);
    }
    let flags = if batch.keys().is_some() { KEYED } else { 0 }
        | batch.origin().map_or(0, |origin| if origin.rows.is_some() { ORIGIN | ORIGIN_ROWS } else { ORIGIN });
    payload.push(flags);
    if let Some(origin) = batch.origin() {
        payload.extend_from_slice(&origin.first_row.to_le_bytes());
        name(&origin.source.0, &mut payload);
        name(&origin.partition.0, &mut payload);
        if let Some(rows) = &origin.rows {
            payload.extend_from_slice(&u32::try_from(rows.len()).unwrap_or(u32::MAX).to_le_bytes());
            for row in rows.iter() {
                payload.extend_from_slice(&row.to_le_bytes());
            }
        }
    }
    message(batch.rows(), &mut payload);
    if let Some(keys) = batch.keys() {
        let keys = RecordBatch::try_new(KEY_SCHEMA.clone(), vec![Arc::new(keys.values().clone())]);
        message(&keys.expect("keys are never null"), &mut payload);
    }
    frame(&payload)
}

fn name(name: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    into.extend_from_slice(name.as_bytes());
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 24);
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&checksum(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn checksum(payload: &[u8]) -> u32 {
    // The low half: a check against torn and mixed-up messages, not against an adversary.
    xxh3_64(payload) as u32
}

fn message(rows: &RecordBatch, into: &mut Vec<u8>) {
    let mut dictionaries = DictionaryTracker::new(false);
    let (_, encoded) = IpcDataGenerator::default()
        .encode(rows, &mut dictionaries, &IpcWriteOptions::default(), &mut Default::default())
        .expect("the types of a plan can be carried");
    into.extend_from_slice(&u32::try_from(encoded.ipc_message.len()).unwrap_or(u32::MAX).to_le_bytes());
    into.extend_from_slice(&(encoded.arrow_data.len() as u64).to_le_bytes());
    into.extend_from_slice(&encoded.ipc_message);
    into.extend_from_slice(&encoded.arrow_data);
}

/// Decodes a batch; none from no bytes.
///
/// # Errors
/// The bytes are not what [`encode`] makes, or of a schema that no edge of this process has.
pub fn decode(bytes: &[u8]) -> Result<Option<Batch>, WireError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut head = Reader(bytes);
    let length = usize::try_from(head.u64()?).map_err(|_| WireError::Short)?;
    let crc = head.u32()?;
    let payload = head.bytes(length)?;
    if checksum(payload) != crc {
        return Err(WireError::Checksum);
    }
    let mut reader = Reader(payload);
    let id = reader.u64()?;
    let flags = reader.bytes(1)?[0];
    if flags & MARK != 0 {
        let watermark = i64::from_le_bytes(reader.u64()?.to_le_bytes());
        let part = read_name(&mut reader)?.into();
        return Ok(Some(Batch::of_mark(Mark { part, watermark: (flags & ENDED == 0).then_some(Instant(watermark)) })));
    }
    let schema = SCHEMAS.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
    let schema = schema.ok_or(WireError::Schema(id))?;
    let origin = if flags & ORIGIN != 0 { Some(read_origin(&mut reader, flags & ORIGIN_ROWS != 0)?) } else { None };
    let rows = read_message(&mut reader, &schema)?;
    if flags & KEYED == 0 {
        return Ok(Some(Batch::new(rows).from_origin(origin)));
    }
    let keys = read_message(&mut reader, &KEY_SCHEMA)?;
    let keys: StringArray = keys.column(0).as_string().clone();
    if keys.len() != rows.num_rows() {
        return Err(WireError::Malformed(format!("{} keys for {} rows", keys.len(), rows.num_rows())));
    }
    Ok(Some(Batch::keyed(rows, Keys::new(keys)).from_origin(origin)))
}

fn read_name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, WireError> {
    let length = reader.u32()? as usize;
    std::str::from_utf8(reader.bytes(length)?).map_err(|error| WireError::Malformed(error.to_string()))
}

fn read_origin(reader: &mut Reader<'_>, with_rows: bool) -> Result<Origin, WireError> {
    let first_row = reader.u64()?;
    let (source, partition) = (read_name(reader)?.into(), read_name(reader)?.into());
    let rows = match with_rows {
        true => {
            let count = reader.u32()? as usize;
            Some((0..count).map(|_| reader.u32()).collect::<Result<Arc<[u32]>, _>>()?)
        }
        false => None,
    };
    Ok(Origin { source, partition, first_row, rows })
}

fn read_message(reader: &mut Reader<'_>, schema: &SchemaRef) -> Result<RecordBatch, WireError> {
    let metadata = reader.u32()? as usize;
    let body = usize::try_from(reader.u64()?).map_err(|_| WireError::Short)?;
    let metadata = reader.bytes(metadata)?;
    // Copied: a batch that is kept must not pin the receive buffer of the network thread.
    let body = Buffer::from(reader.bytes(body)?);
    let message = root_as_message(metadata).map_err(|error| WireError::Malformed(error.to_string()))?;
    let batch = message.header_as_record_batch().ok_or_else(|| WireError::Malformed("not a record batch".into()))?;
    Ok(read_record_batch(&body, batch, schema.clone(), &Default::default(), None, &MetadataVersion::V5)?)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.bytes(4)?.try_into().expect("four bytes")))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.bytes(8)?.try_into().expect("eight bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    fn batch() -> Batch {
        let rows = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as _),
            ("s", Arc::new(StringArray::from(vec!["a", "", "ccc"])) as _),
        ]);
        let keys = Keys::new(StringArray::from(vec!["x", "y", "z"]));
        let origin =
            Origin { source: "in".into(), partition: "part-0".into(), first_row: 7, rows: Some([0, 4, 9].into()) };
        Batch::keyed(rows.unwrap(), keys).from_origin(Some(origin))
    }

    #[test]
    fn what_is_sent_arrives_with_keys_and_origins() {
        let sent = batch().select(&[2, 0]);
        register(sent.rows().schema_ref());
        let bytes = encode(&sent);
        assert_eq!(bytes.len() % 8, 0);
        let (sent, got) = (sent.compact().unwrap(), decode(&bytes).unwrap().unwrap());
        assert_eq!(got.rows(), sent.rows());
        assert_eq!(got.keys().unwrap().values(), sent.keys().unwrap().values());
        assert_eq!(got.origin(), sent.origin());
    }

    #[test]
    fn marks_arrive_as_they_were() {
        for watermark in [Some(Instant(-5)), None] {
            let mark = Mark { part: "1/part-0".into(), watermark };
            let got = decode(&encode(&Batch::of_mark(mark.clone()))).unwrap().unwrap();
            assert_eq!((got.mark(), got.num_rows()), (Some(&mark), 1));
        }
    }

    #[test]
    fn a_damaged_message_is_refused() {
        register(batch().rows().schema_ref());
        let bytes = encode(&batch());
        for at in [8, 12, 40, bytes.len() - 9] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
        }
        assert!(matches!(decode(&bytes[..bytes.len() / 2]), Err(WireError::Short)));
    }

    #[test]
    fn a_schema_that_no_edge_has_is_named() {
        let rows = RecordBatch::try_from_iter([("only_here", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
        assert!(matches!(decode(&encode(&Batch::new(rows))), Err(WireError::Schema(_))));
    }
}
