//! A request that is repeated when what stood in its way may be gone.

use std::time::Duration;

use neblo_behaviour::{Failure, Handle, OverlayAddr, Recipients};

/// The longest wait for one answer.
const WAIT: Duration = Duration::from_secs(5);
/// Times that a request is sent.
const TRIES: u32 = 4;

/// Asks, and asks again while the failure is one of the way there: what the request does must be the same when done twice.
///
/// # Errors
///
/// The last failure. What the owner itself says ([`Refused`](Failure::Refused), [`NoReceiver`](Failure::NoReceiver)) is final.
pub async fn ask(
    handle: &Handle,
    recipients: impl Into<Recipients>,
    port: u16,
    to: OverlayAddr,
    payload: &[u8],
) -> Result<Vec<u8>, Failure> {
    let recipients = recipients.into();
    let mut again = 0;
    loop {
        let response = handle.request(recipients, port, to, payload.to_vec(), WAIT).await?.wait().await;
        again += 1;
        match response {
            Err(Failure::TimedOut | Failure::NextHopDied | Failure::NoRoute | Failure::Overloaded) if again < TRIES => {
                tokio::time::sleep(Duration::from_millis(100) * again).await;
            }
            response => return response,
        }
    }
}
