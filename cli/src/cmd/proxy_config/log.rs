//! `proxy-config log`: the log levels of a proxy.

use clap::Args;

use super::source::Source;
use crate::args::Scope;
use crate::failure::Failure;
use crate::output;

const LEVELS: [&str; 7] = [
    "trace", "debug", "info", "warning", "error", "critical", "off",
];
/// The level of all loggers where none was set.
const DEFAULT_LEVEL: &str = "warning";

/// Which proxies, and what to change.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// The pods: NAME, NAME.NAMESPACE or TYPE/NAME such as deployment/reviews-v1
    #[arg(value_name = "[TYPE/]NAME[.NAMESPACE]", required = true)]
    pods: Vec<String>,
    /// A level for all loggers, or logger:level,… (trace, debug, info, warning, error, critical, off)
    #[arg(long, value_name = "LEVELS", conflicts_with = "reset")]
    level: Option<String>,
    /// Set all loggers to warning
    #[arg(short, long)]
    reset: bool,
    /// The port of the proxy's admin pages
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    proxy_admin_port: u16,
}

/// Changes levels if asked to, and prints those that are in use.
pub(crate) async fn run(args: &LogArgs, scope: &Scope) -> Result<(), Failure> {
    let requests = match (&args.level, args.reset) {
        (Some(text), _) => requests(text)?,
        (None, true) => vec![format!("logging?level={DEFAULT_LEVEL}")],
        (None, false) => vec!["logging".to_owned()],
    };
    for pod in &args.pods {
        let source = Source::open(Some(pod), None, args.proxy_admin_port, scope).await?;
        let mut answer = String::new();
        for request in &requests {
            answer = String::from_utf8_lossy(&source.post(request).await?).into_owned();
        }
        output::print(&format!("{}:\n{}\n", source.label(), answer.trim_end()))?;
    }
    Ok(())
}

/// The admin requests for `debug`, or for `http:debug,router:trace`.
fn requests(text: &str) -> Result<Vec<String>, Failure> {
    let known = |level: &str| {
        let level = if level == "warn" { "warning" } else { level };
        LEVELS.iter().copied().find(|known| *known == level).ok_or_else(|| {
            Failure::usage(format!("unrecognized logging level: {level:?} (trace, debug, info, warning, error, critical, off)"))
        })
    };
    let plain = |logger: &str| {
        logger
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    text.split(',')
        .map(str::trim)
        .map(|item| match item.split_once(':') {
            None => Ok(format!("logging?level={}", known(item)?)),
            Some((logger, level)) if plain(logger) && !logger.is_empty() => {
                Ok(format!("logging?{logger}={}", known(level)?))
            }
            Some((logger, _)) => Err(Failure::usage(format!(
                "{logger:?} is not the name of a logger"
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_requests() {
        let ok = |text| requests(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ok("warn"), ["logging?level=warning"]);
        assert_eq!(
            ok("http:debug, redis:info"),
            ["logging?http=debug", "logging?redis=info"]
        );
        for wrong in ["loud", "http:loud", "a&b:info", ":info", ""] {
            assert!(matches!(requests(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
