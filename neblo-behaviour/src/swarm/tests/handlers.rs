//! Handlers of ranges, with a script in the place of the node.

use std::sync::mpsc;

use super::*;
use crate::address::{AddrRange, OverlayAddr};
use crate::protocol::interface::{Command, Event, Failure, Migration, Passage, Passing, RangeWork, Regeneration, Role};
use crate::swarm::{Handle, Transit};

const RANGE: AddrRange = AddrRange { after: OverlayAddr(1), to: OverlayAddr(9) };
const MIGRATION: Migration = Migration { range: RANGE, epoch: 2, role: Role::Primary };
const REGENERATION: Regeneration = Regeneration { range: RANGE, epoch: 3, role: Role::Secondary(2), lost: 0 };

/// What the node was told, by name.
fn told(node: &mut Swarm<Behaviour>) -> Vec<String> {
    let name = |input: &Input<PeerId>| match input {
        Input::Command(Command::RangeWorkDone { work }) => Some(format!("done {work}")),
        Input::Command(Command::Send { port, .. }) => Some(format!("send {port}")),
        Input::Command(Command::SetRangeHandlers { migration, regeneration }) => {
            Some(format!("set {migration:?} {regeneration:?}"))
        }
        Input::Command(Command::SetHandler { port, kind, on }) => Some(format!("{port} {kind:?} {on}")),
        Input::Command(Command::Pass { pass, passage }) => Some(format!("pass {pass} {passage:?}")),
        _ => None,
    };
    heard(node).iter().filter_map(name).collect()
}

fn work(node: &mut Swarm<Behaviour>, work: u64, what: RangeWork) {
    node.behaviour_mut().execute(Output::Event(Event::RangeWork { work, what }));
}

#[tokio::test]
async fn work_on_a_range_is_done_after_what_its_handler_sent() {
    let mut nodes = [memory().await];
    let handle = nodes[0].behaviour().handle();
    let (sender, seen) = mpsc::channel();
    let kept = sender.clone();
    while_running(&mut nodes, async {
        let migrate = move |handle: &Handle, migration: Migration| {
            for port in 2_000..2_100 {
                handle.try_send(1, port, migration.range.to, vec![]).unwrap();
            }
            sender.send(migration.epoch).unwrap();
        };
        handle.set_migration_handler(migrate).await.unwrap();
        let regenerate = move |_: &Handle, regeneration: Regeneration| {
            kept.send(regeneration.epoch).unwrap();
            std::panic::resume_unwind(Box::new("on purpose"));
        };
        handle.set_regeneration_handler(regenerate).await.unwrap();
    })
    .await;
    work(&mut nodes[0], 7, RangeWork::Migration(MIGRATION));
    work(&mut nodes[0], 8, RangeWork::Regeneration(REGENERATION));
    run(&mut nodes, |nodes| told(&mut nodes[0]).contains(&"done 8".to_owned())).await;
    let told = told(&mut nodes[0]);
    assert_eq!(told[..2], ["set Some(true) None", "set None Some(true)"]);
    assert!(told[2..102].iter().all(|told| told.starts_with("send")), "{told:?}");
    assert_eq!(told[102..], ["done 7", "done 8"]);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(counter(&nodes[0], "handler_panics"), 1);
}

#[tokio::test]
async fn work_without_a_handler_is_done_at_once() {
    let mut nodes = [memory().await];
    let handle = nodes[0].behaviour().handle();
    while_running(&mut nodes, async {
        handle.set_migration_handler(|_: &Handle, _: Migration| ()).await.unwrap();
        handle.clear_range_handlers().await.unwrap();
        // Commands are taken in order.
        assert_eq!(handle.clear_handlers(2_000).await, Ok(()));
        assert!(handle.set_message_receiver(2_000, |_: &Handle, _| ()).await.is_ok());
    })
    .await;
    work(&mut nodes[0], 1, RangeWork::Migration(MIGRATION));
    run(&mut nodes, |nodes| told(&mut nodes[0]).contains(&"done 1".to_owned())).await;
    let told = told(&mut nodes[0]);
    assert_eq!(told, ["set Some(true) None", "set Some(false) Some(false)", "2000 MessageReceiver true", "done 1"]);
}

fn passing(node: &mut Swarm<Behaviour>, pass: u64, from: PeerId) {
    let (kind, port, to, copy, payload) = (Passing::Request, 2_000, OverlayAddr(5), 0, vec![1]);
    node.behaviour_mut().execute(Output::Event(Event::Passing { pass, kind, port, to, copy, payload, from }));
}

#[tokio::test]
async fn what_passes_goes_on_unchanged_without_its_forwarder_and_is_overloaded_beyond_its_places() {
    let mut nodes = [memory().await];
    let handle = nodes[0].behaviour().handle();
    let (go, wait) = mpsc::channel::<()>();
    let from = PeerId::random();
    while_running(&mut nodes, async {
        let forward = move |_: &Handle, transit: Transit| {
            wait.recv().unwrap();
            Passage::Answer(transit.payload)
        };
        handle.set_request_forwarder(2_000, forward).await.unwrap();
    })
    .await;
    passing(&mut nodes[0], 0, from);
    // The worker holds the first.
    std::thread::sleep(Duration::from_millis(200));
    for pass in 1..=65 {
        passing(&mut nodes[0], pass, from);
    }
    let overloaded = format!("pass 65 {:?}", Err::<Passage, _>(Failure::Overloaded));
    run(&mut nodes, |nodes| told(&mut nodes[0]).contains(&overloaded)).await;
    while_running(&mut nodes, async { handle.clear_handlers(2_000).await.unwrap() }).await;
    let unchanged = |pass: u64| format!("pass {pass} {:?}", Ok::<_, Failure>(Passage::Forward(vec![1])));
    run(&mut nodes, |nodes| {
        let told = told(&mut nodes[0]);
        (1..=64).all(|pass| told.contains(&unchanged(pass)))
    })
    .await;
    // What the worker was busy with is decided by it all the same.
    go.send(()).unwrap();
    let answered = format!("pass 0 {:?}", Ok::<_, Failure>(Passage::Answer(vec![1])));
    run(&mut nodes, |nodes| told(&mut nodes[0]).contains(&answered)).await;
    assert!(told(&mut nodes[0]).contains(&"2000 RequestForwarder false".to_owned()));
    assert_eq!(counter(&nodes[0], "application_dropped"), 1);
}
