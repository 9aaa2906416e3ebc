//! `docs/protocol.md` against the golden frames and against the code: its CDDL (RFC 8610) takes what the code reads, and
//! nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use cddl_cat::cbor::validate_cbor;
use cddl_cat::context::BasicContext;
use cddl_cat::flatten::flatten_from_str;
use ciborium::Value;
use libp2p::PeerId;
use neblo_behaviour::protocol::WireError;
use neblo_behaviour::protocol::directory::LookupCast;
use neblo_behaviour::protocol::errand::{Envelope, Notice};
use neblo_behaviour::protocol::interface::{Hit, StreamHeader};
use neblo_behaviour::protocol::node::RingRequest;
use neblo_behaviour::protocol::paper::{Download, PaperCast, Reference};
use neblo_behaviour::protocol::subgroup::{RegistryRequest, Rows};
use neblo_behaviour::protocol::wire::Frame;

use super::golden;

/// What the code reads, as it would write it again.
type Reads = fn(&[u8]) -> Result<Vec<u8>, WireError>;

/// What of the golden files is documented where, by how their names begin: the rule, and the code that reads it. The first
/// that fits counts; frames have names of many kinds.
const DOCUMENTED: &[(&str, &str, Reads)] = &[
    ("stream-header", "StreamHeader", |bytes| StreamHeader::from_bytes(bytes).map(|it| it.to_bytes())),
    ("hit", "Hit", |bytes| Hit::from_bytes(bytes).map(|it| it.to_bytes())),
    ("lookup-cast", "LookupCast", |bytes| LookupCast::<PeerId>::from_bytes(bytes).map(|it| it.to_bytes())),
    ("paper-cast", "PaperCast", |bytes| PaperCast::<PeerId>::from_bytes(bytes).map(|it| it.to_bytes())),
    ("paper-reference", "Reference", |bytes| Reference::<PeerId>::from_bytes(bytes).map(|it| it.to_bytes())),
    ("paper-download", "Download", |bytes| Download::<PeerId>::from_bytes(bytes).map(|it| it.to_bytes())),
    ("registry-rows", "Rows", |bytes| Rows::<PeerId>::from_bytes(bytes).map(|it| it.to_bytes())),
    ("registry", "RegistryRequest", |bytes| RegistryRequest::<PeerId>::from_bytes(bytes).map(|it| it.to_bytes())),
    ("ring-request", "RingRequest", |bytes| RingRequest::from_bytes(bytes).map(|it| it.to_bytes())),
    ("envelope", "Envelope", |bytes| Envelope::from_bytes(bytes).map(|it| it.to_bytes())),
    ("notice", "Notice", |bytes| Notice::from_bytes(bytes).map(|it| it.to_bytes())),
    ("", "Frame", |bytes| Frame::<PeerId>::from_bytes(bytes).map(|it| it.to_bytes())),
];

/// The bytes of a sealed payload are no CBOR.
const NO_CBOR: &str = "sealed-envelope";

struct Sample {
    name: String,
    rule: &'static str,
    reads: Reads,
    value: Value,
}

fn samples() -> Vec<Sample> {
    let sample = |name: String| {
        let starts = |prefix: &str| {
            // `paper-download` is not `paper-download-request`.
            let whole = prefix.contains('-') && prefix.starts_with("paper");
            if whole { name == prefix } else { name.starts_with(prefix) }
        };
        let (_, rule, reads) = DOCUMENTED.iter().find(|(prefix, ..)| starts(prefix)).unwrap();
        let value = ciborium::from_reader(&golden::read(&name)[..]).unwrap();
        Sample { name, rule, reads: *reads, value }
    };
    golden::names().into_iter().filter(|name| name != NO_CBOR).map(sample).collect()
}

