//! What a file of cases says.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use lateen_api::yaml;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::tls::client::ClientTls;

/// One file of `e2e/differential/cases`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    /// Configuration that its cases run on, by file name without `.yaml`.
    pub(super) config: String,
    /// Listener of the configuration, for cases that do not name one.
    pub(super) listener: String,
    pub(super) cases: Vec<Case>,
}

/// One client connection with one or more exchanges on it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    #[serde(default)]
    pub(super) listener: String,
    /// Time before the case, for what a proxy does by itself after its start.
    #[serde(default)]
    pub(super) wait_ms: u64,
    /// HTTP version that the client speaks: 1, 2 or 3.
    #[serde(default = "one")]
    pub(super) http: u8,
    /// TLS that the client begins with.
    #[serde(default)]
    pub(super) tls: Option<ClientTls>,
    /// The only step, in short: `GET /path`.
    #[serde(default)]
    request: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    repeat: usize,
    #[serde(default)]
    trailers: Vec<String>,
    #[serde(default)]
    raw: Option<String>,
    #[serde(default)]
    answers: Option<usize>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    close: bool,
    /// The steps, where there is more than one.
    #[serde(default)]
    steps: Vec<Step>,
    /// What the upstream answers, one after the other; then 200.
    #[serde(default)]
    pub(super) upstream: Vec<Answer>,
    /// How many requests the upstream must have seen before the case is over.
    #[serde(default)]
    pub(super) seen: usize,
    /// Statistics that are compared after the case: an expression for names, encoded as in a query.
    #[serde(default)]
    pub(super) stats: Option<String>,
    /// Whether a last request finds out if the connection is still usable.
    #[serde(default = "yes")]
    pub(super) probe: bool,
}

/// Something sent, and what is awaited then.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// `GET /path`; the rest of the request is added.
    #[serde(default)]
    pub(super) request: Option<String>,
    /// `name: value`; `host: test` is added when there is none.
    #[serde(default)]
    pub(super) headers: Vec<String>,
    #[serde(default)]
    pub(super) body: Option<String>,
    /// How many times the body is sent, of HTTP/3.
    #[serde(default)]
    pub(super) repeat: usize,
    /// Trailers, of HTTP/3.
    #[serde(default)]
    pub(super) trailers: Vec<String>,
    /// Bytes as they are; line ends are those of the escapes alone. `hex:` is followed by their digits. In HTTP/3
    /// lines of fields, or bytes after `hex`.
    #[serde(default)]
    pub(super) raw: Option<String>,
    /// Final answers to wait for.
    #[serde(default)]
    pub(super) answers: Option<usize>,
    /// Text to wait for among the bytes after the answers, as after an upgrade.
    #[serde(default)]
    pub(super) until: Option<String>,
    /// Whether the client ends its side then.
    #[serde(default)]
    pub(super) close: bool,
}

/// What an upstream does with one request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<String>,
    pub(super) body: String,
    /// The whole answer as bytes.
    pub(super) raw: Option<String>,
    pub(super) delay_ms: u64,
    pub(super) then: Then,
}

/// What becomes of the upstream's connection after an answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Then {
    #[default]
    Keep,
    Close,
    /// Closes without an answer.
    Drop,
    /// Resets without an answer.
    Reset,
    /// Never answers.
    Hold,
    /// Sends back what comes after the answer.
    Echo,
}

/// An allowed difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Difference {
    /// `file/case`, where `*` stands for any text.
    pub(super) case: String,
    /// Parts of the observation.
    pub(super) parts: Vec<String>,
    pub(super) reason: String,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: "ok".to_owned(),
            raw: None,
            delay_ms: 0,
            then: Then::Keep,
        }
    }
}

impl Case {
    /// The case with `@KIND:name@` made ports in what is sent.
    pub(super) fn with_ports(&self, ports: &BTreeMap<u16, String>) -> Self {
        let mut made = self.clone();
        made.steps = self.steps();
        for step in &mut made.steps {
            let texts = [&mut step.request, &mut step.body, &mut step.raw];
            let texts = texts.into_iter().flatten().chain(&mut step.headers);
            for text in texts.filter(|text| text.contains('@')) {
                for (port, name) in ports {
                    let (kind, name) = name.split_once(' ').unwrap_or_default();
                    let place = format!("@{}:{name}@", kind.to_uppercase());
                    *text = text.replace(&place, &port.to_string());
                }
            }
        }
        made
    }

    /// The steps, also where the file gives a single one in short.
    pub(super) fn steps(&self) -> Vec<Step> {
        if !self.steps.is_empty() {
            return self.steps.clone();
        }
        vec![Step {
            request: self.request.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            repeat: self.repeat,
            trailers: self.trailers.clone(),
            raw: self.raw.clone(),
            answers: self.answers,
            until: self.until.clone(),
            close: self.close,
        }]
    }
}

impl Step {
    /// The bytes to send.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Some(request) = &self.request else {
            let raw = self.raw.clone().unwrap_or_default();
            return match raw.strip_prefix("hex:") {
                Some(digits) => unhex(digits),
                None => raw.into_bytes(),
            };
        };
        let mut text = format!("{request} HTTP/1.1\r\n");
        if !self.has("host") {
            text.push_str("host: test\r\n");
        }
        for header in &self.headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() && !self.has("transfer-encoding") && !self.has("content-length") {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        text.into_bytes()
    }

    /// How many final answers end the step.
    pub(super) fn awaited(&self) -> usize {
        let by_default = usize::from(self.until.is_none() || self.request.is_some());
        self.answers.unwrap_or(by_default)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|header| {
            header
                .split_once(':')
                .is_some_and(|(own, _)| own.trim().eq_ignore_ascii_case(name))
        })
    }
}

/// The bytes of pairs of hexadecimal digits.
fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let pairs = pairs.map(|pair| String::from_utf8_lossy(pair).into_owned());
    let bytes = pairs.map(|pair| u8::from_str_radix(&pair, 16));
    bytes.map(Result::unwrap_or_default).collect()
}

/// The files of cases by name, in order.
pub(super) fn read_cases(folder: &Path) -> Result<BTreeMap<String, CaseFile>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "yaml") {
            let name = path.file_stem().unwrap_or_default().display().to_string();
            files.insert(name, read(&path)?);
        }
    }
    Ok(files)
}

/// The list of allowed differences.
pub(super) fn read_differences(path: &Path) -> Result<Vec<Difference>> {
    let entries: Vec<Difference> = read(path)?;
    for entry in &entries {
        ensure!(!entry.reason.is_empty(), "{}: no reason", entry.case);
    }
    Ok(entries)
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let place = || path.display().to_string();
    let documents = yaml::parse(&text)
        .map_err(|error| anyhow!("{error}"))
        .with_context(place)?;
    let document = documents.first().with_context(place)?;
    let (value, ignored) = yaml::read_strict(&document.root)
        .map_err(|error| anyhow!("{error}"))
        .with_context(place)?;
    ensure!(ignored.is_empty(), "{}: unknown keys", place());
    Ok(value)
}

fn one() -> u8 {
    1
}

fn yes() -> bool {
    true
}
