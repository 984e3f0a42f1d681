//! Bits that turn: whatever is read from a damaged store is right, or refused.

use super::super::catalogue::Identity;
use super::super::resume::file_name;
use super::super::sqlite::{self, SqlitePart};
use super::*;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const PARTS: u64 = 2;

/// Writes a store, and returns the states at the end of each epoch. The log is put back into the files halfway, so that
/// copies made before the parts are dropped have states in both.
fn write(folder: &Path) -> (Vec<States>, Vec<SqlitePart>) {
    for part in 0..PARTS {
        let identity = Identity { store: "s".to_owned(), flow: "test".into(), part, parts: PARTS };
        sqlite::create(&folder.join(file_name(part)), identity).unwrap();
    }
    let names: Vec<String> = (0..300_u64).map(|n| format!("key {n}")).collect();
    let (mut history, mut parts) = (vec![States::new()], Vec::new());
    for epochs in [1..=4, 5..=9] {
        parts.clear();
        let resume = open(folder).unwrap().resume().clone();
        assert_eq!(resume.first_epoch(), Epoch(*epochs.start()));
        for part in 0..PARTS {
            let mut part = SqlitePart::open(&folder.join(file_name(part))).unwrap();
            claim(&mut part, &resume);
            parts.push(part);
        }
        for epoch in epochs {
            let rows = (0..).zip(&names).filter(|(n, _)| epoch == 1 || (n + epoch) % 4 == 0);
            let rows: Vec<_> = rows.map(|(n, name)| (name.as_str(), (n % 9 != epoch).then_some(n * epoch))).collect();
            let mut states = history.last().unwrap().clone();
            apply(&mut states, &rows);
            history.push(states);
            for part in &mut parts {
                seal(part, epoch, &changes(&rows));
                compact(part, epoch.saturating_sub(3));
            }
        }
    }
    (history, parts)
}

fn open(folder: &Path) -> Result<Store, String> {
    let mut parts: Vec<Box<dyn PartStore>> = Vec::new();
    for part in 0..PARTS {
        let part = SqlitePart::open(&folder.join(file_name(part))).map_err(|error| error.message)?;
        parts.push(Box::new(part));
    }
    Store::from_parts(parts, &wanted(&[step("sum")]), Options::default()).map_err(|error| error.message)
}

/// Opens and loads; the epoch that it goes on from, or none if the store is refused.
fn read(folder: &Path, history: &[States]) -> Option<u64> {
    let read = |store: Store| load(&store.shelf, 0..KEY_GROUPS).map(|states| (states, store));
    match open(folder).and_then(read) {
        Ok((states, store)) => {
            let epoch = store.resume().epoch.0;
            assert!(states == history[usize::try_from(epoch).unwrap()], "wrong states of epoch {epoch}");
            assert_eq!(positions(&store), (epoch, epoch));
            Some(epoch)
        }
        Err(message) => {
            assert!(message.contains("part-"), "{message}");
            None
        }
    }
}

fn copy(from: &Path, to: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(to).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        files.push(to.join(entry.file_name()));
        std::fs::copy(entry.path(), files.last().unwrap()).unwrap();
    }
    files.sort();
    files
}

/// Turns one bit of one file at a time; returns what each turn leads to.
fn flip(folder: &Path, history: &[States], turns: u64) -> Vec<Option<u64>> {
    let damaged = TempDir::new().unwrap();
    let turn = |turn: u64| {
        let files = copy(folder, damaged.path());
        let random = hash(&format!("turn {turn}"));
        let file = &files[usize::try_from(random >> 56).unwrap() % files.len()];
        let mut bytes = std::fs::read(file).unwrap();
        let at = usize::try_from(random >> 3).unwrap() % bytes.len();
        bytes[at] ^= 1 << (random & 7);
        std::fs::write(file, bytes).unwrap();
        read(damaged.path(), history)
    };
    (0..turns).map(turn).collect()
}

fn count(found: &[Option<u64>], which: impl Fn(Option<u64>) -> bool) -> usize {
    found.iter().filter(|&&epoch| which(epoch)).count()
}

#[test]
fn a_bit_that_turns_is_refused_or_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (history, parts) = write(folder.path());
    drop(parts);
    assert_eq!(read(folder.path(), &history), Some(9));
    let found = flip(folder.path(), &history, 200);
    let (refused, whole) = (count(&found, |epoch| epoch.is_none()), count(&found, |epoch| epoch == Some(9)));
    assert_eq!(refused + whole, 200);
    assert!(refused > 40 && whole > 0, "{refused} of 200 were noticed");
}

#[test]
fn a_bit_that_turns_in_the_log_of_a_crash_is_refused_or_leads_to_an_earlier_epoch() {
    let (folder, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (history, parts) = write(folder.path());
    assert!(copy(folder.path(), crashed.path()).iter().any(|file| file.to_string_lossy().ends_with("-wal")));
    drop(parts);
    let found = flip(crashed.path(), &history, 100);
    let (same, earlier) = (count(&found, |epoch| epoch == Some(9)), count(&found, |epoch| epoch < Some(9)));
    assert!(same > 0 && earlier > 10, "{earlier} of 100 were noticed");
}

#[test]
fn files_that_are_cut_short_are_refused_or_whole_in_what_counts() {
    let (folder, damaged) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (history, parts) = write(folder.path());
    drop(parts);
    let length = std::fs::metadata(folder.path().join(file_name(0))).unwrap().len();
    let mut cut = |to: u64| {
        let files = copy(folder.path(), damaged.path());
        std::fs::OpenOptions::new().write(true).open(&files[0]).unwrap().set_len(to).unwrap();
        read(damaged.path(), &history)
    };
    assert_eq!([0, 100, length / 3, length / 2].map(&mut cut), [None; 4]);
    // The last page may be free; what is read is right in any case.
    (1..20).for_each(|pages| assert!(matches!(cut(length - pages * 4096), None | Some(9))));
}
