//! The states of keys as they stand in a recovery store: their form, and nothing else.
//!
//! A state is a byte that tells its kind. Behind [`MEMO`] stands an id ([`super::forgotten`]). Behind [`KEY`] stand the
//! length of the *head* and the head: what the machine keeps of the key, of its windows and of its rows that wait; then
//! the states that the logic keeps of those windows that have one, each behind its length. So the states of the logic
//! can be exchanged without knowing the head ([`MigrateWindows`]).
//!
//! Whoever changes this form gives the steps a new version ([`crate::catalog::operator::Keeps::version`]).

use super::super::states::{Reader, put_bytes, put_i64, put_len, unreadable};
use super::slots::Window;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{InstanceCx, MigrateStates};
use arrow::array::{Array, BinaryArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use std::sync::Arc;

const KEY: u8 = 0;
const MEMO: u8 = 1;

const HOLLOW: u8 = 1;
const DIRTY: u8 = 2;
const HAS_STATE: u8 = 4;
const HAS_MERGED: u8 = 8;

/// What is kept of a key besides its windows and rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SavedKey {
    pub watermark: i64,
    pub seen: i64,
    pub next_id: i64,
    /// The first id for other keys of its group.
    pub forgotten: i64,
}

/// Writes states behind one another, to one column.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Where the length of the head that is being written belongs.
    head: usize,
}

impl Writer {
    /// Begins with a key. So many windows follow.
    pub fn key(&mut self, key: SavedKey, windows: usize) {
        self.bytes.push(KEY);
        self.head = self.bytes.len();
        put_len(&mut self.bytes, 0);
        for number in [key.watermark, key.seen, key.next_id, key.forgotten] {
            put_i64(&mut self.bytes, number);
        }
        put_len(&mut self.bytes, windows);
    }

    /// Writes a window, which was the one with the number `rank` of its key's to open.
    pub fn window(&mut self, window: &Window, rank: usize, merged: &[i64], has_state: bool) {
        let &Window { id, open, close, hollow, dirty, .. } = window;
        for number in [id, open, close] {
            put_i64(&mut self.bytes, number);
        }
        put_len(&mut self.bytes, rank);
        let flags = [(hollow, HOLLOW), (dirty, DIRTY), (has_state, HAS_STATE), (!merged.is_empty(), HAS_MERGED)];
        self.bytes.push(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
        if !merged.is_empty() {
            put_len(&mut self.bytes, merged.len());
            merged.iter().for_each(|&id| put_i64(&mut self.bytes, id));
        }
    }

    /// So many rows that wait follow.
    pub fn rows(&mut self, count: usize) {
        put_len(&mut self.bytes, count);
    }

    /// Writes a row that waits.
    pub fn row(&mut self, time: i64, input: u32, row: &[u8]) {
        put_i64(&mut self.bytes, time);
        put_len(&mut self.bytes, input as usize);
        put_bytes(&mut self.bytes, row);
    }

    /// Ends the head.
    pub fn end_head(&mut self) {
        let start = self.head + size_of::<u32>();
        let len = u32::try_from(self.bytes.len() - start).expect("a state is smaller than 4 GiB");
        self.bytes[self.head..start].copy_from_slice(&len.to_le_bytes());
    }

    /// Writes what the logic keeps of a window.
    pub fn state(&mut self, state: &[u8]) {
        put_bytes(&mut self.bytes, state);
    }

    /// Ends a key.
    pub fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Writes a memo, instead of a key.
    pub fn memo(&mut self, next_id: i64) {
        self.bytes.push(MEMO);
        put_i64(&mut self.bytes, next_id);
        self.end();
    }

    /// Makes the column; behind what was written stand so many nulls.
    ///
    /// # Errors
    /// It is too large for one.
    pub fn finish(self, nulls: usize) -> Result<BinaryArray, LogicError> {
        let Writer { bytes, ends, .. } = self;
        if i32::try_from(bytes.len()).is_err() {
            return Err(LogicError::user("the states of some keys are too large together for one column (2 GiB)"));
        }
        let valid = ends.len();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let lengths = ends.iter().zip(starts).map(|(&end, start)| end - start);
        let offsets = OffsetBuffer::from_lengths(lengths.chain(std::iter::repeat_n(0, nulls)));
        let validity = (nulls > 0).then(|| (0..valid + nulls).map(|at| at < valid).collect());
        Ok(BinaryArray::try_new(offsets, Buffer::from_vec(bytes), validity)?)
    }
}

/// A state that is read.
pub(super) enum Saved<'a> {
    Key(Head<'a>, States<'a>),
    Memo(i64),
}

