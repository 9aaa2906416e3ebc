//! The tree of a group, as Scribe builds it: a join travels towards the group's address, and the first node on its way takes
//! the joiner as a child, ends the join, and joins in its turn. The owner of the address becomes the root.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use neblo_behaviour::{Ask, Delivery, Failure, Handle, OverlayAddr, Passage, Responder, Transit};
use tokio::sync::mpsc;

use crate::group::Group;
use crate::wire::{DOWN, Down, Item, JOINS, Join, ROOT, encode};

/// Groups that one node takes part in; joins to further ones go on past it. choice
const MAX_GROUPS: usize = 1_000;
/// Messages that wait for the program.
const WAITING: usize = 1_024;
/// How long who publishes tries to reach a root.
const PUBLISH_WITHIN: Duration = Duration::from_secs(20);
/// A joining that was not renewed so often is forgotten.
const MISSED: u32 = 3;

/// A message for the program: which group's, and what it says.
pub(crate) type Delivered = (OverlayAddr, Item);

/// One node's part of all trees.
#[derive(Debug)]
pub(crate) struct Tree {
    renew_every: Duration,
    me: Mutex<Option<OverlayAddr>>,
    groups: Mutex<BTreeMap<OverlayAddr, Group>>,
    delivered: mpsc::Sender<Delivered>,
    /// Messages sent to children or parents.
    sent: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a group's root is: nobody but the ring knows which node that is.
pub(crate) fn address_of(group: &str) -> OverlayAddr {
    OverlayAddr::hash(&[b"multicast group", group.as_bytes()])
}

impl Tree {
    /// Lets a node take part in trees, its own groups' and others'. Call it before the node subscribes. The messages of the
    /// groups that it is a member of come out of what is returned.
    pub(crate) async fn install(
        handle: &Handle,
        renew_every: Duration,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Delivered>)> {
        let (delivered, messages) = mpsc::channel(WAITING);
        let tree = Arc::new(Self {
            renew_every,
            me: Mutex::default(),
            groups: Mutex::default(),
            delivered,
            sent: AtomicU64::new(0),
        });
        let this = tree.clone();
        handle.set_message_forwarder(JOINS, move |node: &Handle, join: Transit| this.join_passes(node, join)).await?;
        let this = tree.clone();
        let receiver = move |node: &Handle, join: Delivery| {
            this.join_ends(node, join.to, &join.payload, true);
        };
        handle.set_message_receiver(JOINS, receiver).await?;
        let this = tree.clone();
        handle.set_message_receiver(DOWN, move |node: &Handle, down: Delivery| this.came_down(node, &down)).await?;
        let this = tree.clone();
        let receiver =
            move |node: &Handle, ask: Ask, responder: Responder| responder.respond(this.published(node, &ask));
        handle.set_request_receiver(ROOT, receiver).await?;
        let this = Arc::downgrade(&tree);
        let node = handle.clone();
        tokio::spawn(async move {
            while let (Some(tree), Ok(me)) = (this.upgrade(), node.address().await) {
                *lock(&tree.me) = me;
                tree.renew(&node);
                let wait = tree.renew_every;
                drop(tree);
                tokio::time::sleep(wait).await;
            }
        });
        Ok((tree, messages))
    }

    fn me(&self) -> Option<OverlayAddr> {
        *lock(&self.me)
    }

    /// A join passes on its way to the group's address: it ends here, and this node joins in its turn.
    fn join_passes(&self, node: &Handle, join: Transit) -> Passage {
        if self.join_ends(node, join.to, &join.payload, false) {
            Passage::Suppress
        } else {
            // Whoever comes next on its way may have a place.
            Passage::Forward(join.payload)
        }
    }

    /// A join ends here, on its way, or at the root, which owns the group's address. False if there is no place for it.
    fn join_ends(&self, node: &Handle, group: OverlayAddr, join: &[u8], root: bool) -> bool {
        let (Ok(Join { child, has, leaves }), Some(me)) = (serde_json::from_slice(join), self.me()) else {
            return false;
        };
        let child = OverlayAddr::from(child);
        if child == me {
            return true; // The root's own.
        }
        if leaves {
            self.child_leaves(node, group, child);
            return true;
        }
        let mut groups = lock(&self.groups);
        if groups.len() >= MAX_GROUPS && !groups.contains_key(&group) {
            return false;
        }
        let state = groups.entry(group).or_default();
        let newcomer = !state.in_tree();
        // A new root learns from its children what the old one has sent.
        let unseen = if root { state.unseen(&has) } else { Vec::new() };
        if !state.add_child(child, has, Instant::now()) {
            return false;
        }
        let missed = state.lacked_by(child);
        let own = newcomer.then(|| state.has());
        drop(groups);
        if let Some(has) = own {
            self.join(node, group, me, has);
        }
        for item in missed {
            self.send(node, child, &Down::Item { group: group.into(), item });
        }
        if !unseen.is_empty() {
            self.send(node, child, &Down::Want { group: group.into(), parent: me.into(), ids: unseen });
        }
        true
    }

