//! Anonymity as numbers (research §5, §6): colluding peers that write down what the code that runs in production sends them,
//! and estimators over what they wrote down.
//!
//! - [`Subgroup`] drives the path parts of one subgroup, `Paths` or `Paper`, with a member list that all know at once; [`Log`]
//!   holds every step of every walk as it was sent, and [`Log::seen_by`] is what given colluders have of it.
//! - An estimator gets that and what everybody knows: the size of the subgroup, *p*, the policy. Whether it is right is decided
//!   by [`Truth`], which it never sees.
//! - [`formulas`] are the closed forms beside which each measured value stands.
//!
//! Colluders do what the protocol says, and their number is known to the estimators. The leader is none of them unless it is said.

mod ends;
mod exposure;
mod first;
mod forged;
pub mod formulas;
mod linking;
mod log;
mod nodes;
mod resumes;
mod ring;
mod rounds;
mod subgroup;
mod sybil;

pub use ends::{Ends, LinkedByLast, ends, linked_by_last};
pub use exposure::{Exposure, Keeping, hours_until_exposed};
pub use first::{FirstPredecessor, first_predecessor};
pub use forged::{Forged, forged_list};
pub use linking::{Linking, linking, linking_of_hasty, linking_of_newcomers};
pub use log::{Follow, Log, Observation, Step, Tag, Truth};
pub use nodes::{Guest, Moments, first_predecessor_of_nodes, guest, moments};
pub use resumes::{Resumes, resumes};
pub use ring::{Mapped, Senders, mapped, senders};
pub use rounds::{Attack, Rounds, predecessor_attack};
pub use subgroup::{Setting, Subgroup, Ttl};
pub use sybil::{Sybils, joined};
