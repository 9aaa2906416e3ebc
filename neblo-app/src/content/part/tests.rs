use super::*;
use crate::content::{Content, MemoryContent, SliceError};

const LEN: usize = 100_000;

struct Setup {
    dir: tempfile::TempDir,
    content: MemoryContent,
    data: Vec<u8>,
}

impl Setup {
    fn new(len: usize) -> Self {
        let data: Vec<u8> = (0..len).map(|i| (i / 3) as u8).collect();
        Self { dir: tempfile::tempdir().unwrap(), content: MemoryContent::new(data.clone()), data }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("out.bin")
    }

    fn open(&self) -> Result<PartFile, PartError> {
        PartFile::open(&self.target(), self.content.root(), self.content.len(), false)
    }

    fn slice(&self, range: Range<u64>) -> Vec<u8> {
        let mut slice = Vec::new();
        self.content.encode(range, &mut slice).unwrap();
        slice
    }

    fn fill(&self, part: &PartFile) {
        for range in part.missing_ranges() {
            part.write_slice(range.clone(), &self.slice(range)).unwrap();
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn the_final_name_appears_only_with_all_bytes() {
    let setup = Setup::new(LEN);
    let part = setup.open().unwrap();
    part.write_slice(16_384..32_768, &setup.slice(16_384..32_768)).unwrap();
    assert!(matches!(part.finish(false), Err(PartError::Incomplete { missing: 83_616, .. })));
    assert!(!setup.target().exists());
    setup.fill(&part);
    assert_eq!(part.finish(false).unwrap(), setup.target());
    assert_eq!(fs::read(setup.target()).unwrap(), setup.data);
    assert_eq!(setup.names(), ["out.bin"]);
}

#[test]
fn a_later_run_goes_on_where_the_first_stopped() {
    let setup = Setup::new(LEN);
    let part = setup.open().unwrap();
    part.write_slice(32_768..65_536, &setup.slice(32_768..65_536)).unwrap();
    part.save().unwrap();
    drop(part);
    let part = setup.open().unwrap();
    assert!(part.is_resumed());
    assert_eq!(part.missing_ranges(), [0..32_768, 65_536..100_000]);
    setup.fill(&part);
    part.finish(false).unwrap();
    assert_eq!(fs::read(setup.target()).unwrap(), setup.data);
}

#[test]
fn what_was_not_saved_is_not_claimed() {
    let setup = Setup::new(LEN);
    let part = setup.open().unwrap();
    part.write_slice(0..32_768, &setup.slice(0..32_768)).unwrap();
    drop(part);
    let part = setup.open().unwrap();
    assert_eq!(part.missing_ranges(), std::slice::from_ref(&(0..100_000)));
}

#[test]
fn data_changed_between_two_runs_is_noticed_and_fetched_again() {
    let setup = Setup::new(LEN);
    let part = setup.open().unwrap();
    part.write_slice(0..32_768, &setup.slice(0..32_768)).unwrap();
    part.save().unwrap();
    let path = part.part_path().to_owned();
    drop(part);
    let mut file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(5, b"evil").unwrap();
    let part = setup.open().unwrap();
    setup.fill(&part);
    assert!(matches!(part.finish(false), Err(PartError::Damaged { .. })));
    assert!(!setup.target().exists());
    setup.fill(&part);
    part.finish(false).unwrap();
    assert_eq!(fs::read(setup.target()).unwrap(), setup.data);
}

#[test]
fn a_shortened_part_or_unreadable_progress_starts_again() {
    let setup = Setup::new(LEN);
    let start = || {
        let part = setup.open().unwrap();
        part.write_slice(0..32_768, &setup.slice(0..32_768)).unwrap();
        part.save().unwrap();
        (part.part.clone(), part.ranges.clone())
    };
    let (path, _) = start();
    File::options().write(true).open(path).unwrap().set_len(9).unwrap();
    assert_eq!(setup.open().unwrap().present(), 0);
    let (_, ranges) = start();
    fs::write(ranges, b"nonsense").unwrap();
    assert_eq!(setup.open().unwrap().present(), 0);
}

#[test]
fn bad_data_is_refused_and_nothing_of_it_is_written() {
    let setup = Setup::new(LEN);
    let part = setup.open().unwrap();
    let mut slice = setup.slice(0..100_000);
    let last = slice.len() - 1;
    slice[last] ^= 1;
    let error = part.write_slice(0..100_000, &slice).unwrap_err();
    assert!(matches!(error, PartError::Slice(SliceError::Mismatch { at: 98_304 })), "{error}");
    assert_eq!(part.present(), 0);
    assert!(fs::read(part.part_path()).unwrap().iter().all(|b| *b == 0));
}

#[test]
fn an_existing_target_is_kept_unless_told_otherwise() {
    let setup = Setup::new(LEN);
    let part = setup.open().unwrap();
    setup.fill(&part);
    // It appears while the download runs.
    fs::write(setup.target(), "mine").unwrap();
    assert!(matches!(part.finish(false), Err(PartError::TargetExists { .. })));
    assert_eq!(fs::read(setup.target()).unwrap(), b"mine");
    drop(part);
    assert!(matches!(setup.open(), Err(PartError::TargetExists { .. })));
    let part = PartFile::open(&setup.target(), setup.content.root(), LEN as u64, true).unwrap();
    assert_eq!(part.missing_ranges(), []);
    part.finish(true).unwrap();
    assert_eq!(fs::read(setup.target()).unwrap(), setup.data);
}

#[test]
fn what_another_download_holds_is_refused_by_name() {
    let setup = Setup::new(LEN);
    let part = setup.open().unwrap();
    assert!(matches!(setup.open(), Err(PartError::InUse { .. })));
    part.write_slice(0..16_384, &setup.slice(0..16_384)).unwrap();
    part.save().unwrap();
    drop(part);
    let other = PartFile::open(&setup.target(), [9; 32], 5, false);
    assert!(matches!(other, Err(PartError::OtherContent { .. })));
}

#[test]
fn targets_that_cannot_be_written_say_why() {
    let setup = Setup::new(10);
    let open = |path: &Path, len| PartFile::open(path, [1; 32], len, false);
    let dir = setup.dir.path();
    assert!(matches!(open(dir, 10), Err(PartError::TargetIsDirectory { .. })));
    let missing = dir.join("no/such/file");
    assert!(matches!(open(&missing, 10), Err(PartError::NoDirectory { .. })));
    fs::write(dir.join("plain"), "").unwrap();
    let below = dir.join("plain/file");
    assert!(matches!(open(&below, 10), Err(PartError::NoDirectory { .. })));
    let huge = open(&dir.join("huge"), MAX_CONTENT_LEN);
    assert!(matches!(huge, Err(PartError::DiskFull { .. })));
    let over = open(&dir.join("over"), MAX_CONTENT_LEN + 1);
    assert!(matches!(over, Err(PartError::TooLarge { .. })));
    assert_eq!(setup.names(), ["plain"]);
}

#[test]
fn empty_content_needs_nobody() {
    let setup = Setup::new(0);
    let part = setup.open().unwrap();
    assert!(part.missing_ranges().is_empty());
    part.finish(false).unwrap();
    assert_eq!(fs::read(setup.target()).unwrap(), b"");
    let lie = PartFile::open(&setup.dir.path().join("x"), [1; 32], 0, false);
    assert!(matches!(lie, Err(PartError::WrongLength { len: 0 })));
}

#[test]
fn the_longest_name_still_has_room_for_a_part_file() {
    let setup = Setup::new(10);
    let target = setup.dir.path().join("é".repeat(127));
    let part = PartFile::open(&target, setup.content.root(), 10, false).unwrap();
    setup.fill(&part);
    part.finish(false).unwrap();
    assert_eq!(fs::read(target).unwrap(), setup.data);
}

#[test]
fn discarding_leaves_nothing() {
    let setup = Setup::new(LEN);
    let part = setup.open().unwrap();
    part.write_slice(0..16_384, &setup.slice(0..16_384)).unwrap();
    part.save().unwrap();
    part.discard().unwrap();
    assert!(setup.names().is_empty());
}
