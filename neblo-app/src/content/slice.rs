//! Slices: a range of bytes with the hashes that prove it.

use std::{
    io::{self, Read},
    ops::Range,
    sync::{Mutex, PoisonError},
};

use bao_tree::io::{BaoContentItem, DecodeError, sync::DecodeResponseIter};

use super::{GROUP, PartError, Ranges, Root, chunks, is_window, tree};

/// Why a slice is refused. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SliceError {
    /// Bytes or hashes do not lead to the root.
    #[error("the data at byte {at} does not match the root")]
    Mismatch {
        /// First byte of the group that does not match.
        at: u64,
    },
    /// The slice ends too early or goes on too long.
    #[error("the slice has the wrong length")]
    Length,
    /// Not a range that can be asked for.
    #[error("bytes {start} to {end} cannot be asked for")]
    Range {
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
    },
}

/// Most bytes that the slice of a window of `window` bytes can have.
pub fn max_slice_len(window: u64) -> u64 {
    // One pair of hashes for each group, and on both sides of the window the way up to the root, at most 64 levels.
    let pairs = window.div_ceil(GROUP).saturating_add(2 * 64);
    window.saturating_add(pairs.saturating_mul(64))
}

/// Verifies a slice and returns the bytes of `range`.
pub(super) fn decode(root: &Root, len: u64, range: &Range<u64>, slice: &[u8]) -> Result<Vec<u8>, SliceError> {
    let refused = SliceError::Range { start: range.start, end: range.end };
    if !is_window(range, len) {
        return Err(refused);
    }
    let size = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| refused)?;
    let mut bytes = Vec::with_capacity(size);
    let mut rest = slice;
    let wanted = chunks(range);
    for item in DecodeResponseIter::new((*root).into(), tree(len), &mut rest, &wanted) {
        if let BaoContentItem::Leaf(leaf) = item.map_err(sort)? {
            // Leaves come in order; anything else would be a fault of the tree's walk.
            let at = range.start.saturating_add(bytes.len() as u64);
            if leaf.offset != at {
                return Err(SliceError::Mismatch { at });
            }
            bytes.extend_from_slice(&leaf.data);
        }
    }
    if bytes.len() != size || rest.bytes().next().is_some() {
        return Err(SliceError::Length);
    }
    Ok(bytes)
}

fn sort(error: DecodeError) -> SliceError {
    match error {
        DecodeError::ParentHashMismatch(node) => SliceError::Mismatch { at: node.chunk_range().start.to_bytes() },
        DecodeError::LeafHashMismatch(chunk) => SliceError::Mismatch { at: chunk.to_bytes() },
        // Reading from memory fails only at its end.
        DecodeError::ParentNotFound(_) | DecodeError::LeafNotFound(_) | DecodeError::Io(_) => SliceError::Length,
    }
}

/// Where verified content goes. Methods may block on the disk.
pub trait Sink: Send + Sync + 'static {
    /// Root of the wanted content.
    fn root(&self) -> Root;
    /// Its length.
    fn len(&self) -> u64;
    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What is still missing, in order.
    fn missing(&self) -> Vec<Range<u64>>;
    /// Bytes that are there.
    fn present(&self) -> u64;
    /// Verifies `slice` against the root and, only then, writes the bytes of `range`.
    fn write_slice(&self, range: Range<u64>, slice: &[u8]) -> Result<(), PartError>;
    /// Makes sure that what is there is still there after a crash.
    fn save(&self) -> Result<(), PartError>;
}

/// Content that is collected in memory, such as a manifest.
#[derive(Debug)]
pub struct MemoryTarget {
    root: Root,
    len: u64,
    state: Mutex<(Vec<u8>, Ranges)>,
}

impl MemoryTarget {
    /// Collects content of `len` bytes, at most `max`.
    pub fn new(root: Root, len: u64, max: usize) -> Result<Self, PartError> {
        let size = usize::try_from(len)
            .ok()
            .filter(|size| *size <= max)
            .ok_or(PartError::TooLarge { len, max: max as u64 })?;
        if len == 0 && root != super::empty_root() {
            return Err(PartError::WrongLength { len });
        }
        Ok(Self { root, len, state: Mutex::new((vec![0; size], Ranges::new())) })
    }

