//! Paths that may be repaired without their owner (design D11): what the leader keeps to tell a relay of a path from anyone
//! else, and what moves to the new end.

use super::copying::Key;
use super::*;
use crate::protocol::codec::List;
use crate::protocol::errand::{MAX_CHECKS, Resume, Vouch};

/// Paths vouched for that are kept; further ones cannot be repaired by their relays. choice
pub(super) const MAX_VOUCHED: usize = 8_192;
/// Repairs of one path: then its owner has to build it anew. choice: bounds what a relay can do that repairs it to itself
/// again and again
const MAX_RESUMES: u8 = 16;
/// How long a broken path may still be repaired, and its rows are kept for that. choice
pub(super) const BROKEN_FOR: Duration = Duration::from_secs(120);

/// A path that may be repaired.
#[derive(Debug)]
pub(super) struct Vouched {
    checks: Vec<[u8; 8]>,
    resumes: u8,
    /// When it broke.
    broken: Option<Time>,
}

impl Vouched {
    /// Of a leader.
    pub(super) fn copy<P: Peer>(copy: CopiedPath<P>) -> Self {
        Self { checks: copy.checks.into_inner(), resumes: copy.resumes, broken: None }
    }
}

/// All of them, by their present end.
#[derive(Debug)]
pub(super) struct VouchedPaths<P> {
    paths: BTreeMap<End<P>, Vouched>,
    by_check: BTreeMap<[u8; 8], End<P>>,
}

impl<P> Default for VouchedPaths<P> {
    fn default() -> Self {
        Self { paths: BTreeMap::new(), by_check: BTreeMap::new() }
    }
}

impl<P: Peer> VouchedPaths<P> {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn broken(&mut self, now: Time, end: End<P>) {
        if let Some(path) = self.paths.get_mut(&end) {
            path.broken = Some(now);
        }
    }

    pub(super) fn remove(&mut self, end: End<P>) -> Option<Vouched> {
        let path = self.paths.remove(&end)?;
        for check in &path.checks {
            self.by_check.remove(check);
        }
        Some(path)
    }

    /// The ends of all paths vouched for.
    pub(super) fn ends(&self) -> impl Iterator<Item = End<P>> {
        self.paths.keys().copied()
    }

    /// What a candidate had of them when it comes to lead: all of them are broken. Copies are not looked up by their values before, of
    /// which each path has dozens.
    pub(super) fn of_copies(now: Time, copies: BTreeMap<End<P>, Vouched>) -> Self {
        let mut found = Self::default();
        for (end, path) in copies {
            if !path.checks.iter().any(|check| found.by_check.contains_key(check)) {
                found.insert(end, Vouched { broken: Some(now), ..path });
            }
        }
        found
    }

    /// For a candidate.
    pub(super) fn copied(&self, end: End<P>) -> Option<CopiedPath<P>> {
        let path = self.paths.get(&end)?;
        let checks = List::chop(path.checks.clone());
        Some(CopiedPath { last: Contact::bare(end.0), id: end.1, checks, resumes: path.resumes })
    }

    /// Forgets paths that have been broken for long, and names their ends.
    pub(super) fn sweep(&mut self, now: Time) -> Vec<End<P>> {
        let stale = |path: &Vouched| path.broken.is_some_and(|broken| broken + BROKEN_FOR <= now);
        let stale: Vec<_> = self.paths.iter().filter(|(_, path)| stale(path)).map(|(end, _)| *end).collect();
        for end in &stale {
            self.remove(*end);
        }
        stale
    }

    fn insert(&mut self, end: End<P>, path: Vouched) {
        for check in &path.checks {
            self.by_check.insert(*check, end);
        }
        self.paths.insert(end, path);
    }
}

impl<P: Peer> Directory<P> {
    /// The owner of a path says what its relays may repair it with. The first word counts.
    pub(super) fn vouched(&mut self, ctx: &mut DirectoryCtx<'_, P>, end: End<P>, vouch: Vouch) {
        let checks = vouch.checks.into_inner();
        let taken = checks.iter().any(|check| self.vouched.by_check.contains_key(check));
        if self.leads.is_none() || taken || self.vouched.paths.contains_key(&end) || checks.len() > MAX_CHECKS {
            return;
        }
        if self.vouched.paths.len() < MAX_VOUCHED {
            self.vouched.insert(end, Vouched { checks, resumes: 0, broken: None });
            self.touch(ctx, Key::Path(end));
        }
    }

    /// A relay has walked anew behind a break: rows, lookups and streams of the old end are bound to the new one.
    pub(super) fn resumed(&mut self, ctx: &mut DirectoryCtx<'_, P>, end: End<P>, resume: &Resume) {
        let check = resume.check();
        let old = self.vouched.by_check.get(&check).copied();
        let path = old.and_then(|old| self.vouched.remove(old));
        let (Some(old), Some(mut path)) = (old, path) else { return ctx.out.emit(DirectoryEvent::Close(end)) };
        path.checks.retain(|other| *other != check);
        path.resumes += 1;
        path.broken = None;
        self.touch(ctx, Key::Path(old));
        if path.resumes > MAX_RESUMES || old == end {
            ctx.out.emit(DirectoryEvent::Close(old));
            return ctx.out.emit(DirectoryEvent::Close(end));
        }
        self.vouched.insert(end, path);
        self.touch(ctx, Key::Path(end));
        let mut moved = Vec::new();
        for (name, row) in self.rows.iter_mut().filter(|(_, row)| row.is_at(old)) {
            row.moved(old, end);
            moved.push(*name);
        }
        for asking in self.asking.values_mut().filter(|asking| asking.end == old) {
            asking.end = end;
        }
        for resolving in self.resolving.values_mut() {
            match resolving {
                Resolving::Member { end: at, .. } if *at == old => *at = end,
                _ => {}
            }
        }
        ctx.out.emit(DirectoryEvent::Moved(old));
        for row in &moved {
            self.touch(ctx, Key::Row(*row));
        }
        // The old last relay may be the dead one: the new one is told to expect what is on its way.
        for row in moved {
            self.resolve_again(ctx, row);
        }
    }
}
