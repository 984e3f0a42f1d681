//! Sets and maps of rows, many at once: each value once, in the order in which they first came.

use super::states::{Reader, States, put_bytes, put_len};
use crate::dataflow::error::LogicError;
use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// The maps of groups: rows whose first columns are the key, and the others the value. In a set all columns are key.
pub(super) struct Maps {
    schema: SchemaRef,
    key: RowConverter,
    /// None: these are sets.
    value: Option<RowConverter>,
    /// The columns of the input that are the key, and those that are the value.
    columns: (Vec<usize>, Vec<usize>),
    /// By group.
    maps: Vec<Map>,
}

/// Entries in the order of their first coming.
#[derive(Default)]
struct Map {
    entries: Vec<Entry>,
    /// Numbers of entries, by the hashes of their keys.
    places: HashTable<u32>,
}

/// A key and a value as Arrow encodes them; equal values have equal bytes.
struct Entry {
    hash: u64,
    key: Box<[u8]>,
    value: Box<[u8]>,
}

impl Map {
    /// Sets a value; that of a key that is there already stays in its place.
    fn set(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        let entries = &self.entries;
        match self.places.find(hash, |&at| entries[at as usize].hash == hash && *entries[at as usize].key == *key) {
            Some(&at) => {
                let entry = &mut self.entries[at as usize];
                if *entry.value != *value {
                    entry.value = value.into();
                }
            }
            None => {
                let at = u32::try_from(entries.len()).expect("fewer than 2^32 rows are kept");
                self.places.insert_unique(hash, at, |&at| entries[at as usize].hash);
                self.entries.push(Entry { hash, key: key.into(), value: value.into() });
            }
        }
    }
}

/// Whether values of a type can be told from each other.
pub(super) fn is_comparable(ty: &DataType) -> bool {
    RowConverter::supports_fields(&[SortField::new(ty.clone())])
}

impl Maps {
    /// Starts without groups. `columns` are those of the input that are the key, and those that are the value; `schema`
    /// has them in that order.
    ///
    /// # Errors
    /// Values of a column cannot be told from each other, which was checked.
    pub fn new(schema: SchemaRef, columns: (Vec<usize>, Vec<usize>)) -> Result<Self, LogicError> {
        let converter = |from: usize, to: usize| {
            let fields = schema.fields()[from..to].iter().map(|field| SortField::new(field.data_type().clone()));
            RowConverter::new(fields.collect())
        };
        let (keys, all) = (columns.0.len(), schema.fields().len());
        let key = converter(0, keys)?;
        let value = if keys < all { Some(converter(keys, all)?) } else { None };
        Ok(Maps { schema, key, value, columns, maps: Vec::new() })
    }

    /// Takes row `index[i]` into `groups[i]`, in this order.
    ///
    /// # Errors
    /// Arrow cannot encode the rows.
    pub fn take(&mut self, groups: &[u32], index: &[u32], rows: &RecordBatch) -> Result<(), LogicError> {
        self.make_room(groups);
        let pick = |columns: &[usize]| columns.iter().map(|&at| rows.column(at).clone()).collect::<Vec<ArrayRef>>();
        let keys = self.key.convert_columns(&pick(&self.columns.0))?;
        let values = match &self.value {
            Some(value) => Some(value.convert_columns(&pick(&self.columns.1))?),
            None => None,
        };
        for (&group, &row) in groups.iter().zip(index) {
            let key = keys.row(row as usize).data();
            let value = values.as_ref().map_or(&[][..], |values: &Rows| values.row(row as usize).data());
            self.maps[group as usize].set(xxh3_64(key), key, value);
        }
        Ok(())
    }

    /// Takes the entries of `from[i]` into `into[i]`, as if they came after; `from[i]` is empty then.
    pub fn merge(&mut self, into: &[u32], from: &[u32]) {
        self.make_room(into);
        self.make_room(from);
        for (&into, &from) in into.iter().zip(from) {
            for entry in std::mem::take(&mut self.maps[from as usize]).entries {
                self.maps[into as usize].set(entry.hash, &entry.key, &entry.value);
            }
        }
    }

