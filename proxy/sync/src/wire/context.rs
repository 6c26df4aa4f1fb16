//! What a conversion needs beside the message, and what it notes on the way.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use lateen_proxy_model::{AccessLogRef, ClusterRef, IdentityRef, RouteTableRef, TrustRef};
use lateen_proxy_state::State;

/// How an access log writes a line.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessLogFormat {
    /// Envoy's own default.
    Default,
    /// Text with operators.
    Text(String),
    /// An object whose values have operators.
    Json(serde_json::Value),
}

/// An access log as the configuration describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLogSpec {
    /// File, such as `/dev/stdout`.
    pub path: String,
    /// Line format.
    pub format: AccessLogFormat,
    /// Operators without value give nothing in place of `-`.
    pub omit_empty: bool,
    /// Only records with one of these response flags; `None` takes all, an empty list every record with a flag.
    pub only_flags: Option<Vec<String>>,
}

/// The process-wide table of access logs; equal specifications should give the same number.
pub trait AccessLogs: Send + Sync {
    /// Opens the log and compiles its format, or says what is wrong with it.
    ///
    /// # Errors
    /// What is wrong, for people; it becomes part of the NACK.
    fn register(&self, spec: AccessLogSpec) -> Result<AccessLogRef, String>;
}

impl<F> AccessLogs for F
where
    F: Fn(AccessLogSpec) -> Result<AccessLogRef, String> + Send + Sync,
{
    fn register(&self, spec: AccessLogSpec) -> Result<AccessLogRef, String> {
        self(spec)
    }
}

/// Names that a resource refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    pub(crate) clusters: BTreeSet<Arc<str>>,
    pub(crate) routes: BTreeSet<Arc<str>>,
    pub(crate) secrets: BTreeSet<Arc<str>>,
}

/// Surroundings of a conversion.
pub(crate) struct Context<'a> {
    state: &'a State,
    logs: &'a dyn AccessLogs,
    /// `#` in a path is answered 400.
    pub(crate) reject_fragment: bool,
    uses: RefCell<Uses>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(state: &'a State, logs: &'a dyn AccessLogs, reject_fragment: bool) -> Self {
        Self {
            state,
            logs,
            reject_fragment,
            uses: RefCell::default(),
        }
    }

    /// What was referred to since the last call.
    pub(crate) fn take_uses(&self) -> Uses {
        self.uses.take()
    }

    pub(crate) fn state(&self) -> &'a State {
        self.state
    }

    pub(crate) fn logs(&self) -> &'a dyn AccessLogs {
        self.logs
    }

    pub(crate) fn cluster(&self, name: &str) -> ClusterRef {
        let slot = self.state.clusters().slot(name);
        self.uses
            .borrow_mut()
            .clusters
            .insert(Arc::clone(slot.name()));
        slot
    }

    pub(crate) fn route_table(&self, name: &str) -> RouteTableRef {
        let slot = self.state.routes().slot(name);
        self.uses
            .borrow_mut()
            .routes
            .insert(Arc::clone(slot.name()));
        slot
    }

    /// The slot of an identity; `over_ads` says that the control plane serves it.
    pub(crate) fn identity(&self, name: &str, over_ads: bool) -> IdentityRef {
        self.note_secret(name, over_ads);
        self.state.secrets().identity(name)
    }

    /// The slot of a trust bundle.
    pub(crate) fn trust(&self, name: &str, over_ads: bool) -> TrustRef {
        self.note_secret(name, over_ads);
        self.state.secrets().trust(name)
    }

    fn note_secret(&self, name: &str, over_ads: bool) {
        if over_ads {
            self.uses.borrow_mut().secrets.insert(name.into());
        }
    }
}
