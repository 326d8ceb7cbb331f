//! `hubdns top`: the traffic as it is now, once a second.
//!
//! The page is drawn anew over the one before by two sequences that every
//! terminal knows (cursor home, erase); where standard output is no terminal,
//! or `TERM` is `dumb`, pages follow each other.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use hyper::Method;

use super::source::ControlArgs;
use super::{CliError, client, text};
use crate::admin::view::top::{OutcomeRow, Top, TopBudget};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Cursor to the upper left, everything below it erased.
const HOME: &str = "\u{1b}[H\u{1b}[J";
/// Lines of a page where the terminal does not tell its own.
const LINES: usize = 40;

#[derive(Debug, Args)]
#[command(after_help = "\
Columns: RATE and FLIGHT are the queries to an address within the last second and in \
flight, of what its budget allows; SPENT IN says when the budget is spent if its use goes \
on growing. End with Ctrl-C.")]
pub(super) struct Watch {
    #[command(flatten)]
    control: ControlArgs,
    /// Show one page, of what happened within a second, and end
    #[arg(long)]
    once: bool,
    /// Print JSON: one object a second, each on a line of its own
    #[arg(long)]
    json: bool,
}

impl Watch {
    pub(super) fn run(self) -> Result<(), CliError> {
        let socket = self.control.socket();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        let redraw = std::io::stdout().is_terminal() && !is_dumb && !self.once;
        let mut before = look(&socket)?;
        loop {
            std::thread::sleep(PAUSE);
            let now = look(&socket)?;
            let page = if self.json {
                text::json_line(&Rates::new(&before, &now))?
            } else {
                let page = render(&before, &now);
                if redraw { format!("{HOME}{}", cut(&page, lines())) } else { page }
            };
            // Who reads a pipe and goes away has seen enough.
            if !text::print_some(&page)? || self.once {
                return Ok(());
            }
            before = now;
        }
    }
}

fn look(socket: &Path) -> Result<Top, CliError> {
    client::ask(socket, Method::GET, "/v1/top")
}

/// What happened between two looks, and the second of them.
#[derive(serde::Serialize)]
struct Rates<'a> {
    /// Queries per second, by outcome.
    per_second: Vec<(&'a str, f64)>,
    #[serde(flatten)]
    now: &'a Top,
}

impl<'a> Rates<'a> {
    fn new(before: &Top, now: &'a Top) -> Self {
        let seconds = seconds_between(before, now);
        let rate = |row: &'a OutcomeRow| (row.outcome.as_str(), per_second(before, row, seconds));
        Self { per_second: now.outcomes.iter().map(rate).collect(), now }
    }
}

fn seconds_between(before: &Top, now: &Top) -> f64 {
    Duration::from_millis(now.at_milliseconds.saturating_sub(before.at_milliseconds).max(1)).as_secs_f64()
}

/// A daemon that was started anew counts from zero.
fn per_second(before: &Top, row: &OutcomeRow, seconds: f64) -> f64 {
    let then = before.outcomes.iter().find(|other| other.outcome == row.outcome);
    let then = then.map_or(0, |row| row.queries);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let more = row.queries.saturating_sub(then) as f64;
    more / seconds
}

fn render(before: &Top, now: &Top) -> String {
    let mut page = String::new();
    let seconds = seconds_between(before, now);
    let rates: Vec<f64> = now.outcomes.iter().map(|row| per_second(before, row, seconds)).collect();
    let _ = write!(page, "queries/s  {:.0}", rates.iter().sum::<f64>());
    for (row, rate) in now.outcomes.iter().zip(&rates) {
        let _ = write!(page, "   {} {rate:.0}", text::plain(&row.outcome));
    }
    page.push_str("\n\n");
    page.push_str(&upstreams(before, now));
    page.push('\n');
    page.push_str(&budgets(&now.budgets));
    let prefixes: Vec<[String; 3]> = now.budgets.iter().flat_map(prefix_rows).collect();
    if !prefixes.is_empty() {
        page.push('\n');
        page.push_str(&text::table(["CLIENTS", "RATE", "UPSTREAM"], &prefixes));
    }
    page
}

fn upstreams(before: &Top, now: &Top) -> String {
    let rows: Vec<[String; 7]> = now
        .upstreams
        .iter()
        .map(|row| {
            let then = before.upstreams.iter().find(|other| other.upstream == row.upstream);
            let (resends, hedges) = then.map_or((0, 0), |then| (then.resends, then.hedges));
            let state = if row.cause.is_empty() {
                row.state.clone()
            } else {
                format!("{} ({})", row.state, row.cause)
            };
            [
                text::plain(&row.upstream),
                text::plain(&state),
                milliseconds(row.rtt_milliseconds),
                milliseconds(row.p95_milliseconds),
                row.resends.saturating_sub(resends).to_string(),
                row.hedges.saturating_sub(hedges).to_string(),
                format!("{}/{}", row.probes_answered, row.probes),
            ]
        })
        .collect();
    text::table(["UPSTREAM", "STATE", "RTT", "P95", "RESENDS", "HEDGES", "PROBES"], &rows)
}

