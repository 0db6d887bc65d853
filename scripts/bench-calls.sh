#!/bin/sh
# Calls by SIP against the embedded user agent: SIPp calls a flow that answers with music, at a
# steady rate, each for a second. Prints failures, the time from INVITE to 200, and what the switch
# takes and keeps in memory.
#
# usage: scripts/bench-calls.sh [RATE] [CALLS]      (calls per second, default 200; default 2000)
set -eu
cd "$(dirname "$0")/.."
rate=${1:-200}
calls=${2:-2000}
sip=22700
crosspoint=${CROSSPOINT:-target/release/crosspoint}
home=$(mktemp -d)
switch=
trap 'kill $switch 2>/dev/null || true; rm -rf "$home"' EXIT INT TERM

mkdir "$home/flows"
cat >"$home/flows/load.toml" <<FLOW
numbers = ["100"]
start = "music"
[applet.music]
applet = "play"
prompt = "builtin:music"
times = 10
FLOW
printf '[sip]\ncalls-per-second = 100000\n' >"$home/settings.toml"
"$crosspoint" serve --config "$home/settings.toml" --ng 127.0.0.1:22701 --http 127.0.0.1:22702 \
    --sip-listen "udp:127.0.0.1:$sip" --flow-dir "$home/flows" --ports 30000-39999 \
    --call-records "$home/calls.sqlite" >"$home/log" 2>&1 &
switch=$!
sleep 1
kill -0 "$switch" || { cat "$home/log" >&2; exit 1; }

# What it holds: resident memory in kB, CPU time in clock ticks, descriptors.
held() {
    rss=$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$switch/status")
    cpu=$(awk '{ print $14 + $15 }' "/proc/$switch/stat")
    echo "$rss $cpu $(ls "/proc/$switch/fd" | wc -l)"
}
sed 's/@USER@/100/g; s/@TALK_MS@/1000/' testdata/sipp/load-caller.xml >"$home/load.xml"
before=$(held)
(cd "$home" && sipp "127.0.0.1:$sip" -sf load.xml -i 127.0.0.1 -mi 127.0.0.1 -p 22710 -mp 22720 \
    -r "$rate" -m "$calls" -l 100000 -nostdin -trace_rtt -rtt_freq 1 -trace_stat \
    -timeout 600s -timeout_error >sipp.log 2>&1) && failed=0 || failed=$?
sleep 3
after=$(held)

# Milliseconds from INVITE to 200, sorted.
cat "$home"/load_*_rtt.csv | awk -F ';' '$3 ~ /answer/ { print $2 }' | sort -n >"$home/answers"
at() { awk -v p="$1" '{ v[NR] = $1 } END { i = int(NR * p + 0.999); print v[i < 1 ? 1 : i] }' "$home/answers"; }
set -- $before $after
echo "calls                 $calls at $rate per second"
echo "SIPp's exit status    $failed (0: no call failed)"
echo "answered              $(wc -l <"$home/answers")"
echo "INVITE to 200, ms     p50 $(at 0.5), p99 $(at 0.99), worst $(at 1)"
echo "CPU per call, ms      $(awk -v t=$(($5 - $2)) -v n="$calls" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", 1000 * t / hz / n }')"
echo "memory, kB            $1 before, $4 after"
echo "descriptors           $3 before, $6 after"
curl -s http://127.0.0.1:22702/metrics |
    grep -E '^crosspoint_(sip_calls|sip_dialogs|sip_transactions|calls|ports_used[^ ]*) ' || true
[ "$failed" -eq 0 ]
