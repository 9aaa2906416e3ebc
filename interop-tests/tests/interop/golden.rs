//! The bytes of every frame, as they were agreed on: a change here is a change of the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use libp2p::PeerId;
use neblo_behaviour::protocol::WireError;
use neblo_behaviour::protocol::cost::JoinCost;
use neblo_behaviour::protocol::directory::LookupCast;
use neblo_behaviour::protocol::errand::{Envelope, Notice, SEALED_SIZES};
use neblo_behaviour::protocol::interface::{Hit, StreamHeader};
use neblo_behaviour::protocol::node::RingRequest;
use neblo_behaviour::protocol::paper::{Download, PaperCast, Reference};
use neblo_behaviour::protocol::seal::{Keys, SEAL_OVERHEAD};
use neblo_behaviour::protocol::subgroup::{RegistryRequest, Rows};
use neblo_behaviour::protocol::wire::Frame;

use super::{frameless, samples};

/// Set to anything, it makes the tests write the files in place of comparing with them.
const WRITE: &str = "NEBLO_WRITE_GOLDEN";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn write(name: &str, bytes: &[u8]) {
    let hex = hex::encode(bytes);
    let lines = hex.as_bytes().chunks(96).map(|line| std::str::from_utf8(line).unwrap());
    let text: Vec<_> = std::iter::once(format!("# {name}")).chain(lines.map(str::to_owned)).collect();
    fs::write(folder().join(format!("{name}.hex")), text.join("\n") + "\n").unwrap();
}

pub(crate) fn read(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (title, hex) = text.split_once('\n').unwrap();
    assert_eq!(title, format!("# {name}"));
    hex::decode(hex.split_whitespace().collect::<String>()).unwrap()
}

/// What there are golden files for.
pub(crate) fn names() -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Compares with the golden bytes, both ways, and tries the bytes with a key more in each of their maps.
fn check<T: PartialEq + Debug>(
    name: &str,
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, WireError>,
) {
    let bytes = encode(value);
    if std::env::var_os(WRITE).is_some() {
        write(name, &bytes);
    }
    let golden = read(name);
    assert_eq!(hex::encode(&bytes), hex::encode(&golden), "{name} is not encoded as agreed");
    let decoded = decode(&golden).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(&decoded, value, "{name}");
    // Contacts are equal whatever their addresses; their bytes are not.
    assert_eq!(encode(&decoded), golden, "{name} does not keep all that it was given");
    let newer = with_unknown_keys(&golden);
    assert!(!newer.is_empty(), "{name} holds no record");
    for bytes in newer {
        assert_eq!(decode(&bytes).as_ref(), Ok(value), "{name} with an unknown key: {}", hex::encode(&bytes));
    }
    for len in 0..golden.len() {
        assert!(decode(golden.get(..len).unwrap()).is_err(), "{name} cut after {len} bytes");
    }
}

/// `200: {1: [true, null, h'00', "x", -1]}`
const UNKNOWN: &[u8] = &[0x18, 200, 0xa1, 0x01, 0x85, 0xf5, 0xf6, 0x41, 0x00, 0x61, b'x', 0x20];

/// The bytes with an unknown key at the end of one map, for each map in them.
fn with_unknown_keys(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut maps = Vec::new();
    assert_eq!(walk(bytes, 0, &mut maps), bytes.len());
    let extended = maps.into_iter().map(|(start, end)| {
        let mut bytes = bytes.to_vec();
        bytes.splice(end..end, UNKNOWN.iter().copied());
        bytes[start] += 1;
        bytes
    });
    extended.collect()
}

/// The end of the CBOR value at `at`; notes where maps start and end.
fn walk(bytes: &[u8], at: usize, maps: &mut Vec<(usize, usize)>) -> usize {
    let (major, info) = (bytes[at] >> 5, bytes[at] & 0x1f);
    let width = if info < 24 { 0 } else { 1 << (info - 24) };
    let mut next = at + 1 + width;
    let number = bytes[at + 1..next].iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let number = if width == 0 { usize::from(info) } else { number };
    match major {
        2 | 3 => next += number,
        4 => (0..number).for_each(|_| next = walk(bytes, next, maps)),
        5 => {
            assert!(info < 23, "room for one key more in one byte");
            (0..2 * number).for_each(|_| next = walk(bytes, next, maps));
            maps.push((at, next));
        }
        _ => {}
    }
    next
}

