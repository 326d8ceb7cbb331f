//! From a request to what is sent: the estate's answer, bent by the fault
//! that is on.

use serde_json::{Value, json};

use super::estate::{Estate, Found, PUBLIC_HOST};
use super::faults::{Fault, Kind, Request};
use super::log::{Authorization, Seen};
use super::state::State;
use super::{entra, graph};

/// What is sent.
#[derive(Debug)]
pub enum Reply {
    Json {
        status: u16,
        headers: Vec<(String, String)>,
        body: Value,
    },
    /// A body that is no JSON or no whole JSON.
    Raw {
        status: u16,
        bytes: Vec<u8>,
        end: End,
    },
    /// A TCP reset.
    Reset,
}

/// How a raw body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// `Content-Length` promises more.
    Short,
    /// Chunks without the last one.
    Cut,
}

impl Reply {
    pub fn json(status: u16, body: Value) -> Self {
        Self::Json { status, headers: Vec::new(), body }
    }

    pub fn header(&mut self, name: &str, value: &str) {
        if let Self::Json { headers, .. } = self {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// A request whose body has been read.
#[derive(Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    /// The client's word for this server: address and port.
    pub host: String,
    /// `Authorization`, whole.
    pub authorization: Option<String>,
    pub body: Vec<u8>,
}

/// An error as Resource Manager words it.
pub fn arm_error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, json!({"error": {"code": code, "message": message}}))
}

/// Logs the request, applies the fault, answers.
pub async fn respond(state: &State, asked: &Asked) -> Reply {
    let kind = Kind::of(&asked.path);
    let authorization = match asked.authorization.as_deref().map(|text| text.strip_prefix("Bearer ")) {
        None => Authorization::Missing,
        Some(Some(token)) if state.tokens.accepts(token) => Authorization::Right,
        Some(_) => Authorization::Wrong,
    };
    // Before the request is logged: who waits for the log may release at once.
    let mut released = state.faults.released();
    let request = Request { kind, path: &asked.path, query: &asked.query };
    let fault = state.faults.take(&request);
    state.log.add(Seen {
        kind,
        method: asked.method.clone(),
        path: asked.path.clone(),
        query: asked.query.clone(),
        authorization,
        body: serde_json::from_slice(&asked.body).ok(),
        at: std::time::Instant::now(),
    });
    match &fault {
        Some(Fault::Status(status)) => return failed(kind, *status, &asked.path),
        Some(Fault::StatusAfter(status, after)) => {
            let mut reply = failed(kind, *status, &asked.path);
            reply.header("Retry-After", after);
            return reply;
        }
        Some(Fault::Reset) => return Reply::Reset,
        Some(Fault::Slow) => {
            let _ = released.changed().await;
        }
        _ => {}
    }
    let mut reply = match kind {
        Kind::Token => {
            let tenant = asked.path.split('/').nth(1).unwrap_or_default();
            entra::token(&state.tokens, tenant, &asked.body)
        }
        Kind::Discovery => entra::discovery(&asked.path, &asked.host),
        _ if authorization != Authorization::Right => failed(kind, 401, &asked.path),
        _ => arm(&state.estate.lock().expect("no panic"), kind, asked, fault.as_ref()),
    };
    if let Reply::Json { body, .. } = &mut reply {
        rewrite(body, &asked.host);
    }
    match fault {
        Some(fault) => bend(&fault, reply),
        None => reply,
    }
}

/// The answer of Resource Manager.
fn arm(estate: &Estate, kind: Kind, asked: &Asked, fault: Option<&Fault>) -> Reply {
    let mut query = asked.query.clone();
    let mut body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let mark = take_mark(&mut query, &mut body);
    let is_first = mark.is_none()
        && !query.to_ascii_lowercase().contains("$skiptoken")
        && body["options"]["$skipToken"].is_null();
    if !super::estate::pairs(&query).iter().any(|(key, _)| key == "api-version") {
        return arm_error(400, "MissingApiVersionParameter", "The api-version query parameter is required.");
    }
    let mut reply = match (kind, asked.method.as_str()) {
        (Kind::Graph, "POST") => graph::answer(estate, &body),
        (Kind::Permissions, "GET") => Reply::json(200, estate.permissions.clone()),
        (Kind::ManagementGroups, "GET") => groups(estate, &asked.path),
        (_, "GET") => match estate.find(&asked.path, &query) {
            Found::Page(route) => {
                Reply::Json { status: 200, headers: route.headers.clone(), body: route.body.clone() }
            }
            Found::Item(item) => Reply::json(200, item.clone()),
            Found::WrongQuery => arm_error(
                400,
                "InvalidApiVersionParameter",
                &format!("The query '{query}' is none that this path is known with."),
            ),
            Found::Nothing => {
                arm_error(404, "ResourceNotFound", &format!("The Resource '{}' was not found.", asked.path))
            }
        },
        _ => arm_error(405, "MethodNotAllowed", "The method is not allowed."),
    };
    if let Reply::Json { status: 200, body, .. } = &mut reply {
        page(body, kind, asked, mark.as_deref(), is_first, fault);
    }
    reply
}

