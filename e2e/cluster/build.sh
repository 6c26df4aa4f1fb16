#!/usr/bin/env bash
# Makes the programs of a cluster once: Kubernetes from Go modules, etcd and kubectl from Debian packages, unpacked and
# not installed. They are kept outside the tree, each kind in a folder named by what it is made of. Says nothing when
# all is there.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=parts.sh
. "$HERE/parts.sh"
# shellcheck source=kind.sh
. "$HERE/kind.sh"

# The Kubernetes programs know their version from the linker alone; clients ask for it.
version_flags() {
    local package=k8s.io/component-base/version version=${KUBERNETES#v}
    local major=${version%%.*} minor=${version#*.}
    printf -- '-s -w'
    printf -- " -X $package.%s" "gitVersion=v$version" "gitMajor=$major" "gitMinor=${minor%%.*}" \
        gitTreeState=clean buildDate=2026-01-01T00:00:00Z
}

JOB=
trap '[[ -z $JOB ]] || kill "$JOB" 2>/dev/null || true; rm -rf "${NEW:-}" "${LOG:-}"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# with_progress TITLE TOTAL COMMAND...: on a terminal a line that moves and counts the lines of the command's log.
with_progress() {
    local title=$1 total=${2:+ of $2} begun=$SECONDS turn=0 signs='-\|/'
    shift 2
    LOG=$NEW.log
    : >"$LOG"
    [[ -t 2 ]] || printf '%s\n' "cluster: $title" >&2
    "$@" >>"$LOG" 2>&1 &
    JOB=$!
    while [[ -t 2 ]] && kill -0 "$JOB" 2>/dev/null; do
        printf '\r\033[Kcluster: %s %s (%d%s, %d s)' "${signs:turn++ % 4:1}" "$title" "$(wc -l <"$LOG")" "$total" \
            $((SECONDS - begun)) >&2
        sleep 0.2
    done
    local status=0
    wait "$JOB" || status=$?
    JOB=
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
    ((status == 0)) || give_up "$title"
    printf '%s\n' "cluster: $title: done after $((SECONDS - begun)) s" >&2
}

give_up() {
    cp "$LOG" "$CACHE/failed.log"
    ! grep -q 'signal: killed' "$LOG" || printf '%s\n' "cluster: the linker needs 2.2 GB of memory" >&2
    fail "$1: failed; the end of $CACHE/failed.log:" "$(tail -n 10 "$LOG")"
}

build_programs() {
    export CGO_ENABLED=0 GOGC=400 GOWORK=off
    # Two links at once take 3.1 GB.
    local parallel=() memory packages
    memory=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
    ((memory > 6000000)) || parallel=(-p 1)
    with_progress "fetching the modules of Kubernetes $KUBERNETES" '' env -C "$HERE" go list -deps -f '{{with .Error}}{{.}}{{end}}' tool
    packages=$(env -C "$HERE" go list -deps tool | wc -l)
    with_progress "building Kubernetes $KUBERNETES, once: some minutes" "at most $packages" env -C "$HERE" nice -n 5 \
        go build -v "${parallel[@]}" -trimpath -buildvcs=false -ldflags "$(version_flags)" -o "$NEW/" tool
}

# apt with lists and a status of its own: what the machine has installed and configured neither counts nor changes.
foreign_apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$NEW/apt/sources.list" -o Dir::Etc::sourceparts=/nonexistent \
        -o Dir::State::lists="$NEW/apt/lists" -o Dir::State::status="$NEW/apt/status" -o Dir::Cache="$NEW/apt/cache" \
        -o APT::Sandbox::User=root "$@"
}

# The Debian mirror that this machine uses, if it is a Debian.
debian_mirror() {
    local uri
    # shellcheck disable=SC2016
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/$') ||
        uri=http://deb.debian.org/debian/
    echo "$uri"
}

fetch_packages() (
    mkdir -p "$NEW/apt/lists/partial" "$NEW/apt/cache/archives/partial"
    : >"$NEW/apt/status"
    echo "deb [signed-by=$KEYRING] $(debian_mirror) sid main" >"$NEW/apt/sources.list"
    cd "$NEW/apt"
    foreign_apt update
    foreign_apt download "${PACKAGES[@]}"
    for package in *.deb; do
        echo "$package"
        dpkg-deb --extract "$package" "$NEW"
    done
    rm -rf "$NEW/apt"
)

unpack_packages() {
    command -v apt-get >/dev/null || fail "no apt-get to fetch ${PACKAGES[*]} with"
    [[ -e $KEYRING ]] || fail "$KEYRING is missing: apt install debian-archive-keyring"
    with_progress "fetching ${PACKAGES[*]} from Debian" "${#PACKAGES[@]}" fetch_packages
}

# make_folder FOLDER COMMAND: the folder comes to be with all its content or not at all.
make_folder() {
    [[ ! -d $1 ]] || return 0
    NEW=$CACHE/.new-$(basename "$1")
    rm -rf "$NEW"
    mkdir "$NEW"
    "$2"
    mv "$NEW" "$1"
}

ENGINE=$(choose_engine)
[[ $ENGINE == parts ]] || exit 0
if [[ -d $PROGRAMS_DIR && -d $PACKAGES_DIR ]]; then
    touch "$PROGRAMS_DIR" "$PACKAGES_DIR"
    exit
fi
check_root
[[ -d $PROGRAMS_DIR ]] || check_go
mkdir -p "$CACHE"
exec 8>"$CACHE/.lock"
if ! flock -n 8; then
    say "waiting for another build in $CACHE"
    flock 8
fi
rm -rf "$CACHE"/.new-*
make_folder "$PACKAGES_DIR" unpack_packages
make_folder "$PROGRAMS_DIR" build_programs
# What older versions of these scripts made and nobody has used for a month.
find "$CACHE" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +
