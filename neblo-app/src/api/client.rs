//! The commands' side of the API.

use std::io::ErrorKind;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::{server::TransferId, socket_path};
use crate::problem::{Code, ErrorObject, Problem};

/// Longest line, and longest answer that is not a stream of lines.
const MAX_ANSWER: usize = 16 << 20;

/// Calls a running node.
#[derive(Clone, Debug)]
pub struct Client {
    data_dir: PathBuf,
}

impl Client {
    /// A client of the node on `data_dir`, which need not run yet.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into() }
    }

    /// Asks for something.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        let response = self.call(Method::GET, path, Bytes::new()).await?;
        decode(&collect(response).await?)
    }

    /// Has something done and waits for the whole answer.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> Result<T, Problem> {
        let response = self.call(Method::POST, path, encode(request)?).await?;
        decode(&collect(response).await?)
    }

    /// Has something done whose answer comes line by line.
    pub async fn lines<E: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> Result<Lines<E>, Problem> {
        let response = self.call(Method::POST, path, encode(request)?).await?;
        Ok(Lines { body: response.into_body(), buffer: Vec::new(), event: PhantomData })
    }

    /// Stops a transfer.
    pub async fn cancel(&self, id: u64) -> Result<super::Transfer, Problem> {
        self.post("/v1/transfers/cancel", &TransferId { id }).await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Problem> {
        let socket =
            UnixStream::connect(socket_path(&self.data_dir)).await.map_err(|error| no_node(&self.data_dir, &error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(lost)?;
        // Ends with the last of sender and body; its errors reach them too.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "neblo")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| Problem::failed(format!("cannot form the request: {error}")))?;
        let response = sender.send_request(request).await.map_err(lost)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = collect(response).await?;
        Err(match serde_json::from_slice::<ErrorObject>(&body) {
            Ok(object) => object.error,
            Err(_) => Problem::failed(format!(
                "the node refused the request ({status}): {}",
                String::from_utf8_lossy(&body).chars().take(300).collect::<String>()
            ))
            .hint("program and running node may differ in version: restart `neblo up`"),
        })
    }
}

/// An answer that comes line by line.
#[derive(Debug)]
pub struct Lines<E> {
    body: Incoming,
    buffer: Vec<u8>,
    event: PhantomData<fn() -> E>,
}

impl<E: DeserializeOwned> Lines<E> {
    /// The next line, or `None` after the last.
    pub async fn next(&mut self) -> Result<Option<E>, Problem> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end.saturating_add(1));
                let line = std::mem::replace(&mut self.buffer, rest);
                return decode(&line).map(Some);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
            }
            if self.buffer.len() > MAX_ANSWER {
                return Err(Problem::failed("the node's answer has a line without end"));
            }
        }
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Problem> {
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| Problem::failed(format!("cannot read the node's answer: {error}")))
}

fn encode(request: &impl Serialize) -> Result<Bytes, Problem> {
    serde_json::to_vec(request)
        .map(Bytes::from)
        .map_err(|error| Problem::failed(format!("cannot form the request: {error}")))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::failed(format!("cannot understand the node's answer: {error}"))
            .hint("program and running node may differ in version: restart `neblo up`")
    })
}

fn lost(error: hyper::Error) -> Problem {
    Problem::new(Code::NotRunning, format!("the node stopped before it answered: {error}"))
        .hint("see what `neblo up` printed, and start it again")
}

fn no_node(data_dir: &Path, error: &std::io::Error) -> Problem {
    let at = data_dir.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            Problem::new(Code::NotRunning, format!("no node is running on the data dir {at}"))
                .hint(format!("start one in another terminal: neblo up --data-dir {at}"))
        }
        ErrorKind::PermissionDenied => Problem::failed(format!("the node on {at} belongs to another user: {error}"))
            .hint("run the command as the user who runs the node, or name your own --data-dir"),
        _ => Problem::new(Code::NotRunning, format!("cannot reach the node on the data dir {at}: {error}"))
            .hint("check --data-dir"),
    }
}
