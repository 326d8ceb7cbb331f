//! Azure resource ids taken apart, for texts and for the commands in them.

use crate::wire::Name;

/// A resource id's parts that az commands take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id<'a> {
    pub(super) subscription: &'a str,
    pub(super) group: &'a str,
    pub(super) name: &'a str,
}

impl<'a> Id<'a> {
    /// Takes `/subscriptions/S/resourceGroups/G/providers/…/NAME` apart.
    /// `None` where a part is missing, or holds what a shell would act on: a
    /// command that somebody copies must do what it says.
    pub(super) fn parse(id: &'a str) -> Option<Self> {
        let mut parts = id.strip_prefix('/')?.split('/');
        let (subscriptions, subscription) = (parts.next()?, parts.next()?);
        let (groups, group) = (parts.next()?, parts.next()?);
        let name = parts.next_back()?;
        let is_id = subscriptions.eq_ignore_ascii_case("subscriptions")
            && groups.eq_ignore_ascii_case("resourcegroups");
        (is_id && [subscription, group, name].into_iter().all(is_plain)).then_some(Self {
            subscription,
            group,
            name,
        })
    }
}

/// The last part of a resource id: the resource's own name.
pub(super) fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// Whether a shell takes `text` as one plain word.
pub(super) fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

/// The az command that does `verb` with an address of `owner` in the zone
/// `zone_id`, whose apex is `apex`.
pub(super) fn record_command(
    verb: &str,
    zone_id: Option<&str>,
    apex: &Name,
    owner: &Name,
    address: std::net::IpAddr,
) -> Option<String> {
    let zone = Id::parse(zone_id?)?;
    let kind = if address.is_ipv4() { ("a", "-a") } else { ("aaaa", "-a") };
    let owner = relative(owner, apex).filter(|owner| is_plain(owner) || owner == "@")?;
    Some(format!(
        "`az network private-dns record-set {} {verb} --subscription {} -g {} -z {} -n {owner} {} {address}`",
        kind.0, zone.subscription, zone.group, zone.name, kind.1
    ))
}

/// `owner` as it is written in the zone at `apex`; `@` for the apex itself.
fn relative(owner: &Name, apex: &Name) -> Option<String> {
    if owner == apex {
        return Some("@".to_owned());
    }
    let text = owner.to_string();
    text.strip_suffix(&format!(".{apex}")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_apart() {
        let id =
            "/subscriptions/s1/resourceGroups/rg-dns/providers/Microsoft.Network/privateDnsZones/a.example";
        assert_eq!(Id::parse(id), Some(Id { subscription: "s1", group: "rg-dns", name: "a.example" }));
        assert_eq!(last(id), "a.example");
        for odd in
            ["", "/", "hosts.txt:3", "/subscriptions/s1", "/subscriptions/s1/resourceGroups/$(id)/x/y/z"]
        {
            assert_eq!(Id::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn commands_name_the_record_below_its_zone() {
        let id = "/subscriptions/s1/resourceGroups/rg/providers/n/z/privatelink.azurecr.io";
        let (apex, owner): (Name, Name) = (
            "privatelink.azurecr.io".parse().unwrap(),
            "contoso.eastus.data.privatelink.azurecr.io".parse().unwrap(),
        );
        let address = "10.0.0.4".parse().unwrap();
        let command = record_command("add-record", Some(id), &apex, &owner, address).unwrap();
        assert!(
            command.ends_with("-z privatelink.azurecr.io -n contoso.eastus.data -a 10.0.0.4`"),
            "{command}"
        );
        assert_eq!(relative(&apex, &apex).as_deref(), Some("@"));
    }
}
