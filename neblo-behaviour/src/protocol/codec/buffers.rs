//! What values are read from and written to, without copies of what is long.

use bytes::Bytes;
use cbor4ii::core::dec::{Read, Reference};
use cbor4ii::core::enc::Write;
use cbor4ii::core::types;
use cbor4ii::core::utils::{BufWriter, SliceReader};

use super::put;

/// Most values fit in so many bytes.
const SHORT: usize = 256;
/// A byte string of so many bytes is shared, not copied. choice: a copy of less costs no more than the sharing
const LONG: usize = 4 * 1024;

/// Reads from bytes, which may be those of a whole frame that can be shared.
pub(crate) struct Reader<'a> {
    rest: SliceReader<'a>,
    whole: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    pub(super) fn copying(bytes: &'a [u8]) -> Self {
        Self { rest: SliceReader::new(bytes), whole: None }
    }

    pub(super) fn sharing(bytes: &'a Bytes) -> Self {
        Self { rest: SliceReader::new(bytes), whole: Some(bytes) }
    }

    /// A part of what is read, to be kept. A long one is shared if it is at least half of the whole, so that what is kept holds
    /// no more than twice its length.
    pub(super) fn keep(&self, part: &'a [u8]) -> Bytes {
        match self.whole {
            Some(whole) if part.len() >= LONG.max(whole.len() / 2) => whole.slice_ref(part),
            _ => Bytes::copy_from_slice(part),
        }
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.rest.fill(1).is_ok_and(|rest| rest.as_ref().is_empty())
    }
}

impl<'a> Read<'a> for Reader<'a> {
    type Error = <SliceReader<'a> as Read<'a>>::Error;

    fn fill<'b>(&'b mut self, want: usize) -> Result<Reference<'a, 'b>, Self::Error> {
        self.rest.fill(want)
    }
    fn advance(&mut self, n: usize) {
        self.rest.advance(n);
    }
    fn step_in(&mut self) -> bool {
        self.rest.step_in()
    }
    fn step_out(&mut self) {
        self.rest.step_out();
    }
}

/// Writes to memory, or only counts.
pub(crate) struct Writer {
    written: BufWriter,
    /// Bytes so far, if they are only counted.
    counted: Option<usize>,
    /// Whether one long byte string may stay where it is.
    shares: bool,
    /// It, and how much was written before it.
    long: Option<(usize, Bytes)>,
}

impl Writer {
    pub(super) fn copying() -> Self {
        Self { written: BufWriter::new(Vec::with_capacity(SHORT)), counted: None, shares: false, long: None }
    }

    pub(super) fn counting() -> Self {
        Self { written: BufWriter::new(Vec::new()), counted: Some(0), shares: false, long: None }
    }

    /// The bytes that a writer which counts was given.
    pub(super) fn count(&self) -> usize {
        self.counted.unwrap_or(0)
    }

    #[cfg_attr(not(feature = "swarm"), allow(dead_code))]
    pub(super) fn sharing() -> Self {
        Self { shares: true, ..Self::copying() }
    }

    pub(super) fn put_bytes(&mut self, bytes: &Bytes) {
        if self.shares && self.long.is_none() && bytes.len() >= LONG {
            // The writer fails only when memory runs out, and then so does everything else.
            let _ = types::Bytes::bounded(bytes.len(), self);
            self.long = Some((self.written.buffer().len(), bytes.clone()));
        } else {
            put(self, types::Bytes(&**bytes));
        }
    }

    /// All of a writer that copies.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.written.into_inner()
    }

    #[cfg_attr(not(feature = "swarm"), allow(dead_code))]
    pub(super) fn into_pieces(self) -> Pieces {
        let mut head = Bytes::from(self.written.into_inner());
        match self.long {
            None => Pieces([head, Bytes::new(), Bytes::new()]),
            Some((before, long)) => {
                let tail = head.split_off(before.min(head.len()));
                Pieces([head, long, tail])
            }
        }
    }
}

impl Write for Writer {
    type Error = <BufWriter as Write>::Error;

    fn push(&mut self, input: &[u8]) -> Result<(), Self::Error> {
        match &mut self.counted {
            Some(counted) => *counted = counted.saturating_add(input.len()),
            None => return self.written.push(input),
        }
        Ok(())
    }
}

/// Something encoded, in pieces that follow one another; most of them may be shared with others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "swarm"), allow(dead_code))]
pub(crate) struct Pieces(pub(crate) [Bytes; 3]);

impl Pieces {
    #[cfg_attr(not(feature = "swarm"), allow(dead_code))]
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(bytes: Vec<u8>) -> Self {
        Self([bytes.into(), Bytes::new(), Bytes::new()])
    }
}
