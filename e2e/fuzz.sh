#!/usr/bin/env bash
# Fuzzes what reads manifests and what outside bytes reach in the proxy, each target for SECONDS_EACH (600); needs a nightly toolchain. A crash ends it with the input's name.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-600}
targets=("$@")
manifests=(yaml resource validate analyze)
proxy=(first_bytes http1_head http2_frames metadata_exchange peer_header forwarded path access_log_format bootstrap)
[[ ${#targets[@]} -gt 0 ]] || targets=("${manifests[@]}" "${proxy[@]}")

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz"
    cargo install --quiet --locked cargo-fuzz
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: needs a nightly toolchain: rustup toolchain install nightly" >&2
    exit 1
fi
seeds=$(mktemp -d)
trap 'rm -rf "$seeds"' EXIT
find samples api/tests docs/analysis \( -name '*.yaml' -o -name '*.md' \) -size -16k -exec cp --backup=numbered {} "$seeds" \;
find e2e/differential/configs e2e/protocol e2e/src/bin/bench/config -name '*.yaml' -size -16k -exec cp --backup=numbered {} "$seeds" \;
for target in "${targets[@]}"; do
    home=proxy more=()
    # Seeds are texts: of what reads bytes, they would only be noise.
    [[ " ${manifests[*]} " != *" $target "* ]] || home=api
    [[ $home == proxy && $target != bootstrap ]] || more=("$seeds")
    mkdir -p "target/fuzz/corpus/$target"
    (cd "$home" && cargo +nightly fuzz run --target-dir "../target/fuzz" "$target" "../target/fuzz/corpus/$target" "${more[@]}" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=4096)
done
