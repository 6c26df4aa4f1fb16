//! Flags of `istio-iptables`, read and checked.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Parser;
use thiserror::Error;

/// The command line. Flags of istio-iptables whose feature is not there are known, so that they are refused by name.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "istio-iptables",
    about = "Set up the rules that redirect a pod's traffic to its proxy"
)]
pub struct Args {
    /// Port to which outbound traffic is redirected.
    #[arg(short = 'p', long, default_value_t = 15001)]
    pub envoy_port: u16,
    /// Port to which inbound traffic is redirected.
    #[arg(short = 'z', long, default_value_t = 15006)]
    pub inbound_capture_port: u16,
    /// Port of HBONE, which is never redirected.
    #[arg(short = 'e', long, default_value_t = 15008)]
    pub inbound_tunnel_port: u16,
    /// Users whose traffic is not redirected: the proxy's.
    #[arg(short = 'u', long, default_value = "1337")]
    pub proxy_uid: String,
    /// Groups whose traffic is not redirected; the same numbers as the users by default.
    #[arg(short = 'g', long)]
    pub proxy_gid: Option<String>,
    /// REDIRECT, TPROXY (not supported) or NONE.
    #[arg(short = 'm', long, default_value = "REDIRECT")]
    pub istio_inbound_interception_mode: String,
    /// Inbound ports to redirect: comma list, `*` for all, empty for none.
    #[arg(short = 'b', long, default_value = "")]
    pub istio_inbound_ports: String,
    /// Inbound ports not to redirect, where `-b` is `*`.
    #[arg(short = 'd', long, default_value = "")]
    pub istio_local_exclude_ports: String,
    /// Outbound address ranges to redirect: comma list of CIDRs, `*` for all, empty for none.
    #[arg(short = 'i', long, default_value = "")]
    pub istio_service_cidr: String,
    /// Outbound address ranges not to redirect.
    #[arg(short = 'x', long, default_value = "")]
    pub istio_service_exclude_cidr: String,
    /// Outbound ports to redirect, whatever the address.
    #[arg(short = 'q', long, default_value = "")]
    pub istio_outbound_ports: String,
    /// Outbound ports not to redirect.
    #[arg(short = 'o', long, default_value = "")]
    pub istio_local_outbound_ports_exclude: String,
    /// Interfaces whose traffic is left alone.
    #[arg(short = 'c', long, default_value = "")]
    pub istio_exclude_interfaces: String,
    /// Virtual interfaces whose inbound traffic is treated as outbound.
    #[arg(short = 'k', long, default_value = "")]
    pub kube_virt_interfaces: String,
    /// Print the rules, change nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Packets with this mark are the proxy's, instead of users and groups (where no user 1337 exists).
    #[arg(long, env = "LATEEN_SOCKET_MARK", value_name = "MARK")]
    pub proxy_mark: Option<u32>,
    /// Apply the rules even if there are rules: what is done anyway.
    #[arg(long)]
    pub force_apply: bool,
    /// Not supported: rules come from the CNI plug-in.
    #[arg(long)]
    pub skip_rule_apply: bool,
    /// Not supported: checks what the CNI plug-in did.
    #[arg(long)]
    pub run_validation: bool,
    /// Not supported.
    #[arg(long, env = "ISTIO_META_DNS_CAPTURE", num_args = 0..=1, default_missing_value = "true", default_value = "false", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::Set)]
    pub redirect_dns: bool,
    /// Not supported.
    #[arg(long)]
    pub capture_all_dns: bool,
    /// Not supported.
    #[arg(long)]
    pub drop_invalid: bool,
    /// Not supported: nftables through iptables-nft is used.
    #[arg(long)]
    pub native_nftables: bool,
    /// Not supported.
    #[arg(long)]
    pub cleanup_only: bool,
    /// Log level, `scope:level`; errors are always written.
    #[arg(long = "log_output_level", hide = true)]
    pub log_output_level: Option<String>,
    /// Logs as JSON; this command logs nothing but its error.
    #[arg(long = "log_as_json", hide = true)]
    pub log_as_json: bool,
}

/// Checked options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What is done at all.
    pub mode: Mode,
    /// Port for outbound traffic.
    pub outbound_port: u16,
    /// Port for inbound traffic.
    pub inbound_port: u16,
    /// Port of HBONE.
    pub tunnel_port: u16,
    /// The proxy's users.
    pub uids: Vec<u32>,
    /// The proxy's groups.
    pub gids: Vec<u32>,
    /// The proxy's mark, which takes the place of users and groups.
    pub mark: Option<u32>,
    /// Inbound ports that are redirected.
    pub inbound_ports: Ports,
    /// Inbound ports that are not.
    pub inbound_excluded: Vec<u16>,
    /// Destinations that are redirected.
    pub outbound_cidrs: Cidrs,
    /// Destinations that are not.
    pub outbound_excluded: Vec<(IpAddr, u8)>,
    /// Destination ports that are redirected.
    pub outbound_ports: Ports,
    /// Destination ports that are not.
    pub outbound_ports_excluded: Vec<u16>,
    /// Interfaces that are left alone.
    pub excluded_interfaces: Vec<String>,
    /// Interfaces of virtual machines.
    pub virtual_interfaces: Vec<String>,
}

/// Interception mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// NAT to the proxy.
    Redirect,
    /// Nothing is intercepted: no rules.
    None,
}

/// A choice of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// `*`
    All,
    /// These, in order.
    List(Vec<u16>),
}

