//! Makes [`Block`]s of what changed.

use super::block::{Block, FULL, GROUPS, SCHEMA, length, slice_of};
use crate::data::key::{self, Keys};
use crate::dataflow::durable::Changes;
use arrow::array::{Array, AsArray, BinaryArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take;
use arrow::error::ArrowError;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::ipc::{CompressionType, MetadataVersion};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Below this, what compression saves is less than its frames.
const WORTH_COMPRESSION: usize = 1 << 10;
/// The fastest: states are mostly numbers that do not get shorter, keys and offsets do.
const LEVEL: i32 = 1;
/// How an Arrow stream ends.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Makes blocks one after another. What compression works with is kept from one to the next: it takes as long to make as
/// a small block to compress.
pub struct Encoder {
    plain: StreamWriter<Vec<u8>>,
    zstd: StreamWriter<Vec<u8>>,
    /// How each block begins: with its schema.
    head: Vec<u8>,
}

impl Encoder {
    /// Makes an encoder.
    ///
    /// # Errors
    /// None is known.
    pub fn new() -> Result<Encoder, ArrowError> {
        let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
        let zstd = options.clone().try_with_compression(Some(CompressionType::ZSTD))?;
        let zstd = zstd.try_with_compression_level(Some(LEVEL))?;
        let begin = |options| StreamWriter::try_new_with_options(Vec::new(), &SCHEMA, options);
        let (plain, mut zstd) = (begin(options)?, begin(zstd)?);
        let head = std::mem::take(zstd.get_mut());
        Ok(Encoder { plain, zstd, head })
    }

    /// Encodes those changes whose keys lie in some slices, in the order of the keys' hashes; of a key that is there twice
    /// the later row counts. They have passed [`super::block::check`]. Calls `pause` when they are sorted,
    /// and after each slice.
    ///
    /// # Errors
    /// None is known.
    pub fn encode(
        &mut self,
        changes: &Changes,
        slices: Range<u64>,
        mut pause: impl FnMut(),
    ) -> Result<Vec<Block>, ArrowError> {
        let values = &changes.values;
        let slice_of = |hash: u64| slice_of(key::group_of(hash));
        let mut blocks = Vec::new();
        let order = sorted(&changes.keys, slices);
        pause();
        for rows in order.chunk_by(|a, b| slice_of(a.0) == slice_of(b.0)) {
            let is_valid = |row: &(u64, u32)| values.is_valid(row.1 as usize);
            // A slice of which nothing is left would have no base to say so.
            let is_whole = is_covered(slice_of(rows[0].0), &changes.whole) && rows.iter().any(is_valid);
            let rows = match is_whole && values.null_count() > 0 {
                true => Cow::from_iter(rows.iter().copied().filter(is_valid)),
                false => Cow::Borrowed(rows),
            };
            self.encode_slice(&changes.keys, values, &rows, is_whole, &mut blocks)?;
            pause();
        }
        Ok(blocks)
    }

    fn encode_slice(
        &mut self,
        keys: &Keys,
        values: &BinaryArray,
        rows: &[(u64, u32)],
        is_whole: bool,
        blocks: &mut Vec<Block>,
    ) -> Result<(), ArrowError> {
        let keys = keys.values();
        let (key_ends, value_ends) = (keys.value_offsets(), values.value_offsets());
        let (mut start, mut bytes) = (0, 0);
        for (at, &(_, row)) in rows.iter().enumerate() {
            bytes += length(key_ends, row as usize) + length(value_ends, row as usize);
            if bytes >= FULL || at + 1 == rows.len() {
                blocks.push(Block { is_whole, ..self.pick(keys, values, &rows[start..=at])? });
                (start, bytes) = (at + 1, 0);
            }
        }
        Ok(())
    }

    fn pick(&mut self, keys: &StringArray, values: &BinaryArray, rows: &[(u64, u32)]) -> Result<Block, ArrowError> {
        let index: UInt32Array = rows.iter().map(|&(_, row)| row).collect();
        let (keys, values) = (take(keys, &index, None)?, take(values, &index, None)?);
        let hashes = (rows[0].0, rows[rows.len() - 1].0);
        self.encode_sorted(keys.as_string().clone(), values.as_binary().clone(), hashes)
    }

    /// Encodes rows that are sorted already and lie in one slice; `hashes` are the first and the last one's.
    ///
    /// # Errors
    /// A null key.
    pub fn encode_sorted(
        &mut self,
        keys: StringArray,
        values: BinaryArray,
        hashes: (u64, u64),
    ) -> Result<Block, ArrowError> {
        let rows = keys.len() as u64;
        let raw = keys.value_data().len() + values.value_data().len();
        let batch = RecordBatch::try_new(SCHEMA.clone(), vec![Arc::new(keys), Arc::new(values)])?;
        let writer = if raw < WORTH_COMPRESSION { &mut self.plain } else { &mut self.zstd };
        // Whatever an error left of another block goes.
        *writer.get_mut() = Vec::with_capacity(raw / 2 + 1024);
        writer.get_mut().extend_from_slice(&self.head);
        writer.write(&batch)?;
        let mut bytes = std::mem::take(writer.get_mut());
        bytes.extend_from_slice(&END);
        let groups = (key::group_of(hashes.0), key::group_of(hashes.1));
        Ok(Block { groups, rows, bytes, is_whole: false })
    }
}

/// Whether a slice lies in some key groups wholly.
fn is_covered(slice: u64, groups: &Range<u64>) -> bool {
    groups.start <= slice * GROUPS && (slice + 1) * GROUPS <= groups.end
}

/// The rows of some slices that count with their hashes, sorted by hash and key.
fn sorted(keys: &Keys, slices: Range<u64>) -> Vec<(u64, u32)> {
    let is_wanted = |hash: u64| slices.contains(&slice_of(key::group_of(hash)));
    let rows = keys.hashes().iter().copied().zip(0..).filter(|&(hash, _)| is_wanted(hash)).collect();
    let mut order = sorted_by_hash(rows);
    // Equal hashes are rare: a key twice, or two keys in 2^64.
    if order.array_windows().any(|[a, b]| a.0 == b.0) {
        let key = |row: u32| keys.values().value(row as usize);
        order.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))).then(a.1.cmp(&b.1)));
        order.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0 && key(later.1) == key(kept.1);
            if is_same {
                *kept = *later;
            }
            is_same
        });
    }
    order
}

