//! Windows DNS: a PowerShell script that may be run again and again.

use std::fmt::Write as _;

use super::{AdScope, Plan, quoted};

/// hubdns answers within 2.4 s; Windows DNS waits for whole seconds.
const TIMEOUT_SECONDS: u32 = 3;

pub(super) fn script(plan: &Plan, ad: Option<AdScope>) -> String {
    let servers = quoted(plan.servers.iter().map(std::net::SocketAddr::ip), "'", ", ");
    let zones = quoted(&plan.names, "'", ", ");
    let scope = ad.map(|scope| match scope {
        AdScope::Forest => "Forest",
        AdScope::Domain => "Domain",
    });
    let mut out = format!(
        "# Conditional forwarders to hubdns on a Windows DNS server; as administrator.\n\
         # Run it again after a change: what exists is set anew.\n\
         #Requires -Modules DnsServer\n\
         $servers = {servers}\n\
         $zones = {zones}\n\
         foreach ($zone in $zones) {{\n    \
             $existing = Get-DnsServerZone -Name $zone -ErrorAction SilentlyContinue\n    \
             if ($existing -and $existing.ZoneType -ne 'Forwarder') {{\n        \
                 Write-Error \"$zone is a zone of type $($existing.ZoneType) on this server; remove it first\"\n        \
                 continue\n    \
             }}\n    \
             if (-not $existing) {{\n"
    );
    let replication = scope.map_or_else(String::new, |scope| format!(" -ReplicationScope {scope}"));
    let _ = writeln!(
        out,
        "        Add-DnsServerConditionalForwarderZone -Name $zone -MasterServers $servers{replication}\n    }}"
    );
    if let Some(scope) = scope {
        let _ = writeln!(
            out,
            "    if ($existing -and -not $existing.IsDsIntegrated) {{\n        \
                 Set-DnsServerConditionalForwarderZone -Name $zone -ReplicationScope {scope}\n    }}"
        );
    }
    let _ = write!(
        out,
        "    # Without recursion: the public Internet would hand out the public address.\n    \
             Set-DnsServerConditionalForwarderZone -Name $zone -MasterServers $servers -ForwarderTimeout {TIMEOUT_SECONDS} -UseRecursion $false\n\
         }}\n\
         # Public answers that are cached outlive the change by up to half an hour, unless you run\n\
         # Clear-DnsServerCache -Force\n"
    );
    out
}
