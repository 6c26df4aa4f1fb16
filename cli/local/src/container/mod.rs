//! Containers as processes: what one is given ([`spec`]), and the small programs that run inside a pod's namespaces. They are
//! single-threaded until their namespaces are entered, then become the container ([`shim`]) or hold the pod's network ([`pause`]).

mod cover;
mod mounts;
mod pause;
mod root;
mod shim;
mod spec;

pub(crate) use pause::main as pause_main;
pub(crate) use root::PROGRAMS;
pub(crate) use shim::main as shim_main;
pub(crate) use spec::{Bind, ContainerSpec, NewRoot, PauseSpec, Place, Program, User};
