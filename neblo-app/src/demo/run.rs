//! The demo, step by step.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{
    Options, PathShown, Step,
    fleet::{Fleet, groups, is_leader},
};
use crate::{
    api::{
        GetEvent, GetRequest, Publication, PublishEvent, PublishRequest, SearchEvent, SearchHit, SearchRequest, Status,
    },
    output::Output,
    problem::{Code, Problem},
};

/// How long the nodes may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take until the publication is found.
const FOUND_WITHIN: Duration = Duration::from_secs(15);
/// How long the whole download may take.
const FETCH_WITHIN: Duration = Duration::from_secs(300);
/// Until the relay is killed the download is slowed so that it takes about this long.
const SLOWED_TO: u64 = 6;
/// The relay is killed once this share of the file is there, in percent.
const KILL_AT: u64 = 35;

/// Who does what.
struct Cast {
    publisher: usize,
    requester: usize,
}

pub(super) async fn run(options: Options, out: Output) -> Result<(), Problem> {
    let began = Instant::now();
    let length = std::fs::metadata(&options.file).map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => Code::NotFound,
            _ => Code::Failed,
        };
        Problem::new(code, format!("cannot read {}: {error}", options.file.display()))
            .hint("name a file that you may read: neblo demo --file PATH")
    })?;
    if !length.is_file() || length.len() < 1 << 20 {
        return Err(Problem::usage(format!("{} is no file of at least 1 MiB", options.file.display()))
            .hint("a smaller one would be there before a relay can be killed; name another by --file"));
    }
    let bar = spinner(out);
    let mut fleet = Fleet::start(&options).await?;
    print(out, &bar, &Step::Started { nodes: options.nodes, subgroup_size: fleet.subgroup_size });
    let statuses = fleet.wait_ready(READY_WITHIN, &bar).await?;
    print(
        out,
        &bar,
        &Step::Ready { nodes: options.nodes, subgroups: groups(&statuses), milliseconds: milliseconds(began) },
    );
    let cast = cast(&statuses)?;
    bar.set_message("publishing");
    let publication = publish(&fleet, &cast, &options.file).await?;
    print(
        out,
        &bar,
        &Step::Published { node: cast.publisher, link: publication.link.clone(), bytes: publication.size },
    );
    bar.set_message("searching");
    let hit = search(&fleet, &cast, &publication, out, &bar).await?;
    bar.finish_and_clear();
    let summary = fetch(&mut fleet, &cast, &hit, &options.file, out).await?;
    out.data(&summary, Step::text);
    match summary {
        Step::Summary { ok: true, .. } => Ok(()),
        _ => {
            Err(Problem::failed("not all of it held")
                .hint("run it again with NEBLO_LOG=debug and report what it prints"))
        }
    }
}

/// Picks a publisher and, in another subgroup, a requester; neither leads, so that the paths are the ordinary ones.
fn cast(statuses: &[(usize, Status)]) -> Result<Cast, Problem> {
    let members = || {
        let members = statuses.iter().filter(|(_, status)| !is_leader(status));
        members.filter_map(|(number, status)| Some((*number, &status.subgroup.as_ref()?.id)))
    };
    members()
        .find_map(|(publisher, home)| {
            let (requester, _) = members().find(|(_, group)| *group != home)?;
            Some(Cast { publisher, requester })
        })
        .ok_or_else(|| Problem::failed("no two nodes of different subgroups").hint("use more --nodes"))
}

async fn publish(fleet: &Fleet, cast: &Cast, file: &Path) -> Result<Publication, Problem> {
    let path = std::path::absolute(file).map_err(|error| Problem::failed(format!("{}: {error}", file.display())))?;
    let request = PublishRequest {
        path: path.to_string_lossy().into_owned(),
        name: None,
        tags: vec![("from".into(), "demo".into())],
        allow_weak: true,
    };
    let service = fleet.node(cast.publisher)?.service().clone();
    let (sender, mut events) = mpsc::channel(64);
    let work = tokio::spawn(async move { service.publish(request, sender).await });
    let mut published = None;
    while let Some(event) = events.recv().await {
        if let PublishEvent::Published(publication) = event {
            published = Some(publication);
        }
    }
    finished(work.await)?;
    published.ok_or_else(|| Problem::failed("publishing ended without a link"))
}