fn budgets(budgets: &[TopBudget]) -> String {
    let of = |used: u32, limit: Option<u32>| match limit {
        Some(limit) => format!("{used}/{limit}"),
        None => used.to_string(),
    };
    let rows: Vec<[String; 5]> = budgets
        .iter()
        .map(|row| {
            [
                text::plain(&row.address),
                of(row.rate, row.rate_limit),
                of(row.in_flight, row.in_flight_limit),
                row.exhausted_in_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0} s")),
                row.refused.to_string(),
            ]
        })
        .collect();
    text::table(["BUDGET", "RATE", "FLIGHT", "SPENT IN", "REFUSED"], &rows)
}

fn prefix_rows(budget: &TopBudget) -> impl Iterator<Item = [String; 3]> + '_ {
    let row = |prefix: &crate::admin::view::top::TopPrefix| {
        [text::plain(&prefix.prefix), prefix.rate.to_string(), text::plain(&budget.address)]
    };
    budget.prefixes.iter().map(row)
}

fn milliseconds(time: Option<f64>) -> String {
    time.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}

/// As much of the page as the screen holds: a longer one would scroll, and what
/// is drawn over it next would leave its head behind.
fn cut(page: &str, lines: usize) -> String {
    let mut cut: String = page.lines().take(lines.saturating_sub(1)).flat_map(|line| [line, "\n"]).collect();
    if page.lines().count() >= lines {
        cut.push_str("...");
    }
    cut
}

fn lines() -> usize {
    terminal_size::terminal_size().map_or(LINES, |(_, height)| usize::from(height.0).max(5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::top::{TopPrefix, TopUpstream};

    fn top(at: u64, held: u64) -> Top {
        Top {
            at_milliseconds: at,
            outcomes: vec![OutcomeRow { outcome: "held".into(), queries: held }],
            upstreams: vec![TopUpstream {
                upstream: "192.0.2.1:53".into(),
                state: "down".into(),
                cause: "silence".into(),
                rtt_milliseconds: Some(1.25),
                resends: held / 100,
                ..TopUpstream::default()
            }],
            budgets: vec![TopBudget {
                address: "192.0.2.1:53".into(),
                rate: 700,
                rate_limit: Some(800),
                in_flight: 3,
                exhausted_in_seconds: Some(12.4),
                prefixes: vec![TopPrefix { prefix: "10.0.0.4/32".into(), rate: 690 }],
                ..TopBudget::default()
            }],
        }
    }

    #[test]
    fn a_page_tells_rates_upstreams_budgets_and_clients() {
        let page = render(&top(1000, 500), &top(3000, 1500));
        assert_eq!(
            page,
            "queries/s  500   held 500\n\n\
             UPSTREAM      STATE           RTT     P95  RESENDS  HEDGES  PROBES\n\
             192.0.2.1:53  down (silence)  1.2 ms  -    10       0       0/0\n\n\
             BUDGET        RATE     FLIGHT  SPENT IN  REFUSED\n\
             192.0.2.1:53  700/800  3       12 s      0\n\n\
             CLIENTS      RATE  UPSTREAM\n\
             10.0.0.4/32  690   192.0.2.1:53\n"
        );
    }

    #[test]
    fn a_daemon_that_was_started_anew_has_no_negative_rates() {
        assert!(render(&top(9000, 500), &top(100, 20)).starts_with("queries/s  0 "));
    }

    #[test]
    fn text_from_outside_cannot_draw() {
        let mut hostile = top(1000, 0);
        hostile.upstreams[0].upstream = "\u{1b}[2J".into();
        hostile.budgets[0].address = "\u{1b}]0;x\u{7}".into();
        hostile.budgets[0].prefixes[0].prefix = "\u{9b}H".into();
        hostile.outcomes[0].outcome = "\u{1b}c".into();
        let page = render(&hostile, &hostile);
        assert!(!page.contains(['\u{1b}', '\u{9b}', '\u{7}']), "{page:?}");
    }

    #[test]
    fn a_page_longer_than_the_screen_is_cut() {
        assert_eq!(cut("a\nb\n", 5), "a\nb\n");
        assert_eq!(cut("a\nb\nc\nd\n", 3), "a\nb\n...");
    }
}
