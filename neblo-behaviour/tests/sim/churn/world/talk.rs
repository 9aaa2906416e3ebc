//! The requests and messages that hosts send all the while.

use super::*;

impl World {
    pub(super) fn request(&mut self, nth: u16, key: u16, copies: u8) {
        let Some(asker) = Self::pick(&self.members(), nth) else { return };
        let to = OverlayAddr::hash(&[&key.to_le_bytes()]);
        let payload = [key.to_le_bytes(), nth.to_le_bytes()].concat();
        let sent = payload.clone();
        let recipients = Recipients::First(1 + copies % 8);
        let token = self.sim.command(asker, |token| Command::Request {
            token,
            recipients,
            port: PORT,
            to,
            payload: sent,
            timeout: TIME_OUT,
        });
        self.traffic.asked(self.sim.now(), asker, token, payload, self.checks.rules == Rules::Rough);
    }

    pub(super) fn send(&mut self, nth: u16, key: u16, copies: u8) {
        let Some(sender) = Self::pick(&self.members(), nth) else { return };
        let to = OverlayAddr::hash(&[&key.to_le_bytes()]);
        let copies = 1 + copies % 8;
        self.figures.messages_sent += u64::from(copies);
        self.sim.command(sender, |token| Command::Send {
            token,
            recipients: Recipients::First(copies),
            port: PORT,
            to,
            payload: vec![0; 32],
        });
    }
}
