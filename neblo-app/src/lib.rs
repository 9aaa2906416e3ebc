mod cbor;
pub mod content;
pub mod index;
pub mod link;
pub mod metadata;
pub mod names;
pub mod query;
pub mod store;
pub mod transfer;
