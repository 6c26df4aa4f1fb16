#!/usr/bin/env bash
# Installs h2spec 2.2.1 (the newest in Go modules) outside the tree, once, and prints where its binary is.
set -euo pipefail
VERSION=2.2.1
CACHE=${LATEEN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lateen}/h2spec/$VERSION

if [[ ! -x $CACHE/h2spec ]]; then
    mkdir -p "$CACHE"
    exec 9>"$CACHE.lock"
    flock 9
    if [[ ! -x $CACHE/h2spec ]]; then
        echo "h2spec: installing h2spec $VERSION (github.com/summerwind/h2spec), once" >&2
        GOFLAGS=-mod=mod GOBIN=$CACHE \
            go install "github.com/summerwind/h2spec/cmd/h2spec@v$VERSION+incompatible" >&2
    fi
fi
echo "$CACHE/h2spec"
