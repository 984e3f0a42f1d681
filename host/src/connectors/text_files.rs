//! What a store knows of a sink's text files, and whether that is what is on the disk.

use super::staged::{is_left_over, remove};
use super::text_kept::commit;
use crate::data::ids::PartitionId;
use crate::dataflow::durable::Manifest;
use crate::dataflow::error::{Domain, LogicError};
use crate::dataflow::user_fn::InstanceCx;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use xxhash_rust::xxh3::Xxh3;

/// Bytes of a file that were staged at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Region {
    pub offset: u64,
    pub length: u64,
    /// Of the bytes.
    pub checksum: u64,
    /// The name of the file that they are in until they are in the target; it is beside that.
    pub staged: String,
}

impl Region {
    /// Where the file ends with it.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// What a manifest of a partition says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// What was staged last of the partition's own file.
    pub file: Option<Region>,
    /// The same of files whose partitions no worker has any more, and which this one took over to remember. They stay
    /// as they are, until there are as many workers again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, Region>,
}

impl State {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is none.
    pub fn read(manifest: &[u8]) -> Result<State, LogicError> {
        let read = serde_json::from_slice(manifest);
        read.map_err(|error| LogicError::internal(format!("a stored manifest is not that of a file of text: {error}")))
    }

    /// Writes a manifest.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and names can be written")
    }

    /// All files that it tells of, by their partitions. `part` is whose manifest it is.
    fn regions(self, part: &PartitionId) -> impl Iterator<Item = (String, Region)> {
        self.file.map(|region| (part.0.to_string(), region)).into_iter().chain(self.others)
    }
}

/// The files of a sink.
#[derive(Default)]
pub(super) struct TextFiles {
    /// What was staged last of each file, also of those that another partition remembers, as the execution begins.
    known: Mutex<BTreeMap<String, Region>>,
}

/// Where a partition is written.
pub(super) type TargetOf<'a> = &'a dyn Fn(&str) -> PathBuf;

impl TextFiles {
    /// Looks whether the files are as the manifests say.
    ///
    /// # Errors
    /// They are not, or cannot be read.
    pub fn verify(manifests: &[Manifest], target_of: TargetOf<'_>) -> Result<(), LogicError> {
        let mut files: BTreeMap<String, Vec<Region>> = BTreeMap::new();
        for manifest in manifests {
            for (part, region) in State::read(&manifest.manifest)?.regions(&manifest.part) {
                files.entry(part).or_default().push(region);
            }
        }
        files.iter().try_for_each(|(part, regions)| verify(&followed(&target_of(part)), regions))
    }

    /// Commits everything, and removes what dead executions left in these folders for files of which `is_ours` is said.
    ///
    /// # Errors
    /// As for [`commit`].
    pub fn resume(
        &self,
        cx: &InstanceCx,
        manifests: &[Manifest],
        target_of: TargetOf<'_>,
        is_ours: &dyn Fn(&str) -> bool,
    ) -> Result<(), LogicError> {
        let mut known: BTreeMap<String, Region> = BTreeMap::new();
        let mut runs = BTreeSet::new();
        // Folders of links' targets, too.
        let mut folders = BTreeSet::from([parent(&target_of("0"))]);
        for manifest in manifests {
            for (part, region) in State::read(&manifest.manifest)?.regions(&manifest.part) {
                let target = followed(&target_of(&part));
                if let Some(staged) = commit(&target, &region)? {
                    remove(&staged)?;
                }
                folders.insert(parent(&target));
                runs.extend(staged_for(&region.staged).map(|(_, run)| run.to_owned()));
                remember(&mut known, part, region);
            }
        }
        for folder in folders {
            let entries = match fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder }) {
                Ok(entries) => entries,
                // Where a file stands in the way, the first row to be written says so.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                Err(error) => return Err(LogicError::io(format!("cannot list {}", folder.display()), &error)),
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let left = staged_for(&name)
                    .is_some_and(|(target, run)| is_ours(target) && is_left_over(run, &cx.run_id, &runs));
                if left {
                    remove(&entry.path())?;
                }
            }
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// What a partition begins with that has these manifests. It remembers the files of orphans.
    ///
    /// # Errors
    /// A manifest is none.
    pub fn begin(
        &self,
        part: &PartitionId,
        last: Option<&Manifest>,
        orphans: &[Manifest],
    ) -> Result<State, LogicError> {
        let mut all = BTreeMap::new();
        for manifest in last.into_iter().chain(orphans) {
            for (part, region) in State::read(&manifest.manifest)?.regions(&manifest.part) {
                remember(&mut all, part, region);
            }
        }
        // A worker that was away finds its file remembered by another.
        if let Some(region) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&*part.0) {
            remember(&mut all, part.0.to_string(), region.clone());
        }
        Ok(State { file: all.remove(&*part.0), others: all })
    }
}

