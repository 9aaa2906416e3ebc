//! What is due happens: a node is given its input, and what it wants done is done.

use super::*;
use crate::protocol::Timer;

impl Simulation {
    pub(super) fn happen(&mut self, due: Due) {
        self.trace.add(self.now.0);
        match due {
            Due::Input(peer, input) => {
                let host = &self.hosts[peer as usize];
                // There is a connection again by the time that the end of the last one is heard of.
                let again = matches!(*input, Input::Disconnected(other) if host.connected.contains(&other));
                if !again || host.frozen {
                    self.input(peer, *input);
                }
            }
            Due::Expired(peer, life, timer) => {
                if self.hosts[peer as usize].life == life {
                    self.input(peer, Input::Expired(timer));
                }
            }
            Due::Idle { peer, of } => self.idle(peer, of),
            Due::Frame { from, to, frame } => self.frame_arrives(from, to, frame),
            Due::Dialled { from, to, frame } => self.dialled(from, to, frame),
            Due::Multicast { from, to, message } => self.multicast_arrives(from, to, message),
            Due::Stream(step) => self.stream_step(step),
        }
    }

    pub(super) fn input(&mut self, peer: u32, input: Input<u32>) {
        let unix = self.unix();
        let Some(host) = self.hosts.get_mut(peer as usize).filter(|host| host.alive) else { return };
        if host.frozen {
            // A stopped process finds its timers and the kernel's buffers when it goes on.
            host.missed.push(input);
            return;
        }
        self.trace.add(u64::from(peer));
        self.touched.push(peer);
        let mut out = self.spare.pop().unwrap_or_default();
        host.node.handle(self.now, unix, &mut host.rng, input, &mut out);
        for output in out.drain(..) {
            self.output(peer, output);
        }
        self.spare.push(out);
    }

    fn output(&mut self, peer: u32, output: Output<u32>) {
        match output {
            Output::Send { to, frame, .. } => self.send(peer, &to, frame),
            Output::Arm { after, timer: Timer::Link(timer) }
                if self.models_links && self.put_aside(peer, after, timer) => {}
            Output::Arm { after, timer } => {
                let life = self.hosts[peer as usize].life;
                self.queue.push(self.now + after, Due::Expired(peer, life, timer));
            }
            Output::Hold(contact) => self.dial(peer, &contact, None),
            Output::Release(other) => self.forget_link(peer, other),
            Output::Disconnect(other) => {
                self.forget_link(peer, other);
                if self.hosts[peer as usize].connected.remove(&other) {
                    self.unlink_multicast(other, peer);
                    self.disconnect(peer, other);
                }
                self.hosts[peer as usize].stale.remove(&other);
                self.unlink_multicast(peer, other);
                self.break_streams(|stream| stream.has_link(peer, other));
            }
            Output::MulticastMember(member) => self.hosts[peer as usize].multicast.member = member,
            Output::MulticastLink { peer: other, on } => self.link_multicast(peer, other, on),
            Output::MulticastPublish(bytes) => self.publish(peer, bytes),
            Output::MulticastVerdict { message, from, verdict } => self.verdict(peer, message, from, verdict),
            Output::StreamGranted { .. }
            | Output::StreamAccepted { .. }
            | Output::StreamRefused { .. }
            | Output::StreamDeliver { .. }
            | Output::StreamReceived { .. }
            | Output::StreamOpen { .. } => self.stream_output(peer, output),
            Output::Event(event) => self.happened(peer, event),
            Output::Done { token, answer } => self.answers.entry((peer, token)).or_default().push(answer),
        }
    }
}
