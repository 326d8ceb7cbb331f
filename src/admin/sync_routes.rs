//! What the control socket answers below `/v1/sync`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::routes::{called, json, problems};
use super::view::sync::SyncDone;
use super::{Control, SyncOperation};

/// Most names in one call: a command line holds no more.
const MAX_NAMES: usize = 10_000;

pub(super) fn sync() -> Router<Arc<dyn Control>> {
    Router::new()
        .route("/status", get(status))
        .route("/diff", get(diff))
        .route("/history", get(history))
        .route("/now", post(now))
        .route("/accept", post(accept))
        .route("/reject", post(reject))
        .route("/rollback", post(rollback))
}

async fn status(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| json(&control.sync_status())).await
}

async fn diff(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| json(&control.sync_diff())).await
}

async fn history(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| match control.sync_history() {
        Ok(rows) => json(&rows),
        Err(problem) => problems(StatusCode::INTERNAL_SERVER_ERROR, vec![problem]),
    })
    .await
}

async fn now(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| done(control.sync_operate(SyncOperation::Now))).await
}

async fn accept(State(control): State<Arc<dyn Control>>, RawQuery(query): RawQuery) -> Response {
    let names = values(query.as_deref(), "name");
    called(control, move |control| done(control.sync_operate(SyncOperation::Accept(names)))).await
}

async fn reject(State(control): State<Arc<dyn Control>>, RawQuery(query): RawQuery) -> Response {
    let names = values(query.as_deref(), "name");
    called(control, move |control| done(control.sync_operate(SyncOperation::Reject(names)))).await
}

async fn rollback(State(control): State<Arc<dyn Control>>, RawQuery(query): RawQuery) -> Response {
    let given = values(query.as_deref(), "generation");
    let Some(generation) = given.first().and_then(|text| text.parse().ok()) else {
        return problems(StatusCode::BAD_REQUEST, vec!["a generation is a number".to_owned()]);
    };
    called(control, move |control| done(control.sync_operate(SyncOperation::Rollback(generation)))).await
}

fn done(outcome: Result<SyncDone, Vec<String>>) -> Response {
    match outcome {
        Ok(done) => json(&done),
        Err(list) => problems(StatusCode::UNPROCESSABLE_ENTITY, list),
    }
}

/// The values of `key` in a query string, in its order.
fn values(query: Option<&str>, key: &str) -> Vec<String> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let of_key = pairs.filter(|(name, _)| name == key);
    of_key.map(|(_, value)| value.into_owned()).take(MAX_NAMES).collect()
}
