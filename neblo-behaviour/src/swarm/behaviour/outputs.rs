//! Does what the node wants done.

use libp2p_identity::PeerId;

use super::Behaviour;
use crate::protocol::interface::Output;

impl Behaviour {
    pub(in crate::swarm) fn execute(&mut self, output: Output<PeerId>) {
        match output {
            Output::Send { to, lane, frame } => self.send(&to, lane, &frame),
            Output::Arm { after, timer } => self.clock.arm(after, timer),
            Output::Hold(contact) => self.hold(&contact),
            Output::Release(peer) => self.release(peer),
            Output::Disconnect(peer) => self.disconnect(peer),
            Output::MulticastMember(on) => {
                if let Some(multicast) = &mut self.multicast {
                    multicast.take_part(on, &mut self.multicast_out);
                }
            }
            Output::MulticastLink { peer, on } => {
                if let Some(multicast) = &mut self.multicast {
                    multicast.link(peer, on, &mut self.multicast_out);
                }
            }
            Output::MulticastPublish(bytes) => {
                if let Some(multicast) = &mut self.multicast {
                    multicast.publish(bytes, &self.shared);
                }
            }
            Output::MulticastVerdict { message, from, verdict } => {
                if let Some(multicast) = &mut self.multicast {
                    multicast.verdict(message, from, verdict);
                }
            }
            Output::StreamGranted { stream, next, header } => self.stream_granted(stream, &next, header),
            Output::StreamAccepted { stream, publication, secret } => {
                self.stream_accepted(stream, publication, secret);
            }
            Output::StreamRefused { stream, reason } => self.stream_refused(stream, reason),
            Output::StreamOpen { token, stream, next, header } => self.stream_open(token, stream, &next, header),
            Output::StreamDeliver { stream, next, header, publication, secret } => {
                self.stream_deliver(stream, &next, header, (publication, secret));
            }
            Output::StreamReceived { stream, token } => self.stream_received(stream, token),
            Output::Event(event) => self.report(event),
            Output::Done { token, answer } => self.done(token, answer),
        }
    }
}
