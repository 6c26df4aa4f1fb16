//! The mesh's own network: a bridge in the supervisor's network namespace and one virtual cable a pod.
//!
//! Each pod has a /32 address and reaches everything through the bridge's address. So packets of both directions pass the
//! supervisor's namespace, where addresses of Services are translated, and none of it touches the machine's own network.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Mutex;

use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Name of the bridge inside the mesh's network namespace.
pub(crate) const BRIDGE: &str = "lateen0";
/// Address of the bridge: the pods' gateway, their name server, and their host.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// Addresses of pods, as CIDR.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";
/// Addresses of Services, as CIDR.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";

/// Settings of the mesh's namespace: it routes between its pods, and says nothing about shorter ways.
const SYSCTLS: [(&str, &str); 5] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
];

/// Why a network could not be set up.
#[derive(Debug, Error)]
pub(crate) enum NetworkError {
    /// A tool is missing or cannot be started.
    #[error("cannot start {0}: {1}; is it installed?")]
    Start(String, std::io::Error),
    /// A tool reported a failure.
    #[error("{0} failed: {1}")]
    Failed(String, String),
    /// A kernel setting could not be written.
    #[error("cannot set {0}: {1}")]
    Sysctl(String, std::io::Error),
    /// The kernel has no such connection tracking or address translation.
    #[error("all addresses of {0} are taken")]
    Exhausted(&'static str),
}

/// Hands out addresses of a /16, in turn, so that a freed one is not used again soon.
#[derive(Debug)]
pub(crate) struct Addresses {
    range: &'static str,
    prefix: [u8; 2],
    inner: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    next: u16,
    taken: BTreeSet<u16>,
}

impl Addresses {
    /// Addresses of pods.
    #[must_use]
    pub(crate) fn of_pods() -> Self {
        Self::new(POD_RANGE, [10, 244])
    }

    /// Addresses of Services.
    #[must_use]
    pub(crate) fn of_services() -> Self {
        Self::new(SERVICE_RANGE, [10, 96])
    }

    const fn new(range: &'static str, prefix: [u8; 2]) -> Self {
        Self {
            range,
            prefix,
            inner: Mutex::new(Pool {
                next: 10,
                taken: BTreeSet::new(),
            }),
        }
    }

    /// Takes a free address.
    ///
    /// # Errors
    /// [`NetworkError::Exhausted`] when none is left.
    pub(crate) fn take(&self) -> Result<Ipv4Addr, NetworkError> {
        let mut pool = crate::lock(&self.inner);
        for _ in 0..=u16::MAX {
            let host = pool.next;
            pool.next = if host >= 0xfffe { 10 } else { host + 1 };
            if pool.taken.insert(host) {
                return Ok(self.address(host));
            }
        }
        Err(NetworkError::Exhausted(self.range))
    }

    /// Takes a given address; false when it lies outside the range or is taken.
    pub(crate) fn take_this(&self, address: Ipv4Addr) -> bool {
        let [a, b, c, d] = address.octets();
        [a, b] == self.prefix
            && crate::lock(&self.inner)
                .taken
                .insert(u16::from_be_bytes([c, d]))
    }

    /// Gives an address back.
    pub(crate) fn release(&self, address: Ipv4Addr) {
        let [_, _, c, d] = address.octets();
        crate::lock(&self.inner)
            .taken
            .remove(&u16::from_be_bytes([c, d]));
    }

    const fn address(&self, host: u16) -> Ipv4Addr {
        let [c, d] = host.to_be_bytes();
        let [a, b] = self.prefix;
        Ipv4Addr::new(a, b, c, d)
    }
}

/// Makes the bridge in the network namespace of this process.
///
/// # Errors
/// [`NetworkError`] naming the tool or the setting.
pub(crate) async fn make_bridge() -> Result<(), NetworkError> {
    for (name, value) in SYSCTLS {
        match std::fs::write(format!("/proc/sys/{name}"), value) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && name.contains("ipv6") => {}
            done => done.map_err(|e| NetworkError::Sysctl(name.replace('/', "."), e))?,
        }
    }
    // A fixed hardware address: a bridge else takes its ports' and pods would remember one that is gone.
    let batch = format!(
        "link set lo up\n\
         link add {BRIDGE} address 02:00:0a:f4:00:01 type bridge\n\
         addr add {GATEWAY}/16 dev {BRIDGE}\n\
         link set {BRIDGE} up\n\
         route add {SERVICE_RANGE} dev {BRIDGE}\n"
    );
    run("ip", &["-batch", "-"], &batch).await
}

/// Connects the network namespace of a process to the bridge.
///
/// # Errors
/// [`NetworkError`] naming the tool.
pub(crate) async fn attach(process: u32, address: Ipv4Addr) -> Result<(), NetworkError> {
    let [_, _, c, d] = address.octets();
    let cable = format!("pod{}", u16::from_be_bytes([c, d]));
    let outside = format!(
        "link add {cable} type veth peer name eth0 netns {process}\n\
         link set {cable} master {BRIDGE} up\n"
    );
    run("ip", &["-batch", "-"], &outside).await?;
    let inside = format!(
        "link set lo up\n\
         addr add {address}/32 dev eth0\n\
         link set eth0 up\n\
         route add {GATEWAY} dev eth0 scope link\n\
         route add default via {GATEWAY} dev eth0\n"
    );
    let namespace = format!("--net=/proc/{process}/ns/net");
    run("nsenter", &[&namespace, "ip", "-batch", "-"], &inside).await
}

/// Runs a tool with text on its standard input.
///
/// # Errors
/// [`NetworkError::Start`] when it is not there, [`NetworkError::Failed`] with what it said.
pub(crate) async fn run(tool: &str, arguments: &[&str], input: &str) -> Result<(), NetworkError> {
    let start = |e| NetworkError::Start(tool.to_owned(), e);
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that ends early says why itself.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NetworkError::Failed(
        format!("{tool} {}", arguments.join(" ")),
        said,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_handed_out_in_turn() {
        let pods = Addresses::of_pods();
        let first = pods.take().expect("free");
        pods.release(first);
        let second = pods.take().expect("free");
        assert_ne!(first, second, "a freed address is not used again at once");
        assert!(pods.take_this(Ipv4Addr::new(10, 244, 7, 7)));
        assert!(!pods.take_this(Ipv4Addr::new(10, 244, 7, 7)), "taken");
        assert!(!pods.take_this(Ipv4Addr::new(10, 96, 0, 7)), "outside");
    }
}