impl<'a> Saved<'a> {
    /// Begins to read a state.
    ///
    /// # Errors
    /// It is none; the same holds for all that reads.
    pub fn of(state: &'a [u8]) -> Result<Self, LogicError> {
        let mut reader = Reader(state);
        match reader.byte()? {
            KEY => Ok(Saved::Key(Head(Reader(reader.bytes()?)), States(reader))),
            MEMO => {
                let next_id = reader.i64()?;
                reader.end()?;
                Ok(Saved::Memo(next_id))
            }
            _ => Err(unreadable("it is of no known kind")),
        }
    }
}

/// What the machine keeps of a key. Everything is read in the order in which it was written.
pub(super) struct Head<'a>(Reader<'a>);

/// A window that is read.
pub(super) struct SavedWindow {
    /// Of key 0, and the last of it.
    pub window: Window,
    pub rank: usize,
    pub merged: Vec<i64>,
    pub has_state: bool,
}

impl<'a> Head<'a> {
    /// Reads the key and the number of its windows.
    ///
    /// # Errors
    /// It is cut short, as for the others.
    pub fn key(&mut self) -> Result<(SavedKey, usize), LogicError> {
        let mut number = || self.0.i64();
        let key = SavedKey { watermark: number()?, seen: number()?, next_id: number()?, forgotten: number()? };
        Ok((key, self.0.len()?))
    }

    /// Reads a window.
    ///
    /// # Errors
    /// As for `key`.
    pub fn window(&mut self) -> Result<SavedWindow, LogicError> {
        let mut number = || self.0.i64();
        let (id, open, close) = (number()?, number()?, number()?);
        let rank = self.0.len()?;
        let flags = self.0.byte()?;
        let mut merged = Vec::new();
        if flags & HAS_MERGED != 0 {
            for _ in 0..self.0.len()? {
                merged.push(self.0.i64()?);
            }
        }
        let (hollow, dirty) = (flags & HOLLOW != 0, flags & DIRTY != 0);
        let window = Window { id, open, close, hollow, dirty, ..Window::default() };
        Ok(SavedWindow { window, rank, merged, has_state: flags & HAS_STATE != 0 })
    }

    /// Reads the number of rows that wait.
    ///
    /// # Errors
    /// As for `key`.
    pub fn rows(&mut self) -> Result<usize, LogicError> {
        self.0.len()
    }

    /// Reads a row: its time, input and bytes.
    ///
    /// # Errors
    /// As for `key`.
    pub fn row(&mut self) -> Result<(i64, usize, &'a [u8]), LogicError> {
        Ok((self.0.i64()?, self.0.len()?, self.0.bytes()?))
    }

    /// Says that everything was read.
    ///
    /// # Errors
    /// Something is left.
    pub fn end(self) -> Result<(), LogicError> {
        self.0.end()
    }
}

/// What the logic keeps of a key's windows.
pub(super) struct States<'a>(Reader<'a>);

impl<'a> States<'a> {
    /// Reads the next; none if there is no other.
    ///
    /// # Errors
    /// It is cut short.
    pub fn next(&mut self) -> Result<Option<&'a [u8]>, LogicError> {
        if self.0.0.is_empty() { Ok(None) } else { self.0.bytes().map(Some) }
    }
}

impl States<'_> {
    /// Says that everything was read.
    ///
    /// # Errors
    /// Something is left.
    pub fn end(self) -> Result<(), LogicError> {
        self.0.end()
    }
}

/// Has a plugin turn the states of its function within the states of keys into those of its current version.
pub(in super::super) struct MigrateWindows(Arc<dyn MigrateStates>);

impl MigrateWindows {
    /// Makes that of a function.
    pub fn of(function: Arc<dyn MigrateStates>) -> Arc<dyn MigrateStates> {
        Arc::new(MigrateWindows(function))
    }
}

