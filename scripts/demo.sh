#!/bin/sh
# A two-party call with recorded speech through the switch: what each side hears, as audio, as a
# picture and as a table, in out/demo; and what the switch recorded of it. At its end both press
# keys, one as telephone-events and one as tones. Not so with --ng: another switch may not tell of
# keys, and records elsewhere.
#
# usage: scripts/demo.sh [--ng ADDR]      (default: builds and starts the switch itself)
set -eu
cd "$(dirname "$0")/.."

out=out/demo
sounds=/usr/share/asterisk/sounds/en_US_f_Allison
ng=
case "${1:-}" in
    --ng) ng=${2:?--ng needs an address} ;;
    '') ;;
    *) echo "usage: $0 [--ng ADDR]" >&2; exit 2 ;;
esac

scripts/setup.sh build demo
cargo build --release --locked
crosspoint=target/release/crosspoint
mkdir -p "$out"
rm -rf "$out/phones"
rm -f "$out"/*.wav "$out"/*.png "$out"/table.txt "$out"/switch.log
rm -rf "$out/recordings"

# Two different texts of about 16 s: the speech comes from a Debian package and is not copied into
# this repository.
say() {
    target=$1
    shift
    sox "$@" -r 8000 -c 1 -b 16 "$out/$target"
}
say caller-says.wav "$sounds/demo-abouttotry.wav" "$sounds/auth-thankyou.wav"
say callee-says.wav "$sounds/demo-moreinfo.wav" "$sounds/vm-goodbye.wav"

keys=
if [ -z "$ng" ]; then
    keys=159#
    ng=127.0.0.1:22230
    "$crosspoint" serve --ng "$ng" --http 127.0.0.1:22231 --interface default/127.0.0.1 \
        --ports 22300-22399 --workers 1 --sip-listen off \
        --recording-dir "$out/recordings" --recording-pattern call >"$out/switch.log" 2>&1 &
    switch=$!
    trap 'kill "$switch" 2>/dev/null || true' EXIT INT TERM
    # The call's own requests are repeated until answered, so no waiting for a ready switch; but
    # one that is gone already should be told.
    sleep 0.3
    kill -0 "$switch" 2>/dev/null || { cat "$out/switch.log" >&2; exit 1; }
fi

heard=yes
"$crosspoint" call --ng "$ng" --caller "$out/caller-says.wav" --callee "$out/callee-says.wav" \
    ${keys:+--keys "$keys" --record} --out "$out" --table "$out/table.txt" || heard=no

# A recording has its name once it is complete: a moment after the call.
recorded=$out/recordings/call.wav
tries=50
while [ -n "$keys" ] && [ ! -e "$recorded" ] && [ "$tries" -gt 0 ]; do
    sleep 0.1
    tries=$((tries - 1))
done

# Top: what one side says. Bottom: what arrives at the other. They should look the same.
draw() {
    speaker=$1 listener=$2
    [ -s "$out/$listener-hears.wav" ] || return 0
    sox -M "$out/$speaker-says.wav" "$out/$listener-hears.wav" -n spectrogram \
        -x 1200 -y 257 -z 70 -Z -20 -w Hann \
        -t "top: what the $speaker says     bottom: what the $listener hears" \
        -c "PCMU through the switch, placed by RTP timestamp" \
        -o "$out/$listener-hears.png"
}
draw callee caller
draw caller callee

echo
echo "in $out:"
echo "  caller-hears.wav  callee-hears.wav   listen to them, e.g. play $out/caller-hears.wav"
echo "  caller-hears.png  callee-hears.png   said above, heard below"
echo "  table.txt                            the table above"
[ -z "$keys" ] || echo "  recordings/call.wav  call.png        what the switch recorded: caller left, callee right"
if [ -n "$keys" ] && [ -s "$out/caller-hears.wav" ]; then
    echo "crosspoint dtmf $out/caller-hears.wav says:"
    "$crosspoint" dtmf "$out/caller-hears.wav"
fi
if [ -n "$keys" ]; then
    echo
    echo "crosspoint recording show $recorded says:"
    "$crosspoint" recording show "$recorded" --plot "$out/call.png" || heard=no
fi
[ "$heard" = yes ]
