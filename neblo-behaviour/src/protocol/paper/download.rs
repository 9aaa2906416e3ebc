//! Downloads: the request crosses from the last peer of one path to the last peer of the other, and so does the content
//! (seed 003 §3.3). No leader carries either.

use super::*;
use crate::protocol::codec::{Blob, from_bytes, record, standalone, to_bytes};

record! {
    /// Download (§3.3), in the header of the stream over which the content follows.
    pub struct Download<P> {
        1 => content: [u8; 32],
        2 => requester: Connection,
        3 => owner: Connection,
        /// The last non-leader peer of the requester's path.
        4 => requester_last: Contact<P>,
    }
}
standalone!(Download<P>);

/// Which way the stream of a download goes on this link, in place of a ticket: up the owner's path, over to the requester's, or
/// down that one. A walk may visit a peer twice, which then could not tell.
const UP: [u8; 16] = [0; 16];
const OVER: [u8; 16] = [1; 16];
const DOWN: [u8; 16] = [2; 16];

impl<P: Peer> Download<P> {
    fn header(&self, ticket: [u8; 16]) -> StreamHeader {
        StreamHeader { link: None, ticket, version: 1, download: Blob::new(to_bytes(self)) }
    }
}

impl<P: Peer> Paper<P> {
    /// Up the requester's path.
    pub(super) fn request_goes_up(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, request: DownloadRequest<P>) {
        let Some(entry) = self.table.by_previous(&request.requester, Some(from)).cloned() else { return };
        if !self.is_leader(entry.next) {
            return self.send(ctx, entry.next, PaperMessage::DownloadRequest(request));
        }
        let requester_last = Some(self.me.clone());
        self.request_crosses(ctx, DownloadRequest { requester_last, ..request });
    }

    /// At the last peer of the requester's path: over to the last peer of the owner's.
    pub(super) fn request_crosses(&mut self, ctx: &mut PaperCtx<'_, P>, mut request: DownloadRequest<P>) {
        request.requester_last.get_or_insert_with(|| self.me.clone());
        match request.owner_last.peer == self.me.peer {
            true => self.request_goes_down(ctx, None, request),
            false => ctx.out.send(&request.owner_last.clone(), PaperMessage::RequestCrosses(request)),
        }
    }

    /// Down the owner's path: in at its last peer (`None`), or on from the peer that is next on it.
    pub(super) fn request_goes_down(
        &mut self,
        ctx: &mut PaperCtx<'_, P>,
        from: Option<P>,
        request: DownloadRequest<P>,
    ) {
        match self.towards_owner(&request.owner, from).map(|entry| entry.previous) {
            Some(Some(previous)) => self.send(ctx, previous, PaperMessage::RequestDown(request)),
            Some(None) => self.deliver(ctx, request),
            None => {}
        }
    }

    fn towards_owner(&self, connection: &Connection, from: Option<P>) -> Option<&Entry<P>> {
        match from {
            Some(from) => self.table.by_next(connection, from),
            None => self.table.of(connection).find(|entry| self.is_leader(entry.next)),
        }
    }

    /// "The content owner peer will start the content delivery."
    fn deliver(&mut self, ctx: &mut PaperCtx<'_, P>, request: DownloadRequest<P>) {
        let publication = PublicationId(request.content);
        let (Some(secret), Some(requester_last)) = (self.secret(&publication), request.requester_last) else { return };
        let Some(entry) = self.table.by_previous(&request.owner, None) else { return };
        let (content, requester, owner) = (request.content, request.requester, request.owner);
        let next = entry.next;
        let (next, way) = match self.is_leader(next) {
            true => (requester_last.clone(), OVER),
            false => (self.contact(next), UP),
        };
        let header = Download { content, requester, owner, requester_last }.header(way);
        ctx.out.emit(PaperEvent::Deliver { publication, secret, next, header });
    }

    /// A neighbour asks for the stream of a download.
    pub fn stream_asked(&mut self, ctx: &mut PaperCtx<'_, P>, stream: u64, from: P, header: &StreamHeader) {
        let download = header.download.as_ref().and_then(|bytes| from_bytes::<Download<P>>(bytes).ok());
        let Some(download) = download else {
            return ctx.out.emit(PaperEvent::Refuse { stream, reason: Refusal::Protocol });
        };
        match header.ticket {
            UP => self.stream_goes_up(ctx, stream, from, download, header),
            OVER => self.stream_goes_down(ctx, stream, None, &download, header),
            DOWN => self.stream_goes_down(ctx, stream, Some(from), &download, header),
            _ => ctx.out.emit(PaperEvent::Refuse { stream, reason: Refusal::Protocol }),
        }
    }

    /// Up the owner's path, and over to the requester's last peer.
    fn stream_goes_up(
        &mut self,
        ctx: &mut PaperCtx<'_, P>,
        stream: u64,
        from: P,
        download: Download<P>,
        header: &StreamHeader,
    ) {
        let Some(next) = self.table.by_previous(&download.owner, Some(from)).map(|entry| entry.next) else {
            return ctx.out.emit(PaperEvent::Refuse { stream, reason: Refusal::Unknown });
        };
        if !self.is_leader(next) {
            let next = self.contact(next);
            return ctx.out.emit(PaperEvent::Grant { stream, next, header: header.clone() });
        }
        if download.requester_last.peer == self.me.peer {
            return self.stream_goes_down(ctx, stream, None, &download, header);
        }
        let header = StreamHeader { ticket: OVER, ..header.clone() };
        ctx.out.emit(PaperEvent::Grant { stream, next: download.requester_last, header });
    }

    /// Down the requester's path.
    fn stream_goes_down(
        &mut self,
        ctx: &mut PaperCtx<'_, P>,
        stream: u64,
        from: Option<P>,
        download: &Download<P>,
        header: &StreamHeader,
    ) {
        match self.towards_owner(&download.requester, from).map(|entry| entry.previous) {
            Some(Some(previous)) => {
                let next = self.contact(previous);
                let header = StreamHeader { ticket: DOWN, ..header.clone() };
                ctx.out.emit(PaperEvent::Grant { stream, next, header });
            }
            Some(None) => {
                let found = self.connecting.iter().find(|(_, connecting)| connecting.content == download.content);
                match found.map(|(request, _)| *request).and_then(|request| self.connecting.remove(&request)) {
                    Some(connecting) => ctx.out.emit(PaperEvent::Received { stream, token: connecting.token }),
                    None => ctx.out.emit(PaperEvent::Refuse { stream, reason: Refusal::Unknown }),
                }
            }
            None => ctx.out.emit(PaperEvent::Refuse { stream, reason: Refusal::Unknown }),
        }
    }
}
