//! Addresses of DNS clusters, looked up in the background.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lateen_proxy_model::{
    Cluster, ClusterKind, DnsFamily, DnsHost, DnsSettings, Endpoint, Health, LocalityEndpoints,
};
use lateen_proxy_state::State;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::query;

/// Least and most time until a failed look-up is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest wait for one look-up.
const LOOKUP: Duration = Duration::from_secs(10);

/// One look-up task a DNS cluster.
#[derive(Debug)]
pub(crate) struct Resolvers {
    tasks: Mutex<HashMap<Arc<str>, AbortHandle>>,
    changed: Arc<Notify>,
}

/// Longest wait for an answer that is asked for its time to live alone.
const TTL_WAIT: Duration = Duration::from_secs(1);

/// What a task looks up.
struct Job {
    name: Arc<str>,
    hosts: Arc<[DnsHost]>,
    strict: bool,
    dns: Arc<DnsSettings>,
}

impl Resolvers {
    /// `changed` is told after each look-up that gave endpoints their first value.
    pub(crate) fn new(changed: Arc<Notify>) -> Self {
        Self {
            tasks: Mutex::default(),
            changed,
        }
    }

    /// Starts, or starts anew, the look-ups of a DNS cluster; ends those of one that is no more.
    pub(crate) fn follow(&self, state: &Arc<State>, cluster: &Cluster) {
        self.stop(&cluster.name);
        let ClusterKind::Dns {
            hosts, strict, dns, ..
        } = &cluster.kind
        else {
            return;
        };
        let job = Job {
            name: Arc::clone(&cluster.name),
            hosts: Arc::clone(hosts),
            strict: *strict,
            dns: Arc::clone(dns),
        };
        let name = Arc::clone(&cluster.name);
        let task = tokio::spawn(run(job, Arc::clone(state), Arc::clone(&self.changed)));
        self.lock().insert(name, task.abort_handle());
    }

