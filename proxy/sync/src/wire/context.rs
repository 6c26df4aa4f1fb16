//! What a conversion needs beside the message, and what it notes on the way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use lateen_proxy_model::{
    AccessLogRef, ClusterRef, IdentityRef, RouteTableRef, TrafficDirection, TrustRef,
};
use lateen_proxy_state::{ResourceKind, State};
use lateen_proxy_telemetry::{LogFilter, ServiceLog};

use crate::source::{Reference, Sources};

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
    /// Where records go, and as what.
    pub output: LogOutput,
    /// Which records are taken; `None` takes all.
    pub filter: Option<LogFilterSpec>,
}

/// Where records go, and as what.
#[derive(Clone, Debug, PartialEq)]
pub enum LogOutput {
    /// A file of lines.
    File {
        /// Its path, such as `/dev/stdout`.
        path: String,
        /// Line format.
        format: AccessLogFormat,
        /// Operators without value give nothing in place of `-`.
        omit_empty: bool,
    },
    /// A service.
    Service(ServiceLogSpec),
}

/// A log that a service takes. Two are equal when their messages are.
#[derive(Clone, Debug)]
pub struct ServiceLogSpec {
    /// The log, compiled.
    pub log: Arc<ServiceLog>,
    /// The message it was made of.
    pub source: Vec<u8>,
}

impl PartialEq for ServiceLogSpec {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// A filter of an access log. Two are equal when their messages are.
#[derive(Clone, Debug)]
pub struct LogFilterSpec {
    /// The filter, compiled.
    pub filter: Arc<LogFilter>,
    /// The message it was made of.
    pub source: Vec<u8>,
}

impl PartialEq for LogFilterSpec {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
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

/// What resources take over of the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeFacts {
    /// Service cluster.
    pub(crate) cluster: Box<str>,
    /// The node's own address, which its id names in a mesh.
    pub(crate) address: Option<IpAddr>,
    /// All that is said of it.
    pub(crate) message: Arc<Node>,
}

impl NodeFacts {
    /// Of a node as discovery requests have it.
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            cluster: node.cluster.as_str().into(),
            address: node.id.split('~').nth(1).and_then(|text| text.parse().ok()),
            message: Arc::new(node.clone()),
        }
    }
}

/// Names that a resource refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    pub(crate) clusters: BTreeSet<Arc<str>>,
    pub(crate) routes: BTreeSet<Arc<str>>,
    pub(crate) secrets: BTreeSet<Arc<str>>,
    pub(crate) extensions: BTreeSet<Arc<str>>,
}

/// How long something that a resource refers to is waited for.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) kind: ResourceKind,
    pub(crate) name: Arc<str>,
    /// `None` is for ever.
    pub(crate) longest: Option<Duration>,
}

/// Surroundings of a conversion.
pub(crate) struct Context<'a> {
    state: &'a State,
    logs: &'a dyn AccessLogs,
    /// `#` in a path is answered 400.
    pub(crate) reject_fragment: bool,
    /// Direction of the listener at hand.
    pub(crate) direction: Cell<TrafficDirection>,
    /// The router of the connection manager at hand makes a span for each try.
    pub(crate) child_spans: Cell<bool>,
    /// Who the proxy is.
    node: NodeFacts,
    uses: RefCell<Uses>,
    waits: RefCell<Vec<Wait>>,
    sources: Option<&'a Sources>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(state: &'a State, logs: &'a dyn AccessLogs, reject_fragment: bool) -> Self {
        Self {
            state,
            logs,
            reject_fragment,
            direction: Cell::default(),
            child_spans: Cell::default(),
            node: NodeFacts::default(),
            uses: RefCell::default(),
            waits: RefCell::default(),
            sources: None,
        }
    }

    /// The same, where other sources than the aggregated stream may be named.
    pub(crate) fn with_sources(mut self, sources: &'a Sources) -> Self {
        self.sources = Some(sources);
        self
    }

    pub(crate) fn sources(&self) -> Option<&'a Sources> {
        self.sources
    }

    /// Whether the secrets of the pod itself come from this process.
    pub(crate) fn has_agent(&self) -> bool {
        self.sources.is_none_or(Sources::has_agent)
    }

    /// What was found to be waited for since the last call.
    pub(crate) fn take_waits(&self) -> Vec<Wait> {
        self.waits.take()
    }

    fn wait(&self, kind: ResourceKind, name: &Arc<str>, from: Reference) {
        self.waits.borrow_mut().push(Wait {
            kind,
            name: Arc::clone(name),
            longest: from.wait,
        });
    }

    /// The same, of a proxy that is known.
    pub(crate) fn of_node(mut self, node: &NodeFacts) -> Self {
        self.node = node.clone();
        self
    }

    pub(crate) fn node(&self) -> &NodeFacts {
        &self.node
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

    /// The slot of a route table.
    pub(crate) fn route_table(&self, name: &str, from: Reference) -> RouteTableRef {
        let slot = self.state.routes().slot(&from.key(name));
        let mut uses = self.uses.borrow_mut();
        uses.routes.insert(Arc::clone(slot.name()));
        self.wait(ResourceKind::Route, slot.name(), from);
        slot
    }

    /// The slot of an identity; `from` says who serves it besides this proxy's own agent.
    pub(crate) fn identity(&self, name: &str, from: Option<Reference>) -> IdentityRef {
        let key = self.secret_key(name, from);
        self.state.secrets().identity(&key)
    }

    /// The slot of a trust bundle.
    pub(crate) fn trust(&self, name: &str, from: Option<Reference>) -> TrustRef {
        let key = self.secret_key(name, from);
        self.state.secrets().trust(&key)
    }

    /// What a secret is known by, noted as used where another process serves it.
    pub(crate) fn secret_key(&self, name: &str, from: Option<Reference>) -> Arc<str> {
        let Some(from) = from else {
            return name.into();
        };
        let key: Arc<str> = from.key(name).into();
        self.uses.borrow_mut().secrets.insert(Arc::clone(&key));
        self.wait(ResourceKind::Secret, &key, from);
        key
    }

    /// What a discovered filter is known by, noted as used.
    pub(crate) fn extension_key(&self, name: &str, from: Reference, warms: bool) -> Arc<str> {
        let key: Arc<str> = from.key(name).into();
        let wait = if warms {
            from.wait
        } else {
            Some(Duration::ZERO)
        };
        self.wait(ResourceKind::Extension, &key, Reference { wait, ..from });
        self.uses.borrow_mut().extensions.insert(Arc::clone(&key));
        key
    }
}
