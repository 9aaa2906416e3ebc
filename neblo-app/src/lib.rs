//! The `neblo` program as a library: files published, found and fetched anonymously on top of NEBLO.

pub mod api;
pub mod cli;
pub mod config;
pub mod demo;
pub mod node;
pub mod output;
pub mod problem;
pub mod units;
pub mod content;
pub mod link;
pub mod metadata;
pub mod query;
pub mod names;
mod cbor;
