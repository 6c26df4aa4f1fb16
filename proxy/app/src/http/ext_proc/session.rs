//! The stream to a processing service, shared by the two ways of an exchange.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as Told;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Said;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    HeaderMutation, ImmediateResponse, ProcessingRequest, ProcessingResponse,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use lateen_proxy_admit::{
    BadMutation, ProcessedHead, asked_modes, change_head, protocol_config, set_metadata,
};
use lateen_proxy_model::{
    Call, CallFailure, CallStream, ExtProc, ExtProcRoute, GrpcFailure, GrpcSettings, MutationRules,
    ProcessingModes, Received, ResetReason, grpc_frame, grpc_head, grpc_outcome, take_grpc_message,
};
use lateen_proxy_relay::http::{FilterCounters, LocalReply};
use lateen_proxy_telemetry::Flags;
use prost::Message;
use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// What the filter counts.
const STARTED: usize = 0;
const SENT: usize = 1;
const RECEIVED: usize = 2;
const SPURIOUS: usize = 3;
const CLOSED: usize = 4;
const FAILED: usize = 5;
const FAILURE_ALLOWED: usize = 6;
const TIMEOUTS: usize = 7;
pub(super) const REJECTED: usize = 8;
pub(super) const CLEAR_IGNORED: usize = 9;
pub(super) const CLEAR_DISABLED: usize = 10;
const TIMEOUT_TAKEN: usize = 11;
const TIMEOUT_IGNORED: usize = 12;
const IMMEDIATE: usize = 13;

/// The shortest time that a service may ask for.
const SHORTEST: Duration = Duration::from_millis(1);

/// One stream's state.
pub(super) struct Shared {
    pub(super) filter: Arc<ExtProc>,
    route: Option<Arc<ExtProcRoute>>,
    pub(super) counters: FilterCounters,
    pub(super) modes: Cell<ProcessingModes>,
    /// Nothing more is processed.
    done: Cell<bool>,
    /// The first message was sent.
    begun: Cell<bool>,
    /// What each way waits for.
    waiting: [Cell<Option<Phase>>; 2],
    /// What the service is told with every message.
    pub(super) context: RefCell<Option<Metadata>>,
    /// What it set.
    noted: RefCell<Vec<(String, Map<String, Value>)>>,
    interruption: RefCell<Option<LocalReply>>,
    interrupted: Notify,
}

/// One way of an exchange.
pub(super) struct Half {
    pub(super) shared: Rc<Shared>,
    way: Way,
    commands: mpsc::UnboundedSender<Bytes>,
    events: mpsc::UnboundedReceiver<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Request,
    Response,
}

/// What a message is an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Headers,
    Body,
    Trailers,
}

enum Event {
    Said(Box<ProcessingResponse>),
    /// A message that nothing waits for.
    Spurious,
    Closed,
    Failed(GrpcFailure),
}

/// Where a stream's events go.
struct Inboxes([mpsc::UnboundedSender<Event>; 2]);

