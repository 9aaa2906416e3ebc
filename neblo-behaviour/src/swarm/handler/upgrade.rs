//! Protocol names, and the upgrade that hands a negotiated substream on together with what it is for.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use libp2p_core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p_swarm::{Stream, StreamProtocol};

use crate::protocol::interface::Lane;

/// What a substream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plane {
    Control(Lane),
    Data,
}

/// The protocol names of one network.
#[derive(Clone, Debug)]
pub(crate) struct Names(Arc<[StreamProtocol; 3]>);

impl Names {
    /// The names on the network with this hash: lower-case hex digits.
    pub(crate) fn new(network_hash: &str) -> Self {
        // A name is invalid only without its leading slash.
        let name = |plane| {
            StreamProtocol::try_from_owned(format!("/neblo/1/{network_hash}/{plane}"))
                .unwrap_or(StreamProtocol::new("/neblo/1"))
        };
        Self(Arc::new([name("urgent"), name("app"), name("data")]))
    }

    fn name(&self, plane: Plane) -> StreamProtocol {
        let [urgent, app, data] = &*self.0;
        match plane {
            Plane::Control(Lane::Urgent) => urgent,
            Plane::Control(Lane::App) => app,
            Plane::Data => data,
        }
        .clone()
    }

    fn plane(&self, name: &StreamProtocol) -> Plane {
        match self.0.iter().position(|known| known == name) {
            Some(0) => Plane::Control(Lane::Urgent),
            Some(1) => Plane::Control(Lane::App),
            _ => Plane::Data,
        }
    }

    /// Accepts any of the planes.
    pub(crate) fn any(&self) -> Upgrade {
        Upgrade { names: self.clone(), only: None }
    }

    /// Asks for one plane.
    pub(crate) fn one(&self, plane: Plane) -> Upgrade {
        Upgrade { names: self.clone(), only: Some(plane) }
    }
}

/// An upgrade that cannot fail: it says which plane was negotiated.
#[derive(Clone, Debug)]
pub struct Upgrade {
    names: Names,
    only: Option<Plane>,
}

impl UpgradeInfo for Upgrade {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        match self.only {
            Some(plane) => vec![self.names.name(plane)],
            None => self.names.0.to_vec(),
        }
        .into_iter()
    }
}

/// A substream and the plane that was negotiated for it.
#[derive(Debug)]
pub struct Negotiated {
    pub(crate) plane: Plane,
    pub(crate) stream: Stream,
}

impl InboundUpgrade<Stream> for Upgrade {
    type Output = Negotiated;
    type Error = Infallible;
    type Future = Ready<Result<Negotiated, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok(Negotiated { plane: self.names.plane(&name), stream }))
    }
}

impl OutboundUpgrade<Stream> for Upgrade {
    type Output = Negotiated;
    type Error = Infallible;
    type Future = Ready<Result<Negotiated, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok(Negotiated { plane: self.names.plane(&name), stream }))
    }
}
