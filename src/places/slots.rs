//! Places for values, and names for them that are not used twice.

/// Values in places that are used again, the one freed last first.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    /// How often the place was given away; never 0.
    generation: u32,
    value: Option<T>,
}

/// The place that a token names. Tokens below [`FIRST`] name none.
#[inline]
pub const fn place(token: u64) -> u32 {
    token as u32
}

/// The smallest token: what lies below is free for other names.
pub const FIRST: u64 = 1 << 32;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slots<T> {
    /// Without any place.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts what `make` makes into a free place; its token, which `make` is told as well.
    pub fn insert(&mut self, make: impl FnOnce(u64) -> T) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            (self.slots.len() - 1) as u32
        });
        let Some(slot) = self.slots.get_mut(at as usize) else { return 0 };
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        let token = u64::from(slot.generation) << 32 | u64::from(at);
        slot.value = Some(make(token));
        token
    }

    /// What is there under that very name.
    #[inline]
    pub fn get(&mut self, token: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(place(token) as usize)?;
        slot.value.as_mut().filter(|_| u64::from(slot.generation) == token >> 32)
    }

    /// What is there under that very name, to be read.
    #[inline]
    pub fn peek(&self, token: u64) -> Option<&T> {
        let slot = self.slots.get(place(token) as usize)?;
        slot.value.as_ref().filter(|_| u64::from(slot.generation) == token >> 32)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes it out.
    pub fn remove(&mut self, token: u64) -> Option<T> {
        self.get(token)?;
        self.free.push(place(token));
        self.slots.get_mut(place(token) as usize)?.value.take()
    }

    /// The name of what lies in that place now.
    pub fn token(&self, place: u32) -> Option<u64> {
        let slot = self.slots.get(place as usize).filter(|slot| slot.value.is_some())?;
        Some(u64::from(slot.generation) << 32 | u64::from(place))
    }

    /// The names of all.
    pub fn tokens(&self) -> Vec<u64> {
        (0..self.slots.len() as u32).filter_map(|place| self.token(place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_names_are_not() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert(|token| (token, 'a')), slots.insert(|token| (token, 'b')));
        assert!(a >= FIRST && b >= FIRST && place(a) != place(b));
        assert_eq!(slots.get(a), Some(&mut (a, 'a')));
        assert_eq!((slots.peek(a), slots.len()), (Some(&(a, 'a')), 2));
        assert_eq!(slots.remove(a), Some((a, 'a')));
        assert_eq!((slots.remove(a), slots.token(place(a))), (None, None));
        let c = slots.insert(|token| (token, 'c'));
        assert!(place(c) == place(a) && c != a);
        assert_eq!(slots.get(a), None);
        assert_eq!(slots.peek(a), None);
        assert_eq!(slots.get(c), Some(&mut (c, 'c')));
        assert_eq!(slots.token(place(c)), Some(c));
        assert_eq!(slots.tokens(), [c, b]);
    }

    #[test]
    fn a_generation_that_comes_around_is_no_token_of_another_kind() {
        let mut slots = Slots::new();
        let first = slots.insert(|_| ());
        slots.remove(first);
        slots.slots[0].generation = u32::MAX;
        assert!(slots.insert(|_| ()) >= FIRST);
    }
}
