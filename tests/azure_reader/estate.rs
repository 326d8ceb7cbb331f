//! An estate in memory, from the routes of composed/contoso-hub.json, with faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use hubdns::sources::azure::arm::{ArmError, Family, List};
use hubdns::sources::azure::http::HttpError;
use hubdns::sources::azure::{Client, QUERY};
use serde_json::{Value, json};

/// What befalls requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    Throttled,
    ThrottledWithoutTime,
    Status500,
    Reset,
    TimedOut,
    Truncated,
    ForeignNextLink,
    EndlessPaging,
    Empty,
    Half,
    Hang,
    Panic,
}

impl Fault {
    pub(crate) const ALL: [Self; 15] = [
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::Throttled,
        Self::ThrottledWithoutTime,
        Self::Status500,
        Self::Reset,
        Self::TimedOut,
        Self::Truncated,
        Self::ForeignNextLink,
        Self::EndlessPaging,
        Self::Empty,
        Self::Half,
        Self::Panic,
    ];

    fn error(self) -> Option<ArmError> {
        let message = "as the test wants it".to_owned();
        Some(match self {
            Self::Unauthorized => ArmError::Unauthorized { message },
            Self::Forbidden => {
                ArmError::Forbidden { action: "Microsoft.Network/some/read".to_owned(), message }
            }
            Self::NotFound => ArmError::NotFound,
            Self::Conflict => ArmError::Conflict { message },
            Self::Throttled => ArmError::Throttled { retry_after: Some(Duration::from_secs(10)) },
            Self::ThrottledWithoutTime => ArmError::Throttled { retry_after: None },
            Self::Status500 => ArmError::Status { status: 500, message },
            Self::Reset => ArmError::Http(HttpError::Failed("reset".to_owned())),
            Self::TimedOut => ArmError::Http(HttpError::TimedOut),
            Self::Truncated => ArmError::Body("cut".to_owned()),
            Self::ForeignNextLink => ArmError::ForeignNextLink("https://evil.example".to_owned()),
            Self::EndlessPaging => ArmError::TooManyPages(1000),
            Self::Empty | Self::Half | Self::Hang | Self::Panic => return None,
        })
    }
}

/// The estate.
#[derive(Default)]
pub(crate) struct Estate(Mutex<State>);

#[derive(Default)]
struct State {
    /// Bodies of GET by path and query in lower case.
    bodies: BTreeMap<String, Value>,
    rows: Vec<Value>,
    graph_pages: u32,
    /// Each request, in order.
    requests: Vec<String>,
    /// Faults by what a path contains (`graph` for the index); the first that fits counts.
    faults: Vec<(String, Fault)>,
    /// Told when the estate is dropped.
    dropped: Option<std::sync::mpsc::Sender<()>>,
}

