//! Which upstream of a group is asked next.
//!
//! One at a time: whom to ask second is decided when it is needed, by what is
//! known then. Upstreams that are down are passed over while another one is
//! not; when all are down all are asked, since nothing is lost by that. One on
//! trial gets its one query a second first, so that its return does not wait
//! for the others to fail.

use std::time::Duration;

use super::health::State;
pub use crate::config::Policy;

/// Most upstreams of a group that are told apart.
pub const MOST: usize = 64;
/// One choice of so many under `fastest` goes to another than the fastest, so
/// that one which has become faster is found.
const EXPLORE: u32 = 32;

/// What a choice needs to know of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whether it answers.
    pub state: State,
    /// Its smoothed round trip time; `None` while unknown.
    pub rtt: Option<Duration>,
    /// Whether it is on trial and may have a client's query now.
    pub may_try: bool,
}

impl Candidate {
    /// One that is not asked.
    pub const DOWN: Self = Self { state: State::Down, rtt: None, may_try: false };
}

/// Chooses among `candidates`, of which those whose bit is set in `asked` were
/// asked for this question. `turn` counts the questions of the group, `random`
/// is anything. `None` if none is left that is worth asking: who failed is then
/// asked again, or not at all.
pub fn choose(
    policy: Policy,
    candidates: impl ExactSizeIterator<Item = Candidate> + Clone,
    asked: u64,
    turn: u32,
    random: u32,
) -> Option<usize> {
    let count = candidates.len().min(MOST);
    let all = candidates.enumerate().take(count);
    let any_up = all.clone().any(|(_, candidate)| candidate.state == State::Up);
    let left = all.filter(|(at, _)| asked & (1 << at) == 0);
    let trial = left.clone().find(|(_, candidate)| candidate.may_try);
    if let Some((at, _)) = trial {
        return Some(at);
    }
    let worth = left.filter(|(_, candidate)| !any_up || candidate.state == State::Up);
    // On trial goes before down, where there is nothing better.
    let rank = |candidate: &Candidate| u8::from(candidate.state == State::Down);
    let chosen = match policy {
        Policy::Sequential => worth.min_by_key(|(at, candidate)| (rank(candidate), *at)),
        Policy::RoundRobin => {
            let first = turn as usize % count.max(1);
            worth.min_by_key(|(at, candidate)| (rank(candidate), (at + count - first) % count))
        }
        Policy::Fastest if asked == 0 && random.is_multiple_of(EXPLORE) => {
            let first = (random / EXPLORE) as usize % count.max(1);
            worth.min_by_key(|(at, candidate)| (rank(candidate), (at + count - first) % count))
        }
        // One that was never asked is the fastest until it has shown that it is not.
        Policy::Fastest => worth.min_by_key(|(at, candidate)| (rank(candidate), candidate.rtt, *at)),
    };
    chosen.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_EXPLORING: u32 = 1;

    fn candidate(state: State, ms: Option<u64>) -> Candidate {
        Candidate { state, rtt: ms.map(Duration::from_millis), may_try: false }
    }

    /// The whole order in which a group is asked.
    fn order(policy: Policy, all: &[Candidate], turn: u32, random: u32) -> Vec<usize> {
        let (mut asked, mut order) = (0, Vec::new());
        while let Some(at) = choose(policy, all.iter().copied(), asked, turn, random) {
            asked |= 1 << at;
            order.push(at);
        }
        order
    }

    #[test]
    fn each_policy_has_its_order() {
        let all = [Some(30), Some(10), None, Some(20)].map(|ms| candidate(State::Up, ms));
        assert_eq!(order(Policy::Sequential, &all, 7, NO_EXPLORING), [0, 1, 2, 3]);
        assert_eq!(order(Policy::Fastest, &all, 7, NO_EXPLORING), [2, 1, 3, 0], "the unknown one first");
        assert_eq!(order(Policy::RoundRobin, &all, 2, NO_EXPLORING), [2, 3, 0, 1]);
        assert_eq!(order(Policy::RoundRobin, &all, 3, NO_EXPLORING), [3, 0, 1, 2]);
        assert_eq!(order(Policy::RoundRobin, &[], 3, NO_EXPLORING), [0; 0]);
    }

    #[test]
    fn those_that_are_down_are_passed_over_unless_all_are() {
        let down = candidate(State::Down, Some(1));
        let up = candidate(State::Up, Some(50));
        let trial = candidate(State::Trial, Some(70));
        for policy in [Policy::Sequential, Policy::Fastest, Policy::RoundRobin] {
            assert_eq!(order(policy, &[down, up, trial], 0, NO_EXPLORING), [1]);
            assert_eq!(order(policy, &[down, down, trial], 0, NO_EXPLORING), [2, 0, 1]);
            assert_eq!(order(policy, &[down, down], 0, NO_EXPLORING), [0, 1]);
        }
    }

    #[test]
    fn one_on_trial_goes_first_when_it_may() {
        let trial = Candidate { may_try: true, ..candidate(State::Trial, Some(70)) };
        let up = candidate(State::Up, Some(50));
        assert_eq!(order(Policy::Sequential, &[up, trial], 0, NO_EXPLORING), [1, 0]);
    }

    #[test]
    fn the_fastest_is_doubted_now_and_then() {
        let all = [candidate(State::Up, Some(1)), candidate(State::Up, Some(50))];
        let first = |random| choose(Policy::Fastest, all.iter().copied(), 0, 0, random);
        let others = (0..6400).filter(|random| first(*random) == Some(1)).count();
        // Half of a thirty-second: the draw may fall on the fastest as well.
        assert_eq!(others, 100);
        // What is asked second is no experiment.
        assert_eq!(choose(Policy::Fastest, all.iter().copied(), 0b10, 0, 0), Some(0));
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let state = prop::sample::select(vec![State::Up, State::Trial, State::Down]);
        (state, prop::option::of(0u64..100), any::<bool>()).prop_map(|(state, ms, may)| Candidate {
            may_try: may && state == State::Trial,
            ..candidate(state, ms)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nobody_is_asked_twice_and_never_nobody(
            all in prop::collection::vec(any_candidate(), 1..80),
            turn in any::<u32>(),
            random in any::<u32>(),
        ) {
            for policy in [Policy::Sequential, Policy::Fastest, Policy::RoundRobin] {
                let order = order(policy, &all, turn, random);
                let seen: std::collections::BTreeSet<_> = order.iter().collect();
                prop_assert_eq!(seen.len(), order.len());
                prop_assert!(!order.is_empty());
                let told = &all[..all.len().min(MOST)];
                let up = told.iter().filter(|c| c.state == State::Up).count();
                let trials = told.iter().filter(|c| c.may_try).count();
                let expected = if up == 0 { told.len() } else { up + trials };
                prop_assert_eq!(order.len(), expected);
            }
        }
    }
}
