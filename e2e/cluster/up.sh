#!/usr/bin/env bash
# Starts a Kubernetes cluster for tests and development.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=parts.sh
. "$HERE/parts.sh"
# shellcheck source=control.sh
. "$HERE/control.sh"
# shellcheck source=kind.sh
. "$HERE/kind.sh"

usage() {
    cat <<EOF
usage: $0 [--name NAME] [--size control] [--join OTHER] [--owner PID] [--quiet]

  --name NAME     what the cluster is called (lab)
  --size control  etcd, API server and controller manager; nothing else exists yet
  --join OTHER    put it on the network of the cluster OTHER, so that clients there reach both
  --owner PID     take it down when this process ends
  --quiet         print the cluster's folder and nothing else
EOF
}

name=lab size=control join='' owner='' QUIET=
while (($#)); do
    case $1 in
    --name | --size | --join | --owner)
        (($# > 1)) || fail "$1 needs a value"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
    --quiet) QUIET=1 ;;
    --help | -h) usage; exit ;;
    *) usage >&2; fail "unknown argument $1" ;;
    esac
    shift
done
[[ $size == control ]] || fail "SIZE=$size does not exist: control does (etcd, API server, controller manager; no nodes)"
[[ -z $join ]] || check_name "$join"
use_name "$name"

check_machine() {
    check_root
    local program missing=()
    for program in ip nsenter unshare setsid flock openssl curl; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    ((!${#missing[@]})) || fail "missing: ${missing[*]}: run make setup"
    unshare --net --mount true 2>/dev/null ||
        fail "root may not make namespaces here: in a container, start it with --privileged or --cap-add SYS_ADMIN,NET_ADMIN"
}

# Names what is started, so that all that follows can be found again, and who may leave it behind.
begin_state() {
    mkdir -m 700 "$STATE"
    note engine "$ENGINE"
    [[ -z $owner ]] || note owner "$owner $OWNER_START"
    OUTSIDE=$NAME
    if [[ -n $join ]]; then
        OUTSIDE=$(noted "$join" outside)
        [[ -n $OUTSIDE ]] || fail "no cluster $join is up to join"
    fi
    SLOT=$(free_slot "$OUTSIDE")
    plan_addresses
    note slot "$SLOT"
    note outside "$OUTSIDE"
    [[ -z $owner ]] || spawn watcher "$HERE/down.sh" --name "$NAME" --after "$owner"
}

start_parts() {
    [[ -n $join ]] || lay_outside
    lay_node 1
    start_control_plane
}

# Both a person and a test run their clients through this: where the cluster is reached, with its kubeconfig.
write_runner() {
    local enter='' path=
    if [[ $ENGINE == parts ]]; then
        enter="nsenter --net=/run/netns/${OUTSIDE}0 "
        path=$PACKAGES_DIR/usr/bin
        note path "$path"
    fi
    cat >"$STATE/run" <<EOF
#!/bin/sh
# Runs a command where the cluster $NAME is reached, with access to it.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export KUBECONFIG='$STATE/kubeconfig' KUBECACHEDIR='$STATE/kubectl' PATH="${path:+$path:}\$PATH"
exec $enter"\$@"
EOF
    chmod +x "$STATE/run"
}

report() {
    if [[ -n $QUIET ]]; then
        echo "$STATE"
        return
    fi
    cat <<EOF
The cluster $NAME is up ($SIZE_TEXT).
  kubeconfig   $STATE/kubeconfig (context $NAME)
  run a client $STATE/run kubectl get namespaces
EOF
    [[ $ENGINE != parts ]] || cat <<EOF
  or by hand   nsenter --net=/run/netns/$(noted "$NAME" outside)0 kubectl --kubeconfig $STATE/kubeconfig get namespaces
  logs         $STATE/*.log
EOF
    echo "  end it       make cluster-down NAME=$NAME"
}

ENGINE=$(choose_engine)
SIZE_TEXT="etcd, API server and controller manager, no nodes"
[[ $ENGINE == parts ]] || SIZE_TEXT="kind"
if [[ $ENGINE == parts ]]; then
    check_machine
    "$HERE/build.sh"
fi
if [[ -n $owner ]]; then
    OWNER_START=$(started "$owner") || fail "no process $owner to own the cluster"
fi
# Nothing here is reached through a proxy.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

lock
sweep
if [[ -e $STATE/ready ]] && [[ -z $(ended) ]]; then
    [[ -z $owner ]] || fail "a cluster $NAME is up already"
    say "up already"
    report
    exit
fi
[[ ! -d $STATE ]] || say "taking down what is left of $NAME"
take_down "$NAME"

begun=$EPOCHREALTIME
trap 'take_down "$NAME"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
begin_state
"start_$ENGINE"
write_runner
note ready "$(date +%s)"
trap - EXIT INT TERM
say "started in $(((${EPOCHREALTIME/[.,]/} - ${begun/[.,]/}) / 1000)) ms"
report
