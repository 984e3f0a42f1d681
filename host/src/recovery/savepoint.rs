//! Savepoints: whole copies of a store, made while no flow runs on it, from which other stores are made.
//!
//! A savepoint is a folder of the parts' files and `manifest.json`, which has the hash of each. It gets its name when all
//! of it is on disk. A savepoint is a store by itself and can be looked into.
//!
//! A store that is made of a savepoint has an id of its own: both that store and the one that the savepoint was made of
//! may go on, and neither the files of the two nor what their executions stage must be taken for each other's.

use super::catalogue::Catalogue;
use super::check::examine;
use super::error::{StoreError, Trouble};
use super::look::{open_parts, time_text};
use super::part::PartStore;
use super::resume::{file_name, find_epoch};
use super::sqlite::SqlitePart;
use super::store::{find, new_id};
use crate::dataflow::env::Env;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The folder of a store's savepoints, in the folder of the store.
const FOLDER: &str = "savepoints";
const MANIFEST: &str = "manifest.json";
/// The version of the manifest.
const VERSION: u64 = 1;

/// What a savepoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The store that it is a copy of.
    pub store: String,
    pub flow: String,
    /// The epoch that an execution goes on from.
    pub epoch: u64,
    /// The version of this program.
    pub wxhost: String,
    /// When it was made, as RFC 3339.
    pub made_at: String,
    /// The BLAKE3 hash of each file, in hexadecimal.
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    /// The form in which it is written.
    pub fn to_json(&self) -> Value {
        json!({
            "version": VERSION,
            "store": self.store,
            "flow": self.flow,
            "epoch": self.epoch,
            "wxhost": self.wxhost,
            "made_at": self.made_at,
            "blake3": self.files,
        })
    }

    fn from_json(json: &Value) -> Option<Manifest> {
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let files = json["blake3"].as_object()?.iter();
        Some(Manifest {
            store: text("store")?,
            flow: text("flow")?,
            epoch: json["epoch"].as_u64()?,
            wxhost: text("wxhost")?,
            made_at: text("made_at")?,
            files: files.map(|(name, hash)| Some((name.clone(), hash.as_str()?.to_owned()))).collect::<Option<_>>()?,
        })
    }
}

/// Where the savepoint of a name is.
///
/// # Errors
/// It is no name for a folder.
pub fn path_of(folder: &Path, name: &str) -> Result<PathBuf, StoreError> {
    let is_fit = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_fit) {
        let message = format!("a savepoint cannot be called {name:?}");
        let help = "use letters, digits, \"-\", \"_\" and \".\"; for another place, write --to PATH";
        return Err(StoreError::new(Trouble::Refused, folder.display(), message).help(help));
    }
    Ok(folder.join(FOLDER).join(name))
}

/// The savepoints in the folder of a store, with their names, in the order of these.
///
/// # Errors
/// One cannot be read.
pub fn list(folder: &Path) -> Result<Vec<(String, Manifest)>, StoreError> {
    let folder = folder.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| StoreError::io(folder.display(), &error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| StoreError::io(folder.display(), &error))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name.clone(), read(&folder.join(&name))?));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Reads the manifest of a savepoint.
///
/// # Errors
/// It is not there, or is not one of this version.
pub fn read(savepoint: &Path) -> Result<Manifest, StoreError> {
    let path = savepoint.join(MANIFEST);
    let refused = |message: &str| StoreError::new(Trouble::Refused, path.display(), message);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let help = "give the folder of a savepoint, made by \"wxhost recovery savepoint\"";
            return Err(refused("there is no savepoint here").help(help));
        }
        text => text.map_err(|error| StoreError::io(path.display(), &error))?,
    };
    let json: Option<Value> = serde_json::from_slice(&text).ok();
    match json.as_ref().and_then(|json| json["version"].as_u64()) {
        Some(VERSION) => {}
        Some(version) => {
            let message = format!("it is of version {version}, and this program reads version {VERSION}");
            return Err(refused(&message).help("use the version of wxhost that wrote it"));
        }
        None => return Err(damaged(&path, "it is not a manifest")),
    }
    json.as_ref().and_then(Manifest::from_json).ok_or_else(|| damaged(&path, "it is not a manifest"))
}

/// Copies the store in `folder` to `to`, where there is nothing yet. The store is checked first, and is not changed.
///
/// # Errors
/// The store is in use or damaged, there is something at `to`, or it cannot be written.
pub fn make(folder: &Path, to: &Path, env: &Env) -> Result<Manifest, StoreError> {
    if to.symlink_metadata().is_ok() {
        let help = "give another name, or remove what is there";
        return Err(StoreError::new(Trouble::Refused, to.display(), "there is something of this name").help(help));
    }
    let io = |path: &Path, error: &io::Error| StoreError::io(path.display(), error);
    let parts = open_parts(folder)?;
    let catalogues: Vec<&Catalogue> = parts.iter().map(PartStore::catalogue).collect();
    let identity = &catalogues[0].identity;
    let mut manifest = Manifest {
        store: identity.store.clone(),
        flow: identity.flow.to_string(),
        epoch: find_epoch(&catalogues, &identity.flow)?.0,
        wxhost: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: time_text(env.clock.now()),
        files: BTreeMap::new(),
    };
    parts.iter().try_for_each(|part| examine(part))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let new = parent.join(format!(".{name}.new"));
    // One that was cut short.
    if new.exists() {
        fs::remove_dir_all(&new).map_err(|error| io(&new, &error))?;
    }
    fs::create_dir_all(&new).map_err(|error| io(&new, &error))?;
    copy_into(&new, &parts, &mut manifest).inspect_err(|_| drop(fs::remove_dir_all(&new)))?;
    fs::rename(&new, to).map_err(|error| io(to, &error))?;
    sync(parent)?;
    Ok(manifest)
}

