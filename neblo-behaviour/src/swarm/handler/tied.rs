//! Substreams of the data plane that end with their connection.
//!
//! A muxer that this side closes does not wake those who read from its substreams (yamux 0.14 does so only for a connection
//! that the remote closed or that failed), and a stream outlives its handler: without a sign of the handler's end it would
//! hang until its reader loses patience.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::channel::oneshot;
use futures::{AsyncRead, AsyncWrite};
use libp2p_swarm::Stream;
use void::Void;

use super::mailbox::Mailbox;
use crate::swarm::shared::Shared;

/// A substream that ends when the handler of its connection is gone, and tells of the bytes that arrive on it.
#[derive(Debug)]
pub struct Tied {
    io: Stream,
    gone: oneshot::Receiver<Void>,
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
}

/// The handler's end of all streams of its connection. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Ties {
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
    ties: Vec<oneshot::Sender<Void>>,
}

impl Ties {
    pub(super) fn new(mailbox: Arc<Mailbox>, shared: Arc<Shared>) -> Self {
        Self { mailbox, shared, ties: Vec::new() }
    }

    /// Ties a substream to the connection. There are as many ties as streams that live, and those are capped.
    pub(super) fn tie(&mut self, io: Stream) -> Tied {
        self.ties.retain(|tie| !tie.is_canceled());
        let (tie, gone) = oneshot::channel();
        self.ties.push(tie);
        Tied { io, gone, mailbox: self.mailbox.clone(), shared: self.shared.clone() }
    }
}

impl AsyncRead for Tied {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        // What has arrived is read first.
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending if Pin::new(&mut self.gone).poll(cx).is_ready() => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Poll::Ready(Ok(len)) if len > 0 => {
                self.mailbox.hear(self.shared.now());
                Poll::Ready(Ok(len))
            }
            read => read,
        }
    }
}

impl AsyncWrite for Tied {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}
