//! The report for people: what is well in few lines, what is not in full.
//!
//! Equal lines of a registry's names become one. Styles are always in the
//! text; whoever prints it takes them out where no terminal is.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::report::{Hop, RegistryReport, Report, State, Timing};
use crate::cli::text::plain;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Names that a line lists before it only counts them.
const MAX_LISTED: usize = 3;
/// Where the text of a line starts: behind state and hop.
const INDENT: usize = 21;

/// The whole report. Lines are broken at `width` columns, if one is given;
/// with `verbose` each name has lines of its own.
pub fn render(report: &Report, width: Option<usize>, verbose: bool) -> String {
    let mut page = Page { text: String::new(), width };
    if let Some(user) = &report.asked_as {
        let _ = writeln!(page.text, "{DIM}{}{DIM:#}\n", plain(user));
    }
    for registry in &report.registries {
        page.registry(registry, verbose);
    }
    if !report.upstreams.is_empty() {
        let _ = writeln!(page.text, "{BOLD}upstreams{BOLD:#}");
        for upstream in &report.upstreams {
            let target = format!("{} ({})", upstream.upstream, upstream.group);
            let text = format!("{target}: {}", upstream.text);
            page.line(upstream.state, "dnssec", &text, &times(&upstream.milliseconds));
            page.advice(&upstream.advice);
        }
        page.text.push('\n');
    }
    if report.left_out > 0 {
        let _ = writeln!(page.text, "{} more registries were not looked at; name one.", report.left_out);
    }
    page.text.push_str(&summary(report));
    page.text
}

fn summary(report: &Report) -> String {
    if report.registries.is_empty() {
        return "No registry is yours: no source shows an approved private endpoint, and names.own_registries \
                is empty.\nName one to look at it: hubdns doctor contoso.azurecr.io\n"
            .to_owned();
    }
    let count = |state| report.registries.iter().filter(|registry| registry.state == state).count();
    let (failed, warned) = (count(State::Failed), count(State::Warning));
    let all = report.registries.len();
    let what = |count: usize, word: &str| (count > 0).then(|| format!("{count} {word}"));
    let parts = [what(failed, "failed"), what(warned, "with warnings"), what(all - failed - warned, "ok")];
    let mut parts: Vec<String> = parts.into_iter().flatten().collect();
    let silent = report.upstreams.iter().filter(|upstream| upstream.state == State::Failed).count();
    match silent {
        0 => {}
        1 => parts.push("1 upstream failed".to_owned()),
        many => parts.push(format!("{many} upstreams failed")),
    }
    let style = style(report.state);
    let noun = match report.registries.as_slice() {
        [one] if !one.ours => "name",
        [_] => "registry",
        _ => "registries",
    };
    format!("{style}{all} {noun}: {}{style:#}\n", parts.join(", "))
}

const fn style(state: State) -> Style {
    match state {
        State::Ok => AnsiColor::Green.on_default(),
        State::Warning => AnsiColor::Yellow.on_default().bold(),
        State::Failed => AnsiColor::Red.on_default().bold(),
        State::Skipped => DIM,
    }
}

const fn word(state: State) -> &'static str {
    match state {
        State::Failed => "FAILED",
        other => other.label(),
    }
}

/// Hops of several names that say the same.
struct Group<'a> {
    hop: &'a Hop,
    names: Vec<&'a str>,
    timings: Vec<Timing>,
}

struct Page {
    text: String,
    width: Option<usize>,
}

