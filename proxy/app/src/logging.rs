//! The log of the process: levels by component, changeable while it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// Levels as the command line gives them.
#[derive(Debug, Default)]
pub(crate) struct LogOptions {
    /// Level of the data path.
    pub(crate) proxy: String,
    /// `component:level,…`
    pub(crate) components: String,
    /// `scope:level,…` of the agent; `default` is all of it.
    pub(crate) agent: String,
    /// Lines as JSON.
    pub(crate) json: bool,
    /// File to append to, in place of standard error.
    pub(crate) path: Option<PathBuf>,
}

/// The levels in force; the admin page `logging` shows and changes them.
#[derive(Debug)]
pub(crate) struct LogControl {
    levels: Mutex<Levels>,
    handle: reload::Handle<Targets, Registry>,
}

/// Components by their Envoy names, with the crates whose lines they are. `misc` is everything else.
const COMPONENTS: [(&str, &[&str]); 11] = [
    ("admin", &["lateen_proxy::admin"]),
    ("agent", &["lateen_proxy_agent"]),
    ("config", &["lateen_proxy_sync", "lateen_proxy_state"]),
    ("conn_handler", &["lateen_proxy_listen"]),
    ("connection", &["lateen_proxy_tls", "lateen_proxy_detect"]),
    ("http", &["lateen_proxy_relay"]),
    ("main", &["lateen_proxy", "lateen_proxy_telemetry"]),
    ("pool", &["lateen_proxy_dial"]),
    ("rbac", &["lateen_proxy_admit"]),
    ("router", &["lateen_proxy_route"]),
    ("upstream", &["lateen_proxy_balance"]),
];
const MISC: &str = "misc";
/// Envoy's and the agent's other names, with the component that has their lines here.
const ALIASES: [(&str, &str); 14] = [
    ("ads", "config"),
    ("adsc", "config"),
    ("ca", "agent"),
    ("citadelclient", "agent"),
    ("client", "pool"),
    ("ext_authz", "rbac"),
    ("filter", "rbac"),
    ("http2", "http"),
    ("jwt", "rbac"),
    ("sds", "agent"),
    ("secret", "agent"),
    ("server", "main"),
    ("status", "agent"),
    ("xdsproxy", "config"),
];
/// Components whose level `--log_output_level` gives.
const OF_AGENT: [&str; 2] = ["agent", "main"];

impl LogControl {
    /// Starts logging to standard error or a file.
    ///
    /// # Errors
    /// Names the file that cannot be opened, or a level or component that is not known.
    pub(crate) fn start(options: &LogOptions) -> anyhow::Result<Self> {
        let (levels, unknown) = initial(options)?;
        let (filter, handle) = reload::Layer::new(targets(&levels));
        let registry = tracing_subscriber::registry().with(filter);
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(writer(options.path.as_ref())?)
            .with_ansi(false);
        let started = if options.json {
            registry.with(layer.event_format(JsonLines)).try_init()
        } else {
            registry.with(layer).try_init()
        };
        started.context("start logging")?;
        for name in unknown {
            tracing::warn!(
                name,
                "there is no such log component; its level is not set. There are {}",
                known_names()
            );
        }
        Ok(Self {
            levels: Mutex::new(levels),
            handle,
        })
    }

    /// Levels that steer nothing but themselves.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let options = LogOptions {
            proxy: "info".into(),
            ..LogOptions::default()
        };
        let (levels, _) = initial(&options).unwrap_or_default();
        let (filter, handle) = reload::Layer::new(targets(&levels));
        // The handle works for as long as its layer exists.
        std::mem::forget(filter);
        Self {
            levels: Mutex::new(levels),
            handle,
        }
    }

    /// `active loggers:` and a line each, as Envoy prints them.
    pub(crate) fn show(&self) -> String {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = levels
            .iter()
            .map(|(name, level)| format!("  {name}: {}\n", level_name(*level)))
            .collect();
        format!("active loggers:\n{lines}\n")
    }

    /// Sets the level of one component, or of all with `None`.
    ///
    /// # Errors
    /// Names a level or component that is not known; then nothing changes.
    pub(crate) fn set(&self, component: Option<&str>, level: &str) -> anyhow::Result<()> {
        let level = parse_level(level)?;
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        match component {
            None => levels.values_mut().for_each(|known| *known = level),
            Some(name) => match levels.get_mut(canonical(name)) {
                Some(known) => *known = level,
                None => bail!("there is no logger `{name}`"),
            },
        }
        let targets = targets(&levels);
        self.handle.reload(targets).context("change log levels")
    }
}

