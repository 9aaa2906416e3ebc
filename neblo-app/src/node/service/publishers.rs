//! Where a download's streams come from: whoever publishes the content, one after the other.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use neblo_behaviour::{
    protocol::interface::{Failure, Hit, PublicationId, in_turn},
    swarm::AnonymousStream,
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Service, downloads::Progressing, failure, search::Asked};
use crate::{
    content::Root,
    metadata::Metadata,
    problem::{Code, Problem},
    query::Query,
    transfer::{NoMoreSources, Sources, StreamEnd},
};

/// How long leaders are waited for.
pub(super) const WINDOW: Duration = Duration::from_secs(5);
/// The same once a publisher was known: it is looked for again and again, and a leader that has just died must not hold up
/// each of these looks. choice
const WINDOW_AGAIN: Duration = Duration::from_secs(2);
/// How long publications are collected after the first has come. choice: leaders answer within some tens of milliseconds
const COLLECT: Duration = Duration::from_millis(300);
/// How long a stream may take to be opened.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The first pause after a failure: a path that broke is often there again at once. choice
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONG_PAUSE: Duration = Duration::from_secs(5);
/// Looks in vain until content counts as unknown.
const MISSES: u32 = 3;
/// Most publications of one content that are tried.
const TRIED: usize = 20;

/// The publishers of one content.
pub(super) struct Publishers {
    service: Service,
    root: Root,
    allow_weak: bool,
    shown: watch::Sender<Progressing>,
    queue: VecDeque<Hit>,
    bad: BTreeSet<PublicationId>,
    current: Option<PublicationId>,
    /// The one that a stream was opened to last.
    last: Option<Hit>,
    found: bool,
    /// Looks in which all leaders answered and none knew the content.
    missed: u32,
    /// Why there are no more.
    pub(super) problem: Option<Problem>,
}

impl Publishers {
    pub(super) fn new(
        service: Service,
        root: Root,
        allow_weak: bool,
        (known, again): (Vec<Hit>, bool),
        shown: watch::Sender<Progressing>,
    ) -> Self {
        Self {
            service,
            root,
            allow_weak,
            shown,
            // Content that was there once is looked for until it is there again.
            found: again || !known.is_empty(),
            missed: 0,
            queue: known.into(),
            bad: BTreeSet::new(),
            current: None,
            last: None,
            problem: None,
        }
    }

    /// Looks for publications of the content. An error means that looking again is of no use.
    async fn look(&mut self) -> Result<(), Problem> {
        let window = if self.found { WINDOW_AGAIN } else { WINDOW };
        let found = self.service.find(self.root, self.allow_weak, window).await;
        let asked = found.map(|(found, asked)| {
            let good = found.into_iter().map(|(hit, _)| hit);
            self.queue = good.filter(|hit| !self.bad.contains(&hit.id())).collect();
            asked
        });
        self.found |= !self.queue.is_empty();
        if self.queue.is_empty() {
            // Its path may be under repair: its leader is told as soon as there is another, and keeps us waiting until then.
            self.queue.extend(self.last.clone());
        }
        tracing::debug!(target: "neblo", found = self.queue.len(), ?asked, "looked for publishers");
        self.shown.send_modify(|shown| shown.publishers = shown.publishers.max(self.queue.len()));
        match asked {
            Ok(_) if !self.queue.is_empty() => Ok(()),
            Ok(asked) if !self.found && asked.all_answered() => {
                self.missed += 1;
                if self.missed < MISSES {
                    // The publisher's path may just be under repair.
                    return Ok(());
                }
                Err(Problem::new(Code::NotFound, "no leader knows this content")
                    .hint("check the link; its publisher may come back: try again later"))
            }
            Ok(_) if !self.bad.is_empty() => Err(Problem::new(
                Code::Integrity,
                "every publisher of this content sent data that does not match it, and none of that was kept",
            )
            .hint("try again later: another publisher may come")),
            Ok(_) => Ok(()),
            Err(problem) if problem.code == Code::NotRunning => Err(problem),
            Err(problem) => {
                // Without enough peers it stays so for a while; anything else may pass.
                let weak = self.service.protocol_status().await.is_ok_and(|it| it.anonymity_set < 4);
                if weak && !self.allow_weak { Err(problem) } else { Ok(()) }
            }
        }
    }
}

impl Sources for Publishers {
    type Stream = AnonymousStream;

    async fn open(&mut self) -> Result<AnonymousStream, NoMoreSources> {
        let mut pause = PAUSE;
        loop {
            if self.queue.is_empty()
                && let Err(problem) = self.look().await
            {
                let why = problem.message.clone();
                self.problem = Some(problem);
                return Err(NoMoreSources { why });
            }
            if let Some(hit) = self.queue.pop_front() {
                let connect = self.service.handle().connect(&hit, self.allow_weak);
                let connected = timeout(CONNECT_WITHIN, connect).await.unwrap_or(Err(Failure::TimedOut));
                if let Err(failure) = &connected {
                    tracing::debug!(target: "neblo", %failure, "no stream to a publisher");
                }
                match connected {
                    Ok(stream) => {
                        self.current = Some(hit.id());
                        self.last = Some(hit.clone());
                        // It is the first to be asked again when only the path broke.
                        self.queue.push_front(hit);
                        return Ok(stream);
                    }
                    Err(failure @ (Failure::TooWeak { .. } | Failure::Closed)) => {
                        let problem = failure::problem("fetch", &failure);
                        let why = problem.message.clone();
                        self.problem = Some(problem);
                        return Err(NoMoreSources { why });
                    }
                    // No path of our own: it says nothing about this publisher.
                    Err(failure @ (Failure::NoPath | Failure::NoRoute)) => {
                        self.shown.send_modify(|shown| shown.waiting(failure.to_string()));
                        self.queue.push_front(hit);
                    }
                    // The next one; when all were tried, leaders are asked where they are now.
                    Err(failure) => self.shown.send_modify(|shown| shown.waiting(failure.to_string())),
                }
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONG_PAUSE);
        }
    }

    fn ended(&mut self, end: &StreamEnd) {
        self.shown.send_modify(|shown| shown.broke(end.to_string()));
        let at_fault = end.is_publishers_fault();
        if at_fault && let Some(current) = self.current.take() {
            self.bad.insert(current);
            self.last = None;
            self.queue.retain(|hit| hit.id() != current);
        }
    }
}

impl Service {
    /// Asks leaders for publications of `root`, until all have answered or some time has passed since the first had some; one
    /// of each subgroup in turn, so that it gains no leader anything to be the first or to give many (research §6).
    pub(super) async fn find(
        &self,
        root: Root,
        allow_weak: bool,
        window: Duration,
    ) -> Result<(Vec<(Hit, Metadata)>, Asked), Problem> {
        let mut answers = self.ask_leaders(&Query::Root(root), TRIED, window, allow_weak)?;
        let mut all = Vec::new();
        while let Some(mut found) = answers.next().await? {
            // A leader may send what was not asked for.
            found.retain(|(_, metadata)| metadata.root == root);
            all.append(&mut found);
            if !all.is_empty() {
                break;
            }
        }
        let collect = async {
            while let Ok(Some(found)) = answers.next().await {
                all.extend(found.into_iter().filter(|(_, metadata)| metadata.root == root));
            }
        };
        // What is late is left out: those that are there will do.
        let _in_time = timeout(COLLECT, collect).await;
        let mut all = in_turn(&mut rand::rng(), all, |(hit, _)| hit.subgroup);
        all.truncate(TRIED);
        Ok((all, answers.asked))
    }
}
