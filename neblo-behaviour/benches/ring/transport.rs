//! What nodes talk over: memory or TCP on loopback, each with Noise and yamux, and the bytes on it counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, MemoryTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, tcp, yamux};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Memory,
    Tcp,
}

impl Over {
    /// Where to listen: anywhere that is free.
    pub(crate) fn listen(self) -> &'static str {
        match self {
            Self::Memory => "/memory/0",
            Self::Tcp => "/ip4/127.0.0.1/tcp/0",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Tcp => "tcp",
        }
    }
}

/// Bytes written to a network's connections, handshakes, encryption and multiplexing with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic(Arc<AtomicU64>);

impl Traffic {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) fn transport(over: Over, key: &Keypair, traffic: &Traffic) -> Boxed<(PeerId, StreamMuxerBox)> {
    match over {
        Over::Memory => upgraded(MemoryTransport::new(), key, traffic),
        Over::Tcp => upgraded(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)), key, traffic),
    }
}

fn upgraded<T>(transport: T, key: &Keypair, traffic: &Traffic) -> Boxed<(PeerId, StreamMuxerBox)>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync,
    T::ListenerUpgrade: Send,
    T::Dial: Send,
{
    let traffic = traffic.clone();
    let identity = noise::Config::new(key).expect("an Ed25519 key signs");
    transport
        .map(move |inner, _| Counted { inner, traffic: traffic.clone() })
        .upgrade(Version::V1)
        .authenticate(identity)
        .multiplex(yamux::Config::default())
        .boxed()
}

/// Counts what is written.
struct Counted<T> {
    inner: T,
    traffic: Traffic,
}

impl<T> Counted<T> {
    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.traffic.0.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buffer);
        self.count(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