impl Page {
    fn registry(&mut self, registry: &RegistryReport, verbose: bool) {
        let style = style(registry.state);
        let _ = writeln!(
            self.text,
            "{BOLD}{}{BOLD:#}  {style}{}{style:#}",
            plain(&registry.registry),
            word(registry.state)
        );
        let mut groups: Vec<Group<'_>> = Vec::new();
        for name in &registry.names {
            for hop in &name.hops {
                let same = |group: &&mut Group<'_>| {
                    let other = group.hop;
                    (other.hop, other.state) == (hop.hop, hop.state)
                        && other.text == hop.text
                        // Why nothing was looked at is said once, whatever the address.
                        && (other.target == hop.target || hop.state == State::Skipped)
                };
                match groups.iter_mut().find(same).filter(|_| !verbose) {
                    Some(group) => {
                        group.names.push(&name.name);
                        longest(&mut group.timings, &hop.milliseconds);
                    }
                    None => {
                        groups.push(Group {
                            hop,
                            names: vec![&name.name],
                            timings: hop.milliseconds.clone(),
                        });
                    }
                }
            }
        }
        for hop in &registry.via {
            groups.push(Group { hop, names: Vec::new(), timings: hop.milliseconds.clone() });
        }
        // In the order of a pull; stable, so names keep theirs.
        groups.sort_by_key(|group| group.hop.hop);
        for group in &groups {
            self.group(group, registry.names.len());
        }
        let lies = registry.lies.is_some();
        let verdict = if lies { style } else { AnsiColor::Green.on_default() };
        let mut text = String::new();
        text.push_str(&plain(&registry.verdict));
        let _ = write!(self.text, "  {BOLD}{:<17}{BOLD:#}  ", "verdict");
        self.wrapped(&text, verdict);
        self.text.push('\n');
    }

    fn group(&mut self, group: &Group<'_>, all: usize) {
        let hop = group.hop;
        let names = match group.names.len() {
            0 => String::new(),
            _ if all == 1 => String::new(),
            2 if all == 2 => "both names".to_owned(),
            many if many == all => format!("all {many} names"),
            many if many <= MAX_LISTED => group.names.join(", "),
            many => format!("{}, and {} more", group.names[..MAX_LISTED].join(", "), many - MAX_LISTED),
        };
        let several = group.hop.state == State::Skipped && group.names.len() > 1;
        let target = if several { "" } else { hop.target.as_str() };
        let about =
            [target, &names].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        let text = if about.is_empty() { hop.text.clone() } else { format!("{about}: {}", hop.text) };
        self.line(hop.state, hop.hop.label(), &text, &times(&group.timings));
        self.advice(&hop.advice);
    }

    fn line(&mut self, state: State, hop: &str, text: &str, times: &str) {
        let style = style(state);
        let _ = write!(self.text, "  {style}{:<7}{style:#}  {hop:<8}  ", word(state));
        let quiet = if state == State::Skipped { DIM } else { Style::new() };
        let times = if times.is_empty() { String::new() } else { format!("  ({times})") };
        self.wrapped(&format!("{}{times}", plain(text)), quiet);
    }

    fn advice(&mut self, advice: &str) {
        if !advice.is_empty() {
            let _ = write!(self.text, "{:INDENT$}", "");
            self.wrapped(&format!("-> {}", plain(advice)), Style::new());
        }
    }

    /// Writes `text` behind the indent, broken between words.
    fn wrapped(&mut self, text: &str, style: Style) {
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(INDENT).max(30));
        let mut lines: Vec<String> = vec![String::new()];
        for word in text.split(' ') {
            let line = lines.last_mut().map_or(0, |line| line.chars().count());
            if line > 0 && line + 1 + word.chars().count() > room {
                lines.push(word.to_owned());
            } else if let Some(last) = lines.last_mut() {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.push_str(word);
            }
        }
        for (i, line) in lines.iter().enumerate() {
            let indent = if i == 0 { 0 } else { INDENT };
            let _ = writeln!(self.text, "{:indent$}{style}{line}{style:#}", "");
        }
    }
}

/// The longest time of each step.
fn longest(held: &mut [Timing], fresh: &[Timing]) {
    for timing in held {
        let other = fresh.iter().find(|other| other.step == timing.step);
        timing.milliseconds =
            other.map_or(timing.milliseconds, |other| timing.milliseconds.max(other.milliseconds));
    }
}

fn times(timings: &[Timing]) -> String {
    let shown = timings.iter().map(|timing| {
        let digits = usize::from(timing.milliseconds < 10.0);
        format!("{} {:.digits$} ms", timing.step, timing.milliseconds)
    });
    shown.collect::<Vec<_>>().join(", ")
}
