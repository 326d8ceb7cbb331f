//! Ready records of one section, in the pieces in which they are kept: most
//! of their bytes are the same for very many names, and only a label and the
//! last record's data are one name's own.
//!
//! ```text
//!  shared  c0 0c  CNAME fixed fields  ·······  privatelink c0 13  c0 28  A fixed fields
//!  label                              7 r e g 1 2 3
//!  own                                                                                  10.0.0.1
//! ```

/// Where in `shared` the label stands: behind a pointer and the fixed fields
/// of the first record.
pub const LABEL_AT: usize = 12;

/// Records with a label or bytes of their own are at most this long.
pub const MAX_IN_PIECES: usize = 512;

/// Ready records of one section.
#[derive(Clone, Copy, Debug, Default)]
pub struct Body<'r> {
    /// The records but for what follows.
    pub shared: &'r [u8],
    /// What stands in place of as many bytes of `shared`, from [`LABEL_AT`] on.
    pub label: &'r [u8],
    /// What stands behind `shared`.
    pub own: &'r [u8],
    /// How many records there are.
    pub count: u16,
}

impl<'r> Body<'r> {
    /// `count` records in one piece.
    pub const fn whole(bytes: &'r [u8], count: u16) -> Self {
        Self { shared: bytes, label: &[], own: &[], count }
    }

    /// How long the records are, in bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.shared.len() + self.own.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the records to `place`, which is as long; `None` where it is not.
    #[expect(clippy::inline_always, reason = "a few wide stores: a call costs as much")]
    #[inline(always)]
    pub fn write(&self, place: &mut [u8]) -> Option<()> {
        let (shared, own) = place.split_at_mut_checked(self.shared.len())?;
        copy(shared, self.shared);
        if !self.label.is_empty() {
            copy_label(shared.get_mut(LABEL_AT..LABEL_AT + self.label.len())?, self.label);
        }
        // An IPv4 address, which most answers end in.
        if let (Ok(to), Ok(from)) = (<&mut [u8; 4]>::try_from(&mut *own), <&[u8; 4]>::try_from(self.own)) {
            *to = *from;
        } else if !self.own.is_empty() {
            copy(own, self.own);
        }
        Some(())
    }

    /// The records in one piece; in `room`, if they are not yet.
    pub fn joined<'j>(&self, room: &'j mut [u8; MAX_IN_PIECES]) -> &'j [u8]
    where
        'r: 'j,
    {
        if self.label.is_empty() && self.own.is_empty() {
            return self.shared;
        }
        let Some(place) = room.get_mut(..self.len()) else { return &[] };
        if self.write(place).is_some() { place } else { &[] }
    }
}

/// Copies `from` to `place`, which is as long. Few records are longer than
/// four words of a vector: those are moved where they are, the last ones
/// overlapping the first, without the call and the registers that it costs.
#[expect(clippy::inline_always, reason = "there to save a call")]
#[inline(always)]
fn copy(place: &mut [u8], from: &[u8]) {
    if place.len() != from.len() {
        return;
    }
    match from.len() {
        32..=64 => copy_ends::<32, 32>(place, from),
        16..32 => copy_ends::<16, 16>(place, from),
        8..16 => copy_ends::<8, 8>(place, from),
        _ => place.copy_from_slice(from),
    }
}

/// [`copy`] of a label, which is seldom longer than two words.
#[expect(clippy::inline_always, reason = "as for `copy`")]
#[inline(always)]
fn copy_label(place: &mut [u8], from: &[u8]) {
    if place.len() != from.len() {
        return;
    }
    // Compared in this order, a length takes four instructions at most.
    if from.len() >= 8 {
        if from.len() <= 16 {
            copy_ends::<8, 8>(place, from);
        } else {
            place.copy_from_slice(from);
        }
    } else if from.len() >= 4 {
        copy_ends::<4, 4>(place, from);
    } else {
        place.copy_from_slice(from);
    }
}

/// Copies the first `N` and the last `M` bytes.
#[expect(clippy::inline_always, reason = "as for `copy`")]
#[inline(always)]
pub(super) fn copy_ends<const N: usize, const M: usize>(place: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(first)) = (place.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *first;
    }
    if let (Some(to), Some(last)) = (place.last_chunk_mut::<M>(), from.last_chunk::<M>()) {
        *to = *last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_together_at_every_length() {
        let bytes: Vec<u8> = (0..255).collect();
        for shared in 0..200 {
            for label in (0..=64).filter(|label| *label == 0 || LABEL_AT + label <= shared) {
                for own in [0, 1, 4, 7, 16, 40, 255] {
                    let body = Body {
                        shared: &bytes[..shared],
                        label: &bytes[100..100 + label],
                        own: &bytes[..own],
                        count: 1,
                    };
                    let mut expected = [body.shared, body.own].concat();
                    expected[..shared]
                        .iter_mut()
                        .skip(LABEL_AT)
                        .zip(body.label)
                        .for_each(|(to, from)| *to = *from);
                    assert_eq!(body.joined(&mut [0; MAX_IN_PIECES]), expected, "{shared} {label} {own}");
                    let mut short = vec![0; shared.saturating_sub(1)];
                    assert_eq!(body.write(&mut short).is_none(), shared > 0, "{shared} {label} {own}");
                }
            }
        }
    }
}
