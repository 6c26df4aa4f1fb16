//! Items on their way to a collector: gathered on the worker, sent together, bounded in number.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use lateen_proxy_telemetry::Counter;
use tokio::sync::Notify;

/// Collects items for one sender. Dropped, it has the rest sent.
pub(crate) struct Batch<T>(Rc<Shared<T>>);

struct Shared<T> {
    items: RefCell<Vec<T>>,
    weight: Cell<usize>,
    limits: BatchLimits,
    dropped: Counter,
    some: Notify,
    enough: Notify,
    closed: Cell<bool>,
}

/// When a batch is sent, and how much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// Sent when it has this weight.
    pub(crate) enough: usize,
    /// Items beyond this weight are dropped.
    pub(crate) most: usize,
    /// Sent after this time in any case.
    pub(crate) patience: Duration,
}

impl<T: 'static> Batch<T> {
    /// Starts a sender on this worker: `send` gets what was gathered, one call at a time. What finds no room is counted
    /// in `dropped`.
    pub(crate) fn start<S, F>(limits: BatchLimits, dropped: Counter, send: S) -> Self
    where
        S: Fn(Vec<T>) -> F + 'static,
        F: Future<Output = ()>,
    {
        let shared = Rc::new(Shared {
            items: RefCell::default(),
            weight: Cell::default(),
            limits,
            dropped,
            some: Notify::new(),
            enough: Notify::new(),
            closed: Cell::default(),
        });
        let own = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            loop {
                if own.weight.get() == 0 {
                    if own.closed.get() {
                        return;
                    }
                    own.some.notified().await;
                }
                if own.weight.get() < limits.enough && !own.closed.get() {
                    tokio::select! {
                        () = own.enough.notified() => {}
                        () = tokio::time::sleep(limits.patience) => {}
                    }
                }
                own.weight.set(0);
                let items = own.items.take();
                if !items.is_empty() {
                    send(items).await;
                }
            }
        });
        Self(shared)
    }

    /// Adds an item.
    pub(crate) fn push(&self, item: T, weight: usize) {
        let shared = &self.0;
        let before = shared.weight.get();
        let after = before.saturating_add(weight.max(1));
        if after > shared.limits.most {
            shared.dropped.inc();
            return;
        }
        shared.items.borrow_mut().push(item);
        shared.weight.set(after);
        if before == 0 {
            shared.some.notify_one();
        }
        if after >= shared.limits.enough {
            shared.enough.notify_one();
        }
    }
}

impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        self.0.closed.set(true);
        self.0.some.notify_one();
        self.0.enough.notify_one();
    }
}

impl<T> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("weight", &self.0.weight.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        enough: 3,
        most: 5,
        patience: Duration::from_secs(5),
    };

    #[tokio::test(start_paused = true)]
    async fn items_go_when_there_are_enough_or_time_is_up() {
        LocalSet::new()
            .run_until(async {
                let (told, mut sent) = tokio::sync::mpsc::unbounded_channel();
                let dropped = Counter::default();
                let batch = Batch::start(LIMITS, dropped.clone(), move |items: Vec<u32>| {
                    let told = told.clone();
                    async move { drop(told.send(items)) }
                });
                (0..7).for_each(|item| batch.push(item, 1));
                assert_eq!(sent.recv().await, Some(vec![0, 1, 2, 3, 4]));
                assert_eq!(dropped.value(), 2);
                batch.push(8, 1);
                let begun = tokio::time::Instant::now();
                assert_eq!(sent.recv().await, Some(vec![8]));
                assert_eq!(begun.elapsed(), LIMITS.patience);
                batch.push(9, 1);
                drop(batch);
                assert_eq!(sent.recv().await, Some(vec![9]));
                assert_eq!(sent.recv().await, None, "the sender ends");
            })
            .await;
    }
}
