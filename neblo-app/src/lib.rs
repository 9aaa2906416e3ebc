mod cbor;
pub mod content;
pub mod link;
pub mod metadata;
pub mod names;
pub mod query;
