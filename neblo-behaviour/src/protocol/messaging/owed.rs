//! Requests that were delivered here and whose answer is owed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::calendar::Calendar;
use super::{Back, MessagingCtx, MessagingTimer};
use crate::protocol::io::{Peer, Time};
use crate::protocol::shares::Shares;

/// Requests delivered here whose answer is still owed. When there are more, the neighbour that brought most of them gives
/// one up for another's, which ends as overloaded; a further one of that neighbour itself is refused. choice
const MAX_OWED: usize = 1_024;
/// They are forgotten once their asker waits no longer, together, one timer a bucket (design: timers).
const BUCKET: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub(super) struct OwedTable<P> {
    rows: BTreeMap<u64, (Back<P>, Time)>,
    calendar: Calendar,
    shares: Shares<Option<P>>,
}

impl<P: Peer> Default for OwedTable<P> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), calendar: Calendar::new(BUCKET), shares: Shares::default() }
    }
}

/// There is no place for a request; where its refusal goes.
pub(super) struct Full<P>(pub(super) Back<P>);

impl<P: Peer> OwedTable<P> {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Notes that an answer is owed until `until`, under the name `ask`. When the table is full, either this request has to
    /// go or another, which is returned.
    pub(super) fn add(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        ask: u64,
        back: Back<P>,
        until: Time,
    ) -> Result<Option<Back<P>>, Full<P>> {
        let mut gone = None;
        if self.rows.len() >= MAX_OWED {
            let Some(holder) = self.shares.gives_way(back.peer()) else { return Err(Full(back)) };
            // The newest: the older ones have waited and are nearer to their answer.
            let newest = self.rows.iter().rev().find(|(_, (other, _))| other.peer() == holder).map(|(ask, _)| *ask);
            gone = newest.and_then(|newest| self.take(newest));
        }
        self.shares.add(back.peer());
        if let Some((after, bucket)) = self.calendar.add(ctx.now, until, ask) {
            ctx.out.arm(after, MessagingTimer::Owed(bucket));
        }
        self.rows.insert(ask, (back, until));
        Ok(gone)
    }

    /// Takes the place where the answer to `ask` goes.
    pub(super) fn take(&mut self, ask: u64) -> Option<Back<P>> {
        let (back, until) = self.rows.remove(&ask)?;
        self.calendar.remove(until, ask);
        self.shares.remove(back.peer());
        Some(back)
    }

    /// Forgets what nobody waits for any more.
    pub(super) fn expire(&mut self, bucket: u64) {
        for ask in self.calendar.expire(bucket) {
            self.take(ask);
        }
    }
}
