//! Sessions over an in-memory stream that is slow, small and can be cut.

use std::io::{self, ErrorKind};

use futures::executor::block_on;
use futures::future::{join, join3};
use futures::{AsyncReadExt, AsyncWriteExt};

use super::record::{LARGE, SMALL};
use super::testing::{End, duplex};
use super::*;
use crate::protocol::interface::PublicationId;
use crate::protocol::seal::Keys;
use crate::swarm::keys::SwarmKeys;

const ID: PublicationId = PublicationId([5; 32]);

fn sessions_over(a: End, b: End) -> (Session<End>, Session<End>) {
    let keys = SwarmKeys::new(libp2p_identity::Keypair::generate_ed25519());
    let (secret, public) = keys.generate(&mut rand::rng());
    let (a, b) = block_on(join(initiate(a, ID, &public), respond(b, ID, &secret)));
    (a.unwrap(), b.unwrap())
}

fn sessions(window: usize) -> (Session<End>, Session<End>) {
    let (a, b) = duplex(window);
    sessions_over(a, b)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

#[test]
fn bytes_arrive_and_the_end_is_acknowledged() {
    for (window, len) in [(700, 100_000), (64 * 1024, 1_000_000), (1 << 20, 0), (1 << 20, 1), (1 << 20, 16_364)] {
        let (mut a, mut b) = sessions(window);
        let sent = bytes(len);
        let mut got = Vec::new();
        let (written, read) = block_on(join(
            async {
                a.write_all(&sent).await?;
                a.close().await
            },
            b.read_to_end(&mut got),
        ));
        written.unwrap();
        read.unwrap();
        assert_eq!(got, sent);
    }
}

#[test]
fn a_stream_cut_without_its_end_is_an_error() {
    let (mut a, mut b) = sessions(1 << 20);
    block_on(a.write_all(b"half")).unwrap();
    block_on(a.flush()).unwrap();
    drop(a);
    let mut got = Vec::new();
    assert_eq!(block_on(b.read_to_end(&mut got)).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(got, b"half");
    assert!(block_on(b.close()).is_err());
}

#[test]
fn an_end_that_is_not_acknowledged_is_an_error() {
    let (mut a, b) = sessions(1 << 20);
    let (closed, ()) = block_on(join(
        async {
            a.write_all(b"x").await?;
            a.close().await
        },
        async { drop(b) },
    ));
    assert!(closed.is_err());
}

#[test]
fn one_side_may_end_and_still_read_the_answer() {
    let (mut a, mut b) = sessions(1 << 16);
    let answer = bytes(400_000);
    let (asked, answered) = block_on(join(
        async {
            a.write_all(b"question").await?;
            a.close().await?;
            let mut got = Vec::new();
            a.read_to_end(&mut got).await?;
            Ok::<_, io::Error>(got)
        },
        async {
            let mut got = Vec::new();
            b.read_to_end(&mut got).await?;
            b.write_all(&answer).await?;
            b.close().await?;
            Ok::<_, io::Error>(got)
        },
    ));
    assert_eq!(asked.unwrap(), answer);
    assert_eq!(answered.unwrap(), b"question");
}

#[test]
fn both_sides_may_write_more_than_fits_and_end_at_once() {
    let (mut a, mut b) = sessions(4096);
    let (left, right) = (bytes(200_000), bytes(300_000));
    async fn talk(session: &mut Session<End>, say: &[u8]) -> io::Result<Vec<u8>> {
        session.write_all(say).await?;
        session.close().await?;
        let mut got = Vec::new();
        session.read_to_end(&mut got).await?;
        Ok(got)
    }
    // With a small window both block in `write_all` until one reads: split halves do both.
    async fn talk_split(session: Session<End>, say: &[u8]) -> io::Result<Vec<u8>> {
        let (mut read, mut write) = session.split();
        let mut got = Vec::new();
        let (written, read) = join(
            async {
                write.write_all(say).await?;
                write.close().await
            },
            read.read_to_end(&mut got),
        )
        .await;
        written.and(read)?;
        Ok(got)
    }
    let (one, other) = block_on(join(talk_split(a, &left), talk_split(b, &right)));
    assert_eq!((one.unwrap(), other.unwrap()), (right.clone(), left.clone()));

    (a, b) = sessions(1 << 20);
    let (one, other) = block_on(join(talk(&mut a, &left), talk(&mut b, &right)));
    assert_eq!((one.unwrap(), other.unwrap()), (right, left));
}

#[test]
fn only_two_sizes_are_seen_on_the_wire_and_nothing_in_clear() {
    let (a, b) = duplex(1 << 20);
    let wire = a.write.clone();
    let (mut a, mut b) = sessions_over(a, b);
    let from = wire.lock().unwrap().passed.len();
    assert_eq!(from, 2 + 48);
    let canary = b"neblo-canary".repeat(3_000);
    let mut got = Vec::new();
    let (written, read) = block_on(join(
        async {
            for (at, chunk) in canary.chunks(7_001).enumerate() {
                a.write_all(chunk).await?;
                if at % 2 == 0 {
                    a.flush().await?;
                }
                a.write_all(b"short").await?;
                a.flush().await?;
            }
            a.close().await
        },
        b.read_to_end(&mut got),
    ));
    written.unwrap();
    read.unwrap();
    let wire = wire.lock().unwrap();
    let mut rest = &wire.passed[from..];
    let mut seen = [0, 0];
    while let Some(tag) = rest.first() {
        seen[usize::from(*tag)] += 1;
        rest = &rest[if *tag == 0 { SMALL } else { LARGE }..];
    }
    assert!(seen[0] > 0 && seen[1] > 0);
    assert!(!wire.passed.windows(6).any(|window| window == b"canary"));
}

#[test]
fn a_changed_byte_is_noticed() {
    let (a, b) = duplex(1 << 20);
    let wire = a.write.clone();
    let (mut a, mut b) = sessions_over(a, b);
    block_on(a.write_all(b"truth")).unwrap();
    block_on(a.flush()).unwrap();
    wire.lock().unwrap().queue[500] ^= 1;
    assert_eq!(block_on(b.read(&mut [0; 8])).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn the_wrong_key_and_the_wrong_publication_are_refused() {
    let keys = SwarmKeys::new(libp2p_identity::Keypair::generate_ed25519());
    let (secret, public) = keys.generate(&mut rand::rng());
    let (a, b) = duplex(1 << 10);
    let (a, b) = block_on(join(initiate(a, ID, &[9; 32]), respond(b, ID, &secret)));
    assert!(a.is_err() && b.is_err());
    let (a, b) = duplex(1 << 10);
    let (a, b) = block_on(join(initiate(a, PublicationId([6; 32]), &public), respond(b, ID, &secret)));
    assert!(a.is_err() && b.is_err());
}

#[test]
fn hostile_bytes_never_panic() {
    for seed in 0..200u32 {
        let (a, b) = duplex(1 << 20);
        let (mut raw, wire) = (a, b.read.clone());
        let noise = bytes(1 + (seed as usize * 37) % 3_000);
        let keys = SwarmKeys::new(libp2p_identity::Keypair::generate_ed25519());
        let (secret, _) = keys.generate(&mut rand::rng());
        let (_, answered, ()) =
            block_on(join3(async { raw.write_all(&noise).await }, respond(b, ID, &secret), async {
                wire.lock().unwrap().ended = true
            }));
        assert!(answered.is_err());
    }
}

/// Not an assertion but a figure: run with `--release --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed_in_memory() {
    let (mut a, mut b) = sessions(1 << 20);
    let chunk = bytes(1 << 20);
    let start = std::time::Instant::now();
    let total = 512;
    block_on(join(
        async {
            for _ in 0..total {
                a.write_all(&chunk).await.unwrap();
            }
            a.close().await.unwrap();
        },
        async {
            let mut buf = vec![0; 1 << 18];
            while b.read(&mut buf).await.unwrap() > 0 {}
        },
    ));
    println!("{:.0} MiB/s, both ends on one core", f64::from(total) / start.elapsed().as_secs_f64());
}
