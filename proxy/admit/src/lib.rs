//! Request and peer to [`Permit`](lateen_proxy_model::Permit) or a refusal: one module for each kind of policy filter.
//!
//! Pure: draws and the time come from the caller, and so does the waiting. The caller runs the filters in the order of
//! the chain and tells [`Admission`] of what each did; the permit that routing asks for comes from there alone.

mod admission;
mod admission_control;
mod compression;
mod csrf;
mod descriptors;
mod ext_authz;
mod ext_proc;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod global_rate_limit;
mod grpc_web;
mod health;
mod jwt;
mod local_rate_limit;
mod pass;
mod rbac;
mod session;

pub use admission::Admission;
pub use admission_control::is_refused;
pub use compression::{
    CodingChoice, Decode, Encode, advertise, compress_answer, compress_request, decompress,
    take_accept,
};
pub use csrf::{Csrf, csrf};
pub use descriptors::{DescriptorFacts, descriptors};
pub use ext_authz::{
    AuthzAnswer, AuthzChanges, AuthzExtras, ConnectionAnswer, HeaderChange, check_connection,
    check_request, connection_answer, grpc_answer, http_answer, http_request,
};
pub use ext_proc::{
    BadMutation, ProcessedHead, asked_modes, change_head, changed_body, fits_length,
    protocol_config, set_metadata, shown_headers, told_metadata,
};
pub use fault::{ActiveFault, Injected, inject};
pub use global_rate_limit::{Limit, LimitAnswer, append_headers, ask_limit};
pub use grpc_web::{FromBase64, GrpcWeb, ToGrpcWeb, grpc_web_request};
pub use health::{HealthVerdict, health};
pub use jwt::{JwtEffects, JwtStatus, KeysOf, authenticate, has_token, own_headers};
pub use local_rate_limit::{LocalLimit, local_rate_limit, rate_limit_headers, retry_after};
pub use pass::AsItIs;
pub use rbac::{RbacOutcome, RbacVerdict, rbac};
pub use session::{has_session, session_host, tell_session};
