//! Downloads: begun, watched, gone on with after a restart, stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use neblo_behaviour::protocol::interface::Hit;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Service, fetch, publishers::WINDOW};
use crate::{
    api::{GetEvent, GetRequest, Transfer, TransferState},
    link::{Link, Target},
    problem::{Code, Problem},
    store::{self, DownloadState, NewDownload},
};

/// Downloads that run.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    running: Mutex<BTreeMap<u64, Running>>,
}

/// One that runs.
#[derive(Clone, Debug)]
struct Running {
    shown: watch::Receiver<Progressing>,
    cancel: CancellationToken,
}

/// How a download stands, for those who watch it.
#[derive(Clone, Debug)]
pub(super) struct Progressing {
    pub(super) transfer: Transfer,
    pub(super) resumed: u64,
    pub(super) publishers: usize,
    pub(super) streams: u64,
    pub(super) retries: u32,
    pub(super) began: Instant,
    pub(super) ended: Option<Result<PathBuf, Problem>>,
}

impl Progressing {
    /// Bytes come in.
    pub(super) fn at(&mut self, done: u64, streams: u64) {
        self.transfer.done = done;
        self.streams = streams;
        self.transfer.state = TransferState::Running;
        self.transfer.reason = None;
    }

    /// No stream can be opened for now.
    pub(super) fn waiting(&mut self, reason: String) {
        self.transfer.state = TransferState::Waiting;
        self.transfer.reason = Some(reason);
    }

    /// A stream broke.
    pub(super) fn broke(&mut self, reason: String) {
        self.retries = self.retries.saturating_add(1);
        self.waiting(reason);
    }
}

/// What is to be fetched, and where to.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) link: Link,
    pub(super) destination: PathBuf,
    pub(super) overwrite: bool,
    pub(super) allow_weak: bool,
    pub(super) known: Vec<Hit>,
    /// It goes on with what an earlier run of the node began.
    pub(super) again: bool,
}

impl Downloads {
    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Fetches something, or watches a download of it that runs already; see [`GetEvent`] for what is sent to `events`.
    /// The download goes on when nobody listens any more.
    pub async fn get(&self, request: GetRequest, events: mpsc::Sender<GetEvent>) -> Result<(), Problem> {
        let target = self.target(&request.target)?;
        if let Some(message) = self.warning().await? {
            let _reader_gone = events.send(GetEvent::Warning { message }).await;
        }
        let (link, known) = match target {
            Target::Link(link) => (link, Vec::new()),
            Target::Root(root) => self.resolve(root, request.allow_weak).await?,
        };
        let wanted = Wanted {
            destination: destination(&request.output, &link.name)?,
            overwrite: request.overwrite,
            allow_weak: request.allow_weak,
            link,
            known,
            again: false,
        };
        let shown = self.begin(wanted).await?;
        watch_download(shown, events).await
    }

    /// Downloads, those that are over too, in the order in which they were begun.
    pub fn transfers(&self) -> Result<Vec<Transfer>, Problem> {
        let all = self.store().downloads().map_err(super::stored)?;
        let running = self.0.downloads.running();
        let shown = all.iter().map(|download| match running.get(&number(download.id)) {
            Some(running) => running.shown.borrow().transfer.clone(),
            None => transfer_of(download),
        });
        Ok(shown.collect())
    }

    /// Stops a download and deletes what is there of it.
    pub async fn cancel_transfer(&self, id: u64) -> Result<Transfer, Problem> {
        let missing =
            || Problem::new(Code::NotFound, format!("there is no download {id}")).hint("`neblo transfers` lists them");
        let row = i64::try_from(id).map_err(|_| missing())?;
        let download = self.store().run(move |store| store.download(row)).await;
        let download = download.map_err(super::stored)?.ok_or_else(missing)?;
        let running = self.0.downloads.running().get(&id).cloned();
        if let Some(mut running) = running {
            running.cancel.cancel();
            let _stopped = running.shown.wait_for(|shown| shown.ended.is_some()).await;
        }
        if download.state == DownloadState::Done {
            return Err(
                Problem::usage(format!("download {id} is done already")).hint("delete the file if you do not want it")
            );
        }
        let path = download.destination.clone();
        let link = download.target.clone();
        let discarded = move || fetch::discard(&path, &link);
        super::publish::blocking(discarded).await?;
        self.note_download(row, DownloadState::Cancelled, None).await;
        let mut transfer = transfer_of(&download);
        transfer.state = TransferState::Cancelled;
        transfer.done = 0;
        Ok(transfer)
    }