    /// The bytes, once all are there.
    pub fn take(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.missing(self.len).is_empty().then(|| std::mem::take(&mut state.0))
    }
}

impl Sink for MemoryTarget {
    fn root(&self) -> Root {
        self.root
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn missing(&self) -> Vec<Range<u64>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.missing(self.len)
    }

    fn present(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.total()
    }

    fn write_slice(&self, range: Range<u64>, slice: &[u8]) -> Result<(), PartError> {
        let bytes = decode(&self.root, self.len, &range, slice)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let target = usize::try_from(range.start)
            .ok()
            .zip(usize::try_from(range.end).ok())
            .and_then(|(start, end)| state.0.get_mut(start..end))
            .ok_or_else(|| {
                // Only after `take`, which leaves nothing to write to.
                PartError::Io {
                    doing: "keep data in memory for",
                    path: "manifest".into(),
                    source: io::Error::other("it was taken already"),
                }
            })?;
        target.copy_from_slice(&bytes);
        state.1.insert(range);
        Ok(())
    }

    fn save(&self) -> Result<(), PartError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Content, MAX_WINDOW, MemoryContent};
    use proptest::prelude::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7 + i / 16_384) as u8).collect()
    }

    fn windows(len: u64) -> impl Iterator<Item = Range<u64>> {
        (0..len.div_ceil(MAX_WINDOW)).map(move |i| i * MAX_WINDOW..((i + 1) * MAX_WINDOW).min(len))
    }

    #[test]
    fn slices_of_every_kind_of_length_read_back_within_the_bound() {
        for len in [1, 1023, 1024, 16_383, 16_384, 16_385, 32_768, 50_000, 2 << 20, (2 << 20) + 1, 5_000_000] {
            let data = bytes(len);
            let content = MemoryContent::new(data.clone());
            let target = MemoryTarget::new(content.root(), len as u64, len).unwrap();
            for range in windows(len as u64) {
                let mut slice = Vec::new();
                content.encode(range.clone(), &mut slice).unwrap();
                assert!(slice.len() as u64 <= max_slice_len(range.end - range.start));
                target.write_slice(range, &slice).unwrap();
            }
            assert_eq!(target.take().unwrap(), data);
        }
    }

    #[test]
    fn every_changed_byte_is_noticed_and_nothing_is_kept() {
        let content = MemoryContent::new(bytes(100_000));
        let range = 32_768..81_920;
        let mut slice = Vec::new();
        content.encode(range.clone(), &mut slice).unwrap();
        let target = MemoryTarget::new(content.root(), 100_000, 100_000).unwrap();
        for at in (0..slice.len()).step_by(997) {
            slice[at] ^= 1;
            assert!(target.write_slice(range.clone(), &slice).is_err(), "{at}");
            slice[at] ^= 1;
        }
        for wrong in [&slice[..slice.len() - 1], &[&slice[..], b"x"].concat()] {
            assert!(matches!(target.write_slice(range.clone(), wrong), Err(PartError::Slice(SliceError::Length))));
        }
        assert!(target.write_slice(16_384..81_920, &slice).is_err());
        assert_eq!(target.present(), 0);
        target.write_slice(range, &slice).unwrap();
    }

    #[test]
    fn a_wrong_length_never_completes() {
        let content = MemoryContent::new(bytes(40_000));
        let mut slice = Vec::new();
        content.encode(0..40_000, &mut slice).unwrap();
        for len in [39_999, 40_001, 32_768] {
            let target = MemoryTarget::new(content.root(), len, 50_000).unwrap();
            assert!(target.write_slice(0..len, &slice).is_err());
        }
        assert!(MemoryTarget::new(content.root(), 0, 10).is_err());
    }

    proptest! {
        #[test]
        fn hostile_slices_never_panic(
            slice: Vec<u8>, len in 0..=crate::content::MAX_CONTENT_LEN, start: u64, size in 0u64..9_000_000,
        ) {
            let start = start % (len + 1) / GROUP * GROUP;
            let _ = decode(&[7; 32], len, &(start..(start + size / GROUP * GROUP).min(len)), &slice);
        }
    }
}
