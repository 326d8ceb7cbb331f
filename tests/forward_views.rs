//! Upstream answers that lead to names whose answer differs by the client's
//! view: the cache and the upstream query are shared, our part is not.

mod common;

use common::estate::query;
use common::rig::{Awaited, Rig, settings};
use common::upstream::{Act, Upstream};
use hubdns::answer::{Context, Transport};
use hubdns::wire::Rtype;

const ESTATE: &str = "
view spokes 10.8.0.0/16
zone privatelink.azurecr.io
contoso.privatelink.azurecr.io 10 A 10.0.0.5
in spokes contoso.privatelink.azurecr.io A 10.8.0.5
alias contoso.azurecr.io contoso.privatelink.azurecr.io
authoritative corp.example
out.corp.example 200 CNAME registry.example.org
";
const LEADING: &str = "registry.example.org 300 CNAME contoso.azurecr.io";

fn begin(rig: &Rig, qname: &str, view: u8) -> Awaited {
    let context = Context { transport: Transport::Udp, view, is_client: true, ..Context::INTERNAL };
    rig.send_as(&query(qname, Rtype::A, 0x0100, Some(1232)), context)
}

fn address(awaited: Awaited) -> String {
    let text = awaited.get().text();
    text.split(" A ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or(&text).to_owned()
}

#[test]
fn our_part_of_a_forwarded_chain_is_the_clients_own() {
    let upstream = Upstream::start(|asked| Act::send(asked.reply(0, LEADING, "")));
    let rig = Rig::new(ESTATE, settings(&[&[upstream.address]]), |_| {});
    // By an upstream, from the cache, and behind a chain of ours.
    for qname in ["registry.example.org", "registry.example.org", "out.corp.example"] {
        assert_eq!(address(begin(&rig, qname, 1)), "10.8.0.5", "{qname}");
        assert_eq!(address(begin(&rig, qname, 0)), "10.0.0.5", "{qname}");
        assert_eq!(address(begin(&rig, qname, 2)), "10.0.0.5", "{qname}");
    }
    assert_eq!(upstream.seen().len(), 1, "the cached chain serves every view");
    let mut asked: Vec<String> =
        rig.publisher.current().take_asked().iter().map(ToString::to_string).collect();
    asked.sort();
    assert_eq!(asked, ["contoso.azurecr.io", "out.corp.example"], "where the chains lead is asked for, too");
}

#[test]
fn coalesced_questions_of_several_views_get_an_answer_each() {
    let upstream = Upstream::start(|asked| Act::Hold(asked.reply(0, LEADING, "")));
    let rig = Rig::new(ESTATE, settings(&[&[upstream.address]]), |_| {});
    let awaited: Vec<(u8, Awaited)> =
        [0, 1, 2, 1, 0].map(|view| (view, begin(&rig, "registry.example.org", view))).into();
    rig.until(|forwarder| forwarder.metrics().coalesced() == 4);
    upstream.release();
    for (view, answer) in awaited {
        let expected = if view == 1 { "10.8.0.5" } else { "10.0.0.5" };
        assert_eq!(address(answer), expected, "view {view}");
    }
    assert_eq!(upstream.seen().len(), 1);
}