impl Shared {
    pub(super) fn new(
        filter: &Arc<ExtProc>,
        route: Option<&Arc<ExtProcRoute>>,
        counters: FilterCounters,
    ) -> Rc<Self> {
        let own = route.and_then(|route| route.modes);
        Rc::new(Self {
            filter: Arc::clone(filter),
            route: route.cloned(),
            counters,
            modes: Cell::new(own.unwrap_or(filter.modes)),
            done: Cell::new(false),
            begun: Cell::new(false),
            waiting: [Cell::new(None), Cell::new(None)],
            context: RefCell::default(),
            noted: RefCell::default(),
            interruption: RefCell::default(),
            interrupted: Notify::new(),
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Whether a length that is not sure is taken away.
    pub(super) fn drops_length(&self, unsure: bool) -> bool {
        unsure && !self.filter.keep_length && !self.filter.observability
    }

    /// Namespaces that the service is told.
    pub(super) fn forwarded(&self) -> &[Box<str>] {
        let own = self.route.as_ref();
        let own = own.and_then(|route| route.forwarded_namespaces.as_ref());
        own.unwrap_or(&self.filter.forwarded_namespaces)
    }

    /// What the service set since the last look.
    pub(super) fn take_noted(&self) -> Vec<(String, Map<String, Value>)> {
        self.noted.take()
    }

    /// Ends the exchange while its body is under way.
    pub(super) fn interrupt(&self, reply: LocalReply) {
        self.interruption.replace(Some(reply));
        self.interrupted.notify_one();
    }

    /// Resolves when the service, or its failure, ended the exchange.
    pub(super) async fn interrupted(&self) -> LocalReply {
        loop {
            self.interrupted.notified().await;
            if let Some(reply) = self.interruption.take() {
                return reply;
            }
        }
    }

    /// Changes a head as the service wants it.
    pub(super) fn change(
        &self,
        change: HeaderMutation,
        head: &mut ProcessedHead<'_>,
        length: bool,
    ) -> Result<(), LocalReply> {
        let mut rejected = || self.counters.count(REJECTED);
        let rules = &self.filter.rules;
        change_head(rules, change, head, length, &mut rejected).map_err(|bad| self.refused(bad))
    }

    /// A change that cannot be.
    pub(super) fn refused(&self, bad: BadMutation) -> LocalReply {
        self.done.set(true);
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        LocalReply::new(status, "", Flags::NONE, bad.0.replace(' ', "_"))
    }

    fn failure_allowed(&self) -> bool {
        let own = self.route.as_ref();
        let own = own.and_then(|route| route.failure_mode_allow);
        own.unwrap_or(self.filter.failure_mode_allow)
    }

    /// The service gives no answer: the exchange goes on without it, or ends.
    fn fail(&self, status: StatusCode, details: String) -> Result<Option<Said>, LocalReply> {
        self.done.set(true);
        if self.failure_allowed() {
            self.counters.count(FAILURE_ALLOWED);
            return Ok(None);
        }
        Err(LocalReply::new(status, "", Flags::NONE, details))
    }

    fn immediate(&self, answer: ImmediateResponse) -> LocalReply {
        self.counters.count(IMMEDIATE);
        self.done.set(true);
        let code = answer
            .status
            .and_then(|status| u16::try_from(status.code).ok());
        let code = code.filter(|code| (200..600).contains(code));
        let status = code.and_then(|code| StatusCode::from_u16(code).ok());
        let details = answer.details.replace(char::is_whitespace, "_");
        let mut reply = LocalReply::new(status.unwrap_or(StatusCode::OK), "", Flags::NONE, details);
        reply.body = answer.body.into();
        reply.grpc = answer.grpc_status.map(|it| it.status);
        if let Some(change) = answer.headers {
            let mut rejected = || self.counters.count(REJECTED);
            let mut headers = HeaderMap::new();
            if !reply.body.is_empty() {
                let plain = HeaderValue::from_static("text/plain");
                headers.insert(http::header::CONTENT_TYPE, plain);
            }
            let mut head = ProcessedHead {
                pseudo: vec![(":status", reply.status.as_str().to_owned())],
                headers: &mut headers,
            };
            // What cannot be is left out.
            let rules = MutationRules::ALL;
            let _ = change_head(&rules, change, &mut head, false, &mut rejected);
            if let Some(status) = head.pseudo.first().and_then(|(_, text)| text.parse().ok()) {
                reply.status = status;
            }
            reply.headers = headers;
        }
        reply
    }
}

/// Both ways of a stream, which is opened with the first message.
pub(super) fn start<C>(shared: &Rc<Shared>, calls: C) -> (Half, Half)
where
    C: Call + 'static,
    C::Stream: 'static,
{
    let (commands, wanted) = mpsc::unbounded_channel();
    let (requests, request_events) = mpsc::unbounded_channel();
    let (responses, response_events) = mpsc::unbounded_channel();
    let half = |way, events| Half {
        shared: Rc::clone(shared),
        way,
        commands: commands.clone(),
        events,
    };
    let halves = (
        half(Way::Request, request_events),
        half(Way::Response, response_events),
    );
    let inboxes = Inboxes([requests, responses]);
    tokio::task::spawn_local(converse(calls, Rc::clone(shared), wanted, inboxes));
    halves
}

/// Sends what both ways have to say, and hands out what the service says.
async fn converse<C: Call>(
    calls: C,
    shared: Rc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Bytes>,
    inboxes: Inboxes,
) {
    let Some(first) = commands.recv().await else {
        return;
    };
    let mut stream = match calls.open(&shared.service().cluster, shared.head()) {
        Ok(stream) => stream,
        Err(failure) => return inboxes.failed(&shared, unreached(failure)),
    };
    shared.counters.count(STARTED);
    stream.send(first);
    let mut data = BytesMut::new();
    loop {
        let received = tokio::select! {
            command = commands.recv() => match command {
                Some(command) => {
                    stream.send(command);
                    continue;
                }
                None => break,
            },
            received = stream.receive() => received,
        };
        if !inboxes.take(&shared, received, &mut data) {
            return;
        }
    }
    stream.finish();
    shared.counters.count(CLOSED);
    if shared.filter.observability {
        let rest = async { while let Ok(Received::Data(_)) = stream.receive().await {} };
        // What an observer says is not heard; when it says nothing, its stream goes.
        let _ = tokio::time::timeout(shared.filter.deferred_close, rest).await;
    }
}

impl Shared {
    fn service(&self) -> &lateen_proxy_model::GrpcService {
        let own = self.route.as_ref();
        let own = own.and_then(|route| route.service.as_ref());
        own.unwrap_or(&self.filter.service)
    }

    fn head(&self) -> Request<()> {
        let service = self.service();
        let own = self.route.as_ref().map(|route| &route.metadata);
        let mut metadata: Vec<(HeaderName, HeaderValue)> = service.metadata.clone();
        for (name, value) in own.into_iter().flatten() {
            metadata.retain(|(known, _)| known != name);
            metadata.push((name.clone(), value.clone()));
        }
        let mut head = Request::new(());
        *head.uri_mut() = Uri::from_static(PROCESS);
        let settings = GrpcSettings {
            timeout: None,
            authority: service.authority.as_ref(),
            metadata: &metadata,
        };
        grpc_head(&mut head, &service.cluster, settings);
        head
    }
}

impl Inboxes {
    /// Hands out what came. `false` when nothing more will.
    fn take(
        &self,
        shared: &Shared,
        received: Result<Received, CallFailure>,
        data: &mut BytesMut,
    ) -> bool {
        match received {
            Ok(Received::Data(part)) => {
                data.extend_from_slice(&part);
                loop {
                    match take_grpc_message(data) {
                        Ok(Some(message)) => self.message(shared, message),
                        Ok(None) => return true,
                        Err(failure) => {
                            self.failed(shared, failure);
                            return false;
                        }
                    }
                }
            }
            Ok(Received::End(trailers)) => {
                match grpc_outcome(&trailers) {
                    Some(Ok(())) => {
                        shared.counters.count(CLOSED);
                        self.both(|| Event::Closed);
                    }
                    Some(Err(mut failure)) => {
                        failure.message += "{via_upstream}";
                        self.failed(shared, failure);
                    }
                    None => self.failed(shared, unknown("no gRPC status")),
                }
                false
            }
            Err(failure) => {
                self.failed(shared, unreached(failure));
                false
            }
        }
    }

    fn message(&self, shared: &Shared, message: Bytes) {
        let Ok(message) = ProcessingResponse::decode(message) else {
            return self.failed(shared, unknown("a message that cannot be read"));
        };
        if shared.filter.observability {
            return;
        }
        let [request, response] = &self.0;
        let waits = |place: usize| shared.waiting.get(place).and_then(Cell::get);
        let place = match message.response.as_ref().and_then(meant) {
            Some((Way::Request, phase)) if waits(0) == Some(phase) => Some(request),
            Some((Way::Response, phase)) if waits(1) == Some(phase) => Some(response),
            Some(_) => None,
            // To whoever waits, the answer's way first.
            None if waits(1).is_some() => Some(response),
            None if waits(0).is_some() => Some(request),
            None => None,
        };
        match place {
            // Nobody listens any more when this fails.
            Some(place) => drop(place.send(Event::Said(Box::new(message)))),
            None => {
                shared.counters.count(SPURIOUS);
                self.both(|| Event::Spurious);
            }
        }
    }

    fn failed(&self, shared: &Shared, failure: GrpcFailure) {
        shared.counters.count(FAILED);
        self.both(|| Event::Failed(failure.clone()));
    }

    fn both(&self, event: impl Fn() -> Event) {
        for inbox in &self.0 {
            // Nobody listens any more when this fails.
            let _ = inbox.send(event());
        }
    }
}

/// A call that got no status, in Envoy's words for it.
fn unreached(failure: CallFailure) -> GrpcFailure {
    let mut made = GrpcFailure::from(failure);
    match failure {
        CallFailure::NoEndpoint | CallFailure::Reset(ResetReason::NoPool) => {
            made.message = "no healthy upstream{no_healthy_upstream}".to_owned();
        }
        CallFailure::Reset(reason) => {
            made.message = format!(
                "upstream connect error or disconnect/reset before headers. reset reason: {reason}\
                 {{upstream_reset_before_response_started{{{reason}}}}}"
            );
        }
        _ => {}
    }
    made
}

fn unknown(message: &str) -> GrpcFailure {
    GrpcFailure {
        code: 2,
        message: message.to_owned(),
    }
}

/// What a message answers; `None` for one that ends the exchange.
fn meant(said: &Said) -> Option<(Way, Phase)> {
    Some(match said {
        Said::RequestHeaders(_) => (Way::Request, Phase::Headers),
        Said::RequestBody(_) => (Way::Request, Phase::Body),
        Said::RequestTrailers(_) => (Way::Request, Phase::Trailers),
        Said::ResponseHeaders(_) => (Way::Response, Phase::Headers),
        Said::ResponseBody(_) => (Way::Response, Phase::Body),
        Said::ResponseTrailers(_) => (Way::Response, Phase::Trailers),
        Said::ImmediateResponse(_) | Said::StreamedImmediateResponse(_) => return None,
    })
}

impl Half {
    pub(super) fn is_request(&self) -> bool {
        self.way == Way::Request
    }

    /// Tells the service something and waits for its answer; `None` where it has none to give.
    pub(super) async fn ask(&mut self, told: Told) -> Result<Option<Said>, LocalReply> {
        let shared = Rc::clone(&self.shared);
        if shared.done.get() {
            return Ok(None);
        }
        let phase = match &told {
            Told::RequestHeaders(_) | Told::ResponseHeaders(_) => Phase::Headers,
            Told::RequestBody(_) | Told::ResponseBody(_) => Phase::Body,
            Told::RequestTrailers(_) | Told::ResponseTrailers(_) => Phase::Trailers,
        };
        let first = !shared.begun.replace(true);
        let message = ProcessingRequest {
            metadata_context: shared.context.borrow().clone(),
            observability_mode: shared.filter.observability,
            protocol_config: (first && !shared.filter.observability)
                .then(|| protocol_config(shared.modes.get())),
            request: Some(told),
            ..ProcessingRequest::default()
        };
        let place = shared.waiting.get(self.way as usize);
        if let Some(place) = place.filter(|_| !shared.filter.observability) {
            place.set(Some(phase));
        }
        shared.counters.count(SENT);
        // When nobody takes it, the events say why.
        let _ = self.commands.send(grpc_frame(&message.encode_to_vec()));
        if shared.filter.observability {
            return Ok(None);
        }
        let answer = self.answer(phase).await;
        if let Some(place) = place {
            place.set(None);
        }
        answer
    }

    async fn answer(&mut self, phase: Phase) -> Result<Option<Said>, LocalReply> {
        let shared = Rc::clone(&self.shared);
        let mut deadline = Instant::now() + shared.filter.message_timeout;
        let mut extended = false;
        loop {
            let Ok(event) = tokio::time::timeout_at(deadline, self.events.recv()).await else {
                shared.counters.count(TIMEOUTS);
                let details = "ext_proc_error_per-message_timeout_exceeded".to_owned();
                return shared.fail(StatusCode::GATEWAY_TIMEOUT, details);
            };
            let mut message = match event {
                Some(Event::Said(message)) => *message,
                Some(Event::Failed(failure)) => {
                    let details = format!("ext_proc_error_gRPC_error_{}", failure.code);
                    let message = match failure.message.is_empty() {
                        true => String::new(),
                        false => format!("{{{}}}", failure.message),
                    };
                    let details = (details + &message).replace(char::is_whitespace, "_");
                    return shared.fail(shared.filter.status_on_error, details);
                }
                Some(Event::Spurious) => return shared.spurious(),
                Some(Event::Closed) | None => {
                    shared.done.set(true);
                    return Ok(None);
                }
            };
            if let Some(asked) = message.override_message_timeout.take() {
                let seconds = u64::try_from(asked.seconds).ok();
                let nanos = u32::try_from(asked.nanos).ok();
                let asked = seconds
                    .zip(nanos)
                    .filter(|(_, nanos)| *nanos < 1_000_000_000);
                let asked = asked.map(|(seconds, nanos)| Duration::new(seconds, nanos));
                let longest = shared.filter.max_message_timeout;
                let asked = asked.filter(|asked| {
                    !extended && *asked >= SHORTEST && longest.is_some_and(|most| *asked <= most)
                });
                match asked {
                    Some(asked) => {
                        extended = true;
                        shared.counters.count(TIMEOUT_TAKEN);
                        deadline = Instant::now() + asked;
                    }
                    None => shared.counters.count(TIMEOUT_IGNORED),
                }
                continue;
            }
            return shared.said(message, phase);
        }
    }
}

impl Shared {
    fn spurious(&self) -> Result<Option<Said>, LocalReply> {
        let details = "spurious_message".to_owned();
        self.fail(self.filter.status_on_error, details)
    }

    fn said(&self, message: ProcessingResponse, phase: Phase) -> Result<Option<Said>, LocalReply> {
        if let Some(fields) = message.dynamic_metadata {
            let own = self.route.as_ref();
            let own = own.and_then(|route| route.received_namespaces.as_ref());
            let names = own.unwrap_or(&self.filter.received_namespaces);
            self.noted.borrow_mut().extend(set_metadata(names, fields));
        }
        match message.response {
            Some(Said::ImmediateResponse(answer)) if !self.filter.disable_immediate_response => {
                self.counters.count(RECEIVED);
                Err(self.immediate(answer))
            }
            Some(Said::ImmediateResponse(_)) => {
                self.counters.count(SPURIOUS);
                let details = "unhandled_immediate_response_due_to_config_disabled_it".to_owned();
                self.fail(self.filter.status_on_error, details)
            }
            Some(Said::StreamedImmediateResponse(_)) | None => {
                self.counters.count(SPURIOUS);
                self.spurious()
            }
            Some(said) => {
                self.counters.count(RECEIVED);
                if phase == Phase::Headers
                    && self.filter.allow_mode_override
                    && let Some(modes) = message.mode_override
                {
                    self.override_modes(asked_modes(&modes));
                }
                Ok(Some(said))
            }
        }
    }

    fn override_modes(&self, asked: Option<ProcessingModes>) {
        let Some(asked) = asked else {
            tracing::debug!("a mode that is not supported was asked for");
            return;
        };
        let allowed = &self.filter.allowed_modes;
        let same = |one: &ProcessingModes| {
            ProcessingModes {
                request_headers: one.request_headers,
                ..asked
            } == *one
        };
        if allowed.is_empty() || allowed.iter().any(same) {
            self.modes.set(asked);
        }
    }
}
