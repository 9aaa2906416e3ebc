//! The `neblo` program as a library: files published, found and fetched anonymously on top of NEBLO.

#![deny(missing_docs)]

pub mod api;
mod cbor;
pub mod cli;
pub mod config;
pub mod content;
pub mod demo;
pub mod index;
pub mod link;
pub mod metadata;
pub mod names;
pub mod node;
pub mod output;
pub mod problem;
pub mod query;
pub mod store;
pub mod transfer;
pub mod units;
