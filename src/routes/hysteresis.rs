//! Two in a row: one lost segment makes no endpoint fail, and one good check
//! in the middle of an outage makes none good.

/// How many equal results in a row change the state.
const IN_A_ROW: u32 = 2;

/// What is held of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Why it counts as failed; `None` while it counts as good.
    pub(super) problem: Option<String>,
    /// Results in a row that speak against the state.
    against: u32,
}

impl Held {
    /// Takes one result: whether the state flips.
    pub(super) fn take(&mut self, result: Option<String>) -> bool {
        if result.is_some() == self.problem.is_some() {
            // The reason may have become another: the newest is told.
            self.problem = result;
            self.against = 0;
            return false;
        }
        self.against += 1;
        if self.against < IN_A_ROW {
            return false;
        }
        self.problem = result;
        self.against = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flips(results: &str) -> String {
        let mut held = Held::default();
        let take = |word| if held.take((word == 'x').then(|| "down".to_owned())) { '!' } else { '.' };
        results.chars().map(take).collect()
    }

    #[test]
    fn two_in_a_row_change_the_state_and_one_does_not() {
        assert_eq!(flips("oooo"), "....");
        assert_eq!(flips("oxoxox"), "......", "single failures change nothing");
        assert_eq!(flips("oxxoxoxoo"), "..!.....!");
        assert_eq!(flips("xx"), ".!", "a first failure is not believed either");
    }

    #[test]
    fn the_newest_reason_is_told() {
        let mut held = Held::default();
        held.take(Some("a".to_owned()));
        held.take(Some("b".to_owned()));
        held.take(Some("c".to_owned()));
        assert_eq!(held.problem.as_deref(), Some("c"));
    }
}