/// Copies parts, with the manifest, into a folder; all is on disk when this returns.
fn copy_into(folder: &Path, parts: &[SqlitePart], manifest: &mut Manifest) -> Result<(), StoreError> {
    for part in parts {
        let file = file_name(part.catalogue().identity.part);
        let path = folder.join(&file);
        part.copy_to(&path)?;
        sync(&path)?;
        manifest.files.insert(file, hash(&path)?);
    }
    let path = folder.join(MANIFEST);
    fs::write(&path, format!("{:#}\n", manifest.to_json())).map_err(|error| StoreError::io(path.display(), &error))?;
    sync(&path)?;
    sync(folder)
}

/// As [`restore`], but a store that was made of this savepoint before is left as it is: whoever starts a flow again with
/// the same flags goes on.
///
/// # Errors
/// As for `restore`.
pub fn restore_once(savepoint: &Path, folder: &Path, env: &Env) -> Result<(), StoreError> {
    let first = folder.join(file_name(0));
    if first.is_file() {
        read(savepoint)?;
        if SqlitePart::look(&first)?.catalogue().savepoint == Some(hash(&savepoint.join(MANIFEST))?) {
            return Ok(());
        }
    }
    restore(savepoint, folder, env).map(drop)
}

/// Makes the store of a savepoint in a folder that has none. What was cut short is made anew by the same call.
///
/// # Errors
/// The savepoint is not as it was made, the folder has a store or files of one, or it cannot be written.
pub fn restore(savepoint: &Path, folder: &Path, env: &Env) -> Result<Manifest, StoreError> {
    let manifest = read(savepoint)?;
    let (id, store) = (hash(&savepoint.join(MANIFEST))?, new_id(env));
    let io = |path: &Path, error: &io::Error| StoreError::io(path.display(), error);
    if manifest.files.is_empty()
        || !(0..).zip(&manifest.files).all(|(part, _)| manifest.files.contains_key(&file_name(part)))
    {
        return Err(damaged(&savepoint.join(MANIFEST), "it does not name all parts"));
    }
    check_is_free(folder, savepoint, &manifest, &id)?;
    fs::create_dir_all(folder).map_err(|error| io(folder, &error))?;
    for (file, expected) in &manifest.files {
        let (from, new) = (savepoint.join(file), folder.join(format!("{file}.new")));
        // SQLite would take the log of one that was cut short for that of this one.
        for left in ["-wal", "-journal", "-shm"] {
            match fs::remove_file(folder.join(format!("{file}.new{left}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(&new, &error)),
                _ => {}
            }
        }
        if let Err(error) = fs::copy(&from, &new) {
            return Err(match error.kind() {
                io::ErrorKind::NotFound if !from.exists() => damaged(&from, "it is missing"),
                _ => io(&new, &error),
            });
        }
        if hash(&new)? != *expected {
            fs::remove_file(&new).map_err(|error| io(&new, &error))?;
            return Err(damaged(&from, "it is not as it was made: its hash is another"));
        }
        SqlitePart::open(&new)?.into_store(&store, &id)?;
        sync(&new)?;
    }
    // The first part comes last: without it there is no store.
    for part in (0..manifest.files.len() as u64).rev() {
        let path = folder.join(file_name(part));
        fs::rename(folder.join(format!("{}.new", file_name(part))), &path).map_err(|error| io(&path, &error))?;
        sync(folder)?;
    }
    Ok(manifest)
}

/// Checks that a folder has nothing that a new store would meet; files that a restore of the same savepoint, whose
/// manifest has the hash `id`, left when it was cut short are no obstacle.
fn check_is_free(folder: &Path, savepoint: &Path, manifest: &Manifest, id: &str) -> Result<(), StoreError> {
    let files = find(folder)?;
    let refused = |message: String| {
        let help = "to go on from that store, run without a savepoint; else give a new folder";
        Err(StoreError::new(Trouble::Refused, folder.display(), message).help(help))
    };
    if files.contains(&file_name(0)) {
        return refused("there is a store in this folder".to_owned());
    }
    for file in &files {
        if !manifest.files.contains_key(file) || !is_made_of(&folder.join(file), &savepoint.join(file), id) {
            return refused(format!("{file} is there already"));
        }
    }
    for file in manifest.files.keys() {
        // SQLite would take the log of another file for that of this one.
        let left = ["-wal", "-journal", "-shm"].map(|end| format!("{file}{end}"));
        if let Some(left) = left.iter().find(|left| folder.join(left).exists()) {
            return refused(format!("{left} is left of another store"));
        }
    }
    Ok(())
}

/// Whether a part was made of one of a savepoint, and nothing was written to it since.
fn is_made_of(part: &Path, of: &Path, id: &str) -> bool {
    let (Ok(part), Ok(of)) = (SqlitePart::look(part), SqlitePart::look(of)) else { return false };
    let part = part.catalogue();
    let made = Catalogue { savepoint: Some(id.to_owned()), ..of.catalogue().in_store(&part.identity.store) };
    *part == made
}

fn damaged(path: &Path, message: &str) -> StoreError {
    let help = "use another savepoint, or a copy of this one";
    StoreError::new(Trouble::Damaged, path.display(), message).help(help)
}

fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| StoreError::io(path.display(), &error))
}

fn hash(path: &Path) -> Result<String, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let hashed = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
    hashed.map_err(|error| StoreError::io(path.display(), &error))?;
    Ok(hasher.finalize().to_hex().to_string())
}
