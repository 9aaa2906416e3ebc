//! What gossipsub holds against a neighbour in the leaders' multicast (gossipsub 1.1, peer scoring; research §6, spam).
//!
//! Only what no honest leader does: it judges a message before it passes it on, so one that is not signed, or is none at
//! all, is the fault of who brought it. Silence is no fault, since lookups are rare, and neither are many leaders behind one
//! address. Nothing earns a score above zero, so nobody can save up for an attack.

use std::time::Duration;

use libp2p_gossipsub::{IdentTopic, PeerScoreParams, PeerScoreThresholds, TopicScoreParams};

/// What the square of the rejected messages counts. choice: the third one within seconds leaves a neighbour unheard
const REJECTED: f64 = -10.0;
/// What is left of a count after a second. choice: half of it after a minute
const REJECTED_DECAY: f64 = 0.988;
/// Regrafts within the back-off and broken promises that are let pass: a gate that closes and opens again may cause some.
/// choice
const UNRULY: f64 = 6.0;
/// How long a score outlives its connection, so that dialling again wipes no slate. choice
const RETAINED: Duration = Duration::from_secs(600);

/// Weights of the score.
pub(super) fn params(topic: &IdentTopic) -> PeerScoreParams {
    let messages = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: REJECTED,
        invalid_message_deliveries_decay: REJECTED_DECAY,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: [(topic.hash(), messages)].into(),
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_threshold: UNRULY,
        retain_score: RETAINED,
        ..PeerScoreParams::default()
    }
}

/// From which scores on a neighbour is not told of messages (-10), not sent any (-50), not heard at all (-80): gossipsub's
/// own.
pub(super) fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds::default()
}
