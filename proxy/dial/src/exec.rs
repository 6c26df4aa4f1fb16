//! Runs hyper's HTTP/2 tasks on the worker's own thread.

use std::future::Future;

/// Spawns on the current thread's task set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExec;

impl<F> hyper::rt::Executor<F> for LocalExec
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
