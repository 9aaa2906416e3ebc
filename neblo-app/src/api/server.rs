//! The node's side of the API.

use std::convert::Infallible;
use std::fs::Permissions;
use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt};
use std::path::Path;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::{net::UnixListener, sync::mpsc};

use super::{
    GetEvent, GetRequest, MAX_SOCKET_PATH, Paths, Peer, Publication, PublishEvent, PublishRequest, SearchEvent,
    SearchRequest, Status, Transfer, UnpublishRequest, Unpublished, socket_path,
};
use crate::{
    node::Service,
    problem::{Code, ErrorObject, Problem},
};

/// Lines of one answer that wait for a slow reader.
const LINES: usize = 64;
/// Longest request.
const MAX_REQUEST: usize = 256 * 1024;

/// Opens the socket of `data_dir`. The caller holds the lock of the directory, so that a socket that is there already was
/// left behind by a node that died.
pub fn bind(data_dir: &Path) -> Result<UnixListener, Problem> {
    let path = socket_path(data_dir);
    if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH {
        return Err(Problem::usage(format!("the path {} is too long for a socket", path.display()))
            .hint(format!("choose a data dir so that it has at most {MAX_SOCKET_PATH} bytes")));
    }
    let failed = |error: std::io::Error| {
        Problem::failed(format!("cannot open the socket {}: {error}", path.display()))
            .hint("check that the data dir is yours and writable, or choose another by --data-dir")
    };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Answers requests until `stop` is done.
pub async fn serve(
    listener: UnixListener,
    service: Service,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(service)).with_graceful_shutdown(stop).await
}

fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/peers", get(peers))
        .route("/v1/paths", get(paths))
        .route("/v1/publications", get(publications))
        .route("/v1/publish", post(publish))
        .route("/v1/unpublish", post(unpublish))
        .route("/v1/search", post(search))
        .route("/v1/get", post(download))
        .route("/v1/transfers", get(transfers))
        .route("/v1/transfers/cancel", post(cancel))
        .fallback(async || Failed(Problem::new(Code::NotFound, "the API has no such call")))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(service)
}

/// Number of a transfer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TransferId {
    /// The number.
    pub(crate) id: u64,
}

struct Failed(Problem);

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            Code::Usage => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Unreachable => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(ErrorObject { error: self.0 })).into_response()
    }
}

async fn status(State(service): State<Service>) -> Result<Json<Status>, Failed> {
    Ok(Json(service.status().await?))
}

async fn peers(State(service): State<Service>) -> Json<Vec<Peer>> {
    Json(service.peers())
}

async fn paths(State(service): State<Service>) -> Result<Json<Paths>, Failed> {
    Ok(Json(service.paths().await?))
}

async fn publications(State(service): State<Service>) -> Result<Json<Vec<Publication>>, Failed> {
    Ok(Json(service.publications().await?))
}

async fn publish(State(service): State<Service>, Json(request): Json<PublishRequest>) -> Response {
    lines(PublishEvent::Error, |events| async move { service.publish(request, events).await })
}

async fn unpublish(
    State(service): State<Service>,
    Json(request): Json<UnpublishRequest>,
) -> Result<Json<Unpublished>, Failed> {
    Ok(Json(service.unpublish(request).await?))
}

async fn search(State(service): State<Service>, Json(request): Json<SearchRequest>) -> Response {
    lines(SearchEvent::Error, |events| async move { service.search(request, events).await })
}

async fn download(State(service): State<Service>, Json(request): Json<GetRequest>) -> Response {
    lines(GetEvent::Error, |events| async move { service.get(request, events).await })
}

async fn transfers(State(service): State<Service>) -> Result<Json<Vec<Transfer>>, Failed> {
    Ok(Json(service.transfers()?))
}

async fn cancel(
    State(service): State<Service>,
    Json(TransferId { id }): Json<TransferId>,
) -> Result<Json<Transfer>, Failed> {
    Ok(Json(service.cancel_transfer(id).await?))
}

/// Runs `work` and streams the events it sends, one JSON object a line. When the reader goes away, the channel closes.
fn lines<E, W>(error: fn(Problem) -> E, work: impl FnOnce(mpsc::Sender<E>) -> W) -> Response
where
    E: Serialize + Send + 'static,
    W: Future<Output = Result<(), Problem>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(LINES);
    let work = work(sender.clone());
    tokio::spawn(async move {
        if let Err(problem) = work.await {
            let _reader_gone = sender.send(error(problem)).await;
        }
    });
    let body = futures::stream::unfold(receiver, async |mut receiver: mpsc::Receiver<E>| {
        let mut line = serde_json::to_vec(&receiver.recv().await?).ok()?;
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), receiver))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}
