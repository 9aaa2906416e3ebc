use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    ops::{ControlFlow, Range},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures::io::{AsyncRead, AsyncWrite};
use proptest::prelude::*;
use tokio_util::{
    compat::{Compat, TokioAsyncReadCompatExt},
    sync::CancellationToken,
};

use super::*;
use crate::content::{
    Content, ContentError, MAX_MANIFEST, Manifest, MemoryContent, Outboards, PartError, PartFile, Root, Sink,
    SourceFile, hash_file, walk,
};

type Duplex = Compat<tokio::io::DuplexStream>;

/// Fails after so many written bytes, as a relay that dies.
struct Cut {
    inner: Duplex,
    left: usize,
}

impl AsyncRead for Cut {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = buf.len().min(self.left);
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, &buf[..n]);
        if let Poll::Ready(Ok(n)) = written {
            self.left -= n;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Serves what it was given, and remembers what could not be served.
#[derive(Default)]
struct Shelf {
    contents: HashMap<Root, Arc<dyn Content>>,
    failures: Mutex<Vec<String>>,
}

impl Shelf {
    fn of(contents: impl IntoIterator<Item = Arc<dyn Content>>) -> Arc<Self> {
        Arc::new(Self { contents: contents.into_iter().map(|c| (c.root(), c)).collect(), failures: Mutex::default() })
    }
}

impl Catalogue for Shelf {
    fn open(&self, root: &Root) -> Option<Result<Arc<dyn Content>, ContentError>> {
        self.contents.get(root).cloned().map(Ok)
    }

    fn failed(&self, _: &Root, error: &ContentError) {
        self.failures.lock().unwrap().push(error.to_string());
    }
}

/// A publisher that flips a bit in every slice.
struct Liar(MemoryContent);

impl Content for Liar {
    fn root(&self) -> Root {
        self.0.root()
    }
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn encode(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), ContentError> {
        self.0.encode(range, out)?;
        if let Some(last) = out.last_mut() {
            *last ^= 1;
        }
        Ok(())
    }
}

type ServeTask = tokio::task::JoinHandle<Result<Served, ServeError>>;

/// Publishers in order; each stream goes to the first, which is left out once it was found at fault.
#[derive(Default)]
struct Publishers {
    shelves: VecDeque<Arc<Shelf>>,
    /// After how many bytes each stream breaks; the last of them for all that follow.
    cuts: VecDeque<usize>,
    tasks: Vec<ServeTask>,
    ends: Vec<String>,
}

impl Publishers {
    fn new(shelves: impl IntoIterator<Item = Arc<Shelf>>) -> Self {
        Self { shelves: shelves.into_iter().collect(), ..Self::default() }
    }
}

impl Sources for Publishers {
    type Stream = Duplex;

    async fn open(&mut self) -> Result<Duplex, NoMoreSources> {
        let Some(shelf) = self.shelves.front().cloned() else {
            return Err(NoMoreSources { why: "all were asked".into() });
        };
        let (here, there) = tokio::io::duplex(64 * 1024);
        let stream = Cut { inner: there.compat(), left: self.cuts.pop_front().unwrap_or(usize::MAX) };
        self.tasks.push(tokio::spawn(serve(stream, shelf, ServeOptions::default())));
        Ok(here.compat())
    }

    fn ended(&mut self, end: &StreamEnd) {
        self.ends.push(end.to_string());
        if end.is_publishers_fault() {
            self.shelves.pop_front();
        }
    }
}

fn options() -> FetchOptions {
    FetchOptions { pause: Duration::ZERO, ..FetchOptions::default() }
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 3 + i / 16_384) as u8).collect()
}

struct Target {
    dir: tempfile::TempDir,
    part: Arc<PartFile>,
}

impl Target {
    fn new(content: &dyn Content) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let part = Self::open(&dir, content);
        Self { dir, part }
    }

    fn open(dir: &tempfile::TempDir, content: &dyn Content) -> Arc<PartFile> {
        let path = dir.path().join("out");
        Arc::new(PartFile::open(&path, content.root(), content.len(), false).unwrap())
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }
}

async fn fetch(fetcher: &mut Fetcher<Publishers>, sink: Arc<dyn Sink>) -> Result<(), FetchError> {
    fetcher.fetch(sink, &CancellationToken::new(), &mut |_| {}).await
}

