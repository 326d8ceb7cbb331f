//! The state directory as the one process that saves into it has it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    Beside, FACTS_MAGIC, FORMAT, Facts, Header, PersistError, SET_MAGIC, TEMPORARY, facts_path, generations,
    hexadecimal, pack::Packing, set_path,
};
use crate::snapshot::model::RecordSet;

/// The directory that this process saves into.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Generations that are kept.
    keep: usize,
    /// Held until the process ends.
    _lock: File,
}

/// Digests and counts what is written.
#[derive(Default)]
struct Meter {
    digest: Sha256,
    length: u64,
}

impl Write for Meter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StateDir {
    /// Takes the directory, making it if need be. Fails if it cannot be
    /// written or another process has it; the daemon then runs without saving.
    /// `keep` generations stay in it.
    pub fn open(path: &Path, keep: usize) -> Result<Self, PersistError> {
        fs::create_dir_all(path).map_err(PersistError::io("make", path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(PersistError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PersistError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(PersistError::io("lock", &lock_path)(source)),
        }
        let state = Self { path: path.to_owned(), keep: keep.max(1), _lock: lock };
        state.sweep();
        Ok(state)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps so many generations from now on.
    pub fn set_keep(&mut self, keep: usize) {
        self.keep = keep.max(1);
        self.prune();
    }

    /// How many generations there are.
    pub fn count(&self) -> usize {
        generations(&self.path).map_or(0, |generations| generations.len())
    }

    /// Saves a set with its facts, and forgets the oldest.
    pub fn save(
        &self,
        generation: u64,
        created: u64,
        set: &RecordSet,
        facts: &Facts,
    ) -> Result<(), PersistError> {
        self.save_beside(generation, created, set, &facts.into())
    }

    /// The same of facts where they are.
    pub fn save_beside(
        &self,
        generation: u64,
        created: u64,
        set: &RecordSet,
        facts: &Beside<'_>,
    ) -> Result<(), PersistError> {
        // Facts first: a set that appears has its facts beside it.
        self.save_facts(generation, created, set, facts)?;
        self.save_file(&set_path(&self.path, generation), SET_MAGIC, generation, created, set)?;
        self.prune();
        Ok(())
    }

    /// Saves the facts beside a set that is already there.
    pub fn save_facts(
        &self,
        generation: u64,
        created: u64,
        set: &RecordSet,
        facts: &Beside<'_>,
    ) -> Result<(), PersistError> {
        let packed = Packing::new(facts, set);
        self.save_file(&facts_path(&self.path, generation), FACTS_MAGIC, generation, created, &packed)
    }

    fn save_file<T: Serialize>(
        &self,
        path: &Path,
        magic: &str,
        generation: u64,
        created: u64,
        content: &T,
    ) -> Result<(), PersistError> {
        // Encoded twice, for the digest and into the file, but never whole in memory.
        let meter = postcard::to_io(content, Meter::default()).map_err(|error| PersistError::Corrupt {
            path: path.to_owned(),
            reason: format!("it cannot be encoded: {error}"),
        })?;
        let header = Header {
            format: FORMAT,
            generation,
            created,
            origin: concat!("hubdns ", env!("CARGO_PKG_VERSION")).to_owned(),
            sha256: hexadecimal(&meter.digest.finalize()),
            length: meter.length,
        };
        self.write(path, |out| {
            writeln!(out, "{magic}")?;
            serde_json::to_writer(&mut *out, &header)?;
            out.write_all(b"\n")?;
            postcard::to_io(content, out).map(drop).map_err(io::Error::other)
        })
    }

    fn write(
        &self,
        path: &Path,
        content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> Result<(), PersistError> {
        let io = |what| PersistError::io(what, path);
        let file =
            tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.path).map_err(io("create"))?;
        let mut out = BufWriter::new(file.as_file());
        content(&mut out).and_then(|()| out.flush()).map_err(io("write"))?;
        drop(out);
        // Load-bearing: without it a crash may leave the new name with old or no bytes.
        file.as_file().sync_all().map_err(io("sync"))?;
        file.persist(path).map_err(|error| io("rename")(error.error))?;
        // The rename itself is durable only once the directory is.
        File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(io("sync the directory of"))
    }

    /// Removes all but the newest generations. What cannot be removed stays.
    fn prune(&self) {
        let Ok(generations) = generations(&self.path) else { return };
        for generation in generations.iter().rev().skip(self.keep) {
            let _ = fs::remove_file(set_path(&self.path, *generation));
            let _ = fs::remove_file(facts_path(&self.path, *generation));
        }
    }

    /// Removes temporary files of a process that was killed while it wrote.
    fn sweep(&self) {
        let Ok(entries) = self.path.read_dir() else { return };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