#[test]
fn every_kind_of_frame_has_the_agreed_bytes() {
    let frames = samples::frames();
    for (name, frame) in &frames {
        check(name, frame, Frame::to_bytes, Frame::from_bytes);
    }
    let onions = samples::onions();
    for (name, frame) in &onions {
        check(name, frame, Frame::to_bytes, Frame::from_bytes);
    }
    let headers = [
        ("stream-header", samples::stream_header()),
        ("stream-header-crossing", samples::crossing_header()),
        ("stream-header-download", samples::download_header()),
    ];
    for (name, header) in &headers {
        check(name, header, StreamHeader::to_bytes, StreamHeader::from_bytes);
    }
    let hits = [("hit", samples::hit()), ("hit-by-the-paper", samples::paper_hit())];
    for (name, hit) in &hits {
        check(name, hit, Hit::to_bytes, Hit::from_bytes);
    }

    let names = frames.keys().map(String::as_str).chain(headers.iter().map(|(name, _)| *name));
    let names = names.chain(hits.iter().map(|(name, _)| *name));
    let names = names.chain(onions.iter().map(|(name, _)| *name));
    let names: BTreeSet<_> = names.map(str::to_owned).chain(frameless_names()).collect();
    assert_eq!(self::names(), names, "files of kinds that there are");
}

fn frameless_names() -> Vec<String> {
    let alone = ["lookup-cast", "registry-rows", "paper-cast", "paper-reference", "paper-download", SEALED];
    let mut names: Vec<_> = alone.map(str::to_owned).to_vec();
    names.extend(frameless::ring_requests().into_iter().map(|(name, _)| name));
    names.extend(frameless::registry().into_iter().map(|(name, _)| name));
    names.extend(frameless::envelopes().into_iter().map(|(name, _)| name));
    names.extend(frameless::notices().into_iter().map(|(name, _)| name));
    names
}

#[test]
fn what_travels_in_no_frame_of_its_own_has_the_agreed_bytes() {
    let cast = frameless::cast();
    check("lookup-cast", &cast, LookupCast::to_bytes, LookupCast::from_bytes);
    let keys = samples::keys(9);
    assert!(cast.holds(&keys));
    let mut forged = cast.clone();
    forged.limit += 1;
    assert!(!forged.holds(&keys));
    let paper_cast = frameless::paper_cast();
    check("paper-cast", &paper_cast, PaperCast::to_bytes, PaperCast::from_bytes);
    assert!(paper_cast.holds(&keys));
    let mut forged = paper_cast.clone();
    forged.lookup.ttl += 1;
    assert!(!forged.holds(&keys));
    check("paper-reference", &samples::reference(), Reference::to_bytes, Reference::from_bytes);
    check("paper-download", &samples::download(), Download::to_bytes, Download::from_bytes);
    let ring_requests = frameless::ring_requests();
    for (kind, (name, request)) in ring_requests.iter().enumerate() {
        check(name, request, RingRequest::to_bytes, RingRequest::from_bytes);
        let mut bytes = request.to_bytes();
        assert_eq!(bytes[..2], [0x82, kind as u8], "{name}");
        bytes[1] = ring_requests.len() as u8;
        assert_eq!(RingRequest::from_bytes(&bytes), Err(WireError::UnknownKind));
    }
    for (name, request) in &frameless::registry() {
        check(name, request, RegistryRequest::to_bytes, RegistryRequest::from_bytes);
    }
    check("registry-rows", &frameless::rows(), Rows::to_bytes, Rows::from_bytes);
    let envelopes = frameless::envelopes();
    for (name, envelope) in &envelopes {
        check(name, envelope, Envelope::to_bytes, Envelope::from_bytes);
    }
    let notices = frameless::notices();
    for (name, notice) in &notices {
        check(name, notice, Notice::to_bytes, Notice::from_bytes);
    }
    // Kinds are numbered without gaps, and the next one is unknown.
    let errands = envelopes.iter().map(|(_, envelope)| envelope.to_bytes());
    for (kind, bytes) in errands.enumerate() {
        let at = bytes.windows(2).position(|pair| pair == [0x82, kind as u8]).expect("the errand's kind");
        let mut unknown = bytes.clone();
        unknown[at + 1] = envelopes.len() as u8;
        assert_eq!(Envelope::from_bytes(&unknown), Err(WireError::UnknownKind));
    }
    for (kind, (name, notice)) in notices.iter().enumerate() {
        let mut bytes = notice.to_bytes();
        assert_eq!(bytes[..2], [0x82, kind as u8], "{name}");
        bytes[1] = notices.len() as u8;
        assert_eq!(Notice::from_bytes(&bytes), Err(WireError::UnknownKind));
    }
}

