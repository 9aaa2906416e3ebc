//! libp2p's side of an exchange: `libp2p-request-response` with a length and bytes, driven by the loop that polls the swarm.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, StreamProtocol, Swarm};
use libp2p_request_response::{Behaviour, Codec, Config, Event, Message, ProtocolSupport};
use tokio::sync::{mpsc, oneshot};

use crate::exchange::{Asking, Exchanged};
use crate::host;
use crate::transport::{Over, Traffic};

const MOST: u32 = 1 << 20;

/// Four bytes of length, then the bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes;

async fn read(io: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length);
    if length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    io.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn write(io: &mut (impl AsyncWrite + Unpin + Send), bytes: &[u8]) -> io::Result<()> {
    let mut all = Vec::with_capacity(4 + bytes.len());
    all.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(MOST).to_be_bytes());
    all.extend_from_slice(bytes);
    io.write_all(&all).await
}

impl Codec for Bytes {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &response).await
    }
}

type Asker = Swarm<Behaviour<Bytes>>;

/// Two connected nodes.
pub(crate) struct RequestResponse {
    work: mpsc::Sender<(Asking, oneshot::Sender<anyhow::Result<Exchanged>>)>,
}

impl RequestResponse {
    pub(crate) async fn start(over: Over, lazy: bool) -> anyhow::Result<Self> {
        let traffic = Traffic::default();
        let behaviour = || {
            let protocol = (StreamProtocol::new("/bench/request"), ProtocolSupport::Full);
            Behaviour::<Bytes>::new([protocol], Config::default())
        };
        let (mut asker, _) = host::swarm(over, &traffic, lazy, |_| behaviour()).await?;
        let (mut other, address) = host::swarm(over, &traffic, lazy, |_| behaviour()).await?;
        let peer = *other.local_peer_id();
        tokio::spawn(async move {
            loop {
                if let SwarmEvent::Behaviour(Event::Message {
                    message: Message::Request { request, channel, .. },
                    ..
                }) = other.select_next_some().await
                {
                    let _answered = other.behaviour_mut().send_response(channel, request);
                }
            }
        });
        asker.dial(address)?;
        while !asker.is_connected(&peer) {
            asker.select_next_some().await;
        }
        let (work, mut todo) = mpsc::channel::<(Asking, oneshot::Sender<_>)>(1);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = asker.select_next_some() => {}
                    next = todo.recv() => match next {
                        Some((asking, reply)) => drop(reply.send(exchange(&mut asker, peer, asking).await)),
                        None => return,
                    },
                }
            }
        });
        Ok(Self { work })
    }

    pub(crate) async fn exchange(&self, asking: Asking) -> anyhow::Result<Exchanged> {
        let (reply, exchanged) = oneshot::channel();
        self.work.send((asking, reply)).await.map_err(|_| anyhow::anyhow!("the asker is gone"))?;
        exchanged.await?
    }
}

async fn exchange(asker: &mut Asker, peer: PeerId, asking: Asking) -> anyhow::Result<Exchanged> {
    let Asking { size, in_flight, within } = asking;
    let mut open = HashMap::new();
    let mut took = Vec::new();
    let began = Instant::now();
    for _ in 0..in_flight {
        open.insert(asker.behaviour_mut().send_request(&peer, vec![7; size]), Instant::now());
    }
    while !open.is_empty() {
        match asker.select_next_some().await {
            SwarmEvent::Behaviour(Event::Message { message: Message::Response { request_id, response }, .. }) => {
                anyhow::ensure!(response.len() == size, "another response");
                took.extend(open.remove(&request_id).map(|asked| asked.elapsed()));
                if began.elapsed() < within {
                    open.insert(asker.behaviour_mut().send_request(&peer, vec![7; size]), Instant::now());
                }
            }
            SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(Exchanged::new(began, took))
}
