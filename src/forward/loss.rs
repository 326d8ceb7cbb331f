//! How much of what is sent to an upstream is lost on the way, and how many
//! copies the last resend therefore goes out in.
//!
//! The only sure sign of a loss is a later query that is answered before an
//! earlier one for the same question. That the upstream is slow, or finds no
//! answer, or is dead, is none: there copies would only cost. Where a few
//! percent are lost one copy does; where a third is lost each way, half of all
//! queries bring nothing, and three in a row leave one question in seven
//! without an answer.

use std::ops::RangeInclusive;

/// One, as a share.
const WHOLE: u32 = 1 << 16;
/// An end counts for this part of the share: the first ones for more, so that a
/// path that loses much is known after ten questions instead of thirty.
const WEIGHTS: RangeInclusive<u32> = 16..=64;
/// From these shares on, so many copies, all of which are lost in some two
/// cases of a hundred.
const STEPS: [(u32, u8); 3] = [(percent(45), 6), (percent(30), 4), (percent(15), 2)];
/// What loses more than this is more likely not to be there, or to be asked
/// more than it takes.
const HOPELESS: u32 = percent(75);

const fn percent(percent: u32) -> u32 {
    WHOLE / 100 * percent
}

/// The share of queries that bring no response, both ways taken together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    share: u32,
    /// Ends so far, up to the last of [`WEIGHTS`].
    ends: u32,
}

impl Loss {
    /// A query was answered.
    pub(super) fn answered(&mut self) {
        // Rounded up, so that the share comes back to zero.
        self.share -= self.share.div_ceil(self.weight());
    }

    /// A query was lost.
    pub(super) fn lost(&mut self) {
        self.share += (WHOLE - self.share) / self.weight();
    }

    fn weight(&mut self) -> u32 {
        self.ends = (self.ends + 1).min(*WEIGHTS.end());
        self.ends.max(*WEIGHTS.start())
    }

    /// In how many copies the last resend goes out.
    pub(super) fn copies(self) -> u8 {
        if self.share > HOPELESS {
            return 1;
        }
        STEPS.iter().find(|(from, _)| self.share >= *from).map_or(1, |(_, copies)| *copies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After many ends of which `percent` in a hundred are losses, evenly spread.
    fn copies(percent: u32) -> u8 {
        let mut loss = Loss::default();
        for i in 0..10_000 {
            if i * 37 % 100 < percent { loss.lost() } else { loss.answered() }
        }
        loss.copies()
    }

    #[test]
    fn copies_follow_the_loss() {
        let shares = [0, 5, 10, 20, 25, 36, 40, 51, 65, 85, 100];
        assert_eq!(shares.map(copies), [1, 1, 1, 2, 2, 4, 4, 6, 6, 1, 1]);
    }

    #[test]
    fn a_path_that_loses_half_is_known_soon() {
        let mut loss = Loss::default();
        for _ in 0..12 {
            loss.lost();
            loss.answered();
        }
        assert_eq!(loss.copies(), 4);
        // One or two that are lost early are nothing yet.
        let mut loss = Loss::default();
        (0..2).for_each(|_| loss.lost());
        assert_eq!(loss.copies(), 1);
    }

    #[test]
    fn a_loss_is_forgotten() {
        let mut loss = Loss::default();
        (0..100).for_each(|_| loss.lost());
        (0..10_000).for_each(|_| loss.answered());
        assert_eq!((loss.share, loss.copies()), (0, 1));
        loss.answered();
        assert_eq!(loss.share, 0);
    }
}
