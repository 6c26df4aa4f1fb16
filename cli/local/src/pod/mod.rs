//! One pod: what it is to run ([`PodPlan`]), what is known of it while it runs ([`PodEntry`]), and its life ([`life`]).

mod entry;
mod hook;
mod life;
mod probe;
mod process;
mod registry;
mod sandbox;
mod spec;
mod status;
mod supervise;

pub(crate) use entry::{PodEntry, PodKey, PodPlan, WorkloadKey};
pub(crate) use life::{PodContext, run};
pub(crate) use process::{Streams, exec_spec, spawn};
pub(crate) use registry::Pods;
pub(crate) use spec::PodEnvironment;
pub(crate) use status::{ContainerState, ContainerStatus, Phase};
