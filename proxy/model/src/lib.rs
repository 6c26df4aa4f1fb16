//! What the data path needs, compiled from xDS once per change: listeners and their filter chains, routes, clusters,
//! endpoints, TLS settings and peers.
//!
//! Nothing here does I/O and nothing here is a protobuf. `sync` builds these values when configuration arrives; the rooms
//! of the request path only read them. Resources that arrive separately (a route names a cluster, a cluster names its
//! endpoints) are joined by [`Slot`]s, so that a change of one never rebuilds the other.

mod address;
mod admission_control;
mod body;
mod breakers;
mod call;
pub mod cel;
mod chain;
mod cluster;
mod codec;
mod compression;
mod cors;
mod csrf;
mod dns_cache;
mod endpoint;
mod ext_authz;
mod ext_proc;
mod facts;
mod filter;
mod filter_stats;
mod forward_proxy;
mod global_rate_limit;
mod handshake;
mod head;
mod health_check;
mod health_filter;
mod internal_redirect;
mod interned;
mod jwks;
mod jwt;
mod listener;
mod listener_filters;
mod local_rate_limit;
mod lookup;
mod matcher;
mod metadata_matcher;
mod metric;
mod mongo;
mod mutation;
mod network;
mod network_authz;
mod outlier;
mod overload;
mod peer;
mod permit;
mod plan;
mod rate_limit;
mod rbac;
mod retry;
mod route;
mod route_stats;
mod session;
mod slot;
mod socket;
mod subset;
mod tls;
mod tracing;
mod upstream;
mod view_attributes;
mod wildcard;

