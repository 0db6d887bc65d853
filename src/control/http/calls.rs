//! `/calls`: what is to be seen of the calls that live. Nothing here changes any.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::App;
use crate::control::live;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/calls", get(list))
        .route("/calls/{id}", get(whole))
        .route("/calls/{id}/why", get(why))
}

async fn list(State(app): State<App>, Query(query): Query<live::Query>) -> Response {
    if query.filter.len() > live::FILTER_MAX {
        let why = format!("filter: more than {} octets\n", live::FILTER_MAX);
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    Json(live::list(
        app.service.switch(),
        app.board.as_deref(),
        &query,
    ))
    .into_response()
}

async fn whole(State(app): State<App>, Path(id): Path<String>) -> Response {
    match live::whole(app.service.switch(), app.board.as_deref(), &id).await {
        Ok(Some(call)) => Json(call).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "no such call\n").into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn why(State(app): State<App>, Path(id): Path<String>) -> String {
    app.service.cli(&format!("why {id}")).await
}