/// Takes our own skip token out of a request.
fn take_mark(query: &mut String, body: &mut Value) -> Option<String> {
    let is_ours = |token: &str| token.starts_with("endless-") || token == "after-empty";
    if let Some((before, token)) = query.split_once("&$skipToken=")
        && is_ours(token)
    {
        let token = token.to_owned();
        *query = before.to_owned();
        return Some(token);
    }
    let token = body["options"]["$skipToken"].as_str().filter(|token| is_ours(token))?.to_owned();
    body["options"].as_object_mut()?.remove("$skipToken");
    Some(token)
}

/// Faults of paging, which need to know where a request stands in its list.
fn page(
    body: &mut Value,
    kind: Kind,
    asked: &Asked,
    mark: Option<&str>,
    is_first: bool,
    fault: Option<&Fault>,
) {
    let items = if kind == Kind::Graph { "data" } else { "value" };
    if !body[items].is_array() {
        return;
    }
    let next = |token: &str| {
        let query = asked.query.split("&$skipToken=").next().unwrap_or_default();
        format!("https://{}{}?{query}&$skipToken={token}", asked.host, asked.path)
    };
    let (key, link) = match fault {
        Some(Fault::EndlessPaging) => {
            let page = mark.and_then(|mark| mark.strip_prefix("endless-")?.parse().ok()).unwrap_or(0_u32);
            (None, format!("endless-{}", page + 1))
        }
        Some(Fault::CyclicPaging) => (None, "endless-0".to_owned()),
        Some(Fault::EmptyPageWithNext) if is_first => {
            body[items] = json!([]);
            (None, "after-empty".to_owned())
        }
        Some(Fault::ForeignNextLink(base)) => {
            (Some("nextLink"), format!("{base}{}?{}&$skipToken=foreign", asked.path, asked.query))
        }
        Some(Fault::EmptyList) => {
            body[items] = json!([]);
            return remove_next(body, 0);
        }
        Some(Fault::HalfList) => {
            let list = body[items].as_array_mut().expect("a list");
            let half = list.len() / 2;
            list.truncate(half);
            return remove_next(body, half);
        }
        _ => return,
    };
    match (key, kind) {
        (None, Kind::Graph) => body["$skipToken"] = json!(link),
        (None, _) => body["nextLink"] = json!(next(&link)),
        (Some(key), _) => body[key] = json!(link),
    }
}

/// The page is the last one, as far as it tells.
fn remove_next(body: &mut Value, count: usize) {
    let body = body.as_object_mut().expect("an object");
    body.remove("nextLink");
    body.remove("$skipToken");
    for key in ["totalRecords", "count"] {
        if body.get(key).is_some_and(Value::is_number) {
            body.insert(key.to_owned(), json!(count));
        }
    }
}