fn writer(path: Option<&PathBuf>) -> anyhow::Result<BoxMakeWriter> {
    let Some(path) = path else {
        return Ok(BoxMakeWriter::new(io::stderr));
    };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.with_context(|| path.display().to_string())?;
    Ok(BoxMakeWriter::new(Mutex::new(file)))
}

/// Levels by component.
type Levels = BTreeMap<&'static str, LevelFilter>;

/// The levels that the command line asks for, and the names in it that no component has: other proxies have more of them,
/// and a pod that names one should start all the same.
fn initial(options: &LogOptions) -> anyhow::Result<(Levels, Vec<String>)> {
    let proxy = parse_level(&options.proxy)?;
    let names = COMPONENTS.iter().map(|(name, _)| *name).chain([MISC]);
    let mut levels: Levels = names.map(|name| (name, proxy)).collect();
    let mut unknown = Vec::new();
    let scopes = pairs(&options.agent)?;
    for (_, level) in scopes
        .iter()
        .filter(|(scope, _)| matches!(*scope, "default" | "all"))
    {
        levels.extend(OF_AGENT.map(|name| (name, *level)));
    }
    let scopes = scopes
        .into_iter()
        .filter(|(scope, _)| !matches!(*scope, "default" | "all"));
    for (name, level) in scopes.chain(pairs(&options.components)?) {
        match levels.get_mut(canonical(name)) {
            Some(known) => *known = level,
            None => unknown.push(name.to_owned()),
        }
    }
    Ok((levels, unknown))
}

fn canonical(name: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, component)| component)
}

fn known_names() -> String {
    COMPONENTS
        .iter()
        .map(|(name, _)| *name)
        .chain([MISC])
        .collect::<Vec<_>>()
        .join(", ")
}

fn pairs(text: &str) -> anyhow::Result<Vec<(&str, LevelFilter)>> {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    items
        .map(|item| match item.split_once(':') {
            Some((name, level)) => Ok((name, parse_level(level)?)),
            None => Ok(("default", parse_level(item)?)),
        })
        .collect()
}

fn targets(levels: &Levels) -> Targets {
    let of = |name: &str| levels.get(name).copied().unwrap_or(LevelFilter::WARN);
    let crates = COMPONENTS
        .iter()
        .flat_map(|(name, crates)| crates.iter().map(move |target| (*target, of(name))));
    Targets::new().with_default(of(MISC)).with_targets(crates)
}

fn parse_level(text: &str) -> anyhow::Result<LevelFilter> {
    Ok(match text {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warning" | "warn" => LevelFilter::WARN,
        "error" | "err" | "critical" | "fatal" => LevelFilter::ERROR,
        "off" | "none" => LevelFilter::OFF,
        other => bail!(
            "`{other}` is no log level; levels are trace, debug, info, warning, error, critical, off"
        ),
    })
}

fn level_name(level: LevelFilter) -> &'static str {
    match level {
        LevelFilter::TRACE => "trace",
        LevelFilter::DEBUG => "debug",
        LevelFilter::INFO => "info",
        LevelFilter::WARN => "warning",
        LevelFilter::ERROR => "error",
        _ => "off",
    }
}

/// One JSON object a line, with the keys that Istio's components use.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = JsonFields(Map::new());
        let metadata = event.metadata();
        fields.0.insert(
            "level".into(),
            metadata.level().as_str().to_ascii_lowercase().into(),
        );
        let now =
            jiff::Timestamp::try_from(SystemTime::now()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        fields.0.insert("time".into(), format!("{now:.6}").into());
        fields.0.insert("scope".into(), metadata.target().into());
        event.record(&mut fields);
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

struct JsonFields(Map<String, Value>);

impl JsonFields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = if field.name() == "message" {
            "msg"
        } else {
            field.name()
        };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for JsonFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use tracing::level_filters::LevelFilter;

    use super::{LogOptions, initial};

    #[test]
    fn flags_give_levels_and_unknown_names_are_told() {
        let options = |components: &str, agent: &str| LogOptions {
            proxy: "warning".into(),
            components: components.into(),
            agent: agent.into(),
            json: false,
            path: None,
        };
        let (levels, unknown) = initial(&options(
            "misc:error,http:debug,jwt:trace,wasm:info",
            "x:info,default:info",
        ))
        .expect("levels");
        assert_eq!(levels["misc"], LevelFilter::ERROR);
        assert_eq!(levels["http"], LevelFilter::DEBUG);
        assert_eq!(levels["rbac"], LevelFilter::TRACE);
        assert_eq!(levels["agent"], LevelFilter::INFO);
        assert_eq!(levels["router"], LevelFilter::WARN);
        assert_eq!(unknown, ["x", "wasm"]);
        let error = initial(&options("http:loud", ""))
            .expect_err("refused")
            .to_string();
        assert!(error.contains("`loud`"), "{error}");
    }
}
