#!/usr/bin/env bash
# Fuzzes what reads manifests and what outside bytes reach in the proxy, each target for SECONDS_EACH (600); needs a
# nightly toolchain. A crash ends it with the input's name. Arguments are names of targets; without any all run.
# SANITIZER=address builds with the address sanitizer, and optimized: much longer, and only `unsafe` code of others can
# gain by it.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-600}
targets=("$@")
manifests=(yaml resource validate analyze)
proxy=(first_bytes http1_head http1_stream http2_frames certificate forwarded path rewrite peer_header metadata_exchange trace_context
    session jwt cel grpc_web service_answers load_report name_server access_log_format admin_query bootstrap resources)
[[ ${#targets[@]} -gt 0 ]] || targets=("${manifests[@]}" "${proxy[@]}")
build=(--dev --sanitizer none)
[[ ${SANITIZER:-none} == none ]] || build=(--sanitizer "$SANITIZER")

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz"
    cargo install --quiet --locked cargo-fuzz
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: needs a nightly toolchain: rustup toolchain install nightly" >&2
    exit 1
fi
out=$PWD/target/fuzz
seeds=$(mktemp -d)
trap 'rm -rf "$seeds"' EXIT
mkdir "$seeds/manifests" "$seeds/bootstraps" "$seeds/none"
find samples api/tests docs/analysis \( -name '*.yaml' -o -name '*.md' \) -size -16k -exec cp --backup=numbered {} "$seeds/manifests" \;
find e2e/differential/configs e2e/protocol -name '*.yaml' -size -16k -exec cp --backup=numbered {} "$seeds/bootstraps" \;
# What the suites fill in.
sed -i -E 's/@(LISTEN|UPSTREAM|CLOSED|ADMIN):[^@]*@/1/g; s/@ACCESS_LOG@/[]/g; s/@(CERTS|DIR|LOG|SPKI:[^@]*|HASH:[^@]*)@/none/g; s/: @[a-z]+@/: 1/g' "$seeds"/bootstraps/*
for target in "${targets[@]}"; do
    home=proxy more=none
    [[ " ${manifests[*]} " != *" $target "* ]] || home=api more=manifests
    [[ $target != bootstrap ]] || more=bootstraps
    corpus=$out/corpus/$target
    mkdir -p "$corpus"
    unset LATEEN_SEEDS
    # Resources are protobuf: the target makes its seeds of the bootstraps itself.
    [[ $target != resources ]] || export LATEEN_SEEDS=$seeds/bootstraps:$corpus
    words=()
    [[ ! -f $home/fuzz/dict/$target.dict ]] || words=("-dict=fuzz/dict/$target.dict")
    echo "fuzz: $target for $seconds s"
    (cd "$home" && cargo +nightly fuzz run --fuzz-dir fuzz "${build[@]}" --target-dir "$out" "$target" "$corpus" "$seeds/$more" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 "${words[@]}")
done
