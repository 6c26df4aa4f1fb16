//! Answers that are sent slowly on purpose.

use std::num::NonZeroU64;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep};

/// Time that one piece of the body stands for. Envoy's interval of filling.
const STEP: Duration = Duration::from_millis(50);

/// Cuts a body into pieces and waits between them.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Bytes of a piece.
    piece: usize,
    rate: NonZeroU64,
    rest: Bytes,
    /// When the next piece may go.
    next: Option<Pin<Box<Sleep>>>,
}

impl Throttle {
    pub(crate) fn new(rate: NonZeroU64) -> Self {
        let steps = 1000 / STEP.as_millis() as u64;
        Self {
            piece: usize::try_from(rate.get() / steps)
                .unwrap_or(usize::MAX)
                .max(1),
            rate,
            rest: Bytes::new(),
            next: None,
        }
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(next) = &mut self.next {
            std::task::ready!(next.as_mut().poll(cx));
            self.next = None;
        }
        Poll::Ready(())
    }

    pub(crate) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The next piece of what is left.
    pub(crate) fn take_rest(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        let piece = self.rest.split_to(self.piece.min(self.rest.len()));
        self.wait(piece.len());
        Some(piece)
    }

    /// The first piece of a frame; the rest is kept.
    pub(crate) fn first(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                Frame::data(self.take_rest().unwrap_or_default())
            }
            Err(other) => other,
        }
    }

    fn wait(&mut self, bytes: usize) {
        let nanos = (bytes as u128 * 1_000_000_000) / u128::from(self.rate.get());
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.next = Instant::now()
            .checked_add(time)
            .map(|at| Box::pin(tokio::time::sleep_until(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pieces_come_in_their_time() {
        let rate = NonZeroU64::new(1000).expect("above 0");
        let mut throttle = Throttle::new(rate);
        let start = Instant::now();
        let first = throttle.first(Frame::data(Bytes::from(vec![0; 200])));
        let mut sent = first.into_data().expect("data").len();
        while throttle.has_rest() {
            std::future::poll_fn(|cx| throttle.poll_ready(cx)).await;
            sent += throttle.take_rest().expect("left").len();
        }
        assert_eq!(sent, 200);
        assert!(start.elapsed() >= Duration::from_millis(150));
    }
}