fn document() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```cddl\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.collect()
}

fn rules(document: &str) -> BasicContext {
    BasicContext::new(flatten_from_str(document).unwrap_or_else(|error| panic!("docs/protocol.md: {error}")))
}

fn accepts(rules: &BasicContext, rule: &str, value: &Value) -> Result<(), String> {
    let found = rules.rules.get(rule).unwrap_or_else(|| panic!("docs/protocol.md has no rule {rule}"));
    validate_cbor(found, value, rules).map_err(|error| error.to_string())
}

#[test]
fn every_golden_frame_is_as_documented() {
    let rules = rules(&document());
    for Sample { name, rule, value, .. } in samples() {
        accepts(&rules, rule, &value).unwrap_or_else(|error| panic!("{name} is no {rule}: {error}: {value:?}"));
    }
}

/// Integers at the bounds of their widths.
const INTEGERS: [u64; 7] = [0, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000];
/// Lengths at the bounds of byte strings and lists, or beside them.
const BYTES: [usize; 12] = [0, 8, 16, 32, 64, 96, 128, 256, 1_536, 3_072, 8_192, 16_384];
const LISTS: [usize; 8] = [0, 8, 9, 16, 64, 96, 214, 256];

/// What a frame may be changed to: another type or length for each value in it, a field less, a list of another length.
fn changed(value: &Value) -> Vec<Value> {
    let mut all =
        vec![Value::Null, Value::Text("x".into()), Value::Bool(true), Value::Array(vec![]), Value::Map(vec![])];
    match value {
        Value::Map(fields) => {
            for (at, (key, field)) in fields.iter().enumerate() {
                let mut fewer = fields.clone();
                fewer.remove(at);
                all.push(Value::Map(fewer));
                for field in changed(field) {
                    let mut fields = fields.clone();
                    fields[at] = (key.clone(), field);
                    all.push(Value::Map(fields));
                }
            }
        }
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                for value in changed(value) {
                    let mut values = values.clone();
                    values[at] = value;
                    all.push(Value::Array(values));
                }
            }
            let lengths = LISTS.into_iter().flat_map(|len| [len, len + 1]);
            all.extend(lengths.map(|len| Value::Array(values.iter().cycle().take(len).cloned().collect())));
        }
        Value::Integer(_) => {
            all.extend(INTEGERS.into_iter().chain([u64::MAX]).map(Value::from));
            all.push(Value::from(-1));
            all.push(Value::Bytes(vec![]));
        }
        Value::Bytes(bytes) => {
            let lengths = BYTES.into_iter().chain([bytes.len()]).flat_map(|len| [len.saturating_sub(1), len, len + 1]);
            all.extend(lengths.map(|len| Value::Bytes(bytes.iter().cycle().take(len).copied().collect())));
            all.push(Value::from(7));
        }
        _ => all.push(Value::Bool(false)),
    }
    all
}

/// The whole point of a protocol that is written down: for some hundred changes to each golden frame, the document and the code
/// agree whether it is still a frame.
#[test]
fn the_document_takes_what_the_code_reads_and_nothing_else() {
    let rules = rules(&document());
    let (mut taken, mut refused) = (0, 0);
    for Sample { name, rule, reads, value } in samples() {
        for value in changed(&value) {
            let mut bytes = Vec::new();
            ciborium::into_writer(&value, &mut bytes).unwrap();
            let read = reads(&bytes);
            // That a peer is more than bytes is for libp2p to say.
            if read == Err(WireError::Malformed("peer")) {
                continue;
            }
            // Keys that the code does not know are skipped, and no business of the document.
            let skipped = read.as_ref().is_ok_and(|again| *again != bytes);
            let documented = accepts(&rules, rule, &value);
            let agreed = read.is_ok() == documented.is_ok() || skipped;
            let shown = || hex::encode(&bytes[..bytes.len().min(200)]);
            assert!(agreed, "{name}: {:?}, documented: {documented:?}: {}", read.map(drop), shown());
            *(if read.is_ok() { &mut taken } else { &mut refused }) += 1;
        }
    }
    println!("{taken} changed frames are frames, {refused} are none");
    assert!(taken > 1_000 && refused > 10_000, "{taken}, {refused}");
}

/// A key that no golden frame has could be documented and not be there.
#[test]
fn every_documented_key_is_in_a_golden_frame() {
    let document = document();
    let samples = samples();
    let mut unseen = Vec::new();
    for (at, _) in document.match_indices(" => ") {
        let before = document[..at].trim_end_matches(|c: char| c.is_ascii_digit()).len();
        assert!(before < at, "a key that is no integer: {}", &document[at - 10..at + 10]);
        let other = format!("{}4000{}", &document[..before], &document[at..]);
        let rules = rules(&other);
        if samples.iter().all(|sample| accepts(&rules, sample.rule, &sample.value).is_ok()) {
            let line = document[..at].lines().count();
            unseen.push(document.lines().nth(line - 1).unwrap_or_default().trim().to_owned());
        }
    }
    assert_eq!(unseen, Vec::<String>::new(), "keys that are in no golden frame");
}

#[test]
fn no_rule_is_left_over() {
    let document = document();
    let plain: String =
        document.lines().map(|line| line.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    for word in plain.split(|c: char| !c.is_alphanumeric()) {
        *used.entry(word).or_default() += 1;
    }
    for rule in rules(&document).rules.keys() {
        let root = DOCUMENTED.iter().any(|(_, root, _)| root == rule);
        assert!(root || used.get(rule.as_str()).is_some_and(|count| *count > 1), "{rule} is used nowhere");
    }
}
