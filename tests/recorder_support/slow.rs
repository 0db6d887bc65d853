//! A disk that takes no octets while it is told to stall, and of a file only so many.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use crosspoint::record::disk::storage::{Files, Storage, StoredFile};

/// The machine's disk, but for that.
#[derive(Clone, Debug)]
pub struct SlowDisk {
    gate: Arc<Gate>,
    room: fn(&Path) -> u64,
}

impl Default for SlowDisk {
    fn default() -> Self {
        Self::with_room(|_| u64::MAX)
    }
}

#[derive(Debug, Default)]
struct Gate {
    stalls: Mutex<bool>,
    goes_on: Condvar,
}

#[derive(Debug)]
struct SlowFile {
    file: Box<dyn StoredFile>,
    gate: Arc<Gate>,
    room: u64,
}

impl SlowDisk {
    /// One that is full when this file has so many octets.
    pub fn with_room(room: fn(&Path) -> u64) -> Self {
        let gate = Arc::default();
        Self { gate, room }
    }

    pub fn stall(&self, stalls: bool) {
        *self.gate.stalls.lock().expect("nobody panicked") = stalls;
        self.gate.goes_on.notify_all();
    }
}

impl Gate {
    fn wait(&self) {
        let stalls = self.stalls.lock().expect("nobody panicked");
        let went_on = self.goes_on.wait_while(stalls, |stalls| *stalls);
        drop(went_on.expect("nobody panicked"));
    }
}

impl Storage for SlowDisk {
    fn create_dirs(&self, root: &Path, path: &Path) -> io::Result<()> {
        self.gate.wait();
        Files.create_dirs(root, path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.gate.wait();
        let file = Files.create(path)?;
        Ok(Box::new(SlowFile {
            file,
            gate: Arc::clone(&self.gate),
            room: (self.room)(path),
        }))
    }

    fn write(&self, path: &Path, text: &[u8], sync: bool) -> io::Result<()> {
        self.gate.wait();
        Files.write(path, text, sync)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        self.gate.wait();
        Files.open(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.gate.wait();
        Files.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.gate.wait();
        Files.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.gate.wait();
        Files.exists(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.gate.wait();
        Files.sync_dir(path)
    }
}

impl StoredFile for SlowFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.gate.wait();
        let room = self.room.saturating_sub(offset);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        match fits {
            0 => Err(io::ErrorKind::StorageFull.into()),
            fits => self.file.write_at(&bytes[..fits], offset),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.wait();
        self.file.sync()
    }

    fn disk(&self) -> u64 {
        self.file.disk()
    }
}
