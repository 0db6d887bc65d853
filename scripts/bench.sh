#!/bin/sh
# Measures the switch against rtpengine on this machine and keeps the raw results in
# docs/benchmarks/runs/DATE-machine-*.json.
#
# usage: scripts/bench.sh [options of `crosspoint bench relay`, for example --runs 5]
set -eu
cd "$(dirname "$0")/.."

scripts/setup.sh build bench
cargo build --release --locked

# The machine by what it is, not by its name: processor and number of cores.
model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
machine=$(printf '%s' "${model:-$(uname -m)}-$(nproc)-cores" |
    tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '-' | sed 's/-$//')
base=docs/benchmarks/runs/$(date +%F)-$machine
mkdir -p docs/benchmarks/runs

target/release/crosspoint bench relay --json "$base-relay.json" "$@"
echo
target/release/crosspoint bench relay --calls 500 --json "$base-relay-500.json"
echo
target/release/crosspoint bench setup --json "$base-setup.json"
for codec in pcma g722 opus; do
    echo
    target/release/crosspoint bench transcode --codec $codec --json "$base-transcode-$codec.json"
done
echo
target/release/crosspoint bench rooms --parties 1002 --json "$base-rooms-1002-by-3.json"
echo
target/release/crosspoint bench rooms --parties 500 --room 500 --loudest 4 \
    --json "$base-rooms-500.json"
echo
target/release/crosspoint bench rooms --parties 2000 --room 1000 --music \
    --json "$base-rooms-music-2000.json"

# Recordings, on this disk and in memory.
mkdir -p target/recordings
for place in target/recordings /dev/shm; do
    echo
    target/release/crosspoint bench recording --dir $place \
        --json "$base-recording-$(stat -f -c %T $place | tr -cd 'a-z0-9').json"
done
echo
target/release/crosspoint bench recording --load frames --dir target/recordings \
    --json "$base-recording-frames.json"
for rate in 8000 16000; do
    for layout in '' --mono; do
        echo
        target/release/crosspoint bench recording --load opus --rate $rate $layout \
            --dir target/recordings --json "$base-recording-opus-$rate${layout#-}.json"
    done
done

# Calls by SIP, which share the machine with SIPp.
for load in 'rate 700 50000' 'bridged 1000'; do
    echo
    file=$base-sip-${load%% *}.txt
    # shellcheck disable=SC2086  # its words are arguments
    scripts/bench-calls.sh $load >"$file" || { cat "$file"; exit 1; }
    cat "$file"
done
