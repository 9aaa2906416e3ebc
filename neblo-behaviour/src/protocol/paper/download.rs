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

impl<P: Peer> Download<P> {
    fn header(&self) -> StreamHeader {
        StreamHeader { link: None, ticket: [0; 16], version: 1, download: Blob::new(to_bytes(self)) }
    }
}

impl<P: Peer> Paper<P> {
    pub(super) fn download_requested(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, request: DownloadRequest<P>) {
        // Up the requester's path.
        if let Some(entry) = self.table.by_previous(&request.requester, Some(from)).cloned() {
            if !self.is_leader(entry.next) {
                return self.send(ctx, entry.next, PaperMessage::DownloadRequest(request));
            }
            let requester_last = Some(self.me.clone());
            return self.request_crosses(ctx, DownloadRequest { requester_last, ..request });
        }
        self.request_goes_down(ctx, Some(from), request);
    }

    /// At the last peer of the requester's path: over to the last peer of the owner's.
    pub(super) fn request_crosses(&mut self, ctx: &mut PaperCtx<'_, P>, mut request: DownloadRequest<P>) {
        request.requester_last.get_or_insert_with(|| self.me.clone());
        match request.owner_last.peer == self.me.peer {
            true => self.request_goes_down(ctx, None, request),
            false => ctx.out.send(&request.owner_last.clone(), PaperMessage::DownloadRequest(request)),
        }
    }

    /// Down the owner's path: in at its last peer, or on from the peer that is next on it.
    fn request_goes_down(&mut self, ctx: &mut PaperCtx<'_, P>, from: Option<P>, request: DownloadRequest<P>) {
        let at_last = |entry: &&Entry<P>| self.is_leader(entry.next);
        let on_path = from.and_then(|from| self.table.by_next(&request.owner, from));
        let entry = on_path.or_else(|| self.table.of(&request.owner).iter().find(at_last)).cloned();
        match entry.map(|entry| entry.previous) {
            Some(Some(previous)) => self.send(ctx, previous, PaperMessage::DownloadRequest(request)),
            Some(None) => self.deliver(ctx, request),
            None => {}
        }
    }

    /// "The content owner peer will start the content delivery."
    fn deliver(&mut self, ctx: &mut PaperCtx<'_, P>, request: DownloadRequest<P>) {
        let publication = PublicationId(request.content);
        let (Some(secret), Some(requester_last)) = (self.secret(&publication), request.requester_last) else { return };
        let Some(entry) = self.table.by_previous(&request.owner, None) else { return };
        let (content, requester, owner) = (request.content, request.requester, request.owner);
        let next = entry.next;
        let header = Download { content, requester, owner, requester_last: requester_last.clone() }.header();
        let next = if self.is_leader(next) { requester_last } else { self.contact(next) };
        ctx.out.emit(PaperEvent::Deliver { publication, secret, next, header });
    }

    /// A neighbour asks for the stream of a download.
    pub fn stream_asked(&mut self, ctx: &mut PaperCtx<'_, P>, stream: u64, from: P, header: &StreamHeader) {
        let download = header.download.as_ref().and_then(|bytes| from_bytes::<Download<P>>(bytes).ok());
        let Some(download) = download else {
            return ctx.out.emit(PaperEvent::Refuse { stream, reason: Refusal::Protocol });
        };
        // Up the owner's path, and over to the requester's last peer.
        if let Some(entry) = self.table.by_previous(&download.owner, Some(from)) {
            let next = entry.next;
            if !self.is_leader(next) {
                let next = self.contact(next);
                return ctx.out.emit(PaperEvent::Grant { stream, next, header: header.clone() });
            }
            if download.requester_last.peer != self.me.peer {
                let next = download.requester_last;
                return ctx.out.emit(PaperEvent::Grant { stream, next, header: header.clone() });
            }
            return self.stream_goes_down(ctx, stream, None, &download, header);
        }
        self.stream_goes_down(ctx, stream, Some(from), &download, header);
    }

    fn stream_goes_down(
        &mut self,
        ctx: &mut PaperCtx<'_, P>,
        stream: u64,
        from: Option<P>,
        download: &Download<P>,
        header: &StreamHeader,
    ) {
        let at_last = |entry: &&Entry<P>| self.is_leader(entry.next);
        let on_path = from.and_then(|from| self.table.by_next(&download.requester, from));
        let entry = on_path.or_else(|| self.table.of(&download.requester).iter().find(at_last)).cloned();
        match entry.map(|entry| entry.previous) {
            Some(Some(previous)) => {
                let next = self.contact(previous);
                ctx.out.emit(PaperEvent::Grant { stream, next, header: header.clone() });
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
