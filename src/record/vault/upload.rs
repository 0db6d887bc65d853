//! One file into the store: in parts, resumed where it stopped, and read back.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use futures_util::StreamExt as _;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt as _, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::store::Store;
use super::{VaultError, at, remove};

/// Length of a part in octets; what is not longer is brought in one piece. Stores want 5 MiB at
/// least, and at most 10,000 parts: 80 GB.
pub const PART_LEN: u64 = 8 << 20;

/// How far an upload is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Of which object.
    object: String,
    /// Length of the file.
    len: u64,
    /// SHA-256 of the file.
    sha256: String,
    /// The store's name for the upload, if it is one in parts.
    id: Option<String>,
    /// The store's names for the parts that are there.
    parts: Vec<String>,
    /// An object of this name in the store is ours, or what a failure left of it.
    ours: bool,
}

impl Progress {
    fn read(path: &Path) -> Self {
        // One that cannot be read was being written in a crash: the upload begins anew.
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, path: &Path) -> Result<(), VaultError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        std::fs::write(path, text).map_err(at(path))
    }
}

/// Brings a file into the store under this name, and reads it back. What is there already under
/// this name is left alone: if it is the same, all is done.
pub(super) async fn upload(
    store: &Store,
    file: &Path,
    name: &str,
    state: &Path,
) -> Result<(), VaultError> {
    let object = store.object(name);
    let (len, sha256) = sum_of(file)?;
    let before = Progress::read(state);
    let mut progress = match before.object == name && before.sha256 == sha256 {
        true => before,
        false => Progress {
            object: name.to_owned(),
            len,
            sha256,
            ..Progress::default()
        },
    };
    match verify(store, &object, &progress).await {
        Ok(()) => return remove(state),
        Err(VaultError::Store(object_store::Error::NotFound { .. })) => {}
        Err(VaultError::Unverified { .. }) if progress.ours => {}
        Err(VaultError::Unverified { object, .. }) => return Err(VaultError::Taken { object }),
        Err(error) => return Err(error),
    }
    progress.ours = true;
    match &store.parts {
        Some(parts) if len > PART_LEN => {
            in_parts(parts.as_ref(), file, &object, &mut progress, state).await?;
        }
        _ => {
            progress.write(state)?;
            whole(store, file, &object).await?;
        }
    }
    if let Err(error) = verify(store, &object, &progress).await {
        if matches!(error, VaultError::Unverified { .. }) {
            // Nobody is to take it for the recording. If this fails, it is overwritten.
            let _overwritten = store.objects.delete(&object).await;
        }
        return Err(error);
    }
    remove(state)
}

/// Brings a file in one go; no more than some parts of it are in memory.
async fn whole(store: &Store, file: &Path, object: &ObjectPath) -> Result<(), VaultError> {
    let mut source = std::fs::File::open(file).map_err(at(file))?;
    let mut part = || {
        let (mut octets, mut source) = (Vec::new(), (&mut source).take(PART_LEN));
        source.read_to_end(&mut octets).map_err(at(file))?;
        Ok::<_, VaultError>(octets)
    };
    let first = part()?;
    if (first.len() as u64) < PART_LEN {
        store.objects.put(object, first.into()).await?;
        return Ok(());
    }
    let mut upload = store.objects.put_multipart(object).await?;
    let mut octets = first;
    let brought = loop {
        if octets.is_empty() {
            break upload.complete().await.map(drop).map_err(VaultError::from);
        }
        let brought = upload.put_part(octets.into()).await;
        octets = match brought.map_err(VaultError::from).and_then(|()| part()) {
            Ok(octets) => octets,
            Err(error) => break Err(error),
        };
    };
    if brought.is_err() {
        let _what_is_there_goes = upload.abort().await;
    }
    brought
}

/// Brings what is missing of an upload in parts.
async fn in_parts(
    store: &dyn MultipartStore,
    file: &Path,
    object: &ObjectPath,
    progress: &mut Progress,
    state: &Path,
) -> Result<(), VaultError> {
    let id = match &progress.id {
        Some(id) => id.clone(),
        None => {
            let id = store.create_multipart(object).await?;
            progress.parts.clear();
            progress.id.insert(id).clone()
        }
    };
    progress.write(state)?;
    let brought = parts(store, file, object, &id, progress, state).await;
    if let Err(VaultError::Store(object_store::Error::NotFound { .. })) = &brought {
        // The store has forgotten the upload: the next attempt begins anew.
        progress.id = None;
        progress.write(state)?;
    }
    brought
}

async fn parts(
    store: &dyn MultipartStore,
    file: &Path,
    object: &ObjectPath,
    id: &String,
    progress: &mut Progress,
    state: &Path,
) -> Result<(), VaultError> {
    let mut source = std::fs::File::open(file).map_err(at(file))?;
    let all = progress.len.div_ceil(PART_LEN);
    for part in progress.parts.len().. {
        let from = part as u64 * PART_LEN;
        if part as u64 >= all {
            break;
        }
        let mut octets = Vec::new();
        source.seek(SeekFrom::Start(from)).map_err(at(file))?;
        let mut source = (&mut source).take(PART_LEN);
        source.read_to_end(&mut octets).map_err(at(file))?;
        let payload = PutPayload::from(octets);
        let name = store.put_part(object, id, part, payload).await?;
        progress.parts.push(name.content_id);
        progress.write(state)?;
    }
    let names = progress.parts.iter().cloned();
    let names = names.map(|content_id| PartId { content_id }).collect();
    let complete = store.complete_multipart(object, id, names).await;
    // Whether it came about or not, this upload cannot be completed once more.
    progress.id = None;
    progress.write(state)?;
    complete?;
    Ok(())
}

/// Reads an object back and compares it.
async fn verify(store: &Store, object: &ObjectPath, progress: &Progress) -> Result<(), VaultError> {
    let unverified = |what| {
        Err(VaultError::Unverified {
            object: object.to_string(),
            what,
        })
    };
    let found = store.objects.get(object).await?;
    if found.meta.size != progress.len {
        return unverified("its length");
    }
    let mut sum = Sha256::new();
    let mut octets = found.into_stream();
    while let Some(some) = octets.next().await {
        sum.update(&some?);
    }
    match hex(sum) == progress.sha256 {
        true => Ok(()),
        false => unverified("its content"),
    }
}

/// Length and SHA-256 of a file.
fn sum_of(file: &Path) -> Result<(u64, String), VaultError> {
    let mut source = std::fs::File::open(file).map_err(at(file))?;
    let mut sum = Sha256::new();
    let len = std::io::copy(&mut source, &mut sum).map_err(at(file))?;
    Ok((len, hex(sum)))
}

fn hex(sum: Sha256) -> String {
    let octets = sum.finalize();
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
