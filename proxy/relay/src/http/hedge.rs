//! Tries beside each other: one that takes too long goes on while the next is under way, and the first good answer counts.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use lateen_proxy_model::{
    ActiveRequest, Balance, Dial, Endpoint, Outcome, ResetReason, SendFailure,
};

use super::exchange::Exchange;
use super::reply::LocalReply;
use super::request_body::RequestBody;
use super::retry::{Retries, Verdict};
use super::tries::{Answered, Failed, Tries, count, discard};

/// What happens while tries are under way.
enum Event<B> {
    /// A try was answered, or failed.
    Done(usize, Result<Answered<B>, SendFailure>),
    /// A try takes too long.
    Slow(usize),
    /// The next try is due.
    Due,
}

type Events<'a, B> = FuturesUnordered<Pin<Box<dyn Future<Output = Event<B>> + 'a>>>;

/// One try.
struct Beside {
    endpoint: Arc<Endpoint>,
    active: Option<ActiveRequest>,
    /// It took too long, and its endpoint was told so.
    slow: bool,
    /// Another was begun in its place.
    replaced: bool,
    over: bool,
}

/// The tries of a request and what is still to come.
struct Field<'a, B> {
    events: Events<'a, B>,
    tries: Vec<Beside>,
    /// Tries that are due soon.
    coming: usize,
}

impl<B> Field<'_, B> {
    /// Whether another try may still answer.
    fn has_hope(&self) -> bool {
        self.coming > 0 || self.tries.iter().any(|it| !it.over)
    }

    /// Marks a try as over, and gives it.
    fn end(&mut self, id: usize) -> Option<&mut Beside> {
        let one = self.tries.get_mut(id)?;
        one.over = true;
        Some(one)
    }
}

