//! Why a command failed, and its exit code.

use std::process::ExitCode;

/// What a command ends with when it does not succeed. The exit codes are istioctl's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for what does not exist: 64.
    #[error("{0}")]
    Usage(String),
    /// A file or an answer has content that cannot be used: 65.
    #[error("{0}")]
    Data(String),
    /// Analyzers found what is as bad as the threshold or worse: 79.
    #[error("{0}")]
    Findings(String),
    /// All else: 1.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    pub(crate) fn data(text: impl Into<String>) -> Self {
        Self::Data(text.into())
    }

    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// The exit code of the process.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 64,
            Self::Data(_) => 65,
            Self::Findings(_) => 79,
            Self::Other(_) => 1,
        })
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(lateen_api::causes(error.as_ref()))
    }
}
