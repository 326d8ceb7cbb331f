//! Looking into a resource: keys without regard to case, nested or
//! flattened, `null` like absence.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::wire::Name;

/// A field that does not have the shape it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sources) struct Odd {
    key: String,
    problem: String,
}

impl Odd {
    pub(in crate::sources) fn new(key: &str, problem: impl Into<String>) -> Self {
        Self { key: key.to_owned(), problem: problem.into() }
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.problem)
    }
}

/// A JSON object and the `properties` in it, read as one. Keys are asked for
/// in lower case.
#[derive(Clone, Copy, Debug)]
pub(in crate::sources) struct Fields<'a> {
    outer: &'a Map<String, Value>,
    inner: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, if it is an object.
    pub(in crate::sources) fn of(value: &'a Value) -> Option<Self> {
        let outer = value.as_object()?;
        Some(Self { outer, inner: find(outer, "properties").and_then(Value::as_object) })
    }

    /// The value at `key`, outside `properties` or in them; never `null`.
    pub(in crate::sources) fn get(&self, key: &str) -> Option<&'a Value> {
        find(self.outer, key).or_else(|| find(self.inner?, key))
    }

    pub(in crate::sources) fn text(&self, key: &str) -> Result<Option<&'a str>, Odd> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| Odd::new(key, "is not a string")),
        }
    }

    /// The string at `key`, empty if absent.
    pub(in crate::sources) fn text_or_empty(&self, key: &str) -> Result<&'a str, Odd> {
        Ok(self.text(key)?.unwrap_or_default())
    }

    /// The list at `key`, empty if absent or `null`.
    pub(in crate::sources) fn list(&self, key: &str) -> Result<&'a [Value], Odd> {
        match self.get(key) {
            None => Ok(&[]),
            Some(value) => value.as_array().map(Vec::as_slice).ok_or_else(|| Odd::new(key, "is not a list")),
        }
    }

    /// The objects in the list at `key`.
    pub(in crate::sources) fn objects(&self, key: &str) -> Result<Vec<Fields<'a>>, Odd> {
        let list = self.list(key)?.iter();
        list.map(|item| Fields::of(item).ok_or_else(|| Odd::new(key, "holds something else than objects")))
            .collect()
    }

    /// The object at `key`.
    pub(in crate::sources) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, Odd> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => Fields::of(value).map(Some).ok_or_else(|| Odd::new(key, "is not an object")),
        }
    }

    /// The number at `key`, as a number or as text.
    pub(in crate::sources) fn number<N: TryFrom<u64>>(&self, key: &str) -> Result<Option<N>, Odd> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let number = number.and_then(|number| N::try_from(number).ok());
        number.map(Some).ok_or_else(|| Odd::new(key, format!("is {value}, which is no number in range")))
    }

    /// The domain name at `key`; empty text counts as absent.
    pub(in crate::sources) fn name(&self, key: &str) -> Result<Option<Name>, Odd> {
        match self.text(key)? {
            None | Some("") => Ok(None),
            Some(text) => name(key, text).map(Some),
        }
    }

    /// The domain names in the list at `key`.
    pub(in crate::sources) fn names(&self, key: &str) -> Result<Vec<Name>, Odd> {
        let texts = self.list(key)?.iter().filter_map(Value::as_str).filter(|text| !text.is_empty());
        texts.map(|text| name(key, text)).collect()
    }

    /// The address at `key`; empty text counts as absent.
    pub(in crate::sources) fn address(&self, key: &str) -> Result<Option<IpAddr>, Odd> {
        match self.text(key)? {
            None | Some("") => Ok(None),
            Some(text) => address(key, text).map(Some),
        }
    }

    /// `id` of the object at `key`, lower case.
    pub(in crate::sources) fn reference(&self, key: &str) -> Result<Option<String>, Odd> {
        let Some(object) = self.object(key)? else { return Ok(None) };
        Ok(object.text("id")?.filter(|id| !id.is_empty()).map(str::to_ascii_lowercase))
    }

    /// The resource id of this object.
    pub(in crate::sources) fn id(&self) -> Option<ResourceId> {
        ResourceId::parse(find(self.outer, "id")?.as_str()?)
    }
}

fn find<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let exact = object.get(key).filter(|value| !value.is_null());
    exact.or_else(|| {
        let mut alike = object.iter().filter(|(k, value)| k.eq_ignore_ascii_case(key) && !value.is_null());
        alike.next().map(|(_, value)| value)
    })
}

/// Parses a domain name for the field `key`.
pub(in crate::sources) fn name(key: &str, text: &str) -> Result<Name, Odd> {
    text.parse().map_err(|error| Odd::new(key, format!("holds {text:?}, which is no domain name: {error}")))
}

/// Parses an address for the field `key`.
pub(in crate::sources) fn address(key: &str, text: &str) -> Result<IpAddr, Odd> {
    text.parse().map_err(|_| Odd::new(key, format!("holds {text:?}, which is no address")))
}

/// A resource id taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sources) struct ResourceId {
    /// As written.
    pub(in crate::sources) text: String,
    /// In lower case: ids are compared without case.
    pub(in crate::sources) lower: String,
    /// The type: `microsoft.network/privatednszones/a`.
    pub(in crate::sources) kind: String,
    /// The names that belong to the type's parts, as written: zone, record set.
    pub(in crate::sources) names: Vec<String>,
}

impl ResourceId {
    /// Takes `/subscriptions/…/providers/Namespace/type/name/type/name` apart.
    pub(in crate::sources) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let at = lower.rfind("/providers/")? + "/providers/".len();
        let mut kind = String::new();
        let mut names = Vec::new();
        for (index, part) in text.get(at..)?.split('/').enumerate() {
            match index {
                0 => kind.push_str(&part.to_ascii_lowercase()),
                _ if index % 2 == 1 => {
                    kind.push('/');
                    kind.push_str(&part.to_ascii_lowercase());
                }
                _ => names.push(part.to_owned()),
            }
        }
        Some(Self { text: text.to_owned(), lower, kind, names })
    }

    /// The id of the resource `levels` above this one, lower case.
    pub(in crate::sources) fn ancestor(&self, levels: usize) -> Option<String> {
        let mut id = self.lower.as_str();
        for _ in 0..levels * 2 {
            id = id.rsplit_once('/')?.0;
        }
        Some(id.to_owned())
    }
}

/// The virtual network of a subnet id, lower case.
pub(in crate::sources) fn vnet_of_subnet(subnet: &str) -> Option<String> {
    let lower = subnet.to_ascii_lowercase();
    let at = lower.rfind("/subnets/")?;
    lower.get(..at).map(str::to_owned)
}
