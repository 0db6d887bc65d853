//! `/recordings`: a list of what was recorded, the files, and their deletion.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::Stream;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::App;
use crate::record::vault::shelf::{self, ShelfError};

/// Recordings in a list that says no `limit`.
const LIST_DEFAULT: usize = 100;

/// Requests that may be reading the directory or a file at a time; one more is refused.
pub(super) const READERS_MAX: usize = 32;

/// Octets that are read at a time, and how often that waits for a client.
const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 4;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/recordings", get(list))
        .route("/recordings/{*path}", get(fetch).delete(delete))
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct FetchQuery {
    sidecar: Option<String>,
}

async fn list(State(app): State<App>, Query(q): Query<ListQuery>) -> Response {
    let limit = q.limit.unwrap_or(LIST_DEFAULT);
    let list =
        move |directory: PathBuf| shelf::list(&directory, &q.prefix, q.after.as_deref(), limit);
    match on_disk(&app, list).await {
        Ok(listing) => Json(listing).into_response(),
        Err(refused) => refused,
    }
}

async fn fetch(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(q): Query<FetchQuery>,
) -> Response {
    let sidecar = q.sidecar.is_some();
    let kind = match path.rsplit('.').next() {
        _ if sidecar => "application/json",
        Some("wav") => "audio/wav",
        Some("opus" | "ogg") => "audio/ogg",
        _ => "application/octet-stream",
    };
    let opened = on_disk(&app, move |directory| {
        shelf::open(&directory, &path, sidecar)
    })
    .await;
    let (file, len) = match opened {
        Ok(opened) => opened,
        Err(refused) => return refused,
    };
    let Ok(permit) = Arc::clone(&app.readers).try_acquire_owned() else {
        return too_many();
    };
    let (chunks, body) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || {
        let _until_it_is_read = permit;
        read(file, len, &chunks);
    });
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, len.to_string()),
    ];
    (headers, Body::from_stream(Chunks(body))).into_response()
}

async fn delete(State(app): State<App>, Path(path): Path<String>) -> Response {
    let delete = move |directory: PathBuf| shelf::delete(&directory, &path);
    match on_disk(&app, delete).await {
        Ok(()) => (StatusCode::OK, "deleted\n").into_response(),
        Err(refused) => refused,
    }
}

/// Does something that waits for the disk on a thread of its own.
async fn on_disk<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(PathBuf) -> Result<T, ShelfError> + Send + 'static,
) -> Result<T, Response> {
    let recorders = &app.service.switch().recording_defaults().recorders;
    let Some(directory) = recorders.directory().map(std::path::Path::to_owned) else {
        return Err((StatusCode::NOT_FOUND, "recording is switched off\n").into_response());
    };
    let permit = Arc::clone(&app.readers).try_acquire_owned();
    let permit = permit.map_err(|_| too_many())?;
    let work = tokio::task::spawn_blocking(move || {
        let _until_it_is_done = permit;
        work(directory)
    });
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR.into_response();
    work.await.map_err(failed)?.map_err(|error| refusal(&error))
}

fn too_many() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "too many readers\n").into_response()
}

fn refusal(error: &ShelfError) -> Response {
    let status = match error {
        ShelfError::Path(_) => StatusCode::BAD_REQUEST,
        ShelfError::None(_) => StatusCode::NOT_FOUND,
        ShelfError::InProgress(_) => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n")).into_response()
}

/// Reads a file for a client that takes it as fast as it likes, or goes away.
fn read(file: File, len: u64, chunks: &mpsc::Sender<std::io::Result<Bytes>>) {
    let mut file = file.take(len);
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk);
        let chunk = match read {
            Ok(0) => return,
            Ok(_) => Ok(chunk.into()),
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if chunks.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}

/// What is read, as a body.
struct Chunks(mpsc::Receiver<std::io::Result<Bytes>>);

impl Stream for Chunks {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}