/// Of two that tell of a file, the one that knows more of it counts.
fn remember(known: &mut BTreeMap<String, Region>, part: String, region: Region) {
    match known.get(&part) {
        Some(other) if other.end() > region.end() => {}
        _ => drop(known.insert(part, region)),
    }
}

/// Follows links, as far as there are any.
pub(super) fn followed(target: &Path) -> PathBuf {
    fs::canonicalize(target).unwrap_or_else(|_| target.to_owned())
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

/// Reads the name of a staged file, `.TARGET.RUN.NUMBER.part`: the target's name and the execution's id.
fn staged_for(name: &str) -> Option<(&str, &str)> {
    let inner = name.strip_prefix('.')?.strip_suffix(".part")?;
    let (inner, number) = inner.rsplit_once('.')?;
    let (target, run) = inner.rsplit_once('.')?;
    number.parse::<u64>().is_ok().then_some((target, run))
}

/// Compares a file with all that is known of it.
fn verify(target: &Path, regions: &[Region]) -> Result<(), LogicError> {
    let failed = |error: &std::io::Error| LogicError::io(format!("cannot read {}", target.display()), error);
    let length = match fs::metadata(target) {
        Ok(metadata) if !metadata.is_file() => {
            let message = format!("{} is no file any more, and rows were written to one", target.display());
            return Err(LogicError::new(Domain::Io, message).help(BEGIN_ANEW));
        }
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(&error)),
    };
    let folder = target.parent().unwrap_or(Path::new(""));
    let (mut waiting, mut shown) = (Vec::new(), Vec::new());
    for region in regions {
        match File::open(folder.join(&region.staged)) {
            Ok(staged) => waiting.push((region, staged)),
            Err(_) => shown.push(region),
        }
    }
    for (region, staged) in &mut waiting {
        let whole = staged.metadata().map_err(|error| failed(&error))?.len() == region.length;
        if !whole || hash(staged, 0, region.length).map_err(|error| failed(&error))? != Some(region.checksum) {
            let message = format!("{} is not as it was written", folder.join(&region.staged).display());
            let help = "it holds rows that are not in the output yet; put it back from a copy, or begin anew without \
                        the store and the output";
            return Err(LogicError::new(Domain::Io, message).help(help));
        }
    }
    if waiting.iter().any(|(region, _)| region.offset == 0) {
        // The file is not one of this store yet; an older one will be replaced.
        return Ok(());
    }
    let least = shown.iter().map(|region| region.end()).max();
    let least = least.or_else(|| regions.iter().map(|region| region.offset).min()).unwrap_or(0);
    let most = regions.iter().map(Region::end).max().unwrap_or(0);
    if length < least || length == 0 && !target.exists() {
        return Err(cut(target, length, least));
    }
    if length > most {
        let message = format!(
            "{} has {length} bytes, and this store knows of {most}: the store is older than the file, or somebody else \
             wrote to it",
            target.display()
        );
        let help = format!(
            "go on from the newest copy of the store; or, if what is behind is not wanted, cut the file: truncate -s \
             {most} {:?}",
            target.display().to_string()
        );
        return Err(LogicError::new(Domain::Io, message).help(help));
    }
    let Some(last) = shown.iter().max_by_key(|region| region.end()) else { return Ok(()) };
    let mut file = File::open(target).map_err(|error| failed(&error))?;
    if hash(&mut file, last.offset, last.length).map_err(|error| failed(&error))? != Some(last.checksum) {
        let message = format!(
            "{} was changed: from byte {} to {} it is not as it was written",
            target.display(),
            last.offset,
            last.end()
        );
        return Err(LogicError::new(Domain::Io, message).help(BEGIN_ANEW));
    }
    Ok(())
}

const BEGIN_ANEW: &str = "put it back from a copy that is as new as the store; or begin anew with a new store, which \
                          writes the file anew";

/// Says that a file lacks bytes that were in it.
pub(super) fn cut(target: &Path, length: u64, least: u64) -> LogicError {
    let message = match target.exists() {
        true => {
            format!("{} has {length} bytes, and {least} were written to it: it was cut or replaced", target.display())
        }
        false => format!("{} is gone, and {least} bytes were written to it", target.display()),
    };
    LogicError::new(Domain::Io, message).help(BEGIN_ANEW)
}

/// The checksum of bytes of a file; none if it is shorter.
fn hash(file: &mut File, offset: u64, length: u64) -> std::io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut hash = Xxh3::new();
    let mut left = length;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match file.read(&mut buffer[..most]) {
            Ok(0) => return Ok(None),
            Ok(read) => {
                hash.update(&buffer[..read]);
                left -= read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(hash.digest()))
}
