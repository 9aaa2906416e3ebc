//! Serving what is published, and nothing else: each stream may ask for the content of its own publication alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use neblo_behaviour::swarm::IncomingStream;
use tokio::runtime;
use tokio::sync::Semaphore;

use super::Service;
use crate::{
    content::{Content, ContentError, Fingerprint, Manifest, ManifestEntry, MemoryContent, Root, SourceFile},
    link::Kind,
    problem::Problem,
    transfer::{Catalogue, ServeOptions, serve},
};

/// Streams served at once; more are refused. choice
const STREAMS: usize = 64;

impl Service {
    /// Serves streams as they come in, for ever.
    pub(super) async fn keep_serving(self) {
        let room = Arc::new(Semaphore::new(STREAMS));
        let mut incoming = self.handle().incoming();
        while let Some(stream) = incoming.next().await {
            let Ok(permit) = room.clone().try_acquire_owned() else {
                tracing::debug!(target: "neblo", "serving as many streams as it may: one is refused");
                stream.refuse().await;
                continue;
            };
            let service = self.clone();
            tokio::spawn(async move {
                service.serve_one(stream).await;
                drop(permit);
            });
        }
    }

    async fn serve_one(&self, stream: IncomingStream) {
        let Some(root) = self.0.offers.root(&stream.publication) else {
            return stream.refuse().await;
        };
        let service = self.clone();
        let catalogue = super::publish::blocking(move || service.catalogue(root)).await;
        let Ok(catalogue) = catalogue else {
            return stream.refuse().await;
        };
        let stream = match stream.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(target: "neblo", %error, "a stream broke before it began");
                return;
            }
        };
        let options = ServeOptions { upload: self.0.upload.clone(), ..ServeOptions::default() };
        match serve(stream, Arc::new(catalogue), options).await {
            Ok(served) => tracing::debug!(target: "neblo", ?served, "served a stream"),
            Err(error) => tracing::debug!(target: "neblo", %error, "serving ended"),
        }
    }

    /// What a stream for the publication of `root` may ask for. Blocks on the disk.
    fn catalogue(&self, root: Root) -> Result<Offered, Problem> {
        let none = || Problem::failed("it is not published any more");
        let publication = self.store().publication(&root).map_err(super::stored)?.ok_or_else(none)?;
        let mut offered = Offered {
            service: self.clone(),
            runtime: runtime::Handle::current(),
            root,
            files: BTreeMap::new(),
            manifest: None,
        };
        match publication.metadata.kind {
            Kind::File => {
                let source = (publication.path, publication.fingerprint);
                offered.files.insert(root, source);
            }
            Kind::Collection => {
                let entries = self.store().entries(&root).map_err(super::stored)?;
                let listed = entries.iter().map(|entry| ManifestEntry {
                    path: entry.name.clone(),
                    root: entry.root,
                    len: entry.fingerprint.len,
                });
                let manifest = Manifest::new(listed.collect()).and_then(|manifest| manifest.encode());
                let manifest = manifest.map_err(|error| Problem::failed(error.to_string()))?;
                offered.manifest = Some(Arc::new(MemoryContent::new(manifest)));
                let files = entries.into_iter().map(|it| (it.root, (it.path, it.fingerprint)));
                offered.files.extend(files);
            }
        }
        Ok(offered)
    }
}

/// The content of one publication.
struct Offered {
    service: Service,
    runtime: runtime::Handle,
    root: Root,
    files: BTreeMap<Root, (PathBuf, Fingerprint)>,
    manifest: Option<Arc<MemoryContent>>,
}

impl Catalogue for Offered {
    fn open(&self, root: &Root) -> Option<Result<Arc<dyn Content>, ContentError>> {
        if let Some(manifest) = &self.manifest
            && manifest.root() == *root
        {
            return Some(Ok(manifest.clone()));
        }
        let (path, fingerprint) = self.files.get(root)?;
        let outboard = self.service.0.offers.outboards.path(root);
        let source = SourceFile::open(path, root, *fingerprint, &outboard);
        Some(source.map(|source| -> Arc<dyn Content> { Arc::new(source) }))
    }

    fn failed(&self, _part: &Root, error: &ContentError) {
        if error.is_source_lost() {
            let (service, root, reason) = (self.service.clone(), self.root, error.to_string());
            self.runtime.spawn(async move { service.lost(root, reason).await });
        }
    }
}