impl MigrateStates for MigrateWindows {
    fn migrate(&self, cx: &InstanceCx, from_version: u32, states: &BinaryArray) -> Result<BinaryArray, LogicError> {
        let mut inner: Vec<&[u8]> = Vec::new();
        for state in states.iter().flatten() {
            if let Saved::Key(_, mut states) = Saved::of(state)? {
                while let Some(state) = states.next()? {
                    inner.push(state);
                }
            }
        }
        let inner = BinaryArray::from_iter_values(inner);
        let migrated = if inner.is_empty() { inner } else { self.0.migrate(cx, from_version, &inner)? };
        let mut migrated = migrated.iter().map(Option::unwrap_or_default);
        let mut writer = Writer::default();
        for state in states.iter().flatten() {
            let mut tail = match Saved::of(state)? {
                Saved::Key(_, states) => states,
                Saved::Memo(next_id) => {
                    writer.memo(next_id);
                    continue;
                }
            };
            writer.bytes.extend_from_slice(&state[..state.len() - tail.0.0.len()]);
            while tail.next()?.is_some() {
                writer.state(migrated.next().ok_or_else(|| unreadable("a state got lost on its way"))?);
            }
            writer.end();
        }
        writer.finish(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::user_fn::InstanceCx;

    fn state(writer: &mut Writer, states: &[&[u8]]) {
        let key = SavedKey { watermark: -1, seen: 2, next_id: 3, forgotten: 4 };
        writer.key(key, states.len());
        for (id, _) in (0..).zip(states) {
            let window = Window { id, open: 5, close: 6, hollow: id == 0, dirty: true, ..Window::default() };
            writer.window(&window, 7, if id == 1 { &[8, 9] } else { &[] }, true);
        }
        writer.rows(1);
        writer.row(10, 1, b"row");
        writer.end_head();
        states.iter().for_each(|state| writer.state(state));
        writer.end();
    }

    #[test]
    fn what_is_written_is_read_in_its_order() {
        let mut writer = Writer::default();
        state(&mut writer, &[b"a", b""]);
        writer.memo(11);
        let column = writer.finish(2).unwrap();
        assert_eq!((column.len(), column.null_count()), (4, 2));
        let Saved::Key(mut head, mut states) = Saved::of(column.value(0)).unwrap() else { panic!("it is a key") };
        assert_eq!(head.key().unwrap(), (SavedKey { watermark: -1, seen: 2, next_id: 3, forgotten: 4 }, 2));
        let windows = [head.window().unwrap(), head.window().unwrap()];
        let shown: Vec<_> =
            windows.iter().map(|saved| (saved.window.id, saved.rank, saved.window.hollow, &*saved.merged)).collect();
        assert_eq!(shown, [(0, 7, true, &[][..]), (1, 7, false, &[8, 9][..])]);
        assert_eq!((head.rows().unwrap(), head.row().unwrap()), (1, (10, 1, &b"row"[..])));
        head.end().unwrap();
        assert_eq!(
            [states.next().unwrap(), states.next().unwrap(), states.next().unwrap()],
            [Some(&b"a"[..]), Some(b""), None]
        );
        assert!(matches!(Saved::of(column.value(1)), Ok(Saved::Memo(11))));
    }

    #[test]
    fn states_that_are_cut_short_or_unknown_are_refused() {
        let mut writer = Writer::default();
        state(&mut writer, &[]);
        let column = writer.finish(0).unwrap();
        let read = |state: &[u8]| -> Result<(), LogicError> {
            let Saved::Key(mut head, _) = Saved::of(state)? else { return Ok(()) };
            head.key()?;
            head.rows()?;
            head.row()?;
            head.end()
        };
        let whole = column.value(0);
        read(whole).unwrap();
        (0..whole.len()).for_each(|len| assert!(read(&whole[..len]).is_err(), "{len}"));
        assert!(Saved::of(&[2]).is_err());
    }

    struct Doubles;

    impl MigrateStates for Doubles {
        fn migrate(&self, _: &InstanceCx, from: u32, states: &BinaryArray) -> Result<BinaryArray, LogicError> {
            assert_eq!(from, 3);
            Ok(BinaryArray::from_iter_values(states.iter().flatten().map(|state| state.repeat(2))))
        }
    }

    #[test]
    fn a_plugin_is_handed_its_own_states_only() {
        let write = |states: [&[&[u8]]; 2]| {
            let mut writer = Writer::default();
            state(&mut writer, states[0]);
            writer.memo(1);
            state(&mut writer, states[1]);
            writer.finish(0).unwrap()
        };
        let cx = InstanceCx {
            step: "s".into(),
            worker: crate::data::ids::WorkerIndex(0),
            run_id: "run".into(),
            env: crate::dataflow::env::real::env(),
            meter: Arc::default(),
            migration: None,
        };
        let migrated = MigrateWindows(Arc::new(Doubles)).migrate(&cx, 3, &write([&[b"ab", b"c"], &[b""]])).unwrap();
        assert_eq!(migrated, write([&[b"abab", b"cc"], &[b""]]));
    }
}