/// Asks until the publication is found: leaders that have just met may not hear one another yet.
async fn search(
    fleet: &Fleet,
    cast: &Cast,
    publication: &Publication,
    out: Output,
    bar: &ProgressBar,
) -> Result<SearchHit, Problem> {
    let query = keyword(&publication.name);
    let deadline = Instant::now() + FOUND_WITHIN;
    loop {
        let asked_at = Instant::now();
        let (found, answered, asked) = ask(fleet, cast, publication, &query).await?;
        match found {
            Some((hit, milliseconds)) => {
                print(out, bar, &Step::Found { node: cast.requester, query, answered, asked, milliseconds });
                return Ok(hit);
            }
            None if Instant::now() > deadline => {
                return Err(Problem::new(
                    Code::NotFound,
                    format!(
                        "the publication was not found from another subgroup: {answered} of {asked} leaders answered"
                    ),
                ));
            }
            None => sleep(Duration::from_millis(500).saturating_sub(asked_at.elapsed())).await,
        }
    }
}

/// Asks once: the hit and when it came, and how many leaders answered, of how many.
async fn ask(
    fleet: &Fleet,
    cast: &Cast,
    publication: &Publication,
    query: &str,
) -> Result<(Option<(SearchHit, u64)>, u32, u32), Problem> {
    let request = SearchRequest { query: query.to_owned(), limit: 50, timeout_ms: 3_000, allow_weak: true };
    let service = fleet.node(cast.requester)?.service().clone();
    let (sender, mut events) = mpsc::channel(64);
    let asked_at = Instant::now();
    let work = tokio::spawn(async move { service.search(request, sender).await });
    let (mut found, mut counts) = (None, (0, 0));
    while let Some(event) = events.recv().await {
        match event {
            SearchEvent::Hit(hit) if hit.root == publication.root => found = Some((hit, milliseconds(asked_at))),
            SearchEvent::Done { answered, asked, .. } => counts = (answered, asked),
            _ => {}
        }
    }
    finished(work.await)?;
    Ok((found, counts.0, counts.1))
}

/// The first whole word of a name.
fn keyword(name: &str) -> String {
    let mut words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.next().unwrap_or(name).to_lowercase()
}

async fn fetch(fleet: &mut Fleet, cast: &Cast, hit: &SearchHit, original: &Path, out: Output) -> Result<Step, Problem> {
    let service = fleet.node(cast.requester)?.service().clone();
    let before = fleet.relayed().await?;
    let target = fleet.dir.path().join("fetched");
    let request = GetRequest {
        target: hit.link.clone(),
        output: target.to_string_lossy().into_owned(),
        overwrite: false,
        allow_weak: true,
    };
    service.limit_downloads(Some((hit.size / SLOWED_TO).max(1)));
    let (sender, mut events) = mpsc::channel(64);
    let getter = service.clone();
    let work = tokio::spawn(async move { getter.get(request, sender).await });
    let bar = bytes_bar(out, hit.size);
    let mut run = Run::default();
    let deadline = Instant::now() + FETCH_WITHIN;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(event) = timeout(left, events.recv()).await else {
            return Err(Problem::new(Code::Unreachable, "the download did not end in time"));
        };
        match event {
            None => break,
            Some(GetEvent::Progress { done, total, streams }) => {
                bar.set_position(done);
                if run.killed.is_none() && done.saturating_mul(100) >= total.saturating_mul(KILL_AT) {
                    kill(fleet, cast, &mut run, done, total, out, &bar).await?;
                    run.streams = streams;
                } else if run.killed.is_some() && run.restored.is_none() {
                    // Bytes that were on their way when the stream broke do not count: a new one carries it now.
                    if streams > run.streams {
                        let path = fleet.path(cast.requester, cast.publisher).await?;
                        restored(&mut run, path, out, &bar);
                        run.from = Some((Instant::now(), done));
                        service.limit_downloads(None);
                    } else {
                        run.kept = done;
                    }
                }
            }
            Some(GetEvent::Done { bytes, root, .. }) => {
                run.ended = Some(Instant::now());
                run.bytes = bytes;
                run.root = root;
            }
            Some(_) => {}
        }
    }
    bar.finish_and_clear();
    finished(work.await)?;
    let same = same_bytes(original, &target).await?;
    let after = fleet.relayed().await?;
    let mut failed = Vec::new();
    if run.root != hit.root {
        failed.push("the root is the one that was published".to_owned());
    }
    match same {
        true => out.data(&Step::Verified { bytes: run.bytes, root: run.root.clone() }, Step::text),
        false => failed.push("the bytes are the same".to_owned()),
    }
    Ok(run.summary(failed, &before, &after))
}

/// What happened during the download.
#[derive(Default)]
struct Run {
    killed: Option<Instant>,
    /// Streams opened until the kill.
    streams: u64,
    kept: u64,
    restored: Option<Duration>,
    path: PathShown,
    relayed_by_killed: u64,
    from: Option<(Instant, u64)>,
    ended: Option<Instant>,
    bytes: u64,
    root: String,
}

