//! The list of admin pages.

use std::fmt::Write;

/// A page.
pub(super) struct Page {
    name: &'static str,
    /// It changes something: only POST is taken.
    pub(super) changes: bool,
    what: &'static str,
    /// Parameters and what they mean.
    parameters: &'static [(&'static str, &'static str)],
}

const fn page(name: &'static str, what: &'static str) -> Page {
    Page {
        name,
        changes: false,
        what,
        parameters: &[],
    }
}

const fn with(
    name: &'static str,
    what: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Page {
    Page {
        name,
        changes: false,
        what,
        parameters,
    }
}

const fn change(
    name: &'static str,
    what: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Page {
    Page {
        name,
        changes: true,
        what,
        parameters,
    }
}

const FORMAT: (&str, &str) = ("format", "text or json");

const PAGES: [Page; 26] = [
    page("", "these pages as HTML"),
    page("certs", "certificates in use"),
    with("clusters", "clusters and their endpoints", &[FORMAT]),
    with(
        "config_dump",
        "the configuration in use",
        &[
            ("include_eds", "with endpoints"),
            ("resource", "only this list, such as dynamic_listeners"),
            ("mask", "only these fields, separated by commas"),
            (
                "name_regex",
                "only resources whose whole name matches this expression",
            ),
        ],
    ),
    page("contention", "nothing: workers share no mutex"),
    change(
        "drain_listeners",
        "end connections and listeners",
        &[
            ("graceful", "listeners stop after the drain time"),
            ("skip_exit", "listeners do not stop"),
            ("inboundonly", "inbound listeners alone"),
        ],
    ),
    change("healthcheck/fail", "make health checks fail", &[]),
    change("healthcheck/ok", "make health checks pass again", &[]),
    page("help", "these pages"),
    page("hot_restart_version", "disabled: there is no hot restart"),
    with(
        "init_dump",
        "what is waited for",
        &[("mask", "listener or cluster")],
    ),
    with("listeners", "listeners and their addresses", &[FORMAT]),
    change(
        "logging",
        "levels of the log, and changes of them",
        &[
            ("level", "of everything"),
            ("paths", "logger:level pairs, separated by commas"),
            ("<logger>", "of one logger"),
        ],
    ),
    page("memory", "memory of the process"),
    change("quitquitquit", "end the process, where enabled", &[]),
    page("ready", "200 if the proxy is ready"),
    change("reset_counters", "set all counters to zero", &[]),
    page("runtime", "runtime keys"),
    change("runtime_modify", "refused: keys are read at the start", &[]),
    page("server_info", "version, state, options and node"),
    with(
        "stats",
        "statistics",
        &[
            ("format", "text, json or prometheus"),
            ("filter", "names that this expression finds"),
            ("usedonly", "without those that were never counted"),
            ("type", "Counters, Gauges, Histograms, TextReadouts or All"),
            (
                "histogram_buckets",
                "cumulative, disjoint, detailed or summary",
            ),
        ],
    ),
    with(
        "stats/prometheus",
        "statistics in Prometheus' format",
        &[
            ("filter", "names that this expression finds"),
            ("usedonly", "without those that were never counted"),
        ],
    ),
    page("stats/recentlookups", "refused: lookups are not tracked"),
    change("stats/recentlookups/clear", "likewise", &[]),
    change("stats/recentlookups/disable", "likewise", &[]),
    change("stats/recentlookups/enable", "likewise", &[]),
];

/// The page of a path without its slashes.
pub(super) fn find(path: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == path)
}

/// The list as text.
pub(super) fn list() -> String {
    let mut out = String::new();
    for page in &PAGES {
        let post = if page.changes { " (POST)" } else { "" };
        let _ = writeln!(out, "  /{}{post}: {}", page.name, page.what);
        for (name, what) in page.parameters {
            let _ = writeln!(out, "      {name}: {what}");
        }
    }
    out
}

/// The list as HTML: forms for what changes something, links for the rest.
pub(super) fn index() -> String {
    let mut rows = String::new();
    for page in PAGES.iter().filter(|page| !page.name.is_empty()) {
        let (name, what) = (page.name, page.what);
        let action = if page.changes {
            format!("<form method=\"post\" action=\"{name}\"><button>{name}</button></form>")
        } else {
            format!("<a href=\"{name}\">{name}</a>")
        };
        let _ = writeln!(rows, "<tr><td>{action}</td><td>{what}</td></tr>");
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>lateen-proxy</title>\
         <style>body{{font-family:sans-serif;margin:2em}}td{{padding:.2em 1em}}form{{margin:0}}</style></head>\n\
         <body>\n<h1>lateen-proxy</h1>\n<table>\n{rows}</table>\n</body>\n</html>\n"
    )
}
