//! Certificates and roots by secret name.

use std::sync::Arc;

use lateen_proxy_model::{Identity, IdentityRef, TrustBundle, TrustRef};
use tokio::sync::watch;

use crate::table::Table;

/// The secrets of the data path: `default`, `ROOTCA`, `file-cert:…`, `file-root:…`, `kubernetes://…`.
///
/// TLS settings hold the slots. The source of a secret (agent, files, SDS) looks at what is [wanted](Self::wanted) and
/// fills the slots; a handshake whose secret is still missing fails, it never goes on without.
#[derive(Debug)]
pub struct SecretStore {
    identities: Table<Identity>,
    trusts: Table<TrustBundle>,
    wanted: watch::Sender<u64>,
    updates: watch::Sender<u64>,
}

impl Default for SecretStore {
    fn default() -> Self {
        Self {
            identities: Table::default(),
            trusts: Table::default(),
            wanted: watch::Sender::new(0),
            updates: watch::Sender::new(0),
        }
    }
}

impl SecretStore {
    /// The slot of an identity; asking for a new name makes it wanted.
    pub fn identity(&self, name: &str) -> IdentityRef {
        let slot = self.identities.slot(name);
        self.want(slot.load().is_none());
        slot
    }

    /// The slot of a trust bundle; asking for a new name makes it wanted.
    pub fn trust(&self, name: &str) -> TrustRef {
        let slot = self.trusts.slot(name);
        self.want(slot.load().is_none());
        slot
    }

    /// Gives an identity its newest value.
    pub fn set_identity(&self, name: &str, identity: Identity) {
        self.identities.set(name, Arc::new(identity));
        self.updates.send_modify(|count| *count += 1);
    }

    /// Gives a trust bundle its newest value.
    pub fn set_trust(&self, name: &str, trust: TrustBundle) {
        self.trusts.set(name, Arc::new(trust));
        self.updates.send_modify(|count| *count += 1);
    }

    /// Takes a secret away that its source removed.
    pub fn remove(&self, name: &str) {
        self.identities.remove(name);
        self.trusts.remove(name);
        self.updates.send_modify(|count| *count += 1);
    }

    /// Identities and trust bundles that somebody holds but that have no value yet, by name.
    pub fn wanted(&self) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        (self.identities.missing(), self.trusts.missing())
    }

    /// Follows requests for names without value.
    pub fn watch_wanted(&self) -> watch::Receiver<u64> {
        self.wanted.subscribe()
    }

    /// Follows new values, such as rotations.
    pub fn watch_updates(&self) -> watch::Receiver<u64> {
        self.updates.subscribe()
    }

    /// Identities with a value, by name.
    pub fn identities(&self) -> Vec<(Arc<str>, Arc<Identity>)> {
        self.identities.values()
    }

    /// Trust bundles with a value, by name.
    pub fn trusts(&self) -> Vec<(Arc<str>, Arc<TrustBundle>)> {
        self.trusts.values()
    }

    pub(crate) fn sweep(&self) {
        self.identities.sweep();
        self.trusts.sweep();
    }

    fn want(&self, missing: bool) {
        if missing {
            self.wanted.send_modify(|count| *count += 1);
        }
    }
}