    /// Goes on with what an earlier run of the node left.
    pub(super) async fn resume_downloads(&self) -> Result<(), Problem> {
        let all = self.store().run(|store| store.downloads()).await.map_err(super::stored)?;
        for download in all.into_iter().filter(|it| it.state == DownloadState::Active) {
            let Ok(Target::Link(link)) = download.target.parse() else {
                continue;
            };
            let wanted = Wanted {
                link,
                destination: download.destination,
                overwrite: download.overwrite,
                // Whoever began it has accepted it then or had enough peers.
                allow_weak: true,
                known: Vec::new(),
                again: true,
            };
            if let Err(problem) = self.begin(wanted).await {
                tracing::warn!(target: "neblo", %problem, "cannot go on with a download");
            }
        }
        Ok(())
    }

    /// Waits until every download has been told to stop and has stopped.
    pub(super) async fn downloads_stopped(&self) {
        let running: Vec<_> = self.0.downloads.running().values().cloned().collect();
        for mut running in running {
            let _stopped = running.shown.wait_for(|shown| shown.ended.is_some()).await;
        }
    }

    /// Asks leaders what a root is.
    async fn resolve(&self, root: crate::content::Root, allow_weak: bool) -> Result<(Link, Vec<Hit>), Problem> {
        let (found, asked) = self.find(root, allow_weak, WINDOW).await?;
        let network = self.config().network.as_str();
        match found.first() {
            Some((_, metadata)) => {
                let link = metadata.link(network);
                // Those that claim another length are about something else, or lie.
                let same = found.iter().filter(|(_, it)| it.len == link.len && it.kind == link.kind);
                let hits = same.map(|(hit, _)| hit.clone()).collect();
                Ok((link, hits))
            }
            None if asked.answered == 0 && asked.asked > 0 => {
                Err(Problem::new(Code::Unreachable, format!("none of {} leaders answered", asked.asked))
                    .hint("wait until the node is ready (`neblo status --wait-ready`), then try again"))
            }
            None => Err(Problem::new(
                Code::NotFound,
                match asked.asked {
                    0 => "nobody publishes this root, or nobody's path is whole".to_owned(),
                    all => format!("nobody publishes this root: {} of {all} leaders answered", asked.answered),
                },
            )
            .hint("check the root; its publisher may come back: try again later")),
        }
    }

    /// Begins a download, or finds the one that runs.
    async fn begin(&self, wanted: Wanted) -> Result<watch::Receiver<Progressing>, Problem> {
        let link = &wanted.link;
        let output = wanted.destination.display().to_string();
        let root = hex::encode(link.root);
        {
            let running = self.0.downloads.running();
            let same = running.values().find(|it| {
                let shown = it.shown.borrow();
                shown.ended.is_none() && shown.transfer.root == root && shown.transfer.output == output
            });
            if let Some(same) = same {
                return Ok(same.shown.clone());
            }
        }
        self.check_room(link.len)?;
        fetch::check_destination(&wanted)?;
        let new = NewDownload {
            target: Target::Link(link.clone()),
            destination: wanted.destination.clone(),
            part: fetch::part_of(&wanted.destination, link.kind),
            size: link.len,
            overwrite: wanted.overwrite,
        };
        let row = self.store().run(move |store| store.add_download(&new)).await;
        let row = row.map_err(super::stored)?;
        let transfer = Transfer {
            id: number(row),
            name: link.name.clone(),
            root,
            output,
            state: TransferState::Searching,
            done: 0,
            total: link.len,
            reason: None,
        };
        let (sender, shown) = watch::channel(Progressing {
            transfer,
            resumed: 0,
            publishers: wanted.known.len(),
            streams: 0,
            retries: 0,
            began: Instant::now(),
            ended: None,
        });
        let cancel = CancellationToken::new();
        let running = Running { shown: shown.clone(), cancel: cancel.clone() };
        self.0.downloads.running().insert(number(row), running);
        let service = self.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = service.fetch(wanted, sender.clone(), cancel.clone()) => Some(ended),
                // The node stops: the download goes on after the next start.
                () = service.0.stopping.cancelled() => None,
            };
            service.ended(row, ended, &cancel, &sender).await;
        });
        Ok(shown)
    }

    async fn ended(
        &self,
        row: i64,
        ended: Option<Result<PathBuf, Problem>>,
        cancel: &CancellationToken,
        shown: &watch::Sender<Progressing>,
    ) {
        let done = shown.borrow().transfer.done;
        let noted = self.store().run(move |store| store.set_download_present(row, done));
        if let Err(error) = noted.await {
            tracing::warn!(target: "neblo", %error, "cannot note a download");
        }
        match &ended {
            Some(Ok(_)) => self.note_download(row, DownloadState::Done, None).await,
            Some(Err(_)) if cancel.is_cancelled() => {}
            Some(Err(problem)) => {
                self.note_download(row, DownloadState::Failed, Some(problem.message.clone())).await;
            }
            None => {}
        }
        let stopped = || {
            Err(Problem::new(Code::NotRunning, "the node is stopping")
                .hint("start it again: neblo up; the download then goes on"))
        };
        shown.send_modify(|shown| {
            shown.transfer.state = match &ended {
                Some(Ok(_)) => TransferState::Done,
                Some(Err(_)) if cancel.is_cancelled() => TransferState::Cancelled,
                Some(Err(_)) => TransferState::Failed,
                None => TransferState::Waiting,
            };
            shown.ended = Some(ended.clone().unwrap_or_else(stopped));
        });
        self.0.downloads.running().remove(&number(row));
    }

    async fn note_download(&self, row: i64, state: DownloadState, error: Option<String>) {
        let noted = self.store().run(move |store| store.set_download_state(row, state, error.as_deref()));
        if let Err(error) = noted.await {
            tracing::warn!(target: "neblo", %error, "cannot note a download");
        }
    }

    /// Refuses what would take more disk than the cap allows.
    fn check_room(&self, len: u64) -> Result<(), Problem> {
        let Some(cap) = self.config().limits.disk.bytes() else {
            return Ok(());
        };
        let running = self.0.downloads.running();
        let taken: u64 = running.values().map(|it| it.shown.borrow().transfer.total).sum();
        match taken.saturating_add(len) > cap {
            false => Ok(()),
            true => Err(Problem::failed(format!(
                "this download of {} would take more disk than limits.disk allows ({})",
                crate::units::human(len),
                self.config().limits.disk
            ))
            .hint("wait for other downloads, or raise limits.disk in neblo.toml")),
        }
    }
}

