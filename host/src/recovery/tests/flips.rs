//! Bits that turn: whatever is read from a damaged store is right, or refused.

use super::super::catalogue::Identity;
use super::super::check::check;
use super::super::resume::file_name;
use super::super::sqlite::{self, SqlitePart};
use super::*;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const PARTS: u64 = 2;

/// Writes a store, and returns the states at the end of each epoch. The log is put back into the files halfway, so that
/// copies made before the parts are dropped have states in both.
pub(super) fn write(folder: &Path) -> (Vec<States>, Vec<SqlitePart>) {
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

/// Opens and loads; the epoch that it goes on from, or why the store is refused.
fn read(folder: &Path, history: &[States]) -> Result<u64, String> {
    let (states, store) = open(folder).and_then(|store| Ok((load(&store.shelf, 0..KEY_GROUPS)?, store)))?;
    let epoch = store.resume().epoch.0;
    assert!(states == history[usize::try_from(epoch).unwrap()], "wrong states of epoch {epoch}");
    assert_eq!(positions(&store), (epoch, epoch));
    Ok(epoch)
}

pub(super) fn copy(from: &Path, to: &Path) -> Vec<PathBuf> {
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

/// Turns one bit of one file at a time, of each file `turns` times; returns what it leads to, by file. None: refused.
fn flip(folder: &Path, history: &[States], turns: u64) -> BTreeMap<String, Vec<Option<u64>>> {
    let damaged = TempDir::new().unwrap();
    let mut found = BTreeMap::new();
    for file in 0..copy(folder, damaged.path()).len() {
        for turn in 0..turns {
            let file = &copy(folder, damaged.path())[file];
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let random = hash(&format!("turn {turn} of {name}"));
            let mut bytes = std::fs::read(file).unwrap();
            let at = usize::try_from(random >> 3).unwrap() % bytes.len();
            bytes[at] ^= 1 << (random & 7);
            std::fs::write(file, &bytes).unwrap();
            // A look changes nothing, so it comes first.
            let problems = check(damaged.path()).unwrap().problems;
            assert!(std::fs::read(file).unwrap() == bytes, "the check has changed {name}");
            let read = read(damaged.path(), history);
            if let Err(message) = &read {
                let part = name.trim_end_matches("-wal");
                assert!(message.contains(part), "bit {} of byte {at} of {name}: {message}", random & 7);
                assert!(!problems.is_empty(), "the check has not found: {message}");
            }
            found.entry(name).or_insert_with(Vec::new).push(read.ok());
        }
    }
    found
}

fn count(found: &[Option<u64>], which: impl Fn(Option<u64>) -> bool) -> usize {
    found.iter().filter(|&&epoch| which(epoch)).count()
}

#[test]
fn a_bit_that_turns_is_refused_or_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (history, parts) = write(folder.path());
    drop(parts);
    assert_eq!(read(folder.path(), &history), Ok(9));
    let found = flip(folder.path(), &history, 125);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["part-0.sqlite3", "part-1.sqlite3"]);
    for (file, found) in found {
        let (refused, whole) = (count(&found, |epoch| epoch.is_none()), count(&found, |epoch| epoch == Some(9)));
        assert_eq!(refused + whole, 125, "{file}");
        assert!(refused > 20 && whole > 0, "{file}: {refused} of 125 were noticed");
    }
}

#[test]
fn a_bit_that_turns_in_the_files_of_a_crash_is_refused_or_leads_to_an_earlier_epoch() {
    let (folder, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (history, parts) = write(folder.path());
    copy(folder.path(), crashed.path());
    drop(parts);
    let found = flip(crashed.path(), &history, 75);
    let files = ["part-0.sqlite3", "part-0.sqlite3-wal", "part-1.sqlite3", "part-1.sqlite3-wal"];
    assert_eq!(found.keys().collect::<Vec<_>>(), files);
    for (file, found) in found {
        let (same, earlier) = (count(&found, |epoch| epoch == Some(9)), count(&found, |epoch| epoch < Some(9)));
        // What is in the log hides most pages of the file.
        let least = if file.ends_with("-wal") { 6 } else { 0 };
        assert!(same > 0 && earlier >= least, "{file}: {earlier} of 75 were noticed");
    }
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
    assert!([0, 100, length / 3, length / 2].map(&mut cut).iter().all(Result::is_err));
    // The last page may be free; what is read is right in any case.
    (1..20).for_each(|pages| assert!(matches!(cut(length - pages * 4096), Err(_) | Ok(9))));
}
