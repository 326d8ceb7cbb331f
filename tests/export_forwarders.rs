//! `hubdns export forwarder`: real DNS software in front of the daemon, started
//! with what it is given. Where a peer cannot be had here its text is compared
//! (`export.rs`).

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use common::front::{CONFIG, check_through, upstream};
use common::peer::{Peer, find};
use daemon::Daemon;

/// A daemon, and the snippet that it gives for `peer`.
fn exported(upstream: &Peer, peer: &str) -> (Daemon, String) {
    let hubdns = Daemon::start(&CONFIG.replace("UPSTREAM", &upstream.address.to_string()));
    let output = hubdns.cli(&["export", "forwarder", "--for", peer]);
    assert!(output.status.success(), "{output:?}");
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(notes.contains("loopback only"), "{notes}");
    (hubdns, String::from_utf8(output.stdout).expect("UTF-8"))
}

// The root goes to hubdns as well in every test, so that nothing leaves this
// machine; whatever stands in the way of private addresses and of unsigned
// zones is switched on, so that the snippet has to lift it.

#[test]
fn bind_in_front() {
    let (Some(tool), Some(named), Some(upstream)) = (find("dig"), find("named"), upstream()) else { return };
    let (hubdns, snippet) = exported(&upstream, "bind");
    // There is one block of options: the snippet's begins it.
    let base = format!(
        "options {{ directory \"DIR\"; listen-on port PORT {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
           pid-file none; session-keyfile none; dnssec-validation auto; recursion yes;
           managed-keys-directory \"DIR\"; forward only; forwarders {{ 127.0.0.1 port {}; }};",
        hubdns.dns.port()
    );
    let config = format!("controls {{ }};\n{}", snippet.replacen("options {", &base, 1));
    let peer = Peer::start(&named, &["-g", "-n", "1", "-c", "DIR/named.conf"], &[("named.conf", config)]);
    check_through(&tool, peer.address);
}

#[test]
fn unbound_in_front() {
    let (Some(tool), Some(unbound), Some(upstream)) = (find("dig"), find("unbound"), upstream()) else {
        return;
    };
    let (hubdns, snippet) = exported(&upstream, "unbound");
    let config = format!(
        "server:
    interface: 127.0.0.1
    port: PORT
    username: \"\"
    chroot: \"\"
    directory: DIR
    pidfile: \"\"
    use-syslog: no
    private-address: 10.0.0.0/8
    module-config: \"validator iterator\"
    trust-anchor: \". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\"
remote-control:
    control-enable: no
forward-zone:
    name: \".\"
    forward-addr: 127.0.0.1@{}
{snippet}",
        hubdns.dns.port()
    );
    let peer = Peer::start(&unbound, &["-d", "-c", "DIR/unbound.conf"], &[("unbound.conf", config)]);
    check_through(&tool, peer.address);
}

#[test]
fn dnsmasq_in_front() {
    let (Some(tool), Some(dnsmasq), Some(upstream)) = (find("dig"), find("dnsmasq"), upstream()) else {
        return;
    };
    let (hubdns, snippet) = exported(&upstream, "dnsmasq");
    let config = format!(
        "port=PORT\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\npid-file\nuser=root\n\
         stop-dns-rebind\nserver=127.0.0.1#{}\n{snippet}",
        hubdns.dns.port()
    );
    let arguments = ["--keep-in-foreground", "--conf-file=DIR/dnsmasq.conf"];
    let peer = Peer::start(&dnsmasq, &arguments, &[("dnsmasq.conf", config)]);
    check_through(&tool, peer.address);
}

#[test]
fn powerdns_recursor_in_front() {
    let (Some(tool), Some(recursor), Some(upstream)) = (find("dig"), find("pdns_recursor"), upstream())
    else {
        return;
    };
    let (hubdns, snippet) = exported(&upstream, "powerdns-recursor-4");
    let config = format!(
        "local-address=127.0.0.1\nlocal-port=PORT\nsocket-dir=DIR\ndaemon=no\nthreads=1\nsetuid=\nsetgid=\n\
         security-poll-suffix=\nwrite-pid=no\ndnssec=validate\nlua-config-file=DIR/recursor.lua\n\
         forward-zones-recurse=.=127.0.0.1:{}\n{snippet}",
        hubdns.dns.port()
    );
    // The snippet shows the Lua part as a comment of the settings.
    let lua: Vec<&str> = snippet.lines().filter_map(|line| line.strip_prefix("# addNTA")).collect();
    let lua = lua.iter().flat_map(|call| ["addNTA", call, "\n"]).collect::<String>();
    assert!(!lua.is_empty(), "{snippet}");
    let files = [("recursor.conf", config), ("recursor.lua", lua)];
    let peer = Peer::start(&recursor, &["--config-dir=DIR"], &files);
    check_through(&tool, peer.address);
}

#[test]
fn knot_resolver_in_front() {
    let (Some(tool), Some(kresd), Some(upstream)) = (find("dig"), find("kresd"), upstream()) else { return };
    let (hubdns, snippet) = exported(&upstream, "knot-resolver-5");
    let config = format!(
        "net.listen('127.0.0.1', PORT, {{ kind = 'dns' }})\ncache.open(10 * MB, 'lmdb://DIR')\n{snippet}\n\
         policy.add(policy.all(policy.STUB('127.0.0.1@{}')))\n",
        hubdns.dns.port()
    );
    let arguments = ["-n", "-c", "DIR/kresd.conf", "DIR"];
    let peer = Peer::start(&kresd, &arguments, &[("kresd.conf", config)]);
    check_through(&tool, peer.address);
}
