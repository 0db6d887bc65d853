#!/bin/sh
# Keys in the voice band: what this switch, libspandsp and multimon-ng make of the same corpus and
# of the same hours of speech and music. Prints the tables, writes them into docs/dtmf.md and raw
# results into docs/benchmarks/runs. A quarter of an hour on two cores, most of it multimon-ng.
#
# The first run installs Debian packages and prepares some 3 GB of recordings in target/dtmf.
#
# usage: scripts/dtmf.sh [--dry] [--quick] [options of `crosspoint bench dtmf`]
#   --dry    print only
#   --quick  multimon-ng hears the corpus, but not the hours of speech and music
set -eu
cd "$(dirname "$0")/.."

dry=
slow=--peer
while :; do
    case ${1:-} in
        --dry) dry=yes ;;
        --quick) slow=--slow-peer ;;
        *) break ;;
    esac
    shift
done
scripts/setup.sh build dtmf
cargo build --release --locked --quiet
work=target/dtmf
mkdir -p "$work"
gcc -O2 -Wall -o "$work/spandsp" scripts/dtmf/spandsp.c -lspandsp
gcc -O2 -Wall -o "$work/multimon" scripts/dtmf/multimon.c
scripts/dtmf/recordings.sh "$work/recordings"

# The machine by what it is, not by its name: processor and number of cores.
model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
cores=$(nproc)
machine=$(printf '%s' "${model:-$(uname -m)}-$cores-cores" |
    tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '-' | sed 's/-$//')
heading="Measured $(date +%F) by \`make dtmf\` on ${model:-$(uname -m)}, $cores cores."

# First what takes the least time: that nobody finds a key of a masked party.
printf '%s\n\n' "$heading" >"$work/masking.md"
scripts/dtmf/masking.sh "$work/spandsp" "$work/heard" >>"$work/masking.md"
cat "$work/masking.md"
[ -n "$dry" ] || scripts/dtmf/insert.sh masking "$work/masking.md" docs/dtmf.md

if [ -z "$dry" ]; then
    mkdir -p docs/benchmarks/runs
    set -- --into docs/dtmf.md \
        --heading "$heading" \
        --json "docs/benchmarks/runs/$(date +%F)-$machine-dtmf.json" "$@"
fi
# multimon-ng takes 22,050 Hz only.
wide='sox -q -V1 -t raw -r 8000 -e signed -b 16 -c 1 - -t raw -r 22050 -'
exec "${CARGO_TARGET_DIR:-target}/release/crosspoint" bench dtmf \
    --peer "spandsp=$work/spandsp" --peer "spandsp -d=$work/spandsp -d" \
    "$slow" "multimon-ng=$wide | $work/multimon" \
    --talk "$work/recordings/speech" --music "$work/recordings/music" "$@"
