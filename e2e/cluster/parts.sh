# What a cluster is made of and where it is kept. Sourced, not run.
# shellcheck shell=bash
#
# A Kubernetes program more is a line more among the tools of go.mod; a Debian package more is a word more here.

PACKAGES=(etcd-server etcd-client kubectl)
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# Of Go itself; the version in go.mod is what Kubernetes asks for. Since 1.21 a Go fetches the one it needs.
GO_MINIMUM=1.21

KUBERNETES=$(awk '$1 == "require" { $1 = ""; $0 = $0 } $1 == "k8s.io/kubernetes" && $2 ~ /^v/ { print $2 }' "$HERE/go.mod")

# folder KIND: reads what the folder's content follows from.
folder() { printf '%s\n' "$CACHE/$1-$(sha256sum | cut -c 1-16)"; }
PROGRAMS_DIR=$(cat "$HERE/go.mod" "$HERE/go.sum" <(uname -m) | folder kubernetes)
PACKAGES_DIR=$(printf '%s\n' "${PACKAGES[@]}" "$(uname -m)" | folder debian)

check_root() {
    [[ $(id -u) -eq 0 ]] || fail "a cluster made of parts needs root, for network namespaces:" \
        "use sudo env \"PATH=\$PATH\" make ..., or install kind and Docker, which need none"
}

at_least() { printf '%s\n' "$1" "$2" | sort -V -C; }

check_go() {
    local have advice="install Go 1.26 or newer from https://go.dev/dl, or golang-go of a Debian that has $GO_MINIMUM or newer"
    command -v go >/dev/null || fail "no Go to build Kubernetes with: $advice" \
        "(Debian 12's own is too old; its backports have one: apt install -t bookworm-backports golang-go)"
    have=$(go env GOVERSION 2>/dev/null)
    at_least "$GO_MINIMUM" "${have#go}" || fail "$have is too old to build Kubernetes: $advice"
    # Debian's Go does not fetch a newer one unless told to.
    export GOTOOLCHAIN=${GOTOOLCHAIN:-auto}
}
