//! What this machine must have for a local mesh, asked before anything starts.

use std::fmt;
use std::path::Path;

use nix::unistd::{Uid, User};

/// Tools that the mesh calls, and the Debian package of each.
const TOOLS: [(&str, &str); 5] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
];
/// Ids that a user namespace must have: the proxies' 1337 and the apps' 65532 among them.
const NEEDED_IDS: u64 = 65_536;

/// What is missing, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing(Vec<String>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this machine cannot run a local mesh yet:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  - {line}"))
    }
}

impl std::error::Error for Missing {}

/// How the mesh gets its namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// As root.
    Root,
    /// In a user namespace with the user's subordinate ids.
    UserNamespace,
}

impl Privilege {
    /// Arguments of `unshare` for a mesh.
    #[must_use]
    pub(crate) const fn unshare(self) -> &'static [&'static str] {
        match self {
            Self::Root => &[
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ],
            Self::UserNamespace => &[
                "--user",
                "--map-root-user",
                "--map-auto",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ],
        }
    }
}

/// Looks whether everything is there.
///
/// # Errors
/// All that is missing, with what to do about it.
pub(crate) fn check() -> Result<Privilege, Missing> {
    if !cfg!(target_os = "linux") {
        return Err(Missing(vec![
            "network namespaces: a local mesh runs on Linux only".to_owned(),
        ]));
    }
    let mut missing: Vec<String> = TOOLS
        .iter()
        .filter(|(tool, _)| !is_there(tool))
        .map(|(tool, package)| {
            format!("the program {tool} (Debian and Ubuntu: apt-get install {package})")
        })
        .collect();
    let user = Uid::effective();
    let privilege = if user.is_root() {
        Privilege::Root
    } else {
        Privilege::UserNamespace
    };
    if privilege == Privilege::UserNamespace {
        missing.extend(user_namespaces(user));
    }
    if missing.is_empty() {
        Ok(privilege)
    } else {
        Err(Missing(missing))
    }
}

fn user_namespaces(user: Uid) -> Vec<String> {
    let mut missing = Vec::new();
    for (setting, forbids) in [
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("user/max_user_namespaces", "0"),
    ] {
        let value = std::fs::read_to_string(format!("/proc/sys/{setting}")).unwrap_or_default();
        if value.trim() == forbids {
            let name = setting.replace('/', ".");
            missing.push(format!(
                "user namespaces: {name} is {forbids}; run with sudo, or change the setting"
            ));
        }
    }
    for tool in ["newuidmap", "newgidmap"]
        .into_iter()
        .filter(|t| !is_there(t))
    {
        missing.push(format!(
            "the program {tool} (Debian and Ubuntu: apt-get install uidmap), or run with sudo"
        ));
    }
    let name = User::from_uid(user)
        .ok()
        .flatten()
        .map(|u| u.name)
        .unwrap_or_default();
    for file in ["/etc/subuid", "/etc/subgid"] {
        let table = std::fs::read_to_string(file).unwrap_or_default();
        if ids(&table, &name, user.as_raw()) < NEEDED_IDS {
            missing.push(format!(
                "{NEEDED_IDS} ids for user {name} in {file}: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}, or run with sudo"
            ));
        }
    }
    missing
}

/// Size of the first range of a user.
fn ids(table: &str, name: &str, uid: u32) -> u64 {
    let owner = |line: &str| {
        let mut parts = line.split(':');
        let user = parts.next()?;
        let count = parts.nth(1)?.trim().parse().ok()?;
        (user == name || user == uid.to_string()).then_some(count)
    };
    table.lines().find_map(owner).unwrap_or(0)
}

/// Programs are also looked for where only root's PATH leads.
pub(crate) fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")
}

fn is_there(tool: &str) -> bool {
    search_path()
        .split(':')
        .filter(|f| !f.is_empty())
        .any(|folder| Path::new(folder).join(tool).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ids() {
        let table = "other:100000:1000\nme:200000:65536\n";
        assert_eq!(ids(table, "me", 1000), 65_536);
        assert_eq!(ids("1000:1:7\n", "me", 1000), 7);
        assert_eq!(ids(table, "nobody", 99), 0);
    }

    #[test]
    fn missing_things_are_listed() {
        assert_eq!(
            Missing(vec!["x".to_owned()]).to_string(),
            "this machine cannot run a local mesh yet:\n  - x"
        );
    }
}
