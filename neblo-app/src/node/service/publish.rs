//! Publications: hashed and read in place, announced, renewed, and withdrawn when their source changes.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, stream};
use neblo_behaviour::protocol::interface::{Announcement, Failure, PublicationId};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{Service, failure};
use crate::{
    api::{self, PublishEvent, PublishRequest, UnpublishRequest, Unpublished},
    content::{self, Fingerprint, Outboards, Root},
    link::{Kind, Target},
    metadata::Metadata,
    problem::{Code, Problem},
    store::{Entry, Publication, PublicationState},
};

/// Days that a publication lasts unless it is renewed. choice
const LASTS: u32 = 30;
/// It is renewed when so many days are left. choice
const RENEW_AT: u32 = 7;
/// How often sources are looked at. choice
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long a leader may take to acknowledge a publication.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(60);
/// Publications announced at once.
const AT_ONCE: usize = 4;

/// What is offered now.
#[derive(Debug)]
pub(super) struct Offers {
    pub(super) outboards: Outboards,
    live: Mutex<BTreeMap<PublicationId, Root>>,
    /// Why a publication is not offered, by root.
    reasons: Mutex<BTreeMap<Root, String>>,
}

impl Offers {
    pub(super) fn open(data_dir: &Path) -> Result<Self, Problem> {
        let outboards = Outboards::open(data_dir);
        Ok(Self {
            outboards: outboards.map_err(|error| Problem::failed(error.to_string()))?,
            live: Mutex::default(),
            reasons: Mutex::default(),
        })
    }

    /// The root that is offered under this publication.
    pub(super) fn root(&self, publication: &PublicationId) -> Option<Root> {
        self.live().get(publication).copied()
    }

    fn ids(&self, root: &Root) -> Vec<PublicationId> {
        let live = self.live();
        let ids = live.iter().filter(|(_, it)| *it == root).map(|(id, _)| *id);
        ids.collect()
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<PublicationId, Root>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeMap<Root, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Days since 1970.
fn today() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / 86_400).unwrap_or(u32::MAX)
}

impl Service {
    /// Publishes a file or folder; see [`PublishEvent`] for what is sent to `events`.
    pub async fn publish(&self, request: PublishRequest, events: mpsc::Sender<PublishEvent>) -> Result<(), Problem> {
        if let Some(message) = self.warning().await? {
            let _reader_gone = events.send(PublishEvent::Warning { message }).await;
        }
        let path = PathBuf::from(&request.path);
        if !path.is_absolute() {
            return Err(Problem::usage("the node needs an absolute path"));
        }
        let (service, told) = (self.clone(), events.clone());
        let (name, tags) = (request.name, request.tags);
        let work = move || service.hash(&path, name, tags, &told);
        let (publication, entries, warnings) = blocking(work).await?;
        for message in warnings {
            let _reader_gone = events.send(PublishEvent::Warning { message }).await;
        }
        let root = publication.metadata.root;
        let stored = publication.clone();
        let known = self.store().run(move |store| {
            let known = store.publication(&root)?.is_some();
            store.put_publication(&stored, &entries)?;
            Ok(known)
        });
        let known = known.await.map_err(super::stored)?;
        let _reader_gone = events.send(PublishEvent::Announcing).await;
        self.withdraw(&root).await;
        if let Err(failure) = self.announce(&publication, request.allow_weak).await {
            if !known {
                self.forget(root).await?;
            }
            return Err(failure::problem("publish", &failure));
        }
        self.allow_weak_later(root, request.allow_weak).await;
        let published = self.shown(&Publication { state: PublicationState::Published, ..publication });
        // It has just been acknowledged, whether the swarm's own word of that was handled already or not.
        let published = api::Publication { state: api::PublicationState::Offered, ..published };
        let _reader_gone = events.send(PublishEvent::Published(published)).await;
        Ok(())
    }

