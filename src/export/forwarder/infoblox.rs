//! Infoblox NIOS: a shell script for its web API (WAPI), object `zone_forward`.

use super::{Plan, quoted};

pub(super) fn script(plan: &Plan) -> String {
    let servers =
        plan.servers.iter().enumerate().map(|(i, server)| {
            format!("{{\"address\": \"{}\", \"name\": \"hubdns-{}\"}}", server.ip(), i + 1)
        });
    let servers: Vec<String> = servers.collect();
    format!(
        r#"#!/bin/sh
# Forward zones to hubdns on an Infoblox grid, by its web API (WAPI). Needs curl.
# Run it again after a change: zones that exist are set anew.
#   GRID_MASTER   name of the grid master; user and password are taken from ~/.netrc
#   GRID_MEMBERS  names of the members that shall forward, with spaces between
#   DNS_VIEW      the DNS view, if it is not "default"
# Where the grid validates DNSSEC, add these to its negative trust anchors:
#   {tops}
# Afterwards restart the services of the grid.
set -eu
: "${{GRID_MASTER:?}}" "${{GRID_MEMBERS:?}}"
view="${{DNS_VIEW:-default}}"
api="https://$GRID_MASTER/wapi/v2.12"
forward_to='[{servers}]'
members=
for member in $GRID_MEMBERS; do
    members="$members${{members:+, }}{{\"name\": \"$member\", \"forwarders_only\": true}}"
done
settings="\"forward_to\": $forward_to, \"forwarders_only\": true, \"forwarding_servers\": [$members]"
call() {{
    curl --fail --silent --show-error --netrc --header 'Content-Type: application/json' "$@"
}}
for zone in {names}; do
    found=$(call --get --data-urlencode "fqdn=$zone" --data-urlencode "view=$view" "$api/zone_forward")
    ref=$(printf '%s' "$found" | sed -n 's/.*"_ref": *"\([^"]*\)".*/\1/p' | head -n 1)
    if [ -n "$ref" ]; then
        call --request PUT --data "{{$settings}}" "$api/$ref"
    else
        call --request POST --data "{{\"fqdn\": \"$zone\", \"view\": \"$view\", $settings}}" "$api/zone_forward"
    fi
    echo
done
"#,
        tops = plan.tops.join(" "),
        servers = servers.join(", "),
        names = quoted(&plan.names, "'", " "),
    )
}