/// `descendants` and `subscriptions` of a management group, and the groups.
fn groups(estate: &Estate, path: &str) -> Reply {
    let lower = path.to_ascii_lowercase();
    let mut parts = lower.split("/managementgroups").nth(1).unwrap_or_default().split('/').skip(1);
    let id = |name: &str| format!("/providers/Microsoft.Management/managementGroups/{name}");
    let Some(name) = parts.next().filter(|name| !name.is_empty()) else {
        let all = estate.groups.iter().map(|(name, _)| {
            json!({"id": id(name), "name": name, "type": "Microsoft.Management/managementGroups",
                   "properties": {"displayName": name}})
        });
        return Reply::json(200, json!({"value": all.collect::<Vec<_>>()}));
    };
    let Some((name, members)) = estate.groups.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    else {
        return arm_error(404, "NotFound", &format!("The management group '{name}' cannot be found."));
    };
    let parent = json!({"id": id(name)});
    let items: Vec<Value> = match parts.next() {
        Some("descendants") => members
            .iter()
            .map(|member| {
                json!({"id": format!("/subscriptions/{member}"), "name": member,
                       "type": "Microsoft.Management/managementGroups/subscriptions",
                       "properties": {"displayName": member, "parent": parent}})
            })
            .collect(),
        Some("subscriptions") => members
            .iter()
            .map(|member| {
                json!({"id": format!("{}/subscriptions/{member}", id(name)), "name": member,
                       "type": "Microsoft.Management/managementGroups/subscriptions",
                       "properties": {"displayName": member, "state": "Active", "parent": parent}})
            })
            .collect(),
        _ => return Reply::json(200, json!({"id": id(name), "name": name})),
    };
    Reply::json(200, json!({"value": items}))
}

/// An error with the body that Azure sends with this status.
fn failed(kind: Kind, status: u16, path: &str) -> Reply {
    if kind == Kind::Token {
        let text = "The request was refused by the tests.";
        return entra::refused(status, "invalid_client", 7_000_222, text);
    }
    match status {
        401 => {
            let message = "The access token is invalid or has expired.";
            let mut reply = arm_error(401, "InvalidAuthenticationToken", message);
            reply.header("WWW-Authenticate", "Bearer error=\"invalid_token\"");
            reply
        }
        403 => {
            let message = format!(
                "The client '33333333-3333-3333-3333-333333333333' with object id \
                 '44444444-4444-4444-4444-444444444444' does not have authorization to perform action '{}' \
                 over scope '{path}' or the scope is invalid. If access was recently granted, please refresh \
                 your credentials.",
                kind.action()
            );
            arm_error(403, "AuthorizationFailed", &message)
        }
        404 => arm_error(404, "ResourceNotFound", &format!("The Resource '{path}' was not found.")),
        409 => arm_error(409, "AnotherOperationInProgress", "Another operation is in progress."),
        // Private DNS sends it without the envelope.
        429 => Reply::json(
            429,
            json!({"code": "Throttled", "message": "Too many operations are requested. Current operation is throttled."}),
        ),
        _ => arm_error(status, "InternalServerError", "An error occurred."),
    }
}

/// Faults of the body.
fn bend(fault: &Fault, reply: Reply) -> Reply {
    let Reply::Json { status, headers, mut body } = reply else { return reply };
    let text = body.to_string().into_bytes();
    let half = || text[..text.len() / 2].to_vec();
    match fault {
        Fault::Truncated => Reply::Raw { status, bytes: half(), end: End::Short },
        Fault::TruncatedChunks => Reply::Raw { status, bytes: half(), end: End::Cut },
        Fault::InvalidJson => {
            Reply::Raw { status, bytes: b"<html>not JSON</html>".to_vec(), end: End::Whole }
        }
        Fault::WrongShape => Reply::Json { status, headers, body: json!({"values": []}) },
        Fault::Padded(spaces) => {
            let mut bytes = text;
            bytes.resize(bytes.len() + spaces, b' ');
            Reply::Raw { status, bytes, end: End::Whole }
        }
        Fault::UnknownFields => {
            add_fields(&mut body);
            Reply::Json { status, headers, body }
        }
        _ => Reply::Json { status, headers, body },
    }
}

fn add_fields(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(add_fields),
        Value::Object(fields) => {
            fields.values_mut().for_each(add_fields);
            fields.insert("futureField".to_owned(), json!({"of": ["a later", {"version": 7}], "is": null}));
        }
        _ => {}
    }
}

/// Points the next link of the data at this server.
fn rewrite(body: &mut Value, host: &str) {
    let Some(link) = body.get("nextLink").and_then(Value::as_str) else { return };
    let Some(rest) = link.strip_prefix(PUBLIC_HOST) else { return };
    let rest = rest.strip_prefix(":443").unwrap_or(rest);
    if !rest.starts_with('/') {
        return;
    }
    body["nextLink"] = json!(format!("https://{host}{rest}"));
}