    /// What is published.
    pub async fn publications(&self) -> Result<Vec<api::Publication>, Problem> {
        let all = self.store().run(|store| store.publications()).await.map_err(super::stored)?;
        Ok(all.iter().map(|publication| self.shown(publication)).collect())
    }

    /// Stops offering something.
    pub async fn unpublish(&self, request: UnpublishRequest) -> Result<Unpublished, Problem> {
        let target = self.target(&request.target)?;
        let root = *target.root();
        let found = self.store().run(move |store| store.publication(&root)).await;
        let Some(publication) = found.map_err(super::stored)? else {
            return Err(Problem::new(Code::NotFound, "this node does not publish that")
                .hint("`neblo list` shows what it publishes"));
        };
        self.withdraw(&root).await;
        let shown = self.shown(&publication);
        self.forget(root).await?;
        Ok(Unpublished { unpublished: vec![shown] })
    }

    /// Reads a link or root, of this network.
    pub(super) fn target(&self, text: &str) -> Result<Target, Problem> {
        let wrong = |error: crate::link::LinkError| {
            Problem::usage(error.to_string())
                .hint("copy the whole link, as `neblo publish` or `neblo search` printed it")
        };
        let target: Target = text.parse().map_err(wrong)?;
        if let Target::Link(link) = &target {
            link.check_network(&self.config().network).map_err(wrong)?;
        }
        Ok(target)
    }

    fn shown(&self, publication: &Publication) -> api::Publication {
        let metadata = &publication.metadata;
        // That a leader took it once is not enough: what it has goes with the path.
        let offered = self.0.offers.ids(&metadata.root).iter().any(|id| self.0.net.is_held(id));
        let missing = !publication.path.exists();
        api::Publication {
            link: metadata.link(&self.config().network).to_string(),
            root: hex::encode(metadata.root),
            name: metadata.name.clone(),
            size: metadata.size,
            collection: metadata.kind == Kind::Collection,
            path: publication.path.display().to_string(),
            state: match publication.state {
                PublicationState::SourceLost if missing => api::PublicationState::Missing,
                PublicationState::SourceLost => api::PublicationState::Changed,
                _ if offered => api::PublicationState::Offered,
                _ => api::PublicationState::Announcing,
            },
            reason: self.0.offers.reasons().get(&metadata.root).cloned(),
            expiry_day: publication.expiry_day,
        }
    }

