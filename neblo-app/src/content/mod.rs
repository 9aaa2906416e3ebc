//! Content: bytes named by the root of their BLAKE3 tree, read in place, and written only when verified.
//!
//! The root is the ordinary BLAKE3 hash of the bytes. Inside the tree a group of 16 KiB is the smallest part that is
//! checked. The inner hashes above the groups are kept in an *outboard* file (0.4 % of the content).

mod collection;
mod error;
mod hash;
mod manifest;
mod part;
mod ranges;
mod slice;
mod source;

pub use collection::{Collection, CollectionError, CollectionFile, HashedCollection, MAX_FILES, walk};
pub use error::ContentError;
pub use hash::{Hashed, Outboards, hash_file, verify_file};
pub use manifest::{MAX_MANIFEST, Manifest, ManifestEntry, ManifestError};
pub use part::{PartError, PartFile};
pub use ranges::Ranges;
pub use slice::{MemoryTarget, Sink, SliceError, max_slice_len};
pub use source::{Content, Fingerprint, MemoryContent, SourceFile};

use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};
use std::ops::Range;

/// Root of a BLAKE3 tree.
pub type Root = [u8; 32];

/// Smallest part that is verified.
pub const GROUP: u64 = 16 * 1024;
/// Longest content: 64 TiB. Far from where arithmetic on lengths could overflow.
pub const MAX_CONTENT_LEN: u64 = 1 << 46;
/// Longest range of one slice.
pub const MAX_WINDOW: u64 = 2 * 1024 * 1024;

const BLOCK: BlockSize = BlockSize::from_chunk_log(4);

fn tree(len: u64) -> BaoTree {
    BaoTree::new(len, BLOCK)
}

/// The root of no bytes at all.
pub fn empty_root() -> Root {
    *blake3::hash(&[]).as_bytes()
}

/// Whether `range` can be asked from content of `len` bytes: whole groups, not empty, at most [`MAX_WINDOW`].
pub fn is_window(range: &Range<u64>, len: u64) -> bool {
    range.start < range.end
        && range.end <= len
        && len <= MAX_CONTENT_LEN
        && range.start.is_multiple_of(GROUP)
        && (range.end == len || range.end.is_multiple_of(GROUP))
        && range.end.saturating_sub(range.start) <= MAX_WINDOW
}

/// The chunks of a byte range.
fn chunks(range: &Range<u64>) -> ChunkRanges {
    ChunkRanges::from(ChunkNum::full_chunks(range.start)..ChunkNum::chunks(range.end))
}