pub use address::{ClientAddr, LocalAddr, OriginalDst};
pub use admission_control::{AdmissionControl, AdmissionCounts, AdmissionWindow};
pub use body::{BodyChange, BodyFailure};
pub use breakers::{
    ActiveRequest, Breakers, CircuitBreakers, ClusterShared, ConnectionStats, Gauge, RetryBudget,
};
pub use call::{
    ANSWER_LIMIT, Call, CallAnswer, CallFailure, CallStream, GrpcFailure, GrpcSettings, Received,
    grpc_call, grpc_frame, grpc_head, grpc_outcome, take_grpc_message,
};
pub use chain::{ChainMatch, Connection, NO_ADDRESS, Overlap, SourceType, Transport};
pub use cluster::{
    AddressFamily, Cluster, ClusterKind, ClusterRef, ConnectionOptions, DnsFamily, DnsHost,
    DnsSettings, HttpProtocol, LbPolicy, ServiceInfo, TcpKeepalive, TransportMatch, UpstreamOption,
};
pub use codec::{
    CodecType, FloodLimits, HeaderCase, Http1Options, Http2Options, Http3Options, Keepalive,
    UpstreamCodec,
};
pub use compression::{
    BrotliMode, Coding, CompressDirection, Compressor, CompressorRoute, Decoding,
    DecompressDirection, Decompressor,
};
pub use cors::CorsPolicy;
pub use csrf::CsrfPolicy;
pub use dns_cache::{
    AddressFilter, CacheFull, CachedHost, DnsCache, DnsCacheSettings, DnsCacheStats, PendingLookup,
    Resolution, host_and_port,
};
pub use endpoint::{
    Ejection, Endpoint, EndpointMetadata, EndpointSet, EndpointStats, EndpointsRef, Health,
    Locality, LocalityEndpoints,
};
pub use ext_authz::{AuthzBody, AuthzHttp, AuthzOverride, AuthzService, ExtAuthz};
pub use ext_proc::{
    BodyMode, ExtProc, ExtProcOverride, ExtProcRoute, MutationRules, ProcessingModes,
    RouteCacheAction,
};
pub use facts::{DynamicMetadata, NoFacts, PeerView, RequestFacts};
pub use filter::{FilterEntry, FilterOverride, FilterSetting, HttpFilter, Overrides};
pub use filter_stats::{CounterTable, FilterStats};
pub use forward_proxy::{ForwardHost, ForwardProxy, SniForwardProxy};
pub use global_rate_limit::{
    ConnectionRateLimit, GlobalRateLimit, GlobalRateLimitRoute, GrpcService, RequestOrigin,
};
pub use handshake::{CertificateChain, CertificateDetails, Handshake};
pub use head::{
    ClientSource, Comparison, EscapedSlashes, HeadOptions, LocalReplies, ReplyFilter, ReplyMapper,
    RouterOptions, StripPort,
};
pub use health_check::{
    ActiveHealth, CheckKind, CheckStats, CheckTimes, EndpointCheck, GrpcCheck, HealthCheck,
    HttpCheck, TcpCheck,
};
pub use health_filter::HealthFilter;
pub use internal_redirect::{InternalRedirect, RedirectTarget};
pub use interned::{Intern, Interned, OnUse};
pub use jwks::{BASE64_URL, Digest, Jwks, JwksError, JwtAlgorithm, SignatureError};
pub use jwt::{
    JwksTurn, JwtFilter, JwtKeys, JwtOverride, JwtPlace, JwtProvider, JwtRequirement, JwtRule,
    RemoteJwks,
};
pub use listener::{
    AccessLogRef, ChainTable, Exemptions, FilterChain, ForwardClientCert, HttpManager, Listener,
    ListenerBind, LogMoments, NetworkFilter, PathNormalization, Reporter, RouteSource, StatsFilter,
    TcpProxy, TcpTunnel, TrafficDirection, XfccDetails,
};
pub use listener_filters::{
    ConnectionRate, ListenerFilter, ListenerFilterEntry, ListenerFilters, ListenerPredicate,
    ProxyProtocolRules, Tlv, TlvRule,
};
pub use local_rate_limit::{
    BucketSize, BucketView, DescriptorSize, LimiterSizes, LocalConnectionLimit, LocalLimiter,
    LocalRateLimit, LocalVerdict, TokenBucket,
};
pub use matcher::{
    CookieMatcher, HeaderMatcher, HeaderSubject, HeaderTest, QueryMatcher, RequestView,
    StringMatcher, cookie,
};
pub use metadata_matcher::{MetadataMatcher, ValueMatcher};
pub use metric::{MetricOverrides, MetricRule};
pub use mongo::MongoFilter;
pub use mutation::{
    AppendAction, Expand, HeaderMutations, HeaderRule, HeaderText, NoTemplates, Template,
};
pub use network::{ConnectionFilter, ConnectionLimit, ConnectionPermit, NetworkFilterEntry};
pub use network_authz::NetworkAuthz;
pub use outlier::{Detector, InARow, OutlierDetection, OutlierStats, RateDetector};
pub use overload::{
    LeastTime, Overload, OverloadAction, OverloadPlan, Resource, ScaledTime, ShedPoint, Trigger,
    TriggerRule,
};
pub use peer::{PeerIdentity, PeerMetadata};
pub use permit::Permit;
pub use plan::{
    Balancing, HashTable, HashTableKind, NamedEndpoint, Part, Plan, PlanLevel, PlanSlot, Pool,
    Prepare, ReportedWeights, SlowStart, SubsetPlan, SubsetPlans, ZoneAware,
};
pub use rate_limit::{
    Descriptor, FixedEntry, HitsAddend, LimitOverride, LimitSource, MetadataPath, RateLimit,
    RateLimitAction, RateLimits, RouteRateLimits, VirtualHostLimits,
};
pub use rbac::{
    Condition, NetworkRbac, OutcomeNotes, Rbac, RbacAction, RbacFilter, RbacNotes, RbacPolicy,
};
pub use retry::{
    Backoff, Labels, RateLimitedBackoff, ResetHeader, RetryOn, RetryPolicy, TriedPriorities,
};
pub use route::{
    BodyFormat, ClusterChoice, ConnectEnd, DirectResponse, Fault, FaultAbort, FaultRate,
    GrpcStream, HashPolicy, HashSubject, HeaderShare, HostRewrite, Mirror, NamedCluster,
    PathMatcher, PathRewrite, Percentage, Redirect, RequireTls, Rewrite, Route, RouteAction,
    RouteForward, RouteMatch, RouteTable, RouteTableRef, TlsCondition, VirtualHost,
    WeightedCluster, WeightedDraw,
};
pub use route_stats::{HostStats, RouteStats, VirtualCluster};
pub use session::{MutationFilter, MutationLevels, SessionHost, SessionState, StatefulSession};
pub use slot::Slot;
pub use socket::{BACKLOG, ListenSocket, Pipe, QuicOptions, SocketOption};
pub use subset::{
    LabelValue, SelectorFallback, SubsetCriteria, SubsetFallback, SubsetRef, SubsetSelector,
    SubsetStats, Subsets,
};
pub use tls::{
    Algorithms, ClientTls, CompiledClient, CompiledServer, Identity, IdentityRef, PeerChecks,
    QuicTls, Resumption, SanKind, SanMatcher, SanRegex, ServerTls, TrustBundle, TrustRef,
};
pub use tracing::{
    CustomTag, HttpTracing, Operation, RequestIdTracing, RouteTracing, Sampler, Sampling,
    ServiceTarget, Share, TagSource, TraceKind, TraceProvider,
};
pub use upstream::{
    Balance, Choice, Dial, LoadReport, Outcome, RawUpstream, ResetReason, SendFailure, Target,
    UpstreamConnection, UpstreamSource,
};
pub use wildcard::Wildcards;
