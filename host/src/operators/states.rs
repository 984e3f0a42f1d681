//! States on their way into a recovery store and back: what native operators write of a key.
//!
//! Numbers are little-endian, lengths four bytes, rows as Arrow's row format has them. What is written here is read by
//! later versions: whoever changes the form of a state gives the step's fingerprint a new version.

use super::groups::{Groups, OUTPUT_ROWS};
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::durable::Changes;
use crate::dataflow::error::LogicError;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, concat};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, RowParser, SortField};

/// Bytes of states from which on no more come along that did not change: all must fit an array.
const MOST_WHOLE: usize = 256 << 20;
/// Of so many keys the states fit an array, however large they are.
const FEW: usize = 64;

/// What became of the keys of a step since the last call: `states` encodes those of some groups, one value each. None if
/// nothing changed. If most changed, the others come along: a store keeps one layer of all keys more easily than several
/// of most of them.
///
/// # Errors
/// Those of `states`.
pub(super) fn changes(
    groups: &mut Groups,
    mut states: impl FnMut(&Groups, &[u32]) -> Result<BinaryArray, LogicError>,
) -> Result<Option<Changes>, LogicError> {
    let (mut live, gone) = groups.take_changes();
    if live.is_empty() && gone.is_empty() {
        return Ok(None);
    }
    let mut values = states(groups, &live)?;
    let mut of = Changes::of_some as fn(_, _) -> _;
    if 2 * live.len() >= groups.len()
        && let Some((others, all)) = with_others(groups, &live, &values, states)?
    {
        live.extend(others);
        (values, of) = (all, Changes::of_all);
    }
    let keys = groups.keys(&live);
    if gone.is_empty() {
        return Ok(Some(of(keys, values)));
    }
    let all = keys.values().iter().flatten().chain(gone.iter().map(AsRef::as_ref));
    let keys = Keys::new(StringArray::from_iter_values(all));
    let mut builder = BinaryBuilder::with_capacity(keys.values().len(), values.value_data().len());
    values.iter().for_each(|value| builder.append_option(value));
    gone.iter().for_each(|_| builder.append_null());
    Ok(Some(of(keys, builder.finish())))
}

/// Has the states of all groups encoded that are not among the live ones, whose states are known. Returns these groups and
/// all states, unless they are too large.
fn with_others(
    groups: &Groups,
    live: &[u32],
    values: &BinaryArray,
    mut states: impl FnMut(&Groups, &[u32]) -> Result<BinaryArray, LogicError>,
) -> Result<Option<(Vec<u32>, BinaryArray)>, LogicError> {
    let others = if live.len() < groups.len() { groups.besides(live) } else { Vec::new() };
    let (mut pieces, mut bytes) = (vec![values.clone()], values.value_data().len());
    for chunk in others.chunks(FEW) {
        if bytes > MOST_WHOLE {
            return Ok(None);
        }
        let piece = states(groups, chunk)?;
        bytes += piece.value_data().len();
        pieces.push(piece);
    }
    let all = match &*pieces {
        [all] => all.clone(),
        _ => concat(&pieces.iter().map(|piece| piece as &dyn Array).collect::<Vec<_>>())?.as_binary().clone(),
    };
    Ok(Some((others, all)))
}

/// Has the states of groups encoded, of not too many at once.
///
/// # Errors
/// Those of `encode`; or the states are too large together.
pub(super) fn in_chunks(
    groups: &[u32],
    mut encode: impl FnMut(&[u32]) -> Result<BinaryArray, LogicError>,
) -> Result<BinaryArray, LogicError> {
    if groups.len() <= OUTPUT_ROWS {
        return encode(groups);
    }
    let pieces = groups.chunks(OUTPUT_ROWS).map(encode).collect::<Result<Vec<_>, _>>()?;
    if pieces.iter().map(|piece| piece.value_data().len()).sum::<usize>() > i32::MAX as usize {
        return Err(too_large());
    }
    let pieces: Vec<&dyn Array> = pieces.iter().map(|piece| piece as &dyn Array).collect();
    Ok(concat(&pieces)?.as_binary().clone())
}

/// States in the making, one behind the other in one place.
#[derive(Default)]
pub(super) struct States {
    data: Vec<u8>,
    offsets: Vec<i32>,
}

impl States {
    /// Starts with room for so many.
    pub fn with_capacity(count: usize) -> States {
        let mut offsets = Vec::with_capacity(count + 1);
        offsets.push(0);
        States { data: Vec::new(), offsets }
    }

    /// Adds one, which `write` puts behind the others.
    ///
    /// # Errors
    /// They are too large together.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), LogicError> {
        write(&mut self.data);
        self.offsets.push(i32::try_from(self.data.len()).map_err(|_| too_large())?);
        Ok(())
    }

    /// All of them.
    pub fn finish(self) -> BinaryArray {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        BinaryArray::new(offsets, Buffer::from_vec(self.data), None)
    }
}

fn too_large() -> LogicError {
    LogicError::user("the states that changed in one epoch are too large together (2 GiB on one worker)")
        .help("make epochs shorter, or take more workers")
}