impl Run {
    fn summary(&self, mut failed: Vec<String>, before: &[(usize, bool, u64)], after: &[(usize, bool, u64)]) -> Step {
        let grown = |number: usize, bytes: u64| {
            let earlier = before.iter().find(|(it, ..)| *it == number);
            bytes.saturating_sub(earlier.map_or(0, |(_, _, bytes)| *bytes))
        };
        // Who led before the download and leads after it led all the time.
        let led = |number: usize| before.iter().any(|(it, leader, _)| *it == number && *leader);
        let by_leaders = after.iter().filter(|(number, leader, _)| *leader && led(*number));
        let relayed_by_leaders = by_leaders.map(|(number, _, bytes)| grown(*number, *bytes)).sum();
        for (number, leader, bytes) in after {
            let bytes = grown(*number, *bytes);
            tracing::debug!(target: "neblo", number, leader, bytes, "relayed");
        }
        let relayed: u64 = after.iter().map(|(number, _, bytes)| grown(*number, *bytes)).sum();
        if self.killed.is_none() {
            failed.push("a relay of the live path was killed".to_owned());
        }
        if self.restored.is_none() {
            failed.push("the download went on after the kill".to_owned());
        }
        if relayed_by_leaders != 0 {
            failed.push("leaders relayed none of the content".to_owned());
        }
        let rate = match (self.from, self.ended) {
            (Some((from, there)), Some(ended)) => {
                let seconds = ended.duration_since(from).as_secs_f64().max(0.001);
                let bytes = self.bytes.saturating_sub(there);
                // Shown to people; a rate needs no exact arithmetic.
                (bytes as f64 / seconds) as u64
            }
            _ => 0,
        };
        let restored = self.restored.unwrap_or_default();
        Step::Summary {
            ok: failed.is_empty(),
            hops: self.path.hops(),
            bytes_per_second: rate,
            restore_milliseconds: u64::try_from(restored.as_millis()).unwrap_or(u64::MAX),
            relayed_by_leaders,
            relayed: relayed.saturating_add(self.relayed_by_killed),
            failed,
        }
    }
}

async fn kill(
    fleet: &mut Fleet,
    cast: &Cast,
    run: &mut Run,
    done: u64,
    total: u64,
    out: Output,
    bar: &ProgressBar,
) -> Result<(), Problem> {
    let path = fleet.path(cast.requester, cast.publisher).await?;
    print(out, bar, &Step::Path(path.clone()));
    // Any would do but the two ends, which may relay their own stream.
    let relay = path.relays().filter(|relay| ![cast.requester, cast.publisher].contains(relay)).last();
    let relay = relay.ok_or_else(|| Problem::failed("the download runs over no relay at all"))?;
    run.relayed_by_killed = fleet.node(relay)?.service().status().await?.relayed_bytes;
    fleet.kill(relay);
    run.killed = Some(Instant::now());
    run.kept = done;
    print(
        out,
        bar,
        &Step::Killed { node: relay, bytes: done, percent: done.saturating_mul(100).checked_div(total).unwrap_or(100) },
    );
    Ok(())
}

fn restored(run: &mut Run, path: PathShown, out: Output, bar: &ProgressBar) {
    let took = run.killed.map(|killed| killed.elapsed()).unwrap_or_default();
    run.restored = Some(took);
    run.path = path;
    print(
        out,
        bar,
        &Step::Restored {
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            kept: run.kept,
            path: run.path.clone(),
        },
    );
}

async fn same_bytes(a: &Path, b: &Path) -> Result<bool, Problem> {
    let (a, b) = (a.to_owned(), b.to_owned());
    let hash = |path: &Path| -> std::io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(std::fs::File::open(path)?)?;
        Ok(hasher.finalize())
    };
    let same = tokio::task::spawn_blocking(move || Ok::<_, std::io::Error>(hash(&a)? == hash(&b)?));
    match same.await {
        Ok(Ok(same)) => Ok(same),
        Ok(Err(error)) => Err(Problem::failed(format!("cannot compare the files: {error}"))),
        Err(error) => Err(Problem::failed(format!("cannot compare the files: {error}"))),
    }
}

fn finished(ended: Result<Result<(), Problem>, tokio::task::JoinError>) -> Result<(), Problem> {
    ended.unwrap_or_else(|error| Err(Problem::failed(format!("a task stopped: {error}"))))
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn print(out: Output, bar: &ProgressBar, step: &Step) {
    bar.suspend(|| out.data(step, Step::text));
}

fn spinner(out: Output) -> ProgressBar {
    if !out.interactive() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn bytes_bar(out: Output, total: u64) -> ProgressBar {
    if !out.interactive() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let style = "fetching [{bar:40}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_is_a_whole_word_of_the_name() {
        assert_eq!(keyword("neblo"), "neblo");
        assert_eq!(keyword("_My-Holiday.mp4"), "my");
        assert_eq!(keyword("..."), "...");
    }
}