    /// How many entries a group has.
    pub fn len(&self, group: u32) -> usize {
        self.maps.get(group as usize).map_or(0, |map| map.entries.len())
    }

    /// The entries of groups, one behind the other.
    ///
    /// # Errors
    /// They are too large for one batch.
    pub fn gather(&self, groups: &[u32]) -> Result<RecordBatch, LogicError> {
        let entries = || groups.iter().flat_map(|&group| &self.maps[group as usize].entries);
        let parser = self.key.parser();
        let mut columns = self.key.convert_rows(entries().map(|entry| parser.parse(&entry.key)))?;
        if let Some(value) = &self.value {
            let parser = value.parser();
            columns.extend(value.convert_rows(entries().map(|entry| parser.parse(&entry.value)))?);
        }
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// Encodes the entries of groups: how many there are, then the key of each, and its value.
    ///
    /// # Errors
    /// They are too large together.
    pub fn save(&self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        let mut states = States::with_capacity(groups.len());
        for &group in groups {
            let entries = self.maps.get(group as usize).map_or(&[][..], |map| &map.entries);
            states.push(|state| {
                put_len(state, entries.len());
                for entry in entries {
                    put_bytes(state, &entry.key);
                    put_bytes(state, &entry.value);
                }
            })?;
        }
        Ok(states.finish())
    }

    /// Takes in entries of groups as [`Maps::save`] encoded them, as if they came after those that are there.
    ///
    /// # Errors
    /// They are something else.
    pub fn load(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        self.make_room(groups);
        for (at, &group) in groups.iter().enumerate() {
            let mut reader = Reader(states.value(at));
            for _ in 0..reader.len()? {
                let (key, value) = (reader.bytes()?, reader.bytes()?);
                self.maps[group as usize].set(xxh3_64(key), key, value);
            }
            reader.end()?;
        }
        Ok(())
    }

    /// Ends groups.
    pub fn release(&mut self, groups: &[u32]) {
        self.make_room(groups);
        groups.iter().for_each(|&group| self.maps[group as usize] = Map::default());
    }

    fn make_room(&mut self, groups: &[u32]) {
        let needed = groups.iter().max().map_or(0, |&group| group as usize + 1);
        if needed > self.maps.len() {
            self.maps.resize_with(needed, Map::default);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{show, table};
    use super::*;
    use crate::data::batch::Batch;

    fn entries(maps: &Maps, group: u32) -> Vec<String> {
        show(&Batch::new(maps.gather(&[group]).unwrap()))
    }

    #[test]
    fn a_set_has_each_row_once_in_the_order_of_its_first_coming() {
        let rows = table("a: int64, b: string", &["1,x", ",x", "1,x", "1,", ",x"]);
        let mut sets = Maps::new(rows.schema(), (vec![0, 1], vec![])).unwrap();
        sets.take(&[0, 0, 0, 0, 0, 1], &[1, 0, 2, 3, 4, 0], &rows).unwrap();
        assert_eq!(entries(&sets, 0), ["a=null, b=x", "a=1, b=x", "a=1, b=null"]);
        sets.merge(&[1], &[0]);
        assert_eq!(entries(&sets, 1), ["a=1, b=x", "a=null, b=x", "a=1, b=null"]);
        assert_eq!((sets.len(0), sets.len(1), sets.len(9)), (0, 3, 0));
        sets.release(&[1]);
        sets.take(&[1], &[3], &rows).unwrap();
        assert_eq!(entries(&sets, 1), ["a=1, b=null"]);
    }

    #[test]
    fn of_values_of_a_key_the_last_stays_where_the_first_was() {
        let rows = table("v: int64, t: date, k: string", &["1,,a", "2,,b", "3,,a", ",,b"]);
        let schema = table("k: string, v: int64", &[]).schema();
        let mut maps = Maps::new(schema, (vec![2], vec![0])).unwrap();
        maps.take(&[0, 0, 0, 1, 1], &[0, 1, 2, 3, 0], &rows).unwrap();
        assert_eq!(entries(&maps, 0), ["k=a, v=3", "k=b, v=2"]);
        maps.merge(&[0], &[1]);
        assert_eq!(entries(&maps, 0), ["k=a, v=1", "k=b, v=null"]);
    }
}
