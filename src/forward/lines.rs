//! When a question that has no answer is sent again.
//!
//! Two lines of queries run side by side: one begins with the first query, the
//! other with the hedge to the next upstream. Each is sent again twice, after
//! the time that its upstream is known to take and after twice that time, to an
//! upstream that was not asked yet or else to the one that the line began with.
//! A single line would come to four queries in all, of which one upstream gets
//! three: too few where a third of all packets is lost, and none too many where
//! the other one is dead.

use super::exchange::NEVER;
use super::peers::PeerId;

/// Resends of a line, each after twice the time of the one before.
pub(super) const RESENDS: u8 = 2;

/// Which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// That of the first query.
    First,
    /// That of the hedge.
    Hedge,
}

/// A line that is due to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Which.
    pub(super) line: Line,
    /// The upstream that it began with.
    pub(super) peer: PeerId,
    /// Whether it is not sent again after that.
    pub(super) is_last: bool,
}

/// One line.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The upstream that it began with.
    peer: Option<PeerId>,
    /// How often it was sent again.
    resends: u8,
    /// When it is sent again.
    at: u64,
}

impl Run {
    const NONE: Self = Self { peer: None, resends: 0, at: NEVER };
}

/// The lines of one ask. Times are milliseconds on the engine's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    first: Run,
    hedge: Run,
}

impl Lines {
    /// Nothing was sent yet.
    pub(super) const NONE: Self = Self { first: Run::NONE, hedge: Run::NONE };

    const fn run(&mut self, line: Line) -> &mut Run {
        match line {
            Line::First => &mut self.first,
            Line::Hedge => &mut self.hedge,
        }
    }

    /// The line in which `peer` is asked once more for another reason than time.
    pub(super) fn of(&self, peer: PeerId) -> Line {
        if self.hedge.peer == Some(peer) { Line::Hedge } else { Line::First }
    }

    /// When something is sent again, at the earliest.
    pub(super) fn due(&self) -> u64 {
        self.first.at.min(self.hedge.at)
    }

    /// A line that is due, which counts as sent again.
    pub(super) fn take(&mut self, now: u64) -> Option<Due> {
        let line = if self.first.at <= now { Line::First } else { Line::Hedge };
        let run = self.run(line);
        if run.at > now {
            return None;
        }
        run.at = NEVER;
        run.resends += 1;
        Some(Due { line, peer: run.peer?, is_last: run.resends >= RESENDS })
    }

    /// The line goes on, or begins, with a query to `peer`, whose response takes
    /// up to `wait`; `None` if nothing is ever sent again.
    pub(super) fn sent(&mut self, line: Line, peer: PeerId, again: bool, now: u64, wait: Option<u64>) {
        let run = self.run(line);
        if !again || run.peer.is_none() {
            run.peer = Some(peer);
        }
        let wait = wait.filter(|_| run.resends < RESENDS);
        run.at = wait.map_or(NEVER, |wait| now.saturating_add(wait << run.resends));
    }

    /// `peer` has spoken, or is not there: it gets no more.
    pub(super) fn over(&mut self, peer: PeerId) {
        for run in [&mut self.first, &mut self.hedge] {
            if run.peer == Some(peer) {
                run.at = NEVER;
            }
        }
    }

    /// Nothing is sent again.
    pub(super) const fn stop(&mut self) {
        (self.first.at, self.hedge.at) = (NEVER, NEVER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId(1);
    const B: PeerId = PeerId(2);

    /// All resends of a question that nobody answers: when, and to whom; each
    /// upstream answers within `waits`.
    fn resends(hedge_at: u64, waits: [u64; 2]) -> Vec<(u64, PeerId)> {
        let [first, second] = waits;
        let mut lines = Lines::NONE;
        lines.sent(Line::First, A, false, 0, Some(first));
        let (mut sent, mut hedged) = (Vec::new(), false);
        for now in 0..10_000 {
            if now == hedge_at && !hedged {
                hedged = true;
                lines.sent(Line::Hedge, B, false, now, Some(second));
            }
            while let Some(Due { line, peer, is_last }) = lines.take(now) {
                let before = sent.iter().filter(|(_, other)| *other == peer).count();
                assert_eq!(is_last, before == 1);
                sent.push((now, peer));
                let wait = if peer == A { first } else { second };
                lines.sent(line, peer, true, now, Some(wait));
            }
        }
        sent
    }

    #[test]
    fn each_upstream_gets_two_resends_after_its_own_time_and_twice_that() {
        assert_eq!(resends(60, [80, 100]), [(80, A), (160, B), (240, A), (360, B)]);
        assert_eq!(resends(80, [80, 80]), [(80, A), (160, B), (240, A), (320, B)]);
        assert_eq!(resends(NEVER, [80, 80]), [(80, A), (240, A)]);
    }

    #[test]
    fn who_has_spoken_gets_no_more() {
        let mut lines = Lines::NONE;
        lines.sent(Line::First, A, false, 0, Some(10));
        lines.sent(Line::Hedge, B, false, 0, Some(20));
        lines.over(A);
        assert_eq!(lines.due(), 20);
        assert_eq!((lines.of(A), lines.of(B)), (Line::First, Line::Hedge));
        lines.stop();
        assert_eq!((lines.due(), lines.take(100)), (NEVER, None));
    }

    #[test]
    fn nothing_is_sent_again_where_that_is_switched_off() {
        let mut lines = Lines::NONE;
        lines.sent(Line::First, A, false, 0, None);
        assert_eq!((lines.due(), lines.take(NEVER - 1)), (NEVER, None));
    }
}
