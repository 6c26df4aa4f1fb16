#!/usr/bin/env bash
# Takes a cluster down with all that belongs to it, however it was left, and those that joined it. Safe to repeat.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=lab after='' QUIET=
while (($#)); do
    case $1 in
    --name | --after)
        (($# > 1)) || fail "$1 needs a value"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
    --quiet) QUIET=1 ;;
    *) fail "usage: $0 [--name NAME] [--after PID] [--quiet]" ;;
    esac
    shift
done
use_name "$name"

if [[ -n $after ]]; then
    owner=$(noted "$NAME" owner)
    exec 7<> <(:)
    # Reading from a pipe that says nothing waits without a process that would be left behind.
    # shellcheck disable=SC2086
    while alive $owner; do read -r -t 1 -u 7 || true; done
fi

lock
if [[ ! -d $STATE ]]; then
    say "no cluster $NAME is up"
    exit
fi
take_down "$NAME"
say "$NAME is down"
