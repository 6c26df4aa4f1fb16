#!/usr/bin/env bash
# Installs what only the bench needs (wrk, h2load and nginx from Debian; Envoy is shared with the differential suite) and runs it.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-proxy}" in
proxy) ;;
analyze) exec target/release/lateen-bench-analyze ;;
*)
    echo "bench: WHAT=$1 is not known; there are: proxy, analyze" >&2
    exit 64
    ;;
esac

missing=()
for entry in wrk:wrk h2load:nghttp2-client nginx:nginx-light openssl:openssl taskset:util-linux; do
    PATH="$PATH:/usr/sbin" command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
done
if ((${#missing[@]})); then
    echo "bench: installing ${missing[*]}"
    as_root=()
    [[ $(id -u) -eq 0 ]] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
envoy=$(e2e/differential/envoy.sh)
PATH="$PATH:/usr/sbin" exec target/release/lateen-bench --envoy "$envoy"