#[tokio::test]
async fn whole_files_of_every_kind_of_length_arrive_and_the_stream_ends_in_order() {
    for len in [0, 1, 16_384, 32_768, 100_000, 2 << 20, 10_000_001] {
        let bytes = data(len);
        let content = Arc::new(MemoryContent::new(bytes.clone()));
        let target = Target::new(&*content);
        let publishers = Publishers::new([Shelf::of([content as Arc<dyn Content>])]);
        let mut fetcher = Fetcher::new(publishers, options());
        fetch(&mut fetcher, target.part.clone()).await.unwrap();
        target.part.finish(false).unwrap();
        assert_eq!(fs::read(target.out()).unwrap(), bytes);
        let publishers = fetcher.finish().await;
        // Content without bytes is known without asking.
        assert_eq!(publishers.tasks.len(), usize::from(len > 0));
        for task in publishers.tasks {
            let served = task.await.unwrap().unwrap();
            assert_eq!((served.bytes, served.refused), (len as u64, 0));
        }
    }
}

#[tokio::test]
async fn progress_only_grows_and_ends_at_the_length() {
    let content = Arc::new(MemoryContent::new(data(9_000_000)));
    let target = Target::new(&*content);
    let publishers = Publishers::new([Shelf::of([content as Arc<dyn Content>])]);
    let mut seen = vec![];
    Fetcher::new(publishers, options())
        .fetch(target.part.clone(), &CancellationToken::new(), &mut |p| seen.push(p))
        .await
        .unwrap();
    assert!(seen.is_sorted_by(|a, b| a.present < b.present));
    assert_eq!(seen.last(), Some(&Progress { present: 9_000_000, len: 9_000_000, streams: 1 }));
}

#[tokio::test]
async fn a_publisher_that_lies_is_dropped_and_another_one_used() {
    let bytes = data(3_000_000);
    let content = Arc::new(MemoryContent::new(bytes.clone()));
    let target = Target::new(&*content);
    let liar = Shelf::of([Arc::new(Liar(MemoryContent::new(bytes.clone()))) as Arc<dyn Content>]);
    let publishers = Publishers::new([liar.clone(), liar, Shelf::of([content as Arc<dyn Content>])]);
    let mut fetcher = Fetcher::new(publishers, options());
    fetch(&mut fetcher, target.part.clone()).await.unwrap();
    target.part.finish(false).unwrap();
    assert_eq!(fs::read(target.out()).unwrap(), bytes);
    let ends = fetcher.finish().await.ends;
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.contains("wrong data")), "{ends:?}");
}

#[tokio::test]
async fn nothing_of_a_liar_is_kept_and_the_failure_is_one_of_integrity() {
    let content = MemoryContent::new(data(100_000));
    let target = Target::new(&content);
    let liar = Shelf::of([Arc::new(Liar(content)) as Arc<dyn Content>]);
    let mut fetcher = Fetcher::new(Publishers::new([liar]), options());
    let error = fetch(&mut fetcher, target.part.clone()).await.unwrap_err();
    assert!(error.is_integrity(), "{error}");
    assert_eq!(target.part.present(), 0);
    let on_disk = fs::read(target.part.part_path()).unwrap();
    assert!(on_disk.iter().all(|b| *b == 0));
}

#[tokio::test]
async fn a_source_that_changes_midway_is_refused_and_noticed_by_its_publisher() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source");
    let bytes = data(6_000_000);
    fs::write(&path, &bytes).unwrap();
    let outboards = Outboards::open(dir.path()).unwrap();
    let hashed = hash_file(&path, &outboards, &mut |_| ControlFlow::Continue(())).unwrap();
    let outboard = outboards.path(&hashed.root);
    let source = SourceFile::open(&path, &hashed.root, hashed.fingerprint, &outboard).unwrap();
    let target = Target::new(&source);
    let shelf = Shelf::of([Arc::new(source) as Arc<dyn Content>]);
    let mut fetcher = Fetcher::new(Publishers::new([shelf.clone()]), options());
    let mut windows = 0;
    let error = fetcher
        .fetch(target.part.clone(), &CancellationToken::new(), &mut |_| {
            windows += 1;
            if windows == 1 {
                fs::write(&path, b"something else").unwrap();
            }
        })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("has changed or is gone"), "{error}");
    assert!(shelf.failures.lock().unwrap()[0].contains("has changed since it was published"));

    // What came before is good, and another publisher completes it.
    let present = target.part.present();
    assert!(present > 0 && present < 6_000_000);
    let content = Arc::new(MemoryContent::new(bytes.clone()));
    let others = Publishers::new([Shelf::of([content as Arc<dyn Content>])]);
    let mut fetcher = Fetcher::new(others, options());
    fetch(&mut fetcher, target.part.clone()).await.unwrap();
    target.part.finish(false).unwrap();
    assert_eq!(fs::read(target.out()).unwrap(), bytes);
    let served = fetcher.finish().await.tasks.pop().unwrap().await.unwrap().unwrap();
    assert_eq!(served.bytes, 6_000_000 - present);
}