impl Estate {
    /// The estate of the file.
    pub(crate) fn contoso() -> Arc<Self> {
        let estate = Self::default();
        let mut state = estate.state();
        for route in file()["routes"].as_array().unwrap() {
            let body = &route["response"]["body"];
            if route["method"] == "POST" {
                assert_eq!(route["request_body"]["query"], QUERY);
                state.rows.extend(body["data"].as_array().unwrap().iter().cloned());
                state.graph_pages += 1;
            } else {
                let target = route["target"].as_str().unwrap().to_lowercase();
                state.bodies.insert(target, body.clone());
            }
        }
        drop(state);
        Arc::new(estate)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Lets requests fail whose path contains `part`.
    pub(crate) fn fail(&self, part: &str, fault: Fault) {
        self.state().faults.push((part.to_lowercase(), fault));
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        self.state().faults.clear();
    }

    /// Tells `sender` when nobody uses the estate any more.
    pub(crate) fn tell_drop(&self, sender: std::sync::mpsc::Sender<()>) {
        self.state().dropped = Some(sender);
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    /// Changes every body.
    pub(crate) fn edit(&self, mut edit: impl FnMut(&str, &mut Value)) {
        for (path, body) in &mut self.state().bodies {
            edit(path, body);
        }
    }

    /// Changes the rows of the index.
    pub(crate) fn edit_rows(&self, edit: impl FnOnce(&mut Vec<Value>)) {
        edit(&mut self.state().rows);
    }

    /// Deletes the resources whose id ends with `end`, and what lies below.
    pub(crate) fn delete(&self, end: &str) {
        let end = end.to_lowercase();
        let mut state = self.state();
        state
            .bodies
            .retain(|path, _| !path.contains(&format!("{end}?")) && !path.contains(&format!("{end}/")));
        for body in state.bodies.values_mut() {
            if let Some(values) = body["value"].as_array_mut() {
                values.retain(|value| !id(value).ends_with(&end));
            }
        }
    }

    /// Adds `resource` to the listing whose path ends so (before its query).
    pub(crate) fn add(&self, list: &str, resource: impl Into<Value>) {
        let list = list.to_lowercase();
        let mut state = self.state();
        let (_, body) = state
            .bodies
            .iter_mut()
            .find(|(path, _)| path.split('?').next().unwrap().ends_with(&list))
            .unwrap();
        body["value"].as_array_mut().unwrap().push(resource.into());
    }

    /// Adds the listing at `path`.
    pub(crate) fn add_list(&self, path: &str, values: &[Value]) {
        self.state().bodies.insert(path.to_lowercase(), json!({ "value": values }));
    }

    fn request(&self, what: &str) -> Option<Fault> {
        let mut state = self.state();
        state.requests.push(what.to_owned());
        let what = what.to_lowercase();
        state.faults.iter().find(|(part, _)| what.contains(part)).map(|(_, fault)| *fault)
    }

    fn page(&self, path: &str) -> Option<Value> {
        self.state().bodies.get(&path.to_lowercase()).cloned()
    }
}

impl Drop for Estate {
    fn drop(&mut self) {
        if let Some(sender) = self.state().dropped.take() {
            let _ = sender.send(());
        }
    }
}

async fn suffer(fault: Option<Fault>) -> Result<(), ArmError> {
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Panic) => panic!("as the test wants it"),
        Some(fault) => fault.error().map_or(Ok(()), Err),
        None => Ok(()),
    }
}

#[async_trait]
impl Client for Estate {
    async fn list(&self, _: &Family, path: &str) -> Result<List, ArmError> {
        let mut list = List::default();
        let mut next = Some(path.to_owned());
        let mut fault = None;
        while let Some(path) = next.take() {
            fault = self.request(&format!("LIST {path}"));
            suffer(fault).await?;
            let page = self.page(&path).ok_or(ArmError::NotFound)?;
            list.pages += 1;
            list.values.extend(page["value"].as_array().unwrap().iter().cloned());
            let link = page["nextLink"].as_str();
            next = link.map(|link| link.strip_prefix("https://management.azure.com:443").unwrap().to_owned());
        }
        match fault {
            Some(Fault::Empty) => list.values.clear(),
            Some(Fault::Half) => list.values.truncate(list.values.len() / 2),
            _ => {}
        }
        Ok(list)
    }

    async fn get(&self, _: &Family, path: &str) -> Result<Value, ArmError> {
        suffer(self.request(&format!("GET {path}"))).await?;
        if let Some(body) = self.page(path).filter(|body| body.get("id").is_some()) {
            return Ok(body);
        }
        let wanted = path.split('?').next().unwrap().to_lowercase();
        let state = self.state();
        let mut values = state.bodies.values().filter_map(|body| body["value"].as_array()).flatten();
        values.find(|&value| id(value) == wanted).cloned().ok_or(ArmError::NotFound)
    }

    async fn graph(&self, subscriptions: &[String], query: &str) -> Result<List, ArmError> {
        assert_eq!(query, QUERY);
        let fault = self.request("GRAPH");
        suffer(fault).await?;
        let state = self.state();
        let asked: BTreeSet<&str> = subscriptions.iter().map(String::as_str).collect();
        let mut values: Vec<Value> = state.rows.clone();
        values.retain(|row| asked.contains(row["subscriptionId"].as_str().unwrap()));
        match fault {
            Some(Fault::Empty) => values.clear(),
            Some(Fault::Half) => values.truncate(values.len() / 2),
            _ => {}
        }
        Ok(List { values, pages: state.graph_pages })
    }
}

/// The id of a resource, lower case.
pub(crate) fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_default().to_lowercase()
}

/// The file.
pub(crate) fn file() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/azure/composed/contoso-hub.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
