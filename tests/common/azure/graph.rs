//! Resource Graph: rows made from the same items that Resource Manager lists,
//! for the few clauses of its language that are used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::estate::Estate;
use super::respond::{Reply, arm_error};

/// Answers `POST /providers/Microsoft.ResourceGraph/resources`.
pub fn answer(estate: &Estate, body: &Value) -> Reply {
    match rows(estate, body) {
        Ok(body) => {
            let mut reply = Reply::json(200, body);
            reply.header("x-ms-user-quota-remaining", "14");
            reply.header("x-ms-user-quota-resets-after", "00:00:05");
            reply
        }
        Err(why) => arm_error(400, "BadRequest", &format!("Please provide below info: {why}")),
    }
}

fn rows(estate: &Estate, body: &Value) -> Result<Value, String> {
    let subscriptions: Vec<&str> = body["subscriptions"]
        .as_array()
        .filter(|list| !list.is_empty())
        .and_then(|list| list.iter().map(Value::as_str).collect())
        .ok_or("subscriptions is no list of ids")?;
    let query = Query::parse(body["query"].as_str().ok_or("no query")?)?;
    let options = body["options"].as_object().ok_or("no options")?;
    for key in options.keys() {
        if !["resultFormat", "$top", "$skipToken", "$skip"].contains(&key.as_str()) {
            return Err(format!("unknown option {key}"));
        }
    }
    if options.get("resultFormat") != Some(&json!("objectArray")) {
        return Err("resultFormat is not objectArray".to_owned());
    }
    let top = options.get("$top").map_or(Some(100), Value::as_u64).filter(|top| (1..=1000).contains(top));
    let top = usize::try_from(top.ok_or("$top is not from 1 to 1000")?).expect("small");
    // Azure may put fewer rows on a page than were asked for.
    let size = top.min(estate.graph_page);
    let page = match options.get("$skipToken") {
        None => 0,
        Some(token) => token.as_str().and_then(page_of).ok_or("the skip token is not ours")?,
    };
    let all = query.run(estate, &subscriptions);
    let rows: Vec<Value> = all.iter().skip(page * size).take(size).cloned().collect();
    let mut answer = json!({
        "totalRecords": all.len(), "count": rows.len(), "resultTruncated": "false", "facets": [],
    });
    if (page + 1) * size < all.len() {
        answer["$skipToken"] = json!(token_of(page + 1));
    }
    answer["data"] = json!(rows);
    Ok(answer)
}

fn token_of(page: usize) -> String {
    STANDARD.encode(format!("{{\r\n  \"$id\": \"{page}\"\r\n}}"))
}

fn page_of(token: &str) -> Option<usize> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    serde_json::from_str::<Value>(&text).ok()?["$id"].as_str()?.parse().ok()
}

/// What a query asks for.
#[derive(Default)]
struct Query {
    types: Vec<String>,
    not_empty: Vec<Vec<String>>,
    project: Option<Vec<String>>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        let mut clauses = text.split('|').map(str::trim);
        if !clauses.next().is_some_and(|table| table.eq_ignore_ascii_case("resources")) {
            return Err("the table is not Resources".to_owned());
        }
        for clause in clauses {
            let (word, rest) = clause.split_once(' ').ok_or_else(|| format!("cannot parse {clause}"))?;
            match word {
                "where" => query.filter(rest.trim())?,
                "project" => query.project = Some(rest.split(',').map(|c| c.trim().to_owned()).collect()),
                "order" if rest.trim() == "by id asc" => {}
                _ => return Err(format!("cannot parse {clause}")),
            }
        }
        Ok(query)
    }

    fn filter(&mut self, condition: &str) -> Result<(), String> {
        let inside = |text: &str, open: &str| -> Option<String> {
            Some(text.trim().strip_prefix(open)?.trim().strip_suffix(')')?.to_owned())
        };
        let quoted = |text: &str| text.trim().trim_matches(['\'', '"']).to_ascii_lowercase();
        if let Some(path) = inside(condition, "isnotempty(") {
            self.not_empty.push(path.split('.').map(str::to_owned).collect());
        } else if let Some(rest) = condition.strip_prefix("type =~ ") {
            self.types.push(quoted(rest));
        } else if let Some(rest) = condition.strip_prefix("type in~ ") {
            let list = inside(rest, "(").ok_or_else(|| format!("cannot parse {condition}"))?;
            self.types.extend(list.split(',').map(quoted));
        } else {
            return Err(format!("cannot parse {condition}"));
        }
        Ok(())
    }

    fn run(&self, estate: &Estate, subscriptions: &[&str]) -> Vec<Value> {
        let mut rows: Vec<Value> = estate
            .items()
            .filter_map(row)
            .filter(|row| subscriptions.iter().any(|id| row["subscriptionId"] == **id))
            .filter(|row| self.types.iter().any(|kind| row["type"] == **kind))
            .filter(|row| self.not_empty.iter().all(|path| is_there(row, path)))
            .collect();
        rows.sort_by_key(|row| row["id"].as_str().map(str::to_owned));
        rows.dedup_by_key(|row| row["id"].as_str().map(str::to_owned));
        if let Some(columns) = &self.project {
            for row in &mut rows {
                let projected: Map<String, Value> =
                    columns.iter().map(|column| (column.clone(), row[column].clone())).collect();
                *row = Value::Object(projected);
            }
        }
        rows
    }
}

fn is_there(row: &Value, path: &[String]) -> bool {
    let mut at = row;
    for key in path {
        at = &at[key];
    }
    !at.is_null() && at != ""
}

/// An item as Resource Graph has it: ids and types in lower case.
fn row(item: &Value) -> Option<Value> {
    let id = item["id"].as_str()?.to_ascii_lowercase();
    let mut parts = id.split('/').skip(2);
    let subscription = parts.next()?.to_owned();
    let group = id.split("/resourcegroups/").nth(1)?.split('/').next()?.to_owned();
    let mut row = json!({
        "id": id, "name": item["name"], "type": item["type"].as_str()?.to_ascii_lowercase(),
        "location": item["location"], "subscriptionId": subscription, "resourceGroup": group,
        "properties": item["properties"],
    });
    for key in ["tags", "sku", "etag", "kind"] {
        if let Some(value) = item.get(key) {
            row[key] = value.clone();
        }
    }
    Some(row)
}