/// Hashes with their rows, sorted. They are spread evenly, so once they are dealt out by their first bits to as many places
/// as there are hashes, hardly anything is left to sort.
fn sorted_by_hash(mut rows: Vec<(u64, u32)>) -> Vec<(u64, u32)> {
    /// Fewer are sorted as they are.
    const FEW: usize = 128;
    /// The counters of so many bits still fit the cache.
    const MOST_BITS: u32 = 16;
    // Keys of a few slices have their first bits in common.
    let common = rows.iter().fold(0, |differs, (hash, _)| differs | (hash ^ rows[0].0)).leading_zeros();
    if rows.len() < FEW || common == u64::BITS {
        rows.sort_unstable();
        return rows;
    }
    let bits = rows.len().ilog2().min(MOST_BITS);
    let place = |hash: u64| usize::try_from((hash << common) >> (u64::BITS - bits)).expect("a few bits fit a usize");
    let mut ends = vec![0_u32; 1 << bits];
    rows.iter().for_each(|&(hash, _)| ends[place(hash)] += 1);
    let mut total = 0;
    for end in &mut ends {
        total += std::mem::replace(end, total);
    }
    // What are the starts now are the ends when all are dealt out.
    let mut order = vec![(0, 0); rows.len()];
    for (hash, row) in rows {
        let end = &mut ends[place(hash)];
        order[*end as usize] = (hash, row);
        *end += 1;
    }
    let mut start = 0;
    for end in ends {
        order[start..end as usize].sort_unstable();
        start = end as usize;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::block::{MOST_VALUE, check, decode};
    use super::super::testing::{bytes, encoded};
    use super::*;
    use arrow::ipc::reader::StreamReader;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn decoded(blocks: &[Block]) -> Vec<(String, Option<Vec<u8>>)> {
        let mut rows = Vec::new();
        for block in blocks {
            let got = decode(&block.bytes, block.groups, block.rows).unwrap();
            assert_eq!(slice_of(block.groups.0), slice_of(block.groups.1));
            let values = got.values.iter().map(|value| value.map(<[u8]>::to_vec));
            rows.extend(got.keys.iter().map(|key| key.unwrap().to_owned()).zip(values));
        }
        rows
    }

    proptest! {
        #[test]
        fn hashes_are_sorted(
            hashes in prop::collection::vec(any::<u64>(), 0..1000), shift in 0..64_u32, is_alike in any::<bool>()
        ) {
            let hashes: Vec<u64> = hashes.into_iter().map(|hash| if is_alike { hash >> shift } else { hash }).collect();
            let mut expected: Vec<(u64, u32)> = hashes.iter().copied().zip(0..).collect();
            expected.sort_unstable();
            prop_assert_eq!(sorted_by_hash(hashes.into_iter().zip(0..).collect()), expected);
        }

        #[test]
        fn what_is_encoded_decodes_to_the_last_state_of_each_key(
            rows in prop::collection::vec(("[a-z]{0,3}", prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..200)
        ) {
            let got = decoded(&encoded(&bytes(&rows)));
            let hashes: Vec<_> = got.iter().map(|(key, _)| key::hash(key)).collect();
            prop_assert!(hashes.is_sorted());
            let (count, got): (_, BTreeMap<_, _>) = (got.len(), got.into_iter().collect());
            prop_assert_eq!(count, got.len());
            prop_assert_eq!(got, rows.into_iter().collect::<BTreeMap<_, _>>());
        }
    }

    #[test]
    fn blocks_are_streams_of_arrow_whatever_was_encoded_before() {
        let mut encoder = Encoder::new().unwrap();
        for (rows, long) in [(3, 10), (200, 70), (1, 5000), (2, 1)] {
            let keys: StringArray = (0..rows).map(|n| Some(format!("key {n}"))).collect();
            let values: BinaryArray = (0..rows).map(|n| Some(vec![n as u8; long])).collect();
            let block = encoder.encode_sorted(keys.clone(), values.clone(), (0, 0)).unwrap();
            let read: Vec<_> = StreamReader::try_new(&block.bytes[..], None).unwrap().map(Result::unwrap).collect();
            assert_eq!(read, [RecordBatch::try_new(SCHEMA.clone(), vec![Arc::new(keys), Arc::new(values)]).unwrap()]);
            assert_eq!(block.bytes.len() < rows * long, rows * long >= WORTH_COMPRESSION, "{rows} rows");
        }
    }

    #[test]
    fn a_slice_that_is_there_wholly_says_so() {
        let names: Vec<String> = (0..2000).map(|n| format!("key {n}")).collect();
        let slice = |name: &str| slice_of(key::group_of(key::hash(name)));
        // Of slice 1 nothing is left, of slice 2 every other key.
        let is_kept = |n: usize, name: &str| slice(name) != 1 && (slice(name) != 2 || n.is_multiple_of(2));
        let rows = names.iter().enumerate().map(|(n, name)| (name.clone(), is_kept(n, name).then(|| vec![1])));
        let rows: Vec<_> = rows.collect();
        // One group of slice 5 is missing.
        let whole = Changes { whole: 0..6 * GROUPS - 1, ..bytes(&rows) };
        for block in encoded(&whole) {
            let slice = slice_of(block.groups.0);
            assert_eq!(block.is_whole, slice < 5 && slice != 1, "slice {slice}");
            let values = decode(&block.bytes, block.groups, block.rows).unwrap().values;
            assert_eq!(values.null_count() > 0, slice == 1, "slice {slice}");
        }
    }

    #[test]
    fn blocks_are_cut_when_full_and_a_state_too_large_is_named() {
        let rows: Vec<_> = (0..64).map(|n| (format!("key {n}"), Some(vec![7; 100_000]))).collect();
        let blocks = encoded(&bytes(&rows));
        assert_eq!(decoded(&blocks).len(), 64);
        let one: Vec<_> = rows.iter().map(|(_, value)| ("a".to_owned(), value.clone())).collect();
        assert_eq!(encoded(&bytes(&one)).len(), 1);
        let error = check(&bytes(&[("big".to_owned(), Some(vec![0; MOST_VALUE + 1]))])).unwrap_err();
        assert!(error.message.starts_with("the state of key \"big\" has 16777217 bytes"), "{error}");
        assert_eq!(error.domain, crate::dataflow::error::Domain::User);
    }
}