    /// Hashes a file or folder. Blocks on the disk.
    fn hash(
        &self,
        path: &Path,
        name: Option<String>,
        tags: Vec<(String, String)>,
        events: &mpsc::Sender<PublishEvent>,
    ) -> Result<(Publication, Vec<Entry>, Vec<String>), Problem> {
        let found = fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Problem::new(Code::NotFound, format!("there is no file {}", path.display())).hint("check the path")
            }
            _ => Problem::failed(format!("cannot read {}: {error}", path.display())).hint("check that you may read it"),
        })?;
        let name = match name {
            Some(name) => name,
            None => file_name(path)?,
        };
        let outboards = &self.0.offers.outboards;
        let total = std::cell::Cell::new(found.len());
        let mut progress = |done: u64| {
            let hashing = PublishEvent::Hashing { done, total: total.get() };
            match events.try_send(hashing) {
                // Nobody waits for it any more: publishing needs the caller to see the link.
                Err(mpsc::error::TrySendError::Closed(_)) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        };
        let mut warnings = Vec::new();
        let (mut metadata, fingerprint, entries) = if found.is_dir() {
            let collection = content::walk(path).map_err(|error| Problem::failed(error.to_string()))?;
            warnings.extend(
                collection
                    .skipped
                    .iter()
                    .map(|skipped| format!("left out: {} is neither file nor folder", skipped.display())),
            );
            let sizes = collection.files.iter().filter_map(|(_, file)| Some(fs::metadata(file).ok()?.len()));
            total.set(sizes.sum());
            let hashed = collection.hash(outboards, &mut progress);
            let hashed = hashed.map_err(|error| Problem::failed(error.to_string()))?;
            let len = u64::try_from(hashed.manifest.len()).unwrap_or(u64::MAX);
            let entries = hashed.files.into_iter().map(|file| Entry {
                name: file.entry.path,
                path: file.path,
                root: file.entry.root,
                fingerprint: file.fingerprint,
            });
            let metadata = Metadata::collection(name, hashed.root, len, hashed.size);
            (metadata, Fingerprint::of(&found), entries.collect())
        } else {
            let hashed = content::hash_file(path, outboards, &mut progress);
            let hashed = hashed.map_err(|error| Problem::failed(error.to_string()))?;
            (Metadata::file(name, hashed.root, hashed.len), hashed.fingerprint, Vec::new())
        };
        metadata.tags.extend(tags);
        metadata
            .check()
            .map_err(|error| Problem::usage(error.to_string()).hint("choose another name by --name, or other tags"))?;
        let publication = Publication {
            metadata,
            path: path.to_owned(),
            fingerprint,
            secret_key: rand::random(),
            expiry_day: today().saturating_add(LASTS),
            created: 0,
            state: PublicationState::Announcing,
        };
        Ok((publication, entries, warnings))
    }

    async fn announce(&self, publication: &Publication, allow_weak: bool) -> Result<(), Failure> {
        let root = publication.metadata.root;
        let payload = publication.metadata.encode();
        let announcement = Announcement {
            secret: publication.secret_key,
            payload: payload.map_err(|_| Failure::Invalid("metadata"))?,
            expiry_day: publication.expiry_day,
        };
        let announced = timeout(ANNOUNCE_WITHIN, self.handle().announce(announcement, allow_weak));
        let id = announced.await.unwrap_or(Err(Failure::TimedOut))?;
        self.0.offers.live().insert(id, root);
        self.0.offers.reasons().remove(&root);
        self.set_state(root, PublicationState::Published).await;
        Ok(())
    }

    async fn withdraw(&self, root: &Root) {
        for id in self.0.offers.ids(root) {
            self.0.offers.live().remove(&id);
            self.0.net.withdrawn(&id);
            if let Err(failure) = self.handle().withdraw(id).await {
                tracing::debug!(target: "neblo", %failure, "cannot withdraw");
            }
        }
    }

    /// Removes a publication and the hash trees that nothing else needs.
    async fn forget(&self, root: Root) -> Result<(), Problem> {
        self.0.offers.reasons().remove(&root);
        let service = self.clone();
        let removed = self.store().run(move |store| {
            let mut roots: Vec<Root> = store.entries(&root)?.iter().map(|entry| entry.root).collect();
            roots.push(root);
            store.remove_publication(&root)?;
            for root in roots {
                if !store.is_root_in_use(&root)?
                    && let Err(error) = service.0.offers.outboards.remove(&root)
                {
                    tracing::warn!(target: "neblo", %error, "cannot remove a hash tree");
                }
            }
            Ok(())
        });
        removed.await.map_err(super::stored)
    }

    /// Takes back a publication whose source cannot be served, and says why.
    pub(super) async fn lost(&self, root: Root, reason: String) {
        tracing::warn!(target: "neblo", "a published source has changed or is gone: see `neblo list`");
        self.0.offers.reasons().insert(root, reason);
        self.withdraw(&root).await;
        self.set_state(root, PublicationState::SourceLost).await;
    }

    async fn set_state(&self, root: Root, state: PublicationState) {
        let set = self.store().run(move |store| store.set_publication_state(&root, state));
        if let Err(error) = set.await {
            tracing::warn!(target: "neblo", %error, "cannot note the state of a publication");
        }
    }

    async fn allow_weak_later(&self, root: Root, allow: bool) {
        let value = if allow { "1" } else { "0" };
        let set = self.store().run(move |store| store.set_setting(&weak_key(&root), value));
        if let Err(error) = set.await {
            tracing::warn!(target: "neblo", %error, "cannot note a setting");
        }
    }

    /// Announces what is not offered, looks at sources, renews; for ever.
    pub(super) async fn keep_offering(self) {
        loop {
            let all = self.store().run(|store| store.publications()).await;
            match all {
                Ok(all) => {
                    stream::iter(all).for_each_concurrent(AT_ONCE, |publication| self.tend(publication)).await;
                }
                Err(error) => tracing::warn!(target: "neblo", %error, "cannot read what is published"),
            }
            // Soon again while something could not be announced yet, as after a start.
            let waiting = self
                .publications()
                .await
                .is_ok_and(|all| all.iter().any(|it| it.state == api::PublicationState::Announcing));
            sleep(if waiting { Duration::from_secs(2) } else { LOOK_EVERY }).await;
        }
    }

    async fn tend(&self, mut publication: Publication) {
        let root = publication.metadata.root;
        let (service, looked_at) = (self.clone(), publication.clone());
        let looked = blocking(move || service.look(&looked_at)).await;
        if let Err(problem) = looked {
            if publication.state != PublicationState::SourceLost {
                self.lost(root, problem.message).await;
            } else {
                self.0.offers.reasons().insert(root, problem.message);
            }
            return;
        }
        let old = publication.expiry_day <= today().saturating_add(RENEW_AT);
        if old {
            publication.secret_key = rand::random();
            publication.expiry_day = today().saturating_add(LASTS);
            let (key, day) = (publication.secret_key, publication.expiry_day);
            let renewed = self.store().run(move |store| store.renew_publication(&root, &key, day));
            if let Err(error) = renewed.await {
                tracing::warn!(target: "neblo", %error, "cannot renew a publication");
                return;
            }
        }
        let before = self.0.offers.ids(&root);
        if !old && !before.is_empty() {
            return;
        }
        let weak = self.store().run(move |store| store.setting(&weak_key(&root))).await;
        let weak = matches!(weak, Ok(Some(value)) if value == "1");
        match self.announce(&publication, weak).await {
            Ok(()) => {
                // The old one goes only now, so that it can be found all the time.
                for id in before {
                    self.0.offers.live().remove(&id);
                    self.0.net.withdrawn(&id);
                    let _best_effort = self.handle().withdraw(id).await;
                }
            }
            Err(failure) => {
                self.0.offers.reasons().insert(root, failure.to_string());
            }
        }
    }

    /// Whether the source is still what was published. Blocks on the disk.
    fn look(&self, publication: &Publication) -> Result<(), Problem> {
        let check = |path: &Path, expected: &Fingerprint| {
            let changed = |what: String| Problem::failed(format!("{}: {what}", path.display()));
            let found = fs::metadata(path).map_err(|error| changed(error.to_string()))?;
            match Fingerprint::of(&found) == *expected {
                true => Ok(()),
                false => Err(changed("it has changed since it was published; publish it again".into())),
            }
        };
        match publication.metadata.kind {
            Kind::File => check(&publication.path, &publication.fingerprint),
            Kind::Collection => {
                let entries = self.store().entries(&publication.metadata.root);
                let entries = entries.map_err(super::stored)?;
                entries.iter().try_for_each(|entry| check(&entry.path, &entry.fingerprint))
            }
        }
    }
}

fn weak_key(root: &Root) -> String {
    format!("weak/{}", hex::encode(root))
}

fn file_name(path: &Path) -> Result<String, Problem> {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().or_else(|| whole.file_name());
    let name = name.and_then(|name| name.to_str()).map(ToOwned::to_owned);
    name.ok_or_else(|| {
        Problem::usage(format!("{} has no name that others could read", path.display())).hint("name it by --name")
    })
}

/// Runs `work` where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::failed(format!("a task stopped: {error}"))),
    }
}
