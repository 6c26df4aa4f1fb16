//! Hooks of containers, and commands inside them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::io::AsyncReadExt;

use super::life::PodContext;
use super::probe::http_get;
use super::process::{Streams, exec_spec, spawn};
use super::spec::PodEnvironment;

/// Bytes of a failed command's output that are reported.
const MAX_SAID: u64 = 1024;

/// Runs commands and requests against one container.
#[derive(Clone)]
pub(super) struct Runner {
    pub(super) context: Arc<PodContext>,
    pub(super) environment: Arc<PodEnvironment>,
    pub(super) container: String,
    pub(super) ip: Ipv4Addr,
}

impl Runner {
    /// Runs a command in the container.
    ///
    /// # Errors
    /// What it said when its exit code was not 0.
    pub(super) async fn exec(&self, argv: Vec<String>) -> Result<(), String> {
        let settings = Arc::clone(&self.context.settings.borrow());
        let spec = exec_spec(&self.environment, &self.container, argv, &settings)?;
        let child = spawn(
            &self.context.executable,
            self.environment.folder(),
            &spec,
            Streams::Output,
        );
        let mut child = child.map_err(|e| e.to_string())?;
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            // Output of the program is its own affair; a pipe that nobody reads would stop it.
            if let Some(mut stdout) = child.stdout.take() {
                tokio::spawn(
                    async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await },
                );
            }
            let mut limited = stderr.take(MAX_SAID);
            let _ = limited.read_to_end(&mut said).await;
            let mut rest = limited.into_inner();
            let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        }
        let status = child.wait().await.map_err(|e| e.to_string())?;
        if status.success() {
            return Ok(());
        }
        Err(format!(
            "exit code {}: {}",
            super::process::exit_code(status),
            String::from_utf8_lossy(&said).trim()
        ))
    }

    /// Runs a hook.
    ///
    /// # Errors
    /// Why it failed, for people.
    pub(super) async fn hook(
        &self,
        hook: &LifecycleHandler,
        container: &Container,
    ) -> Result<(), String> {
        if let Some(exec) = &hook.exec {
            self.exec(exec.command.clone().unwrap_or_default()).await
        } else if let Some(get) = &hook.http_get {
            http_get(get, container, self.ip).await
        } else if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(
                u64::try_from(sleep.seconds).unwrap_or(0),
            ))
            .await;
            Ok(())
        } else {
            Err("the hook has neither exec, httpGet nor sleep".to_owned())
        }
    }
}
