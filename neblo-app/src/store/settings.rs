//! Settings: small texts by name.

use rusqlite::OptionalExtension;

use super::{Store, StoreError};

impl Store {
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