    fn join(&self, node: &Handle, group: OverlayAddr, me: OverlayAddr, has: Vec<u64>) {
        // One that is lost is made good by the next.
        let _lost = node.try_send(1, JOINS, group, encode(&Join { child: me.into(), has, leaves: false }));
    }

    /// A child leaves, and this node with it if it passed messages on for that child alone.
    fn child_leaves(&self, node: &Handle, group: OverlayAddr, child: OverlayAddr) {
        if lock(&self.groups).get_mut(&group).is_some_and(|state| state.remove_child(child)) {
            self.leave_if_alone(node, group);
        }
    }

    fn leave_if_alone(&self, node: &Handle, group: OverlayAddr) {
        let alone = lock(&self.groups).get(&group).is_some_and(|state| !state.in_tree());
        if let Some(me) = self.me().filter(|_| alone) {
            // If it is lost, the parent forgets this node when it does not renew its joining.
            let _lost =
                node.try_send(1, JOINS, group, encode(&Join { child: me.into(), has: Vec::new(), leaves: true }));
        }
    }

    fn send(&self, node: &Handle, to: OverlayAddr, down: &Down) {
        if node.try_send(1, DOWN, to, encode(down)).is_ok() {
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A message comes from the parent, or a parent wants one that it lacks.
    fn came_down(&self, node: &Handle, down: &Delivery) {
        if self.me() != Some(down.to) {
            return; // It was for somebody who has died, and whose addresses are ours now.
        }
        match serde_json::from_slice(&down.payload) {
            Ok(Down::Item { group, item }) => {
                self.spread(node, group.into(), item);
            }
            Ok(Down::Want { group, parent, ids }) => {
                let wanted = lock(&self.groups).get(&group.into()).map(|state| state.wanted(&ids)).unwrap_or_default();
                for item in wanted {
                    self.send(node, parent.into(), &Down::Item { group, item });
                }
            }
            Err(_) => {}
        }
    }

    /// As the root: somebody publishes.
    fn published(&self, node: &Handle, ask: &Ask) -> Option<Vec<u8>> {
        let item = serde_json::from_slice(&ask.payload).ok()?;
        self.spread(node, ask.to, item);
        Some(Vec::new())
    }

    /// Keeps a message that is new, and sends it on to the children.
    fn spread(&self, node: &Handle, group: OverlayAddr, item: Item) {
        let mut groups = lock(&self.groups);
        if groups.len() >= MAX_GROUPS && !groups.contains_key(&group) {
            return;
        }
        let state = groups.entry(group).or_default();
        if !state.take(&item, Instant::now()) {
            return;
        }
        let (children, member) = (state.lack(item.id), state.member);
        drop(groups);
        for child in children {
            self.send(node, child, &Down::Item { group: group.into(), item: item.clone() });
        }
        if member {
            // Who does not take its messages loses them.
            let _lost = self.delivered.try_send((group, item));
        }
    }

    /// Joins again wherever this node has children or is a member, and forgets children that do not.
    fn renew(&self, node: &Handle) {
        let Some(me) = self.me() else { return };
        let mut joins = Vec::new();
        let now = Instant::now();
        lock(&self.groups).retain(|group, state| {
            state.expire(now, self.renew_every * MISSED);
            if state.in_tree() {
                joins.push((*group, state.has()));
            }
            state.is_kept(now)
        });
        for (group, has) in joins {
            self.join(node, group, me, has);
        }
    }

    /// Becomes a member of a group.
    pub(crate) fn enter(&self, node: &Handle, group: OverlayAddr) {
        lock(&self.groups).entry(group).or_default().member = true;
        self.renew(node);
    }

    /// Is no member any more.
    pub(crate) fn leave(&self, node: &Handle, group: OverlayAddr) {
        if let Some(state) = lock(&self.groups).get_mut(&group) {
            state.member = false;
        }
        self.leave_if_alone(node, group);
    }

    /// The children of this node, and its own address: an edge of the tree each.
    pub(crate) fn children(&self, group: OverlayAddr) -> (Option<OverlayAddr>, Vec<OverlayAddr>) {
        (self.me(), lock(&self.groups).get(&group).map(Group::children).unwrap_or_default())
    }

    /// Messages sent to children and parents, and messages that came more than once.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let repeated = lock(&self.groups).values().map(|state| state.repeated).sum();
        (self.sent.load(Ordering::Relaxed), repeated)
    }
}

/// Publishes a message: done when a root has it. The publisher need not be a member.
pub(crate) async fn publish(handle: &Handle, group: OverlayAddr, item: &Item) -> Result<()> {
    let start = Instant::now();
    loop {
        let response = handle.request(1, ROOT, group, encode(item), Duration::from_secs(2)).await?;
        match response.wait().await {
            Ok(_) => return Ok(()),
            Err(Failure::Closed) => bail!(Failure::Closed),
            // The id makes a repetition harmless.
            Err(failure) if start.elapsed() > PUBLISH_WITHIN => bail!("nobody took the message: {failure}; try again"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
