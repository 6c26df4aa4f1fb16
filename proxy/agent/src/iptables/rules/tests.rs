use clap::Parser;

use super::{Family, restore_input};
use crate::iptables::{Args, Options, OptionsError};

fn options(flags: &str) -> Result<Options, OptionsError> {
    let args = ["istio-iptables"]
        .into_iter()
        .chain(flags.split_whitespace());
    // `''` stands for an empty argument.
    let args = args.map(|arg| if arg == "''" { "" } else { arg });
    Args::try_parse_from(args).expect(flags).options()
}

const INJECTED: &str = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x '' -b * -d 15090,15021,15020 --log_output_level=default:info";

#[test]
fn an_injected_pod_gets_istios_chains() {
    let text = restore_input(&options(INJECTED).expect("options"), Family::V4, "").expect("rules");
    let expected = "\
*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_REDIRECT - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
COMMIT
";
    assert_eq!(text, expected);
}

#[test]
fn a_second_run_adds_no_jumps() {
    let existing = "-P PREROUTING ACCEPT\n-A PREROUTING -p tcp -j ISTIO_INBOUND\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\n";
    let text =
        restore_input(&options(INJECTED).expect("options"), Family::V4, existing).expect("rules");
    assert!(!text.contains("-A PREROUTING") && !text.contains("-A OUTPUT"));
}

#[test]
fn lists_are_split_by_family_and_kept_in_order() {
    let flags =
        "-i 10.1.2.3/8,fd00::/8 -x 10.9.0.0/16 -q 5432 -o 25,3306 -b 80,8080 -c eth1 -k net1";
    let options = options(flags).expect("options");
    let v4 = restore_input(&options, Family::V4, "").expect("rules");
    let place = |line: &str| {
        v4.lines()
            .position(|l| l == line)
            .unwrap_or_else(|| panic!("{line} is not in:\n{v4}"))
    };
    let order = [
        "-A ISTIO_INBOUND -p tcp --dport 80 -j ISTIO_IN_REDIRECT",
        "-A ISTIO_OUTPUT -p tcp --dport 25 -j RETURN",
        "-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN",
        "-A ISTIO_OUTPUT -d 10.9.0.0/16 -j RETURN",
        "-A ISTIO_OUTPUT -p tcp --dport 5432 -j ISTIO_REDIRECT",
        "-A ISTIO_OUTPUT -d 10.0.0.0/8 -p tcp -j ISTIO_REDIRECT",
        "-A PREROUTING -i eth1 -j RETURN",
        "-A PREROUTING -d 10.9.0.0/16 -i net1 -j RETURN",
        "-A PREROUTING -d 10.0.0.0/8 -i net1 -j ISTIO_REDIRECT",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
    ]
    .map(place);
    assert!(order.is_sorted(), "{v4}");
    assert!(!v4.contains("-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT"));
    let v6 = restore_input(&options, Family::V6, "").expect("rules");
    assert!(v6.contains("-d fd00::/8 -p tcp -j ISTIO_REDIRECT") && !v6.contains("10.0.0.0"));
    assert!(v6.contains("-s ::6/128") && v6.contains("! -d ::1/128"));
}

#[test]
fn a_mark_takes_the_place_of_users() {
    let text = restore_input(
        &options("-i * -b * --proxy-mark 1337").expect("options"),
        Family::V4,
        "",
    )
    .expect("rules");
    assert!(text.contains("-A ISTIO_OUTPUT -o lo -m mark ! --mark 1337 -j RETURN"));
    assert!(!text.contains("owner"));
}

#[test]
fn modes_and_refusals() {
    assert_eq!(
        restore_input(
            &options("-m NONE -i * -b *").expect("options"),
            Family::V4,
            ""
        ),
        None
    );
    for (flags, part) in [
        ("-m TPROXY", "-m TPROXY"),
        ("-m other", "`other`"),
        ("--run-validation --skip-rule-apply", "--run-validation"),
        ("--redirect-dns", "ISTIO_META_DNS_CAPTURE"),
        ("--native-nftables", "--native-nftables"),
        ("-b 80,http", "-b: `http`"),
        ("-i 10.0.0.0/33", "-i: `10.0.0.0/33`"),
        ("-x 10.0.0.0", "-x: `10.0.0.0`"),
        ("-c eth0;reboot", "-c: `eth0;reboot`"),
        ("-u root", "-u: `root`"),
    ] {
        let error = options(flags).expect_err(flags).to_string();
        assert!(error.contains(part), "{flags}: {error}");
    }
}
