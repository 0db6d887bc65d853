//! A disk that takes no octets while it is told to stall.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use crosspoint::record::disk::storage::{Files, Storage, StoredFile};

/// The machine's disk, but for that.
#[derive(Clone, Debug, Default)]
pub struct SlowDisk(Arc<Gate>);

#[derive(Debug, Default)]
struct Gate {
    stalls: Mutex<bool>,
    goes_on: Condvar,
}

#[derive(Debug)]
struct SlowFile(Box<dyn StoredFile>, Arc<Gate>);

impl SlowDisk {
    pub fn stall(&self, stalls: bool) {
        *self.0.stalls.lock().expect("nobody panicked") = stalls;
        self.0.goes_on.notify_all();
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
        self.0.wait();
        Files.create_dirs(root, path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.0.wait();
        let file = Files.create(path)?;
        Ok(Box::new(SlowFile(file, Arc::clone(&self.0))))
    }

    fn write(&self, path: &Path, text: &[u8], sync: bool) -> io::Result<()> {
        self.0.wait();
        Files.write(path, text, sync)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        self.0.wait();
        Files.open(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.wait();
        Files.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.wait();
        Files.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.wait();
        Files.exists(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.wait();
        Files.sync_dir(path)
    }
}

impl StoredFile for SlowFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.1.wait();
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.wait();
        self.0.sync()
    }

    fn disk(&self) -> u64 {
        self.0.disk()
    }
}
