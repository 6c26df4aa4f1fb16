#!/usr/bin/env bash
# Fuzzes what reads manifests, each target for SECONDS_EACH (600); needs a nightly toolchain. A crash ends it with the input's name.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-600}
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(yaml resource validate analyze)

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
for target in "${targets[@]}"; do
    mkdir -p "target/fuzz/corpus/$target"
    (cd api && cargo +nightly fuzz run --target-dir ../target/fuzz "$target" "../target/fuzz/corpus/$target" "$seeds" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=4096)
done
