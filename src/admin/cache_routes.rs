//! What the control socket answers below `/v1/cache`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use super::routes::{called, json, problems};
use super::{CacheFilter, Control};

/// Most responses in one listing.
const MAX_ROWS: usize = 100_000;

pub(super) fn cache() -> Router<Arc<dyn Control>> {
    Router::new().route("/list", get(list)).route("/show", get(show)).route("/flush", post(flush))
}

#[derive(Deserialize)]
struct Asked {
    name: Option<String>,
    #[serde(default)]
    exact: bool,
    limit: Option<usize>,
}

impl Asked {
    fn filter(self) -> CacheFilter {
        CacheFilter {
            name: self.name,
            exact: self.exact,
            limit: self.limit.unwrap_or(MAX_ROWS).min(MAX_ROWS),
        }
    }
}

async fn list(State(control): State<Arc<dyn Control>>, Query(asked): Query<Asked>) -> Response {
    called(control, move |control| told(control.cache_list(&asked.filter(), false))).await
}

async fn show(State(control): State<Arc<dyn Control>>, Query(asked): Query<Asked>) -> Response {
    called(control, move |control| told(control.cache_list(&asked.filter(), true))).await
}

async fn flush(State(control): State<Arc<dyn Control>>, Query(asked): Query<Asked>) -> Response {
    called(control, move |control| told(control.cache_flush(&asked.filter()))).await
}

fn told<T: serde::Serialize>(outcome: Result<T, String>) -> Response {
    match outcome {
        Ok(told) => json(&told),
        Err(problem) => problems(StatusCode::BAD_REQUEST, vec![problem]),
    }
}
