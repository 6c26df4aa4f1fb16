# What the scripts of this folder share: places, messages, the lock, the processes of a cluster. Sourced, not run.
# shellcheck shell=bash

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${LATEEN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lateen}/cluster
if [[ $(id -u) -eq 0 ]]; then RUN=/run/lateen-cluster; else RUN=${XDG_RUNTIME_DIR:-/tmp/lateen-$(id -u)}/lateen-cluster; fi
# Seconds in which each step of a start must be over; a busy machine needs many times what an idle one does.
DEADLINE=120

say() { [[ -n ${QUIET:-} ]] || printf '%s\n' "cluster: $*" >&2; }
fail() {
    printf '%s\n' "cluster: $1" >&2
    (($# < 2)) || printf '  %s\n' "${@:2}" >&2
    exit 1
}

check_name() {
    [[ $1 =~ ^[a-z]([a-z0-9-]{0,11}[a-z])?$ ]] ||
        fail "\"$1\" is no name for a cluster: up to 13 characters of a-z, 0-9 and -, the first and the last a letter" \
            "(interfaces and namespaces are named after it, with a number behind)"
}

# Everything known of a cluster lies in one folder, so that any later run can take it down.
use_name() {
    check_name "$1"
    NAME=$1 STATE=$RUN/$1
}
noted() { cat "$RUN/$1/$2" 2>/dev/null || true; }
note() { printf '%s\n' "$2" >"$STATE/$1"; }

# One up or down at a time, for all clusters: both change the network that joined clusters share.
lock() {
    mkdir -p "$RUN"
    chmod 700 "$RUN"
    exec 9>"$RUN/.lock"
    flock -n 9 && return
    say "waiting for another start or end of a cluster"
    flock -w 600 9 || fail "another start or end of a cluster has held $RUN/.lock for ten minutes"
}
unlock() { exec 9>&-; }

# PID and start time together name a process for as long as the machine is up.
started() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    read -r -a stat <<<"${stat##*) }"
    [[ ${stat[0]} != Z ]] && printf '%s\n' "${stat[19]}"
}
alive() { [[ -n ${2:-} && $(started "$1") == "$2" ]]; }

# spawn NAME COMMAND...: a process of the cluster, which outlives this script. It notes itself before it becomes the
# command, so that no moment exists at which it runs unknown.
spawn() {
    local name=$1
    shift
    # shellcheck disable=SC2016
    setsid bash -c 'read -r -a stat </proc/$$/stat; echo "$$ ${stat[21]} $1" >>"$2"; exec "${@:3}"' \
        spawn "$name" "$STATE/processes" "$@" </dev/null >"$STATE/$name.log" 2>&1 9>&- &
    disown # its end is no news for this shell
}

# The first noted process that has ended, if one has.
ended() {
    local pid start name
    while read -r pid start name; do
        alive "$pid" "$start" || { echo "$name" && return; }
    done < <(noted "$NAME" processes)
}

# wait_for PROCESS COMMAND...: until the command, which asks whether it is ready, succeeds.
wait_for() {
    local process=$1 dead deadline=$((SECONDS + DEADLINE))
    shift
    until "$@" >/dev/null 2>&1; do
        dead=$(ended)
        [[ -z $dead ]] || fail "$dead has ended; the end of its log:" "$(tail -n 5 "$STATE/$dead.log" | cut -c 1-500)"
        ((SECONDS < deadline)) || fail "$process was not ready within $DEADLINE s; the end of its log:" \
            "$(tail -n 5 "$STATE/$process.log" | cut -c 1-500)"
        sleep 0.05
    done
}

# Kills what is noted and waits until it is gone. Nothing of a cluster is worth an orderly end.
stop_processes() {
    local pid start name deadline=$((SECONDS + 30)) left=1
    while ((left)); do
        left=0
        while read -r pid start name; do
            [[ $pid != "$$" ]] || continue
            alive "$pid" "$start" || continue
            kill -KILL "$pid" 2>/dev/null || true
            left=1
        done < <(noted "$NAME" processes)
        ((!left)) || sleep 0.02
        ((SECONDS < deadline)) || fail "processes of the cluster $NAME do not end: see $STATE/processes"
    done
}

clusters() {
    local folder
    for folder in "$RUN"/*/; do
        [[ ! -d $folder ]] || basename "$folder"
    done
}

# take_down NAME: ends a cluster and those that joined it, whole or half-made, and forgets it. Needs the lock.
take_down() {
    local other
    [[ -d $RUN/$1 ]] || return 0
    for other in $(clusters); do
        [[ $other == "$1" || $(noted "$other" outside) != "$1" ]] || take_down "$other"
    done
    (
        use_name "$1"
        stop_processes
        if [[ $(noted "$1" engine) == kind ]]; then
            kind delete cluster --quiet --name "lateen-$1"
        else
            remove_network
        fi
        rm -rf "$STATE"
    )
}

# Takes down the clusters whose owner is gone without having done it.
sweep() {
    local name owner
    for name in $(clusters); do
        owner=$(noted "$name" owner)
        # shellcheck disable=SC2086
        if [[ -n $owner ]] && ! alive $owner; then
            say "taking down $name, which an interrupted run has left"
            take_down "$name"
        fi
    done
}

# shellcheck source=network.sh
. "$HERE/network.sh"
