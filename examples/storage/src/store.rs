//! A store of blocks: each lies at the address that is its hash, with copies, and is checked against it whenever it arrives.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use example_nodes::{Shelf, ask};
use futures::future::try_join_all;
use neblo_behaviour::{Ask, Failure, Handle, OverlayAddr, Recipients, Responder};

/// The store's port on the overlay.
const PORT: u16 = 4000;
/// What a request begins with.
const PUT: u8 = 1;
const GET: u8 = 2;

/// Where a block lies: nobody can put another block there.
pub(crate) fn address_of(block: &[u8]) -> OverlayAddr {
    OverlayAddr::hash(&[b"block", block])
}

fn put_request(block: &[u8]) -> Vec<u8> {
    [&[PUT], block].concat()
}

/// Lets a node keep blocks. Call it before the node subscribes.
pub(crate) async fn install(handle: &Handle, copies: u8) -> Result<Arc<Shelf>> {
    let shelf = Shelf::new(PORT, copies, put_request);
    let kept = shelf.clone();
    handle
        .set_request_receiver(PORT, move |_: &Handle, ask: Ask, responder: Responder| {
            responder.respond(answer(&kept, &ask));
        })
        .await?;
    shelf.keep_copies(handle).await?;
    Ok(shelf)
}

/// `None` refuses: for a request with copies the answer of another owner wins then.
fn answer(shelf: &Shelf, ask: &Ask) -> Option<Vec<u8>> {
    match ask.payload.split_first()? {
        (&PUT, block) if address_of(block) == ask.to => {
            shelf.put(ask.to, ask.copy, block.to_vec());
            Some(Vec::new())
        }
        (&GET, []) => shelf.get(ask.to, ask.copy),
        _ => None,
    }
}

/// Stores a block; done when every owner has said that it has its copy.
pub(crate) async fn put(handle: &Handle, copies: u8, block: &[u8]) -> Result<OverlayAddr> {
    let address = address_of(block);
    let request = put_request(block);
    let asked = (0..copies).map(|copy| ask(handle, Recipients::Only(copy), PORT, address, &request));
    try_join_all(asked).await.context("a block was not stored: put it once more")?;
    Ok(address)
}

/// Reads a block from the first owner that has it.
pub(crate) async fn get(handle: &Handle, copies: u8, address: OverlayAddr) -> Result<Vec<u8>> {
    let block = ask(handle, copies, PORT, address, &[GET]).await.map_err(|failure| match failure {
        Failure::Refused => anyhow::anyhow!("no owner has block {address}: is the address right?"),
        other => anyhow::Error::new(other).context(format!("block {address} could not be read; try again")),
    })?;
    ensure!(address_of(&block) == address, "block {address} was changed by who kept it; ask for another copy");
    Ok(block)
}
