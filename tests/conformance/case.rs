//! Cases: read from their files, multiplied over the kinds of names, run.

use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Instant;

use serde::Deserialize;

use crate::ask::ask;
use crate::carrier::{Carrier, PATIENCE};
use crate::expect::check;
use crate::world::World;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rfc: String,
    case: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    section: String,
    #[serde(default)]
    ask: String,
    #[serde(default)]
    expect: String,
    /// Questions one after the other, with what is expected of each.
    #[serde(default)]
    steps: Vec<[String; 2]>,
    /// Whether it holds for every kind of name; `NAME` stands for it.
    #[serde(default)]
    each: bool,
    /// `udp`, `stream`, `session`, `https`, `clear` or `encrypted`; every transport if empty.
    #[serde(default)]
    over: String,
    /// What a server must have for it.
    #[serde(default)]
    needs: Vec<String>,
}

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) rfc: String,
    pub(crate) section: String,
    name: String,
    pub(crate) steps: Vec<[String; 2]>,
    over: String,
    needs: Vec<String>,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed(String),
    /// It says nothing of this server, or not over this transport.
    NotApplicable,
}

/// The kinds of names: a label, what is asked first, the name.
const KINDS: [(&str, &str, &str); 6] = [
    ("own", "", "www.corp.example"),
    ("own denied", "", "nothing.corp.example"),
    ("foreign", "", "{n}.a.foreign.example"),
    ("foreign denied", "", "{n}.nx.foreign.example"),
    ("cached", "{n}.a.foreign.example A", "{n}.a.foreign.example"),
    ("stale", "", "primed.short.foreign.example"),
];

/// All cases, in the order of their files.
pub(crate) fn load() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let files = std::fs::read_dir(directory).expect("the cases");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).expect("a file of cases");
    let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    assert_eq!(format!("rfc{}", file.rfc), stem, "one file per RFC");
    file.case.into_iter().flat_map(|written| expand(&file.rfc, written)).collect()
}

fn expand(rfc: &str, written: Written) -> Vec<Case> {
    let mut steps = written.steps;
    if !written.ask.is_empty() {
        steps.push([written.ask, written.expect]);
    }
    let case = Case {
        rfc: rfc.to_owned(),
        section: written.section,
        name: written.name,
        steps,
        over: written.over,
        needs: written.needs,
    };
    if !written.each {
        return vec![case];
    }
    let of_kind = |(kind, before, name): &(&str, &str, &str)| {
        let mut case = Case { name: format!("{}, {kind}", case.name), ..case.clone() };
        for [ask, _] in &mut case.steps {
            *ask = ask.replace("NAME", name);
        }
        if !before.is_empty() {
            case.steps.insert(0, [(*before).to_owned(), "NOERROR".to_owned()]);
        }
        if *kind == "stale" {
            case.needs.push("stale".to_owned());
        }
        case
    };
    KINDS.iter().map(of_kind).collect()
}

impl Case {
    /// What it is called, everywhere.
    pub(crate) fn title(&self) -> String {
        format!("RFC {} section {}: {}", self.rfc, self.section, self.name)
    }

    /// What the server must have.
    fn needs(&self) -> Vec<&str> {
        let mut needs: Vec<&str> = self.needs.iter().map(String::as_str).collect();
        for [ask, _] in &self.steps {
            if ask.contains(".foreign.example") {
                needs.push("foreign");
            } else if ask.contains("corp.example") {
                needs.push("own");
            }
        }
        needs
    }

    /// Puts it to the servers of `world` over `carrier`.
    pub(crate) fn run(&self, world: &World, carrier: Carrier) -> Verdict {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let fits = match self.over.as_str() {
            "" => true,
            "udp" => carrier.is_udp,
            "stream" => !carrier.is_udp,
            // Those whose connections are a matter of DNS.
            "session" => !carrier.is_udp && carrier.label() != "https",
            "https" => carrier.label() == "https",
            "clear" => !carrier.is_encrypted,
            "encrypted" => carrier.is_encrypted,
            other => panic!("{}: over {other}", self.title()),
        };
        let reaches = !carrier.is_encrypted || world.has("encrypted");
        if !fits || !reaches || !self.needs().iter().all(|need| world.has(need)) {
            return Verdict::NotApplicable;
        }
        let n = format!("q{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut cookie = Vec::new();
        for (at, [asked, expected]) in self.steps.iter().enumerate() {
            if let Err(why) =
                step(world, carrier, &asked.replace("{n}", &n), &expected.replace("{n}", &n), &mut cookie)
            {
                let step = if self.steps.len() > 1 { format!("step {}: ", at + 1) } else { String::new() };
                return Verdict::Failed(format!("{step}{why}"));
            }
        }
        Verdict::Passed
    }
}

/// Asks, and compares; again and again where the question says `until`.
fn step(
    world: &World,
    carrier: Carrier,
    asked: &str,
    expected: &str,
    cookie: &mut Vec<u8>,
) -> Result<(), String> {
    static ID: AtomicU16 = AtomicU16::new(1);
    let silence = expected.split_whitespace().any(|word| word == "none");
    let since = Instant::now();
    loop {
        let ask = ask(asked, ID.fetch_add(7, Ordering::Relaxed), cookie);
        let got = (carrier.exchange)(world, &ask.qname, &ask.bytes, silence);
        let checked = check(expected, &ask, &got, carrier.is_udp, || world.upstream.times_asked(&ask.qname));
        match checked {
            Ok(reply) => {
                let given =
                    reply.as_ref().and_then(|reply| reply.options(10).first().map(|data| data.to_vec()));
                if let Some(server) = given.as_deref().and_then(|data| data.get(8..)) {
                    *cookie = server.to_vec();
                }
                return Ok(());
            }
            Err(why) if !ask.until || since.elapsed() > PATIENCE => return Err(why),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
}
