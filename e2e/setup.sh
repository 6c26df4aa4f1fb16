#!/usr/bin/env bash
# Installs what building, testing and running a local mesh need, by apt, cargo and pip. Repeating it is cheap: what is there
# is left alone. Without root or sudo it names what is missing.
set -euo pipefail

# command:package:why
TOOLS=(
    "cc:gcc:compiles the C parts of the TLS library and links"
    "iptables:iptables:redirects a pod's traffic to its proxy"
    "nft:nftables:gives Services their addresses on a local mesh"
    "ip:iproute2:lays the local mesh's network"
    "unshare:util-linux:makes the local mesh's pods"
    "nsenter:util-linux:runs commands inside the local mesh's pods"
    "curl:curl:calls services as somebody else's client would"
    "tcpdump:tcpdump:captures the local mesh's traffic in tests"
    "newuidmap:uidmap:lets a user without root run a local mesh"
    "openssl:openssl:makes a test cluster's certificates"
    "flock:util-linux:lets one test cluster start at a time"
)
# Builds a test cluster's Kubernetes; one of 1.21 or newer fetches the release that it needs.
GO_MINIMUM=1.21
CARGO_DENY=0.20.2

say() { printf '%s\n' "setup: $*"; }

missing=() reasons=()
for entry in "${TOOLS[@]}"; do
    IFS=: read -r command package why <<<"$entry"
    if ! PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null; then
        missing+=("$package")
        reasons+=("$package ($why)")
    fi
done

at_least() { printf '%s\n' "$1" "$2" | sort -V -C; }
if [[ ${SETUP_WITH_CLUSTER:-} == 1 ]] && ! command -v go >/dev/null && ! command -v kind >/dev/null; then
    candidate=$(apt-cache policy golang-go 2>/dev/null | sed -n 's/^ *Candidate: [0-9]*:\([0-9.]*\).*/\1/p')
    if [[ -n $candidate ]] && at_least "$GO_MINIMUM" "$candidate"; then
        missing+=(golang-go)
        reasons+=("golang-go (builds a test cluster's Kubernetes)")
    fi # else the build says what to do: Debian 12 has none that is new enough
fi

if ((${#missing[@]})); then
    if [[ $(id -u) -eq 0 ]]; then as_root=(); elif command -v sudo >/dev/null; then as_root=(sudo); else
        say "missing, and neither root nor sudo to install them with:" >&2
        printf '  %s\n' "${reasons[@]}" >&2
        exit 1
    fi
    if ! command -v apt-get >/dev/null; then
        say "missing, and no apt-get to install them with; on this system install yourself:" >&2
        printf '  %s\n' "${reasons[@]}" >&2
        exit 1
    fi
    for reason in "${reasons[@]}"; do say "installing $reason"; done
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null; then
    say "missing: cargo 1.95 or newer (apt install cargo, or rustup)" >&2
    exit 1
fi
if [[ ${SETUP_WITHOUT_LINTERS:-} != 1 ]]; then
    # What the differential suite compares with.
    "$(dirname "${BASH_SOURCE[0]}")/differential/envoy.sh" >/dev/null
fi
if [[ ${SETUP_WITHOUT_LINTERS:-} != 1 ]] && ! cargo deny --version 2>/dev/null | grep -qF "$CARGO_DENY"; then
    say "installing cargo-deny $CARGO_DENY (checks licences and duplicate crates; takes some minutes, once)"
    cargo install --quiet --locked cargo-deny --version "$CARGO_DENY"
fi
