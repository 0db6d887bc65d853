#!/bin/bash
# What takes longer than `make test`: every fuzz target with coverage, on the stable toolchain; the
# properties with many more cases; recordings of long calls; a switch under calls that come and go,
# which must not grow; and recorders that are killed, and whose disks stall or are full.
#
# usage: scripts/soak.sh [MINUTES]        (30 unless given, about a third for each of fuzzing,
# properties and calls that come and go; recordings and recorders take about 25 more)
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-30}
third=$((minutes * 20))
scripts/setup.sh build interop

echo "== fuzzing: $third s in all"
targets=(fuzz/fuzz_targets/*.rs)
# What cargo-fuzz passes, without a sanitizer, which needs a nightly toolchain.
coverage="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage="$coverage -Cllvm-args=-sanitizer-coverage-$option"
done
# With a target named, build scripts are built without them.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="$coverage" cargo build --release --manifest-path fuzz/Cargo.toml \
    --target-dir target/fuzz --target "$host"
for target in "${targets[@]}"; do
    name=$(basename "$target" .rs)
    corpus=target/fuzz/corpus/$name
    mkdir -p "$corpus"
    # A crash leaves its input in target/fuzz and ends the soak.
    "target/fuzz/$host/release/$name" "$corpus" "testdata/fuzz/$name" \
        -artifact_prefix="target/fuzz/$name-" -max_len=4096 -rss_limit_mb=2048 \
        -max_total_time=$((third / ${#targets[@]})) -print_final_stats=1 2>&1 |
        grep -E "stat::(number_of_executed_units|peak_rss_mb)|SUMMARY|ERROR|panicked" |
        sed "s/^/$name: /"
    test "${PIPESTATUS[0]}" = 0
done

echo "== properties: with forty times the cases"
PROPTEST_CASES=10000 cargo nextest run --release --no-fail-fast \
    -E 'binary(offer_answer) + binary(/^engine_/) + binary(telephone_event) + kind(lib)'

echo "== recordings of long calls in which everything happens"
cargo nextest run --release --run-ignored only --no-capture \
    --test recording_scenario --test ng_recording_scenario --test record_track

echo "== calls that come and go: $third s"
CROSSPOINT_TEST_SOAK_S=$third cargo nextest run --release --run-ignored only \
    --no-capture --test soak

echo "== recorders: 200 kills"
CROSSPOINT_TEST_KILLS=200 cargo nextest run --release --no-capture --test record_crash

echo "== disks that stall and are full"
cargo nextest run --release --run-ignored only --no-capture \
    --test record_slow_disk --test record_full_disk