#[tokio::test]
async fn refusals_say_why() {
    let content = Arc::new(MemoryContent::new(data(50_000)));
    let ask = async |root: Root, len: u64| {
        let dir = tempfile::tempdir().unwrap();
        let part = PartFile::open(&dir.path().join("x"), root, len, false).unwrap();
        let shelf = Shelf::of([content.clone() as Arc<dyn Content>]);
        let mut fetcher = Fetcher::new(Publishers::new([shelf]), options());
        fetch(&mut fetcher, Arc::new(part)).await.unwrap_err().to_string()
    };
    let other = ask([7; 32], 50_000).await;
    assert!(other.contains("does not offer"), "{other}");
    let longer = ask(content.root(), 50_001).await;
    assert!(longer.contains("another length"), "{longer}");
}

#[tokio::test]
async fn a_cancelled_transfer_keeps_what_came() {
    let content = Arc::new(MemoryContent::new(data(20_000_000)));
    let target = Target::new(&*content);
    let shelf = Shelf::of([content.clone() as Arc<dyn Content>]);
    let cancel = CancellationToken::new();
    let mut fetcher = Fetcher::new(Publishers::new([shelf]), options());
    let error = fetcher.fetch(target.part.clone(), &cancel, &mut |_| cancel.cancel()).await.unwrap_err();
    assert!(matches!(error, FetchError::Cancelled));
    let Target { dir, part } = target;
    drop(fetcher);
    // A window may still be on its way to the disk; the lock is free when it got there.
    while Arc::strong_count(&part) > 1 {
        tokio::task::yield_now().await;
    }
    drop(part);
    let part = Target::open(&dir, &*content);
    assert!(part.is_resumed());
    assert!(part.present() < 20_000_000);
}

#[tokio::test]
async fn silence_is_given_up() {
    struct Silent(Vec<tokio::io::DuplexStream>);
    impl Sources for Silent {
        type Stream = Duplex;
        async fn open(&mut self) -> Result<Duplex, NoMoreSources> {
            let (here, there) = tokio::io::duplex(1024);
            self.0.push(there);
            Ok(here.compat())
        }
    }
    let content = MemoryContent::new(data(50_000));
    let target = Target::new(&content);
    let quick = FetchOptions { idle: Duration::from_millis(5), no_progress: Duration::from_millis(30), ..options() };
    let error = Fetcher::new(Silent(vec![]), quick)
        .fetch(target.part.clone(), &CancellationToken::new(), &mut |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Stalled { last: Some(StreamEnd::Idle(_)), .. }), "{error}");
}

