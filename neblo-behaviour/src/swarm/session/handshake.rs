//! `Noise_NK_25519_ChaChaPoly_BLAKE2s`: the requester knows the publication's key, the publisher knows nobody.

use std::io;

use futures::future::{Either, select};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use futures_timer::Delay;
use snow::{Builder, HandshakeState};

use super::{HANDSHAKE_TIMEOUT, Session, VERSION};
use crate::protocol::interface::PublicationId;

const PATTERN: &str = "Noise_NK_25519_ChaChaPoly_BLAKE2s";

/// Longest handshake message that is read: both are 48 bytes, as their payloads are empty.
const MAX_MESSAGE: usize = 96;

fn builder<'a>(prologue: &'a [u8]) -> io::Result<Builder<'a>> {
    let params = PATTERN.parse().map_err(invalid)?;
    Builder::new(params).prologue(prologue).map_err(invalid)
}

fn prologue(publication: PublicationId) -> Vec<u8> {
    let mut bytes = b"neblo 1".to_vec();
    bytes.push(VERSION);
    bytes.extend_from_slice(&publication.0);
    bytes
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Runs the requester's side, towards the publication whose X25519 key is `key`.
pub(crate) async fn initiate<S>(io: S, publication: PublicationId, key: &[u8; 32]) -> io::Result<Session<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let prologue = prologue(publication);
    let noise = builder(&prologue)?.remote_public_key(key).map_err(invalid)?.build_initiator().map_err(invalid)?;
    in_time(async move {
        let (mut io, mut noise) = (io, noise);
        write(&mut io, &mut noise).await?;
        read(&mut io, &mut noise).await?;
        Ok(Session::new(io, noise.into_transport_mode().map_err(invalid)?))
    })
    .await
}

/// Runs the publisher's side, with the secret half of the publication's key.
pub(crate) async fn respond<S>(io: S, publication: PublicationId, secret: &[u8; 32]) -> io::Result<Session<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let prologue = prologue(publication);
    let noise = builder(&prologue)?.local_private_key(secret).map_err(invalid)?.build_responder().map_err(invalid)?;
    in_time(async move {
        let (mut io, mut noise) = (io, noise);
        read(&mut io, &mut noise).await?;
        write(&mut io, &mut noise).await?;
        Ok(Session::new(io, noise.into_transport_mode().map_err(invalid)?))
    })
    .await
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let work = std::pin::pin!(work);
    match select(work, Delay::new(HANDSHAKE_TIMEOUT)).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to the handshake in time")),
    }
}

/// One handshake message: two bytes of length, big-endian, and the message.
async fn write<S: AsyncWrite + Unpin>(io: &mut S, noise: &mut HandshakeState) -> io::Result<()> {
    let mut message = [0; 2 + MAX_MESSAGE];
    let len = noise.write_message(&[], &mut message[2..]).map_err(invalid)?;
    message[..2].copy_from_slice(&(len as u16).to_be_bytes());
    io.write_all(&message[..2 + len]).await?;
    io.flush().await
}

async fn read<S: AsyncRead + Unpin>(io: &mut S, noise: &mut HandshakeState) -> io::Result<()> {
    let mut len = [0; 2];
    io.read_exact(&mut len).await?;
    let len = usize::from(u16::from_be_bytes(len));
    let mut message = [0; MAX_MESSAGE];
    let Some(message) = message.get_mut(..len) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a handshake message is too long"));
    };
    io.read_exact(message).await?;
    noise.read_message(message, &mut [0; MAX_MESSAGE]).map_err(invalid)?;
    Ok(())
}
