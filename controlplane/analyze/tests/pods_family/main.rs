//! Each message of the analyzers of pods, of what selects them and of the installation: an input that raises it, and a near miss.

mod annotations;
mod ground;
mod injection;
mod installation;
mod policies;
mod services;
mod support;
