//! Filters that are switches of the connection manager: routes turn them on and off like others.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use lateen_proxy_model::{FilterEntry, HttpFilter, Overrides};

use super::exchange::Exchange;
use super::peer::Exchanged;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Switch {
    GrpcStats = 1,
    IstioAlpn = 2,
    PeerMetadata = 4,
    Stats = 8,
}

/// Those that are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct On(u8);

/// The switches of a chain, by the names that routes know them by.
#[derive(Debug)]
pub(crate) struct Switches {
    named: Box<[(Arc<str>, Switch, bool)]>,
    /// Those that are on where routes say nothing.
    on: On,
}

impl On {
    pub(crate) fn has(self, switch: Switch) -> bool {
        self.0 & switch as u8 != 0
    }
}

impl Switches {
    pub(crate) fn new(filters: &[FilterEntry]) -> Self {
        let named = filters.iter().filter_map(|entry| {
            let switch = match entry.filter {
                HttpFilter::GrpcStats => Switch::GrpcStats,
                HttpFilter::IstioAlpn => Switch::IstioAlpn,
                HttpFilter::PeerMetadata { .. } => Switch::PeerMetadata,
                HttpFilter::Stats(_) => Switch::Stats,
                _ => return None,
            };
            Some((Arc::clone(&entry.name), switch, entry.disabled))
        });
        let mut switches = Self {
            named: named.collect(),
            on: On::default(),
        };
        switches.on = switches.under(&Overrides::NONE);
        switches
    }

    /// Those that are on where routes say nothing.
    pub(crate) fn on(&self) -> On {
        self.on
    }

    fn under(&self, overrides: &Overrides) -> On {
        let on = self.named.iter().filter(|(name, _, disabled)| {
            let disabled = overrides.find(name).map_or(*disabled, |it| it.disabled);
            !disabled
        });
        On(on.fold(0, |on, (_, switch, _)| on | *switch as u8))
    }
}

impl Exchange {
    /// Turns filters on and off as the route says that was found.
    pub fn switch(&mut self, parts: &mut Parts, overrides: &Overrides) {
        let before = self.on;
        let switches = &self.conn.chain.switches;
        if overrides.is_empty() {
            self.on = switches.on;
        } else {
            self.on = switches.under(overrides);
        }
        if self.on == before {
            return;
        }
        if !self.on.has(Switch::GrpcStats) {
            self.sent_messages = None;
        } else if self.grpc {
            self.sent_messages.get_or_insert_default();
        }
        match (
            before.has(Switch::PeerMetadata),
            self.on.has(Switch::PeerMetadata),
        ) {
            (false, true) => self.take_peer(&mut parts.headers),
            (true, false) => {
                std::mem::take(&mut self.exchanged).put_back(&mut parts.headers);
                self.peer = None;
            }
            _ => {}
        }
    }

    /// Learns from the request's headers who its client is, where they are exchanged.
    pub(crate) fn take_peer(&mut self, headers: &mut HeaderMap) {
        let chain = &self.conn.chain;
        if chain.exchange.downstream && self.on.has(Switch::PeerMetadata) {
            self.exchanged = Exchanged::take(headers);
            self.peer = chain.worker.peers.find(&self.exchanged);
        }
    }

    pub(crate) fn has(&self, switch: Switch) -> bool {
        self.on.has(switch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_proxy_model::FilterSetting;

    #[test]
    fn routes_turn_switches_on_and_off() {
        let mut off = FilterEntry::new("off", HttpFilter::GrpcStats);
        off.disabled = true;
        let switches = Switches::new(&[off, FilterEntry::new("alpn", HttpFilter::IstioAlpn)]);
        assert!(switches.on().has(Switch::IstioAlpn) && !switches.on().has(Switch::GrpcStats));
        let said = |name: &str, disabled| {
            let setting = FilterSetting {
                disabled,
                config: None,
            };
            (Arc::from(name), setting)
        };
        let route = Overrides::new(vec![said("off", false), said("alpn", true)]);
        let on = switches.under(&route);
        assert!(on.has(Switch::GrpcStats) && !on.has(Switch::IstioAlpn));
    }
}