    /// Ends the look-ups of a cluster.
    pub(crate) fn stop(&self, name: &str) {
        if let Some(task) = self.lock().remove(name) {
            task.abort();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Resolvers {
    fn drop(&mut self) {
        for task in self.lock().values() {
            task.abort();
        }
    }
}

async fn run(job: Job, state: Arc<State>, changed: Arc<Notify>) {
    let mut failures: u32 = 0;
    loop {
        let first = state.endpoints().value(&job.name).is_none();
        let wait = match look_up(&job).await {
            Some((localities, ttl)) => {
                failures = 0;
                state.set_endpoints(&job.name, localities);
                let wait = if job.dns.respect_ttl && ttl < Duration::MAX {
                    ttl.max(job.dns.min_refresh)
                } else {
                    job.dns.refresh
                };
                wait + part_of(job.dns.jitter)
            }
            None => {
                failures = failures.saturating_add(1);
                wait_after(&job.dns, failures, true)
            }
        };
        if first {
            if failures > 0 {
                state.set_endpoints(&job.name, Vec::new());
            }
            changed.notify_one();
        }
        tokio::time::sleep(wait).await;
    }
}

/// The wait after so many failures: as the settings say, or growing up to the usual time; `at_once` begins small.
pub(crate) fn wait_after(dns: &DnsSettings, failures: u32, at_once: bool) -> Duration {
    if let Some((base, most)) = dns.failure {
        let factor = (1u32 << failures.min(16)).saturating_sub(1);
        return part_of(base.saturating_mul(factor)).clamp(Duration::from_millis(1), most);
    }
    if !at_once {
        return dns.refresh;
    }
    let grown = RETRY.0.saturating_mul(1 << failures.min(5));
    let wait = grown.min(RETRY.1).min(dns.refresh.max(RETRY.0));
    wait + part_of(wait / 10)
}

fn part_of(time: Duration) -> Duration {
    time.mul_f64(fastrand::f64())
}

/// Endpoints of all hosts and the least time to live; `None` when a host could not be looked up, so that the last
/// addresses stay.
async fn look_up(job: &Job) -> Option<(Vec<LocalityEndpoints>, Duration)> {
    let mut localities: Vec<LocalityEndpoints> = Vec::new();
    let mut least = Duration::MAX;
    for host in &*job.hosts {
        let (addresses, ttl) = addresses_of((&host.host, host.port), &job.dns).await.ok()?;
        least = least.min(ttl);
        let used = if job.strict { addresses.len() } else { 1 };
        let others: Arc<[SocketAddr]> = addresses.iter().skip(used).copied().collect();
        let endpoints = addresses
            .into_iter()
            .take(used)
            .map(|address| Arc::new(endpoint(host, address, &others)));
        localities.push(LocalityEndpoints {
            locality: host.locality.clone(),
            priority: host.priority,
            weight: host.locality_weight,
            endpoints: endpoints.collect(),
        });
    }
    Some((localities, least))
}

/// Why a look-up gave nothing, as Envoy's resolvers word it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DnsFailure(pub(crate) String);

/// Addresses of a host, and the answer's time to live; [`Duration::MAX`] where none is known.
pub(crate) async fn addresses_of(
    (host, port): (&str, u16),
    dns: &DnsSettings,
) -> Result<(Vec<SocketAddr>, Duration), DnsFailure> {
    let families = (
        dns.family != DnsFamily::V6Only,
        dns.family != DnsFamily::V4Only,
    );
    if dns.servers.is_empty() {
        let found = system_addresses(host, port).await?;
        let found = of_family(found, dns.family);
        let ttl = match dns.respect_ttl && host.parse::<std::net::IpAddr>().is_err() {
            true => system_ttl(host, families).await,
            false => Duration::MAX,
        };
        return Ok((found, ttl));
    }
    let asked = query::ask(&dns.servers, host, families).await;
    let (found, ttl) = asked.map_err(|why| DnsFailure(format!("cares_failure:{why}")))?;
    let found = found.into_iter().map(|ip| SocketAddr::new(ip, port));
    Ok((of_family(found.collect(), dns.family), ttl))
}

/// The time to live that the system's servers tell; its resolver knows files and search lists, but tells none.
async fn system_ttl(host: &str, families: (bool, bool)) -> Duration {
    let servers = query::system();
    let asked = query::ask(&servers, host, families);
    match tokio::time::timeout(TTL_WAIT, asked).await {
        Ok(Ok((_, ttl))) => ttl,
        Ok(Err(_)) | Err(_) => Duration::MAX,
    }
}

async fn system_addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, DnsFailure> {
    let lookup = tokio::net::lookup_host((host, port));
    match tokio::time::timeout(LOOKUP, lookup).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => {
            tracing::debug!("looking up {host}: {error}");
            Err(DnsFailure(error.to_string()))
        }
        Err(_) => Err(DnsFailure("no answer".into())),
    }
}

fn of_family(mut found: Vec<SocketAddr>, family: DnsFamily) -> Vec<SocketAddr> {
    found.sort_unstable();
    found.dedup();
    let any_v4 = found.iter().any(SocketAddr::is_ipv4);
    let any_v6 = found.iter().any(SocketAddr::is_ipv6);
    found.retain(|address| match family {
        DnsFamily::All => true,
        DnsFamily::V4Only => address.is_ipv4(),
        DnsFamily::V6Only => address.is_ipv6(),
        DnsFamily::V4Preferred => address.is_ipv4() || !any_v4,
        DnsFamily::Auto => address.is_ipv6() || !any_v6,
    });
    found
}

fn endpoint(host: &DnsHost, address: SocketAddr, others: &Arc<[SocketAddr]>) -> Endpoint {
    let mut made = Endpoint::new(address, host.weight, Health::Healthy, host.metadata.clone());
    let own = host.hostname.clone();
    made.hostname = Some(own.unwrap_or_else(|| (&*host.host).into()));
    made.check.clone_from(&host.check);
    made.additional = Arc::clone(others);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_choose_addresses() {
        let v4: SocketAddr = "10.0.0.1:80".parse().expect("address");
        let v6: SocketAddr = "[fd00::1]:80".parse().expect("address");
        let of = |list: &[SocketAddr], family| of_family(list.to_vec(), family);
        assert_eq!(of(&[v6, v4, v4], DnsFamily::All), [v4, v6]);
        assert_eq!(of(&[v6, v4], DnsFamily::V4Only), [v4]);
        assert_eq!(of(&[v6, v4], DnsFamily::V6Only), [v6]);
        assert_eq!(of(&[v6, v4], DnsFamily::V4Preferred), [v4]);
        assert_eq!(of(&[v6], DnsFamily::V4Preferred), [v6]);
        assert_eq!(of(&[v6, v4], DnsFamily::Auto), [v6]);
        assert_eq!(of(&[v4], DnsFamily::Auto), [v4]);
    }
}
