//! One container: started, probed, started again when it ends, and ended in order.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::Instant;

use super::hook::Runner;
use super::probe::{Timing, Verdict, check};
use super::process::{Streams, exit_code, kill_all, signal, spawn, stopped};
use super::status::ContainerState;

/// Waiting times before a start after the first free one; the last repeats.
const BACKOFF: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// A container that ran this long starts again without waiting.
const STEADY: Duration = Duration::from_secs(60);
/// What a container gets to end after its preStop hook used up the grace period, as a kubelet gives it.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// When a container is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// How far the start of a container is: its hook is done, its startup probe has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    None,
    Launched,
    Started,
    /// It has ended for good.
    Ended(i32),
}

/// One container to keep running.
pub(super) struct Supervised {
    pub(super) runner: Runner,
    pub(super) container: Container,
    pub(super) sandbox: u32,
    pub(super) restart: Restart,
    pub(super) progress: watch::Sender<Progress>,
}

enum Ended {
    Exited(i32),
    Unhealthy(String),
    Stopped(Instant),
}

impl Supervised {
    /// Runs the container until it ends for good or `stop` says so.
    pub(super) async fn run(self, mut stop: watch::Receiver<Option<Instant>>) {
        let mut tries = 0;
        loop {
            let began = Instant::now();
            let code = match self.once(&mut stop).await {
                Some(code) => code,
                None => return,
            };
            let again = match self.restart {
                Restart::Always => true,
                Restart::OnFailure => code != 0,
                Restart::Never => false,
            };
            if !again {
                self.finish(code);
                return;
            }
            tries = if began.elapsed() > STEADY {
                0
            } else {
                tries + 1
            };
            if !self.back_off(code, tries, &mut stop).await {
                self.finish(code);
                return;
            }
        }
    }

    /// One start; the exit code, or nothing when the container was stopped.
    async fn once(&self, stop: &mut watch::Receiver<Option<Instant>>) -> Option<i32> {
        let (mut child, process) = match self.start() {
            Ok(started) => started,
            Err(message) => {
                tracing::warn!(pod = %self.entry().key(), container = %self.container.name, %message, "container cannot be started");
                self.log(format!("lateenctl: {message}"));
                return Some(128);
            }
        };
        let ended = tokio::select! {
            status = child.wait() => Ended::Exited(status.map_or(255, exit_code)),
            reason = self.watch_over() => Ended::Unhealthy(reason),
            deadline = stopped(stop) => Ended::Stopped(deadline),
        };
        let code = match ended {
            Ended::Exited(code) => {
                kill_all(process);
                code
            }
            Ended::Unhealthy(reason) => {
                tracing::warn!(pod = %self.entry().key(), container = %self.container.name, %reason, "container is unhealthy and is started again");
                self.end(&mut child, process, Instant::now() + self.entry().grace())
                    .await
            }
            Ended::Stopped(deadline) => {
                let code = self.end(&mut child, process, deadline).await;
                self.finish(code);
                return None;
            }
        };
        self.entry().update(&self.container.name, |status| {
            status.last_exit = Some(code);
            status.ready = false;
            status.started = false;
        });
        Some(code)
    }

    fn start(&self) -> Result<(Child, u32), String> {
        let settings = Arc::clone(&self.runner.context.settings.borrow());
        let spec = self
            .runner
            .environment
            .start(&self.container, self.sandbox, &settings)
            .map_err(|e| e.to_string())?;
        let folder = self.runner.environment.folder();
        let mut child = spawn(
            &self.runner.context.executable,
            folder,
            &spec,
            Streams::Output,
        )
        .map_err(|e| e.to_string())?;
        let process = child.id().ok_or("the process ended at once")?;
        if let Some(log) = self.entry().logs.get(&self.container.name) {
            if let Some(out) = child.stdout.take() {
                let log = Arc::clone(log);
                tokio::spawn(async move { log.collect(out).await });
            }
            if let Some(err) = child.stderr.take() {
                let log = Arc::clone(log);
                tokio::spawn(async move { log.collect(err).await });
            }
        }
        self.entry().update(&self.container.name, |status| {
            status.state = ContainerState::Running {
                since: Timestamp::now(),
                process,
            };
        });
        Ok((child, process))
    }

    /// Hook and probes; ends only when the container is unhealthy, with the reason.
    async fn watch_over(&self) -> String {
        let hook = self
            .container
            .lifecycle
            .as_ref()
            .and_then(|l| l.post_start.as_ref());
        if let Some(hook) = hook
            && let Err(error) = self.runner.hook(hook, &self.container).await
        {
            return format!("postStart hook failed: {error}");
        }
        self.reach(Progress::Launched);
        if let Some(probe) = &self.container.startup_probe
            && let Err(reason) = self.until_started(probe).await
        {
            return reason;
        }
        self.entry()
            .update(&self.container.name, |status| status.started = true);
        self.reach(Progress::Started);
        let (readiness, liveness) = (
            self.container.readiness_probe.as_ref(),
            self.container.liveness_probe.as_ref(),
        );
        if readiness.is_none() {
            self.entry()
                .update(&self.container.name, |status| status.ready = true);
        }
        tokio::select! {
            never = self.keep_ready(readiness) => match never {},
            reason = self.until_dead(liveness) => reason,
        }
    }

