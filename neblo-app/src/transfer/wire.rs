//! Messages of the transfer protocol and their limits.

use std::io;

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    cbor::{self, CborError},
    content::Root,
};

/// Longest message in bytes, its length prefix not counted.
pub const MAX_MESSAGE: usize = 1024;

/// What a requester says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Send these bytes.
    #[serde(rename = "w")]
    Window(Window),
    /// Nothing more is wanted.
    #[serde(rename = "d")]
    Done,
}

/// A range of content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    #[serde(rename = "r", with = "crate::cbor::bytes32")]
    pub(super) root: Root,
    /// Length that the requester knows for the root.
    #[serde(rename = "l")]
    pub(super) len: u64,
    #[serde(rename = "s")]
    pub(super) start: u64,
    #[serde(rename = "e")]
    pub(super) end: u64,
}

/// What a publisher says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Response {
    /// So many bytes of slice follow.
    #[serde(rename = "w")]
    Slice(u32),
    /// The window is refused; no slice follows.
    #[serde(rename = "n")]
    Refused(Status),
    /// The answer to [`Request::Done`].
    #[serde(rename = "b")]
    Bye,
}

/// Why a publisher refuses a window. It says no more than the requester needs to go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Status {
    /// The root is not part of this publication.
    #[serde(rename = "o")]
    #[error("the publisher does not offer this content")]
    NotOffered,
    /// The root has another length.
    #[serde(rename = "l")]
    #[error("the publisher has this root with another length; the link or search result is wrong")]
    WrongLength,
    /// The published file changed or is gone.
    #[serde(rename = "c")]
    #[error("the publisher's file has changed or is gone")]
    SourceLost,
    /// The range cannot be asked for.
    #[serde(rename = "r")]
    #[error("the publisher refuses the range that was asked for")]
    BadRange,
    /// The publisher cannot read the file now.
    #[serde(rename = "u")]
    #[error("the publisher cannot read its file at the moment")]
    Unavailable,
    /// A reason that only a later version knows.
    #[serde(other, rename = "?")]
    #[error("the publisher refuses, for a reason that this version does not know")]
    Other,
}

/// Why a stream cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    /// The other side sent nonsense.
    #[error("the other side broke the protocol: {0}")]
    Cbor(#[from] CborError),
    /// The other side sent something at the wrong time or of the wrong size.
    #[error("the other side broke the protocol: {0}")]
    Protocol(&'static str),
}

/// Reads a message; `None` where the stream ends before it.
pub(super) async fn read<R: AsyncRead + Unpin, T: DeserializeOwned>(stream: &mut R) -> Result<Option<T>, WireError> {
    let mut prefix = [0; 4];
    let mut filled = 0;
    while let Some(rest) = prefix.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            n => filled = filled.saturating_add(n),
        }
    }
    let len = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if len > MAX_MESSAGE {
        return Err(WireError::Protocol("a message is longer than 1 KiB"));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await?;
    Ok(Some(cbor::decode(&bytes, MAX_MESSAGE)?))
}

/// Writes a message, without flushing.
pub(super) async fn write<W: AsyncWrite + Unpin, T: Serialize>(stream: &mut W, message: &T) -> Result<(), WireError> {
    let body = cbor::encode(message, MAX_MESSAGE)?;
    let len = u32::try_from(body.len()).map_err(|_| WireError::Protocol("message too long"))?;
    let mut bytes = Vec::with_capacity(body.len().saturating_add(4));
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes).await?;
    Ok(())
}

#[cfg(test)]
mod unit_tests {
    use super::*;
    use futures::{executor::block_on, io::Cursor};
    use proptest::prelude::*;

    #[test]
    fn a_message_longer_than_the_limit_is_refused_before_it_is_read() {
        let mut stream = Cursor::new(1025u32.to_be_bytes().to_vec());
        let error = block_on(read::<_, Request>(&mut stream)).unwrap_err();
        assert!(matches!(error, WireError::Protocol(_)));
    }

    #[test]
    fn the_end_between_messages_is_no_error_and_within_one_it_is() {
        assert!(block_on(read::<_, Request>(&mut Cursor::new(vec![]))).unwrap().is_none());
        for cut in [1, 4, 6] {
            let mut bytes = Vec::new();
            let window = Window { root: [1; 32], len: 9, start: 0, end: 9 };
            block_on(write(&mut bytes, &Request::Window(window))).unwrap();
            bytes.truncate(cut);
            assert!(block_on(read::<_, Request>(&mut Cursor::new(bytes))).is_err());
        }
    }

    #[test]
    fn a_reason_of_a_later_version_is_still_a_refusal() {
        #[derive(Serialize)]
        enum Later {
            #[serde(rename = "n")]
            Refused(&'static str),
        }
        let mut bytes = Vec::new();
        block_on(write(&mut bytes, &Later::Refused("z"))).unwrap();
        let read = block_on(read::<_, Response>(&mut Cursor::new(bytes))).unwrap();
        assert_eq!(read, Some(Response::Refused(Status::Other)));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            let _ = block_on(read::<_, Request>(&mut Cursor::new(&framed)));
            let _ = block_on(read::<_, Response>(&mut Cursor::new(&framed)));
        }
    }
}