/// Puts something behind each state, which `write` writes.
///
/// # Errors
/// They are too large together.
pub(super) fn with_tails(
    states: &BinaryArray,
    mut write: impl FnMut(usize, &mut Vec<u8>),
) -> Result<BinaryArray, LogicError> {
    let mut longer = States::with_capacity(states.len());
    for at in 0..states.len() {
        longer.push(|state| {
            state.extend_from_slice(states.value(at));
            write(at, state);
        })?;
    }
    Ok(longer.finish())
}

/// Takes from the end of each state the bytes that [`with_tails`] put there, so many each; returns both parts.
///
/// # Errors
/// A state is too short.
pub(super) fn without_tails(states: &BinaryArray, length: usize) -> Result<(BinaryArray, Vec<&[u8]>), LogicError> {
    let (mut shorter, mut tails) = (States::with_capacity(states.len()), Vec::with_capacity(states.len()));
    for at in 0..states.len() {
        let state = states.value(at);
        let start = state.len().checked_sub(length).ok_or_else(|| unreadable("it is cut short"))?;
        shorter.push(|out| out.extend_from_slice(&state[..start]))?;
        tails.push(&state[start..]);
    }
    Ok((shorter.finish(), tails))
}

/// Writes a time, or that there is none.
pub(super) fn put_time(out: &mut Vec<u8>, time: Option<Instant>) {
    put_i64(out, time.map_or(i64::MAX, |time| time.0));
}

/// Writes a number.
pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes a number of things that follow.
pub(super) fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).expect("a state is smaller than 4 GiB").to_le_bytes());
}

/// Writes bytes, their number before them.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Reads what was written.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Reads a byte.
    ///
    /// # Errors
    /// The state is cut short; the same holds for the others.
    pub fn byte(&mut self) -> Result<u8, LogicError> {
        Ok(self.take(1)?[0])
    }

    /// Reads a number.
    ///
    /// # Errors
    /// As for `byte`.
    pub fn i64(&mut self) -> Result<i64, LogicError> {
        Ok(i64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    /// Reads a time, or that there is none.
    ///
    /// # Errors
    /// As for `byte`.
    pub fn time(&mut self) -> Result<Option<Instant>, LogicError> {
        Ok(Some(Instant(self.i64()?)).filter(|time| time.0 < i64::MAX))
    }

    /// Reads a number of things that follow.
    ///
    /// # Errors
    /// As for `byte`.
    pub fn len(&mut self) -> Result<usize, LogicError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")) as usize)
    }

    /// Reads bytes that stand behind their number.
    ///
    /// # Errors
    /// As for `byte`.
    pub fn bytes(&mut self) -> Result<&'a [u8], LogicError> {
        let len = self.len()?;
        self.take(len)
    }

    /// Says that everything was read.
    ///
    /// # Errors
    /// Something is left.
    pub fn end(self) -> Result<(), LogicError> {
        if self.0.is_empty() { Ok(()) } else { Err(unreadable("something is left of it")) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], LogicError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or_else(|| unreadable("it is cut short"))?;
        self.0 = tail;
        Ok(head)
    }
}

/// Says that a state is not one that was written here.
pub(super) fn unreadable(why: &str) -> LogicError {
    LogicError::internal(format!("a saved state cannot be read: {why}"))
}

/// Rows of a schema as bytes, each by itself.
pub(super) struct RowCodec {
    schema: SchemaRef,
    converter: RowConverter,
}

impl RowCodec {
    /// Makes that of a schema.
    ///
    /// # Errors
    /// Arrow cannot encode a column's type.
    pub fn new(schema: &SchemaRef) -> Result<RowCodec, LogicError> {
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        Ok(RowCodec { schema: schema.clone(), converter: RowConverter::new(fields.collect())? })
    }

    /// Encodes rows.
    ///
    /// # Errors
    /// Arrow cannot encode them.
    pub fn encode(&self, rows: &RecordBatch) -> Result<EncodedRows, LogicError> {
        Ok(EncodedRows { rows: self.converter.convert_columns(rows.columns())?, count: rows.num_rows() })
    }

    /// Decodes rows, each of which is what `encode` made of one.
    ///
    /// # Errors
    /// They are too large for one batch.
    pub fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<RecordBatch, LogicError> {
        let parser: RowParser = self.converter.parser();
        let rows: Vec<_> = rows.into_iter().map(|row| parser.parse(row)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = self.converter.convert_rows(rows)?.into_iter().zip(self.schema.fields());
        // Values of a dictionary come back without it.
        let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column),
            false => Ok(cast(&column, field.data_type())?),
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, LogicError>>()?;
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// Rows, encoded.
pub(super) struct EncodedRows {
    rows: arrow::row::Rows,
    /// Arrow does not count rows that have no columns.
    count: usize,
}

impl EncodedRows {
    /// The bytes of a row.
    fn row(&self, at: usize) -> &[u8] {
        if at < self.rows.num_rows() { self.rows.row(at).data() } else { &[] }
    }

    /// The bytes of all rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.count).map(|at| self.row(at))
    }
}

#[cfg(test)]
mod tests;
