//! Searches: hits as leaders answer, each content once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use neblo_behaviour::{protocol::interface::Hit, swarm::LookupEvent};
use tokio::sync::mpsc;

use super::{Service, failure};
use crate::{
    api::{SearchEvent, SearchHit, SearchRequest},
    link::Kind,
    metadata::Metadata,
    problem::Problem,
    query,
};

/// Fewer peers to hide among than this are worth a warning (design D18).
const WARN_BELOW: usize = 13;

/// What came of asking all leaders.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// Leaders that answered.
    pub(super) answered: u32,
    /// Leaders that were asked.
    pub(super) asked: u32,
}

impl Service {
    /// Asks all leaders; see [`SearchEvent`] for what is sent to `events`.
    pub async fn search(
        &self,
        request: SearchRequest,
        events: mpsc::Sender<SearchEvent>,
    ) -> Result<(), Problem> {
        let query = query::parse(&request.query).map_err(|error| {
            Problem::usage(error.to_string())
                .hint("`neblo search --help` shows what a query may hold")
        })?;
        if let Some(message) = self.warning().await? {
            let _reader_gone = events.send(SearchEvent::Warning { message }).await;
        }
        let began = Instant::now();
        let limit = request.limit.clamp(1, 1000);
        let window = Duration::from_millis(request.timeout_ms.clamp(100, 3_600_000));
        let mut roots = BTreeSet::new();
        let events = &events;
        let network = self.config().network.as_str();
        let asked = self
            .ask_leaders(&query, limit, window, request.allow_weak, async |found, asked| {
                for (_, metadata) in found {
                    // Publications of one content are one hit: the link names the content alone.
                    if roots.len() < limit && roots.insert(metadata.root) {
                        let hit = SearchEvent::Hit(search_hit(&metadata, network));
                        if events.send(hit).await.is_err() {
                            return false;
                        }
                    }
                }
                let answered = SearchEvent::Answered {
                    answered: asked.answered,
                    asked: asked.asked,
                };
                events.send(answered).await.is_ok() && roots.len() < limit
            })
            .await?;
        let done = SearchEvent::Done {
            hits: roots.len(),
            answered: asked.answered,
            asked: asked.asked,
            milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let _reader_gone = events.send(done).await;
        Ok(())
    }

    /// Asks all leaders and hands on what is well formed and not of this publication seen before, until all have
    /// answered, the window is over, or `take` wants no more.
    pub(super) async fn ask_leaders(
        &self,
        query: &query::Query,
        limit: usize,
        window: Duration,
        allow_weak: bool,
        mut take: impl AsyncFnMut(Vec<(Hit, Metadata)>, Asked) -> bool,
    ) -> Result<Asked, Problem> {
        let encoded = query
            .encode()
            .map_err(|error| Problem::usage(format!("cannot send this query: {error}")))?;
        let limit = u16::try_from(limit).unwrap_or(u16::MAX);
        let mut lookup = self.handle().lookup(encoded, limit, window, allow_weak);
        let mut seen = BTreeSet::new();
        let mut asked = Asked::default();
        while let Some(event) = lookup.next().await {
            match event {
                LookupEvent::Hits {
                    hits,
                    answered,
                    asked: of,
                } => {
                    asked = Asked {
                        answered,
                        asked: of,
                    };
                    let mut found = Vec::new();
                    for hit in hits {
                        // Anyone may have announced it: what is no metadata is no hit.
                        if let Ok(metadata) = Metadata::decode(&hit.payload)
                            && seen.insert(hit.id())
                        {
                            found.push((hit, metadata));
                        }
                    }
                    if !take(found, asked).await {
                        break;
                    }
                }
                LookupEvent::Ended { answered, asked: of } => {
                    asked = Asked {
                        answered,
                        asked: of,
                    };
                    break;
                }
                LookupEvent::Failed(failure) => return Err(failure::problem("search", &failure)),
            }
        }
        Ok(asked)
    }

    /// What to tell who publishes, searches or fetches while few peers are there to hide among.
    pub(super) async fn warning(&self) -> Result<Option<String>, Problem> {
        let set = self.protocol_status().await?.anonymity_set;
        Ok((set < WARN_BELOW).then(|| {
            format!("weak anonymity: you hide among {set} peers, {WARN_BELOW} or more are advised")
        }))
    }
}

fn search_hit(metadata: &Metadata, network: &str) -> SearchHit {
    SearchHit {
        name: metadata.name.clone(),
        size: metadata.size,
        media_type: metadata.media_type.clone(),
        collection: metadata.kind == Kind::Collection,
        root: hex::encode(metadata.root),
        link: metadata.link(network).to_string(),
        tags: metadata.tags.clone(),
    }
}
