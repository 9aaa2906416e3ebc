//! Peers, first relays and settings.

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, unix_now};

/// Most peers that are remembered; those not seen for longest are forgotten.
pub const MAX_KNOWN_PEERS: usize = 256;
/// Most addresses remembered of one peer.
const MAX_ADDRESSES: usize = 16;
/// Most first relays of one subgroup, and subgroups that relays are kept for.
const MAX_RELAYS: usize = 16;
const MAX_SUBGROUPS: usize = 64;

/// A peer to bootstrap from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its peer id, as text.
    pub peer: String,
    /// Its multiaddrs, as text.
    pub addresses: Vec<String>,
    /// When it was last connected, in seconds since 1970.
    pub last_seen: i64,
}

/// What a pinned first relay is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayRole {
    /// In use.
    Active,
    /// Takes its place when it dies.
    Spare,
}

/// A pinned first relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstRelay {
    /// Its peer id, as text.
    pub peer: String,
    /// In use or spare.
    pub role: RelayRole,
    /// Since when, in seconds since 1970.
    pub since: i64,
}

impl Store {
    /// Notes that a peer was connected at these addresses.
    pub fn put_known_peer(&self, peer: &str, addresses: &[String]) -> Result<(), StoreError> {
        let kept = addresses.get(..MAX_ADDRESSES).unwrap_or(addresses);
        self.write(|tx| {
            tx.execute(
                "INSERT INTO known_peers (peer, addresses, last_seen) VALUES (?1, ?2, ?3)
                 ON CONFLICT (peer) DO UPDATE SET addresses = ?2, last_seen = ?3",
                params![peer, kept.join("\n"), unix_now()],
            )?;
            tx.execute(
                "DELETE FROM known_peers WHERE peer NOT IN
                     (SELECT peer FROM known_peers ORDER BY last_seen DESC, peer = ? DESC LIMIT ?)",
                params![peer, i64::try_from(MAX_KNOWN_PEERS).unwrap_or(i64::MAX)],
            )
        })
        .map(drop)
    }

    /// Peers to bootstrap from, the last seen first.
    pub fn known_peers(&self) -> Result<Vec<KnownPeer>, StoreError> {
        self.read(|db| {
            db.prepare("SELECT peer, addresses, last_seen FROM known_peers ORDER BY last_seen DESC")?
                .query_map([], |row| {
                    let addresses: String = row.get(1)?;
                    Ok(KnownPeer {
                        peer: row.get(0)?,
                        addresses: addresses.lines().map(str::to_owned).collect(),
                        last_seen: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// Forgets a peer, because it cannot be reached any more.
    pub fn remove_known_peer(&self, peer: &str) -> Result<(), StoreError> {
        self.write(|tx| tx.execute("DELETE FROM known_peers WHERE peer = ?", [peer])).map(drop)
    }

    /// Replaces the first relays of a subgroup. A `since` of 0 becomes now, or what it was for the same peer.
    pub fn set_first_relays(&self, subgroup: &str, relays: &[FirstRelay]) -> Result<(), StoreError> {
        let before = self.first_relays(subgroup)?;
        let now = unix_now();
        self.write(|tx| {
            tx.execute("DELETE FROM first_relays WHERE subgroup = ?", [subgroup])?;
            for relay in relays.iter().take(MAX_RELAYS) {
                let known = before.iter().find(|r| r.peer == relay.peer);
                let since = match (relay.since, known) {
                    (0, Some(known)) => known.since,
                    (0, None) => now,
                    (since, _) => since,
                };
                tx.execute(
                    "INSERT OR REPLACE INTO first_relays (subgroup, peer, role, since) VALUES (?, ?, ?, ?)",
                    params![subgroup, relay.peer, u8::from(relay.role == RelayRole::Spare), since],
                )?;
            }
            tx.execute(
                "DELETE FROM first_relays WHERE subgroup <> ?1 AND subgroup NOT IN
                     (SELECT subgroup FROM first_relays GROUP BY subgroup ORDER BY max(since) DESC LIMIT ?2)",
                params![subgroup, i64::try_from(MAX_SUBGROUPS).unwrap_or(i64::MAX)],
            )
        })
        .map(drop)
    }

    /// The first relays of a subgroup, the active one first.
    pub fn first_relays(&self, subgroup: &str) -> Result<Vec<FirstRelay>, StoreError> {
        self.read(|db| {
            db.prepare("SELECT peer, role, since FROM first_relays WHERE subgroup = ? ORDER BY role, since, peer")?
                .query_map([subgroup], |row| {
                    Ok(FirstRelay {
                        peer: row.get(0)?,
                        role: match row.get::<_, u8>(1)? {
                            0 => RelayRole::Active,
                            _ => RelayRole::Spare,
                        },
                        since: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// Remembers a setting, such as the ports that were chosen.
    pub fn set_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
                [key, value],
            )
        })
        .map(drop)
    }

    /// A remembered setting.
    pub fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.read(|db| db.query_row("SELECT value FROM settings WHERE key = ?", [key], |row| row.get(0)).optional())
    }
}
