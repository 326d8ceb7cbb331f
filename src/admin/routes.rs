//! What each path answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;

use super::view::{Problems, Reloaded};
use super::{AZURE_PROBE, Control, cache_routes, page, surface, sync_routes};
use crate::metrics::admin::AdminCounters;
use crate::outside;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// A call of the control trait that takes longer is answered with 503.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Who asks, found out when the connection was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) admitted: bool,
}

/// The paths of the admin listeners.
pub(super) fn admin(control: Arc<dyn Control>, counters: Arc<AdminCounters>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/v1/findings", get(findings))
        .fallback(missing)
        // The last one is asked first: whoever is not admitted learns nothing more.
        .layer(middleware::from_fn(surface::no_body))
        .layer(middleware::from_fn_with_state(Arc::clone(&control), surface::read_only))
        .layer(middleware::from_fn_with_state(counters, admit))
        .layer(middleware::from_fn(surface::headers))
        .with_state(control)
}

/// The paths of the control socket.
pub(super) fn control(control: Arc<dyn Control>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/top", get(top))
        .route("/v1/records", get(records))
        .route("/v1/inventory", get(inventory))
        .route("/v1/findings", get(findings))
        .route("/v1/explain", get(explain))
        .route("/v1/paths", get(paths))
        .route("/v1/reload", post(reload))
        .nest("/v1/sync", sync_routes::sync())
        .nest("/v1/cache", cache_routes::cache())
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(missing)
        .layer(middleware::from_fn(surface::no_body))
        .layer(middleware::from_fn(surface::headers))
        .with_state(control)
}

/// What a user gets who may not use the control socket, whatever the path.
pub(super) fn not_for(refused: &str) -> Router {
    let refused = vec![refused.to_owned()];
    let answer = move || {
        let refused = refused.clone();
        async move { problems(StatusCode::FORBIDDEN, refused) }
    };
    Router::new().fallback(answer).layer(middleware::from_fn(surface::headers))
}

/// Refuses outsiders; Azure's probes may see the two probe paths.
async fn admit(
    State(counters): State<Arc<AdminCounters>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let probe = peer.address == AZURE_PROBE && surface::is_probe(request.uri().path());
    if !peer.admitted && !probe {
        counters.forbidden.fetch_add(1, Ordering::Relaxed);
        return surface::refuse(StatusCode::FORBIDDEN, "forbidden\n");
    }
    let response = next.run(request).await;
    if response.status() == StatusCode::MISDIRECTED_REQUEST {
        counters.forbidden.fetch_add(1, Ordering::Relaxed);
    }
    response
}

async fn index(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| {
        respond(StatusCode::OK, HTML, page::render(&control.status(), &control.findings()))
    })
    .await
}

async fn metrics(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| respond(StatusCode::OK, METRICS, control.scrape())).await
}

/// Alive is who answers: nothing else is asked, so that no lock can fail it.
async fn livez() -> Response {
    respond(StatusCode::OK, TEXT, "ok\n".to_owned())
}

async fn readyz(State(control): State<Arc<dyn Control>>) -> Response {
    let reasons = control.unready();
    if reasons.is_empty() {
        return respond(StatusCode::OK, TEXT, "ready\n".to_owned());
    }
    let text: String = reasons.iter().map(|reason| outside::plain(reason) + "\n").collect();
    respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
}

async fn missing() -> Response {
    respond(StatusCode::NOT_FOUND, TEXT, "not found\n".to_owned())
}

async fn status(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| json(&control.status())).await
}

async fn top(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| json(&control.top())).await
}

async fn records(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| json(&control.records())).await
}

async fn inventory(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| json(&control.inventory())).await
}

async fn findings(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| json(&control.findings())).await
}

/// A JSON answer: never kept, never taken for a page, and safe to look at in a terminal.
pub(super) fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => respond(StatusCode::OK, JSON, outside::json(text)),
        Err(_) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "internal error\n".to_owned()),
    }
}

#[derive(Deserialize)]
struct Asked {
    name: String,
    r#type: Option<String>,
    client: Option<String>,
}

async fn explain(State(control): State<Arc<dyn Control>>, Query(asked): Query<Asked>) -> Response {
    called(control, move |control| {
        match control.explain(&asked.name, asked.r#type.as_deref(), asked.client.as_deref()) {
            Ok(explanation) => json(&explanation),
            Err(problem) => problems(StatusCode::BAD_REQUEST, vec![problem]),
        }
    })
    .await
}

#[derive(Deserialize)]
struct AskedPaths {
    name: Option<String>,
}

async fn paths(State(control): State<Arc<dyn Control>>, Query(asked): Query<AskedPaths>) -> Response {
    called(control, move |control| match control.paths(asked.name.as_deref()) {
        Ok(paths) => json(&paths),
        Err(problem) => problems(StatusCode::BAD_REQUEST, vec![problem]),
    })
    .await
}

async fn reload(State(control): State<Arc<dyn Control>>) -> Response {
    called(control, |control| match control.reload() {
        Ok(notes) => json(&Reloaded { notes }),
        Err(list) => problems(StatusCode::UNPROCESSABLE_ENTITY, list),
    })
    .await
}

pub(super) fn problems(status: StatusCode, problems: Vec<String>) -> Response {
    let mut response = json(&Problems { problems });
    *response.status_mut() = status;
    response
}

/// Runs `call` beside the runtime's thread: a large listing delays no probe.
pub(super) async fn called<F>(control: Arc<dyn Control>, call: F) -> Response
where
    F: FnOnce(&dyn Control) -> Response + Send + 'static,
{
    let running = tokio::task::spawn_blocking(move || call(control.as_ref()));
    match tokio::time::timeout(CALL_TIMEOUT, running).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "internal error\n".to_owned()),
        Err(_) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "timed out\n".to_owned()),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = (status, body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
