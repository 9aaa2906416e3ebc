//! Searches: hits as leaders answer, each content once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use neblo_behaviour::{
    protocol::interface::{Hit, PublicationId},
    swarm::{Lookup, LookupEvent},
};
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

impl Asked {
    /// Whether nobody is missing, as far as can be known: under the paper's policy it cannot, and none are counted.
    pub(super) fn all_answered(self) -> bool {
        self.answered == self.asked
    }
}

/// What leaders answer, as it comes in.
pub(super) struct Answers {
    lookup: Lookup,
    seen: BTreeSet<PublicationId>,
    /// How many have answered so far.
    pub(super) asked: Asked,
}

impl Answers {
    /// The next hits that are well formed and not of a publication seen before, perhaps none; `None` once all leaders have
    /// answered or the window is over.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<(Hit, Metadata)>>, Problem> {
        match self.lookup.next().await {
            Some(LookupEvent::Hits { hits, answered, asked }) => {
                self.asked = Asked { answered, asked };
                let mut found = Vec::new();
                for hit in hits {
                    // Anyone may have announced it: what is no metadata is no hit.
                    if let Ok(metadata) = Metadata::decode(&hit.payload)
                        && self.seen.insert(hit.id())
                    {
                        found.push((hit, metadata));
                    }
                }
                Ok(Some(found))
            }
            Some(LookupEvent::Ended { answered, asked }) => {
                self.asked = Asked { answered, asked };
                Ok(None)
            }
            Some(LookupEvent::Failed(failure)) => Err(failure::problem("search", &failure)),
            _ => Ok(None),
        }
    }
}

impl Service {
    /// Asks all leaders; see [`SearchEvent`] for what is sent to `events`.
    pub async fn search(&self, request: SearchRequest, events: mpsc::Sender<SearchEvent>) -> Result<(), Problem> {
        let query = query::parse(&request.query).map_err(|error| {
            Problem::usage(error.to_string()).hint("`neblo search --help` shows what a query may hold")
        })?;
        if let Some(message) = self.warning().await? {
            let _reader_gone = events.send(SearchEvent::Warning { message }).await;
        }
        let began = Instant::now();
        let limit = request.limit.clamp(1, 1000);
        let window = Duration::from_millis(request.timeout_ms.clamp(100, 3_600_000));
        let mut roots = BTreeSet::new();
        let mut answers = self.ask_leaders(&query, limit, window, request.allow_weak)?;
        'asking: while let Some(found) = answers.next().await? {
            for (_, metadata) in found {
                // Publications of one content are one hit: the link names the content alone.
                if roots.len() < limit && roots.insert(metadata.root) {
                    let hit = search_hit(&metadata, &self.config().network);
                    if events.send(SearchEvent::Hit(hit)).await.is_err() {
                        break 'asking;
                    }
                }
            }
            let Asked { answered, asked } = answers.asked;
            let told = events.send(SearchEvent::Answered { answered, asked }).await;
            if told.is_err() || roots.len() >= limit {
                break;
            }
        }
        let asked = answers.asked;
        let done = SearchEvent::Done {
            hits: roots.len(),
            answered: asked.answered,
            asked: asked.asked,
            milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let _reader_gone = events.send(done).await;
        Ok(())
    }

    /// Asks all leaders.
    pub(super) fn ask_leaders(
        &self,
        query: &query::Query,
        limit: usize,
        window: Duration,
        allow_weak: bool,
    ) -> Result<Answers, Problem> {
        let encoded = query.encode().map_err(|error| Problem::usage(format!("cannot send this query: {error}")))?;
        let limit = u16::try_from(limit).unwrap_or(u16::MAX);
        Ok(Answers {
            lookup: self.handle().lookup(encoded, limit, window, allow_weak),
            seen: BTreeSet::new(),
            asked: Asked::default(),
        })
    }

    /// What to tell who publishes, searches or fetches while few peers are there to hide among.
    pub(super) async fn warning(&self) -> Result<Option<String>, Problem> {
        let set = self.protocol_status().await?.anonymity_set;
        Ok((set < WARN_BELOW)
            .then(|| format!("weak anonymity: you hide among {set} peers, {WARN_BELOW} or more are advised")))
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
