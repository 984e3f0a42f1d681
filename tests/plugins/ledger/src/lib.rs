//! A sink that is exactly once: what an epoch wrote waits in a file of its own, and a commit puts it in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use wxhost_guest::prelude::*;

#[derive(Config)]
struct Where {
    /// The folder to write in, which the flow allows.
    folder: String,
}

struct Ledger<const CAREFUL: bool> {
    folder: String,
}

impl<const CAREFUL: bool> Sink for Ledger<CAREFUL> {
    const DOC: &'static str = "Appends texts to a file, each of them once.";
    const TWO_PHASE: bool = true;
    type Config = Where;
    type Part = Page<CAREFUL>;

    fn new(config: Where) -> Result<Self> {
        Ok(Ledger { folder: config.folder })
    }

    fn build_part(&self, name: &str, position: Option<u64>) -> Result<Page<CAREFUL>> {
        let (folder, name) = (self.folder.clone(), format!("ledger-{name}.txt"));
        Ok(Page { folder, name, length: position.unwrap_or(0), written: Vec::new() })
    }
}

struct Page<const CAREFUL: bool> {
    folder: String,
    name: String,
    /// Of the file, with all that is staged.
    length: u64,
    written: Vec<u8>,
}

impl<const CAREFUL: bool> Page<CAREFUL> {
    /// Where what was written from a place in the file on waits.
    fn staged(&self, start: u64) -> String {
        format!("{}/.{}.{start}", self.folder, self.name)
    }
}

impl<const CAREFUL: bool> SinkPart for Page<CAREFUL> {
    type In<'a> = &'a str;
    type Position = u64;

    fn write(&mut self, value: &str) -> Result<()> {
        self.written.extend_from_slice(value.as_bytes());
        self.written.push(b'\n');
        Ok(())
    }

    fn snapshot(&mut self) -> Result<u64> {
        Ok(self.length)
    }

    fn pre_commit(&mut self, _epoch: u64) -> Result<Vec<u8>> {
        let start = self.length;
        let mut staged = File::create(self.staged(start))?;
        staged.write_all(&self.written)?;
        staged.sync_all()?;
        self.length += self.written.len() as u64;
        self.written.clear();
        Ok(start.to_le_bytes().to_vec())
    }

    fn commit(&mut self, _epoch: u64, staged: &[u8]) -> Result<()> {
        let start = u64::from_le_bytes(staged.try_into().map_err(|_| Error::user("no place in the file"))?);
        let bytes = match fs::read(self.staged(start)) {
            // Committed before.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let path = format!("{}/{}", self.folder, self.name);
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
        // At its place: a second time changes nothing. Whoever is not careful appends once more.
        file.seek(if CAREFUL { SeekFrom::Start(start) } else { SeekFrom::End(0) })?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        if CAREFUL {
            fs::remove_file(self.staged(start))?;
        }
        Ok(())
    }
}

type Careful = Ledger<true>;
type Careless = Ledger<false>;

plugin!(Careful as careful, Careless as careless);
