//! One node's part of the tree of one group, without any sending.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use neblo_behaviour::OverlayAddr;

use crate::wire::{Id, Item};

/// The last messages, kept for children that missed some.
const RECENT: usize = 64;
/// The last ids, so that no message is delivered twice.
const SEEN: usize = 4_096;
/// How long a message is kept where nobody is in the tree yet: a new root has no children until the next joins reach it. choice
const KEPT: Duration = Duration::from_secs(60);
/// Children of one node; the joins of further ones go on past it. choice
const MAX_CHILDREN: usize = 256;

#[derive(Debug)]
struct Child {
    renewed: Instant,
    /// What it has, as far as is known here.
    has: Vec<Id>,
}

/// A node's part of a group's tree.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Whether this node wants the messages itself, and does not only pass them on.
    pub(crate) member: bool,
    children: BTreeMap<OverlayAddr, Child>,
    recent: VecDeque<Item>,
    /// When the last message came.
    newest: Option<Instant>,
    seen: VecDeque<Id>,
    /// Messages that came once more.
    pub(crate) repeated: u64,
}

impl Group {
    /// Whether this node is in the tree.
    pub(crate) fn in_tree(&self) -> bool {
        self.member || !self.children.is_empty()
    }

    /// Whether this node has to remember anything of the group.
    pub(crate) fn is_kept(&self, now: Instant) -> bool {
        self.in_tree() || self.newest.is_some_and(|newest| now.duration_since(newest) <= KEPT)
    }

    /// A child joins, or renews its joining. False if there is no place for it.
    pub(crate) fn add_child(&mut self, child: OverlayAddr, has: Vec<Id>, now: Instant) -> bool {
        if self.children.len() >= MAX_CHILDREN && !self.children.contains_key(&child) {
            return false;
        }
        self.children.insert(child, Child { renewed: now, has });
        true
    }

    /// A child leaves; false if it was none.
    pub(crate) fn remove_child(&mut self, child: OverlayAddr) -> bool {
        self.children.remove(&child).is_some()
    }

    /// Forgets children that have not renewed their joining for so long.
    pub(crate) fn expire(&mut self, now: Instant, after: Duration) {
        self.children.retain(|_, child| now.duration_since(child.renewed) <= after);
    }

    pub(crate) fn children(&self) -> Vec<OverlayAddr> {
        self.children.keys().copied().collect()
    }

    /// The ids of the last messages.
    pub(crate) fn has(&self) -> Vec<Id> {
        self.recent.iter().map(|item| item.id).collect()
    }

    /// The children who lack a message, as far as is known; they count as having it from now on.
    pub(crate) fn lack(&mut self, id: Id) -> Vec<OverlayAddr> {
        let lacking = self.children.iter_mut().filter(|(_, child)| !child.has.contains(&id));
        let lacking = lacking.map(|(address, child)| {
            child.has.push(id);
            *address
        });
        lacking.collect()
    }

    /// The last messages that a child lacks; they count as had by it from now on.
    pub(crate) fn lacked_by(&mut self, child: OverlayAddr) -> Vec<Item> {
        let Some(child) = self.children.get_mut(&child) else { return Vec::new() };
        let items: Vec<Item> = self.recent.iter().filter(|item| !child.has.contains(&item.id)).cloned().collect();
        child.has.extend(items.iter().map(|item| item.id));
        items
    }

    /// The last messages that are among these.
    pub(crate) fn wanted(&self, ids: &[Id]) -> Vec<Item> {
        self.recent.iter().filter(|item| ids.contains(&item.id)).cloned().collect()
    }

    /// Which of these never came here.
    pub(crate) fn unseen(&self, ids: &[Id]) -> Vec<Id> {
        ids.iter().copied().filter(|id| !self.seen.contains(id)).collect()
    }

    /// A message comes; false if it came before.
    pub(crate) fn take(&mut self, item: &Item, now: Instant) -> bool {
        if self.seen.contains(&item.id) {
            self.repeated += 1;
            return false;
        }
        push(&mut self.seen, item.id, SEEN);
        push(&mut self.recent, item.clone(), RECENT);
        self.newest = Some(now);
        true
    }
}

fn push<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_once_and_a_child_that_does_not_renew_is_forgotten() {
        let mut group = Group::default();
        let item = |id| Item { id, text: "hello".into() };
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        assert!(!group.is_kept(start));
        assert!(group.take(&item(1), start) && group.take(&item(2), start) && !group.take(&item(1), start));
        assert_eq!((group.unseen(&[2, 3]), group.wanted(&[2, 3])), (vec![3], vec![item(2)]));
        // A root that has no children yet keeps them for those that come.
        assert!(!group.in_tree() && group.is_kept(start + KEPT) && !group.is_kept(start + KEPT + second));

        assert!(group.add_child(OverlayAddr(1), vec![1, 2], start));
        assert!(group.add_child(OverlayAddr(2), vec![1], start + second));
        assert_eq!((group.lacked_by(OverlayAddr(2)), group.lacked_by(OverlayAddr(2))), (vec![item(2)], vec![]));
        assert_eq!((group.lack(9).len(), group.lack(9).len()), (2, 0));
        group.expire(start + 2 * second, second);
        assert_eq!(group.children(), [OverlayAddr(2)]);
        assert!(group.in_tree());
        group.expire(start + 3 * second, second);
        assert!(!group.in_tree());
        for id in 3..=SEEN as u64 + 10 {
            assert!(group.take(&item(id), start));
        }
        assert_eq!((group.recent.len(), group.seen.len()), (RECENT, SEEN));
    }
}