/// A choice of address ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cidrs {
    /// `*`
    All,
    /// These, in order: network and prefix length.
    List(Vec<(IpAddr, u8)>),
}

/// A flag that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OptionsError {
    /// The value does not parse.
    #[error("{flag}: `{value}` is not {expected}")]
    Invalid {
        /// Flag as written.
        flag: &'static str,
        /// Offending part.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The feature is not there.
    #[error("{flag} is not supported: {instead}")]
    Unsupported {
        /// Flag as written.
        flag: &'static str,
        /// What can be done.
        instead: &'static str,
    },
}

impl Args {
    /// Checks the command line.
    ///
    /// # Errors
    /// Names the first flag whose value is wrong or whose feature is not there.
    pub fn options(&self) -> Result<Options, OptionsError> {
        self.refuse_unsupported()?;
        let uids = list("-u", &self.proxy_uid, "a user id")?;
        let gids = match &self.proxy_gid {
            Some(gids) => list("-g", gids, "a group id")?,
            None => uids.clone(),
        };
        Ok(Options {
            mode: self.mode()?,
            outbound_port: self.envoy_port,
            inbound_port: self.inbound_capture_port,
            tunnel_port: self.inbound_tunnel_port,
            uids,
            gids,
            mark: self.proxy_mark,
            inbound_ports: ports("-b", &self.istio_inbound_ports)?,
            inbound_excluded: list("-d", &self.istio_local_exclude_ports, "a port")?,
            outbound_cidrs: match self.istio_service_cidr.trim() {
                "*" => Cidrs::All,
                text => Cidrs::List(cidrs("-i", text)?),
            },
            outbound_excluded: cidrs("-x", &self.istio_service_exclude_cidr)?,
            outbound_ports: ports("-q", &self.istio_outbound_ports)?,
            outbound_ports_excluded: list(
                "-o",
                &self.istio_local_outbound_ports_exclude,
                "a port",
            )?,
            excluded_interfaces: interfaces("-c", &self.istio_exclude_interfaces)?,
            virtual_interfaces: interfaces("-k", &self.kube_virt_interfaces)?,
        })
    }

    fn mode(&self) -> Result<Mode, OptionsError> {
        match self.istio_inbound_interception_mode.as_str() {
            "REDIRECT" => Ok(Mode::Redirect),
            "NONE" => Ok(Mode::None),
            "TPROXY" => Err(OptionsError::Unsupported {
                flag: "-m TPROXY",
                instead: "use interception mode REDIRECT; the client's address is in X-Forwarded-For",
            }),
            other => Err(OptionsError::Invalid {
                flag: "-m",
                value: other.to_owned(),
                expected: "REDIRECT, TPROXY or NONE",
            }),
        }
    }

    fn refuse_unsupported(&self) -> Result<(), OptionsError> {
        let with_cni = "the CNI plug-in is not part of this version; let istio-init set the rules";
        let no_dns = "there is no DNS proxy on 15053 yet; leave ISTIO_META_DNS_CAPTURE out";
        let flags = [
            (self.run_validation, "--run-validation", with_cni),
            (self.skip_rule_apply, "--skip-rule-apply", with_cni),
            (
                self.redirect_dns,
                "--redirect-dns (ISTIO_META_DNS_CAPTURE)",
                no_dns,
            ),
            (self.capture_all_dns, "--capture-all-dns", no_dns),
            (self.drop_invalid, "--drop-invalid", "leave it out"),
            (
                self.native_nftables,
                "--native-nftables",
                "leave it out: iptables-nft writes nftables rules too",
            ),
            (
                self.cleanup_only,
                "--cleanup-only",
                "the rules end with the pod's network namespace",
            ),
        ];
        match flags.into_iter().find(|(given, ..)| *given) {
            Some((_, flag, instead)) => Err(OptionsError::Unsupported { flag, instead }),
            None => Ok(()),
        }
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn list<T: FromStr>(
    flag: &'static str,
    text: &str,
    expected: &'static str,
) -> Result<Vec<T>, OptionsError> {
    let parse = |item: &str| {
        item.parse().map_err(|_| OptionsError::Invalid {
            flag,
            value: item.to_owned(),
            expected,
        })
    };
    items(text).map(parse).collect()
}

fn ports(flag: &'static str, text: &str) -> Result<Ports, OptionsError> {
    match text.trim() {
        "*" => Ok(Ports::All),
        text => list(flag, text, "a port, or * alone").map(Ports::List),
    }
}

fn cidrs(flag: &'static str, text: &str) -> Result<Vec<(IpAddr, u8)>, OptionsError> {
    items(text)
        .map(|item| cidr(item).ok_or_else(|| wrong_cidr(flag, item)))
        .collect()
}

fn wrong_cidr(flag: &'static str, item: &str) -> OptionsError {
    OptionsError::Invalid {
        flag,
        value: item.to_owned(),
        expected: "an address range such as 10.0.0.0/8, or * alone",
    }
}

/// Host bits are cut off, as the kernel would.
fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
    let network = match address {
        IpAddr::V4(v4) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
        _ => return None,
    };
    Some((network, length))
}

fn interfaces(flag: &'static str, text: &str) -> Result<Vec<String>, OptionsError> {
    items(text)
        .map(|name| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            let good = name.len() <= 15
                && name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(plain);
            let wrong = || OptionsError::Invalid {
                flag,
                value: name.to_owned(),
                expected: "an interface name of at most 15 characters",
            };
            good.then(|| name.to_owned()).ok_or_else(wrong)
        })
        .collect()
}
