//! State of containers and pods, in Kubernetes's words.

use k8s_openapi::jiff::Timestamp;

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// Not started, with a reason such as `PodInitializing` or `CrashLoopBackOff`.
    Waiting {
        /// One word.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// Its process runs.
    Running {
        /// Since when.
        since: Timestamp,
        /// The process in the mesh's process namespace.
        process: u32,
    },
    /// Its process has ended and will not be started again.
    Terminated {
        /// Exit code; 128 and the signal's number when a signal ended it.
        exit_code: i32,
        /// When.
        at: Timestamp,
    },
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Its image as the pod names it.
    pub image: String,
    /// From `initContainers`.
    pub init: bool,
    /// Init container that keeps running (`restartPolicy: Always`).
    pub sidecar: bool,
    /// What it is doing.
    pub state: ContainerState,
    /// Startup probe and postStart hook have passed.
    pub started: bool,
    /// Readiness probe passes.
    pub ready: bool,
    /// Starts after the first.
    pub restarts: u32,
    /// Exit code of the start before this one.
    pub last_exit: Option<i32>,
}

/// Phase of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not all containers have been started.
    Pending,
    /// All containers have been started.
    Running,
    /// All containers have ended well and will not be started again.
    Succeeded,
    /// All containers have ended, one of them badly.
    Failed,
}

impl Phase {
    /// The phase as Kubernetes writes it.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// The phase that follows from the containers.
    #[must_use]
    pub(crate) fn of(containers: &[ContainerStatus]) -> Self {
        let main = || containers.iter().filter(|c| !c.init);
        let ended = |c: &ContainerStatus| matches!(c.state, ContainerState::Terminated { .. });
        let badly = |c: &ContainerStatus| matches!(c.state, ContainerState::Terminated { exit_code, .. } if exit_code != 0);
        let begun = |c: &ContainerStatus| {
            !matches!(c.state, ContainerState::Waiting { .. })
                || c.restarts > 0
                || c.last_exit.is_some()
        };
        if containers.iter().any(|c| c.init && badly(c)) {
            return Self::Failed;
        }
        if main().all(ended) {
            return if main().any(badly) {
                Self::Failed
            } else {
                Self::Succeeded
            };
        }
        if main().all(begun) {
            Self::Running
        } else {
            Self::Pending
        }
    }
}

impl ContainerStatus {
    /// A container that has not been started.
    #[must_use]
    pub(crate) fn waiting(name: &str, image: &str, init: bool, sidecar: bool) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            init,
            sidecar,
            state: ContainerState::Waiting {
                reason: "PodInitializing",
                message: String::new(),
            },
            started: false,
            ready: false,
            restarts: 0,
            last_exit: None,
        }
    }

    /// Process of the container while it runs.
    #[must_use]
    pub(crate) const fn process(&self) -> Option<u32> {
        match self.state {
            ContainerState::Running { process, .. } => Some(process),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases() {
        let ended = |exit_code| ContainerState::Terminated {
            exit_code,
            at: Timestamp::UNIX_EPOCH,
        };
        let running = ContainerState::Running {
            since: Timestamp::UNIX_EPOCH,
            process: 1,
        };
        let waiting = ContainerState::Waiting {
            reason: "PodInitializing",
            message: String::new(),
        };
        let table = [
            (vec![waiting.clone(), running.clone()], Phase::Pending),
            (vec![running.clone(), running], Phase::Running),
            (vec![ended(0), ended(0)], Phase::Succeeded),
            (vec![ended(0), ended(3)], Phase::Failed),
        ];
        for (states, phase) in table {
            let containers: Vec<_> = states
                .into_iter()
                .map(|state| ContainerStatus {
                    state,
                    ..ContainerStatus::waiting("c", "i", false, false)
                })
                .collect();
            assert_eq!(Phase::of(&containers), phase);
        }
    }
}
