#!/bin/sh
# Calls by SIP against the embedded user agent, which shares the machine with SIPp: raw figures for
# docs/benchmarks.
#
# usage: scripts/bench-calls.sh rate [RATE] [CALLS]
#        scripts/bench-calls.sh bridged [CALLS]
#
#   rate      a flow that answers with music, at RATE calls per second (200) till there were CALLS
#             (2000), each for a second
#   bridged   CALLS (1000) calls at once, connected to SIPp as the callee: both sides send 50
#             packets per second, for half a minute after the last call is answered
set -eu
cd "$(dirname "$0")/.."
mode=${1:-rate}
sip=22700
crosspoint=${CROSSPOINT:-target/release/crosspoint}
home=$(mktemp -d)
switch= sampler= callee=
# The switch waits for its calls to end when it is asked to.
trap 'kill -9 $switch $sampler $callee 2>/dev/null || true; rm -rf "$home"' EXIT INT TERM
case $mode in
    rate) rate=${2:-200} calls=${3:-2000} ;;
    bridged) rate=50 calls=${2:-1000} ;;
    *) sed -n '5,6p' "$0" >&2; exit 2 ;;
esac

mkdir "$home/flows"
cat >"$home/flows/load.toml" <<FLOW
numbers = ["100"]
start = "music"
[applet.music]
applet = "play"
prompt = "builtin:music"
times = 10
FLOW
cat >"$home/flows/bridged.toml" <<FLOW
numbers = ["200"]
start = "agent"
[applet.agent]
applet = "connect"
to = ["sip:agent@127.0.0.1:22730"]
FLOW
printf '[sip]\ncalls-per-second = 100000\n' >"$home/settings.toml"
"$crosspoint" serve --config "$home/settings.toml" --ng 127.0.0.1:22701 --http 127.0.0.1:22702 \
    --sip-listen "udp:127.0.0.1:$sip" --flow-dir "$home/flows" --ports 30000-39999 \
    --call-records "$home/calls.sqlite" >"$home/log" 2>&1 &
switch=$!
sleep 1
kill -0 "$switch" || { cat "$home/log" >&2; exit 1; }

metric() { curl -s http://127.0.0.1:22702/metrics | awk -v n="crosspoint_$1" '$1 == n { print $2 }'; }

# What it holds: resident memory in kB, CPU time in clock ticks, descriptors.
held() {
    rss=$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$switch/status")
    cpu=$(awk '{ print $14 + $15 }' "/proc/$switch/stat")
    echo "$rss $cpu $(ls "/proc/$switch/fd" | wc -l)"
}

# Each second: calls let in so far, those at the moment, and what it holds.
sample() {
    while sleep 1; do
        echo "$(metric sip_let_in_total) $(metric sip_calls) $(held)"
    done
}
phone() { sipp -nostdin -i 127.0.0.1 -mi 127.0.0.1 -timeout 600s -timeout_error "$@"; }

before=$(held)
sample >"$home/samples" &
sampler=$!
case $mode in
    rate)
        sed 's/@USER@/100/g; s/@TALK_MS@/1000/' testdata/sipp/load-caller.xml >"$home/load.xml"
        (cd "$home" && phone "127.0.0.1:$sip" -sf load.xml -p 22710 -mp 22720 -r "$rate" \
            -m "$calls" -l 100000 -trace_rtt -rtt_freq 1 >sipp.log 2>&1) && failed=0 || failed=$?
        ;;
    bridged)
        streams='<nop><action><exec rtp_stream="speech.wav,-1,0"\/><\/action><\/nop>'
        port='s/\[\(auto_media_port+8\|media_port\)\]/[rtpstream_audio_port]/'
        sed -e "$port" -e "s/<action>.*<\/action><\/recv>/<\/recv>$streams/" \
            testdata/sipp/callee.xml >"$home/callee.xml"
        sed -e "$port" -e "s/^ *<pause/$streams&/" -e 's/@USER@/200/g' \
            -e "s/@TALK_MS@/$((30000 + calls * 1000 / rate))/" \
            testdata/sipp/load-caller.xml >"$home/load.xml"
        ffmpeg -v error -f lavfi -i 'sine=700:duration=10' -ar 8000 -ac 1 -c:a pcm_mulaw \
            "$home/speech.wav"
        (cd "$home" && exec sipp -nostdin -i 127.0.0.1 -mi 127.0.0.1 -sf callee.xml -p 22730 \
            -mp 50000 -timeout 600s >callee.log 2>&1) &
        callee=$!
        (cd "$home" && phone "127.0.0.1:$sip" -sf load.xml -p 22710 -mp 40000 \
            -r "$rate" -m "$calls" -l 100000 -trace_rtt -rtt_freq 1 \
            >sipp.log 2>&1) && failed=0 || failed=$?
        ;;
esac
sleep 3
kill "$sampler" $callee
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
if [ "$mode" = bridged ]; then
    echo "talking at once       $(awk 'NF == 5 && $2 > m { m = $2 } END { print m }' "$home/samples")"
    echo "while all talked      $(awk -v n="$calls" '$2 == n { if (!t++) c = $4; d = $4 } END { printf "CPU %.2f cores", (d - c) / (t - 1) / hz }' hz="$(getconf CLK_TCK)" "$home/samples")"
    sqlite3 -separator ' ' "$home/calls.sqlite" "SELECT direction, 'legs ' || count(*), 'packets ' || sum(received), 'lost ' || sum(lost), 'jitter at most ' || max(jitter_us) || ' us',
        'MOS at least ' || round(min(mos), 2), 'silent ' || sum(silent) FROM legs
        GROUP BY direction"
    echo "packets               $(metric packets_in_total) in, $(metric packets_out_total) out"
fi
echo "descriptors           $3 before, $6 after"
echo "memory, kB            $1 before, $4 after; after so many calls:"
awk -v n="$calls" 'NF == 5 && $1 >= n * k / 10 { print "  " $1, $3; k++ }' k=1 "$home/samples"
for name in sip_calls sip_dialogs sip_transactions calls; do
    echo "left: $name  $(metric "$name")"
done
[ "$failed" -eq 0 ]