    async fn until_started(&self, probe: &Probe) -> Result<(), String> {
        let timing = Timing::of(probe);
        let mut verdict = Verdict::new(timing);
        tokio::time::sleep(timing.delay).await;
        loop {
            let result = check(probe, &self.container, &self.runner).await;
            match (verdict.add(result.is_ok()), result) {
                (Some(true), _) => return Ok(()),
                (Some(false), Err(error)) => return Err(format!("startup probe failed: {error}")),
                _ => tokio::time::sleep(timing.period).await,
            }
        }
    }

    async fn keep_ready(&self, probe: Option<&Probe>) -> std::convert::Infallible {
        let Some(probe) = probe else {
            return std::future::pending().await;
        };
        let timing = Timing::of(probe);
        let mut verdict = Verdict::new(timing);
        tokio::time::sleep(timing.delay).await;
        loop {
            let result = check(probe, &self.container, &self.runner).await;
            if let Some(ready) = verdict.add(result.is_ok()) {
                self.entry()
                    .update(&self.container.name, |status| status.ready = ready);
            }
            let ready = self
                .entry()
                .container(&self.container.name)
                .is_some_and(|s| s.ready);
            // A container that is about to be ready is asked often, so that a mesh is up as soon as it can be.
            let pause = if ready {
                timing.period
            } else {
                timing.period.min(Duration::from_millis(250))
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn until_dead(&self, probe: Option<&Probe>) -> String {
        let Some(probe) = probe else {
            return std::future::pending().await;
        };
        let timing = Timing::of(probe);
        let mut verdict = Verdict::new(timing);
        tokio::time::sleep(timing.delay).await;
        loop {
            let result = check(probe, &self.container, &self.runner).await;
            if let (Some(false), Err(error)) = (verdict.add(result.is_ok()), result) {
                return format!("liveness probe failed: {error}");
            }
            tokio::time::sleep(timing.period).await;
        }
    }

    /// Ends the container: preStop, SIGTERM, and SIGKILL at the deadline.
    async fn end(&self, child: &mut Child, process: u32, deadline: Instant) -> i32 {
        let hook = self
            .container
            .lifecycle
            .as_ref()
            .and_then(|l| l.pre_stop.as_ref());
        if let Some(hook) = hook {
            let done =
                tokio::time::timeout_at(deadline, self.runner.hook(hook, &self.container)).await;
            if let Ok(Err(error)) = done {
                tracing::warn!(pod = %self.entry().key(), container = %self.container.name, %error, "preStop hook failed");
            }
        }
        signal(process, Signal::SIGTERM);
        let deadline = deadline.max(if hook.is_some() {
            Instant::now() + LAST_GRACE
        } else {
            deadline
        });
        let status = tokio::time::timeout_at(deadline, child.wait()).await;
        kill_all(process);
        let status = match status {
            Ok(status) => status,
            Err(_) => child.wait().await,
        };
        status.map_or(255, exit_code)
    }

    /// Waits before the next start; false when the pod is asked to end meanwhile.
    async fn back_off(
        &self,
        code: i32,
        tries: usize,
        stop: &mut watch::Receiver<Option<Instant>>,
    ) -> bool {
        let index = tries.saturating_sub(1).min(BACKOFF.len() - 1);
        let pause = BACKOFF.get(index).copied().unwrap_or_default();
        let last = self
            .entry()
            .logs
            .get(&self.container.name)
            .and_then(|log| log.last());
        let last = last.map(|line| format!(": {line}")).unwrap_or_default();
        let message = format!("ended with exit code {code}{last}");
        self.entry()
            .set_waiting(&self.container.name, "CrashLoopBackOff", &message);
        let go_on = tokio::select! {
            () = tokio::time::sleep(pause) => true,
            _ = stopped(stop) => false,
        };
        if go_on {
            self.entry()
                .update(&self.container.name, |status| status.restarts += 1);
        }
        go_on
    }

    fn finish(&self, exit_code: i32) {
        self.entry().update(&self.container.name, |status| {
            status.state = ContainerState::Terminated {
                exit_code,
                at: Timestamp::now(),
            };
            status.ready = false;
            status.started = false;
            status.last_exit = Some(exit_code);
        });
        self.progress.send_replace(Progress::Ended(exit_code));
    }

    fn reach(&self, progress: Progress) {
        self.progress.send_if_modified(|now| {
            let further = progress > *now;
            if further {
                *now = progress;
            }
            further
        });
    }

    fn entry(&self) -> &super::PodEntry {
        &self.runner.environment.entry
    }

    fn log(&self, line: String) {
        if let Some(log) = self.entry().logs.get(&self.container.name) {
            log.push(line);
        }
    }
}