/// Tells `events` how a download goes until it is over.
async fn watch_download(
    mut shown: watch::Receiver<Progressing>,
    events: mpsc::Sender<GetEvent>,
) -> Result<(), Problem> {
    let (mut started, mut retries, mut told) = (false, 0, None);
    loop {
        let now = shown.borrow_and_update().clone();
        let mut tell = Vec::new();
        let transfer = &now.transfer;
        if !started && (transfer.state == TransferState::Running || now.ended.is_some()) {
            started = true;
            tell.push(GetEvent::Started {
                transfer: transfer.id,
                name: transfer.name.clone(),
                resumed: now.resumed,
                total: transfer.total,
                publishers: now.publishers,
            });
        }
        if now.retries > retries {
            retries = now.retries;
            tell.push(GetEvent::Retrying { reason: transfer.reason.clone().unwrap_or_default(), attempt: retries });
        }
        if started && told != Some(transfer.done) {
            told = Some(transfer.done);
            tell.push(GetEvent::Progress { done: transfer.done, total: transfer.total, streams: now.streams });
        }
        let ended = match now.ended {
            None => None,
            Some(Err(problem)) => Some(Err(problem)),
            Some(Ok(path)) => {
                tell.push(GetEvent::Done {
                    path: path.display().to_string(),
                    root: transfer.root.clone(),
                    bytes: transfer.total,
                    milliseconds: u64::try_from(now.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                    retries,
                });
                Some(Ok(()))
            }
        };
        for event in tell {
            if events.send(event).await.is_err() {
                return Ok(());
            }
        }
        if let Some(ended) = ended {
            return ended;
        }
        tokio::select! {
            changed = shown.changed() => if changed.is_err() {
                return Err(Problem::failed("the download stopped by a fault of its own"));
            },
            () = events.closed() => return Ok(()),
        }
    }
}

/// Where something of this name goes: `output` is a folder if it ends in `/` or is one.
fn destination(output: &str, name: &str) -> Result<PathBuf, Problem> {
    let path = Path::new(output);
    if !path.is_absolute() {
        return Err(Problem::usage("the node needs an absolute path"));
    }
    match output.ends_with('/') || path.is_dir() {
        true => Ok(path.join(name)),
        false => Ok(path.to_owned()),
    }
}

fn number(row: i64) -> u64 {
    u64::try_from(row).unwrap_or_default()
}

fn transfer_of(download: &store::Download) -> Transfer {
    let name = match download.target.parse() {
        Ok(Target::Link(link)) => link.name,
        _ => String::new(),
    };
    let complete = download.state == DownloadState::Done;
    Transfer {
        id: number(download.id),
        name,
        root: hex::encode(download.root),
        output: download.destination.display().to_string(),
        state: match download.state {
            DownloadState::Active => TransferState::Waiting,
            DownloadState::Done => TransferState::Done,
            DownloadState::Failed => TransferState::Failed,
            DownloadState::Cancelled => TransferState::Cancelled,
        },
        done: if complete { download.size } else { download.present },
        total: download.size,
        reason: download.error.clone(),
    }
}