#[tokio::test]
async fn a_requester_that_leaves_or_talks_nonsense_ends_its_stream_alone() {
    use futures::io::AsyncWriteExt;
    for (said, gone) in [(&b""[..], true), (b"\0\0\0\x04evil", false), (b"\xff\xff\xff\xff", false)] {
        let (mut here, there) = tokio::io::duplex(1024);
        let task = tokio::spawn(serve(there.compat(), Shelf::of([]), ServeOptions::default()));
        let mut stream = (&mut here).compat();
        stream.write_all(said).await.unwrap();
        drop(here);
        let error = task.await.unwrap().unwrap_err();
        assert_eq!(matches!(error, ServeError::Gone), gone, "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_or_lost_folder_is_not_blamed_on_the_publisher() {
    struct Full(MemoryContent);
    impl Sink for Full {
        fn root(&self) -> Root {
            self.0.root()
        }
        fn len(&self) -> u64 {
            self.0.len()
        }
        fn missing(&self) -> Vec<Range<u64>> {
            std::iter::once(0..self.0.len()).collect()
        }
        fn present(&self) -> u64 {
            0
        }
        fn write_slice(&self, _: Range<u64>, _: &[u8]) -> Result<(), PartError> {
            Err(PartError::DiskFull { part: "x.neblo-part".into(), what: "no space".into() })
        }
        fn save(&self) -> Result<(), PartError> {
            Ok(())
        }
    }
    let content = Arc::new(MemoryContent::new(data(50_000)));
    let shelf = Shelf::of([content.clone() as Arc<dyn Content>]);
    let mut fetcher = Fetcher::new(Publishers::new([shelf]), options());
    let full = Arc::new(Full(MemoryContent::new(data(50_000))));
    let error = fetch(&mut fetcher, full).await.unwrap_err();
    assert!(matches!(error, FetchError::Part(PartError::DiskFull { .. })));
    assert!(error.to_string().contains("x.neblo-part"));
    assert!(fetcher.finish().await.ends.is_empty());
}

#[tokio::test]
async fn a_collection_arrives_over_one_stream() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("sub")).unwrap();
    let files = [("a.txt", data(5)), ("empty", vec![]), ("sub/b.bin", data(300_000))];
    for (name, bytes) in &files {
        fs::write(source.path().join(name), bytes).unwrap();
    }
    let data_dir = tempfile::tempdir().unwrap();
    let outboards = Outboards::open(data_dir.path()).unwrap();
    let hashed = walk(source.path()).unwrap().hash(&outboards, &mut |_| ControlFlow::Continue(())).unwrap();
    let mut contents: Vec<Arc<dyn Content>> = vec![Arc::new(MemoryContent::new(hashed.manifest.clone()))];
    for file in &hashed.files {
        let outboard = outboards.path(&file.entry.root);
        let opened = SourceFile::open(&file.path, &file.entry.root, file.fingerprint, &outboard);
        contents.push(Arc::new(opened.unwrap()));
    }
    let mut fetcher = Fetcher::new(Publishers::new([Shelf::of(contents)]), options());
    let len = hashed.manifest.len() as u64;
    let cancel = CancellationToken::new();
    let bytes = fetch_bytes(&mut fetcher, hashed.root, len, MAX_MANIFEST, &cancel).await.unwrap();
    let target = tempfile::tempdir().unwrap();
    for entry in Manifest::decode(&bytes).unwrap().files() {
        let path = target.path().join(&entry.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let part = Arc::new(PartFile::open(&path, entry.root, entry.len, false).unwrap());
        fetch(&mut fetcher, part.clone()).await.unwrap();
        part.finish(false).unwrap();
    }
    for (name, bytes) in &files {
        assert_eq!(&fs::read(target.path().join(name)).unwrap(), bytes);
    }
    assert_eq!(fetcher.finish().await.tasks.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn streams_cut_anywhere_are_gone_on_with(
        len in 1usize..3_000_000,
        cuts in prop::collection::vec(0usize..1_500_000, 1..6),
        restart: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bytes = data(len);
            let content = Arc::new(MemoryContent::new(bytes.clone()));
            let mut target = Target::new(&*content);
            let shelf = Shelf::of([content.clone() as Arc<dyn Content>]);
            if restart {
                // The publisher is lost after the first cut, and the program ends.
                let mut lost = Publishers::new([shelf.clone()]);
                lost.cuts.push_back(cuts[0]);
                let mut fetcher = Fetcher::new(OnlyOnce(lost, false), options());
                let _ = fetcher.fetch(target.part.clone(), &CancellationToken::new(), &mut |_| {}).await;
                let present = target.part.present();
                drop(target.part);
                target.part = Target::open(&target.dir, &*content);
                prop_assert_eq!(target.part.present(), present);
            }
            let mut publishers = Publishers::new([shelf]);
            publishers.cuts = cuts.into();
            let mut fetcher = Fetcher::new(publishers, options());
            fetch(&mut fetcher, target.part.clone()).await.unwrap();
            target.part.finish(false).unwrap();
            prop_assert_eq!(fs::read(target.out()).unwrap(), bytes);
            Ok(())
        })?;
    }
}

/// One stream and no more.
struct OnlyOnce(Publishers, bool);

impl Sources for OnlyOnce {
    type Stream = Duplex;

    async fn open(&mut self) -> Result<Duplex, NoMoreSources> {
        if std::mem::replace(&mut self.1, true) {
            return Err(NoMoreSources { why: "there was one".into() });
        }
        self.0.open().await
    }
}
