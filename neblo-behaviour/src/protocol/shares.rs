//! Sharing a full table or queue among neighbours, so that a flood from one starves no other.

use std::collections::BTreeMap;

/// How many places each neighbour holds. When all are taken, the one that holds most gives way to one that holds less:
/// a neighbour alone may have them all, and a second one gets its half at once.
#[derive(Clone, Debug)]
pub(crate) struct Shares<K> {
    held: BTreeMap<K, usize>,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self { held: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Shares<K> {
    /// A place more for `holder`.
    pub(crate) fn add(&mut self, holder: K) {
        *self.held.entry(holder).or_insert(0) += 1;
    }

    /// A place less for `holder`.
    pub(crate) fn remove(&mut self, holder: K) {
        if let Some(count) = self.held.get_mut(&holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.held.remove(&holder);
            }
        }
    }

    /// The places of `holder`.
    pub(crate) fn of(&self, holder: K) -> usize {
        self.held.get(&holder).copied().unwrap_or(0)
    }

    /// Who gives a place up for `newcomer`; `None` if nobody holds more than it would then.
    pub(crate) fn gives_way(&self, newcomer: K) -> Option<K> {
        let (most, count) = self.held.iter().max_by_key(|(_, count)| **count)?;
        (*count > self.of(newcomer) + 1).then_some(*most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_most_gives_way_until_the_shares_are_even() {
        let mut shares = Shares::default();
        for _ in 0..8 {
            shares.add('a');
        }
        assert_eq!(shares.gives_way('a'), None);
        for _ in 0..4 {
            assert_eq!(shares.gives_way('b'), Some('a'));
            shares.remove('a');
            shares.add('b');
        }
        assert_eq!(shares.gives_way('b'), None);
        assert_eq!((shares.of('a'), shares.of('b')), (4, 4));
        for _ in 0..4 {
            shares.remove('a');
            shares.remove('b');
        }
        assert!(shares.held.is_empty());
    }
}