const SEALED: &str = "sealed-envelope";

/// Sealing draws a key of its own each time, so that the agreed bytes can be opened and not made again.
#[test]
fn what_was_sealed_in_the_agreed_bytes_opens() {
    let keys = samples::keys(1);
    let (secret, mut rng) = ([5; 32], rand::rng());
    let (_, envelope) = frameless::envelopes().remove(0);
    let bytes = envelope.to_bytes();
    if std::env::var_os(WRITE).is_some() {
        let mut plain = (bytes.len() as u32).to_be_bytes().to_vec();
        plain.extend(&bytes);
        plain.resize(SEALED_SIZES[0] - SEAL_OVERHEAD, 0);
        write(SEALED, &Keys::<PeerId>::seal(&keys, &mut rng, &Keys::<PeerId>::public(&keys, &secret), &plain));
    }
    let sealed = read(SEALED);
    assert_eq!(sealed.len(), SEALED_SIZES[0]);
    // Four bytes of length, what is said, zeroes.
    let plain = Keys::<PeerId>::open(&keys, &secret, &sealed).expect("it opens");
    let (len, rest) = plain.split_first_chunk::<4>().unwrap();
    let len = u32::from_be_bytes(*len) as usize;
    assert_eq!(Envelope::from_bytes(&rest[..len]), Ok(envelope));
    assert!(rest[len..].iter().all(|byte| *byte == 0));
    assert_eq!(Keys::<PeerId>::open(&keys, &[6; 32], &sealed), None);
}

#[test]
fn kinds_are_numbered_without_gaps_and_others_are_unknown() {
    // By family, the kinds that have samples: a family that is a record has none.
    let mut known: BTreeMap<u8, BTreeSet<u8>> = BTreeMap::new();
    for (name, frame) in samples::frames() {
        let bytes = frame.to_bytes();
        let kinds = known.entry(bytes[1]).or_default();
        if bytes[2] == 0x82 {
            assert!(kinds.insert(bytes[3]), "{name}");
        }
    }
    assert!(known.keys().copied().eq(0..known.len() as u8), "{known:?}");
    assert_eq!(unknown(&[0x82, known.len() as u8, 0xa0]), Err(WireError::UnknownKind));
    for (family, kinds) in known.into_iter().filter(|(_, kinds)| !kinds.is_empty()) {
        assert!(kinds.iter().copied().eq(0..kinds.len() as u8), "{family}: {kinds:?}");
        let next = unknown(&[0x82, family, 0x82, kinds.len() as u8, 0xa0]);
        assert_eq!(next, Err(WireError::UnknownKind), "a kind of family {family} has no sample");
    }
}

fn unknown(bytes: &[u8]) -> Result<Frame<PeerId>, WireError> {
    Frame::from_bytes(bytes)
}

#[test]
fn what_is_signed_in_the_agreed_bytes_holds() {
    let (keys, cost) = (samples::keys(9), samples::cost());
    assert!(samples::statement(1, false).holds(&keys, &cost, samples::NOW));
    assert!(!samples::statement(1, false).holds(&keys, &cost, samples::NOW + 3_600));
    let mut forged = samples::statement(1, false);
    forged.guest = true;
    assert!(!forged.holds(&keys, &cost, samples::NOW));
    let dearer = JoinCost::new("neblo", 30);
    assert!(!samples::statement(1, false).holds(&keys, &dearer, samples::NOW));
    let elsewhere = JoinCost::new("other", 12);
    assert!(!samples::statement(1, false).holds(&keys, &elsewhere, samples::NOW));
    let members = samples::members();
    let leader = members.leader().unwrap();
    assert!(members.list_root().holds(&keys, leader));
    let mut newer = members.clone();
    newer.version += 1;
    assert!(!newer.list_root().holds(&keys, leader));
    let row = samples::row();
    assert!(row.holds(&keys, &cost, samples::NOW));
    let row = neblo_behaviour::protocol::subgroup::LeaderRow { term: row.term + 1, ..row };
    assert!(!row.holds(&keys, &cost, samples::NOW));
}