impl<'a, L, D> Tries<'a, L, D>
where
    L: Balance,
    D: Dial<RequestBody>,
    D::Body: Body<Data = Bytes, Error = ResetReason> + 'static,
{
    /// Like [`Tries::run`], where the route hedges.
    pub(crate) async fn run_hedged(
        &mut self,
        exchange: &mut Exchange,
        parts: Parts,
    ) -> Result<Response<D::Body>, LocalReply> {
        let mut field = Field {
            events: FuturesUnordered::new(),
            tries: Vec::new(),
            coming: 0,
        };
        self.start(exchange, &parts, &mut field).await?;
        loop {
            match field.events.next().await {
                // Nothing is under way any more, which the end of the last try has answered before.
                None => return Err(LocalReply::no_healthy_upstream()),
                Some(Event::Due) => {
                    field.coming -= 1;
                    exchange.end_attempt(None);
                    self.start(exchange, &parts, &mut field).await?;
                }
                Some(Event::Slow(id)) => self.slow(exchange, id, &mut field),
                Some(Event::Done(id, outcome)) => {
                    if let Some(result) = self.done(exchange, id, outcome, &mut field) {
                        return self.accept(exchange, result);
                    }
                }
            }
        }
    }

    async fn start(
        &mut self,
        exchange: &mut Exchange,
        parts: &Parts,
        field: &mut Field<'a, D::Body>,
    ) -> Result<(), LocalReply> {
        self.aim(exchange, parts).await?;
        let endpoint = self
            .choose(exchange, parts)
            .ok_or_else(|| self.nobody(exchange))?;
        self.retries.note_tried(endpoint.id);
        exchange.attempts += 1;
        exchange.on_endpoint(ActiveRequest::on(Arc::clone(&endpoint)));
        let mut head = parts.clone();
        exchange.inject(&mut head.headers);
        let request = self.prepare(exchange, &endpoint, head);
        let id = field.tries.len();
        let limits = self.try_limits(exchange);
        let send = self.send(exchange, Arc::clone(&endpoint), request);
        field
            .events
            .push(Box::pin(async move { Event::Done(id, send.await) }));
        if limits.total.is_some() || limits.idle.is_some() {
            field.events.push(Box::pin(async move {
                let _ = limits.guard(pin!(std::future::pending::<()>())).await;
                Event::Slow(id)
            }));
        }
        field.tries.push(Beside {
            endpoint,
            active: exchange.active.take(),
            slow: false,
            replaced: false,
            over: false,
        });
        Ok(())
    }

    /// Sends one request; nothing of `self` is borrowed, so that another can begin meanwhile.
    fn send(
        &self,
        exchange: &Exchange,
        endpoint: Arc<Endpoint>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Answered<D::Body>, SendFailure>> + use<'a, L, D> {
        let (plan, upstreams) = (self.plan, self.upstreams);
        let (slot, cluster) = self.of();
        let (slot, cluster) = (Arc::clone(slot), Arc::clone(cluster));
        let facts = super::tries::Facts::of(exchange);
        async move {
            let host = super::tries::host_of(&cluster, request.headers());
            let host = host.as_ref().and_then(|host| host.to_str().ok());
            let target = facts.target(plan, (&slot, &cluster), &endpoint, host);
            upstreams.dial.send(target, request).await
        }
    }

    /// A try takes too long: it goes on, and another begins beside it.
    fn slow(&mut self, exchange: &mut Exchange, id: usize, field: &mut Field<'a, D::Body>) {
        let Some(one) = field.tries.get_mut(id).filter(|one| !one.over) else {
            return;
        };
        one.slow = true;
        let cluster = self.of().1;
        let balance = &self.upstreams.balance;
        balance.report(cluster, &one.endpoint, Outcome::LocalFailure);
        match self.judge(Retries::on_slow) {
            Verdict::Again => {
                if let Some(one) = field.tries.get_mut(id) {
                    one.replaced = true;
                }
                self.come(field);
            }
            Verdict::Limited(flag) => exchange.flags.insert(flag),
            Verdict::Keep => {}
        }
    }

    fn come(&mut self, field: &mut Field<'a, D::Body>) {
        field.coming += 1;
        let wait: Duration = self.retries.wait();
        field.events.push(Box::pin(async move {
            tokio::time::sleep(wait).await;
            Event::Due
        }));
    }

    /// A try came to its end; `None` when others may still do better.
    fn done(
        &mut self,
        exchange: &mut Exchange,
        id: usize,
        outcome: Result<Answered<D::Body>, SendFailure>,
        field: &mut Field<'a, D::Body>,
    ) -> Option<Result<Response<D::Body>, LocalReply>> {
        let outcome = outcome.map_err(Failed::Reset);
        let one = field.end(id)?;
        match one.slow {
            true => count(&one.endpoint, &outcome),
            false => self.report(&one.endpoint, &outcome),
        }
        let (replaced, active) = (one.replaced, one.active.take());
        let (verdict, connection, result) = match outcome {
            Ok((response, connection)) => {
                let verdict = match replaced {
                    true => self.verdict_of_replaced(&response),
                    false => self.judge(|it, on| it.on_response(&response, on)),
                };
                (verdict, Some(connection), Ok(response))
            }
            Err(Failed::Reset(failure)) => {
                let verdict = match replaced {
                    true => Verdict::Keep,
                    false => self.judge(|it, on| it.on_reset(&failure, on)),
                };
                let reply = LocalReply::reset(&failure, exchange.attempts > 1);
                (verdict, failure.connection, Err(reply))
            }
            // Limits of a try end none here.
            Err(Failed::TimedOut | Failed::Idle) => return None,
        };
        let poor = result.is_err() || verdict != Verdict::Keep;
        if let Verdict::Limited(flag) = verdict
            && !replaced
        {
            exchange.flags.insert(flag);
        }
        if verdict == Verdict::Again {
            self.come(field);
        }
        if poor && field.has_hope() {
            if let Ok(response) = result {
                discard(response.into_body());
            }
            return None;
        }
        exchange.upstream = connection;
        if let Some(active) = active {
            exchange.on_endpoint(active);
        }
        Some(result)
    }

    /// A try that another was begun for is not tried again; its answer is poor all the same if it asks for that.
    fn verdict_of_replaced(&self, response: &Response<D::Body>) -> Verdict {
        match self.retries.would_retry(response) {
            true => Verdict::Limited(lateen_proxy_telemetry::Flags::NONE),
            false => Verdict::Keep,
        }
    }
}
