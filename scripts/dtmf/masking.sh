#!/bin/sh
# What others receive of a party whose keys are masked, and what recordings hold, by three detectors:
# ours and a plain one in the test itself, and libspandsp with and without its dial tone filter. In
# each scene 1,000 presses of 40 to 300 ms, in turn in the audio and as telephone-events, between
# recorded speech. Prints the table for docs/dtmf.md, and fails where a key is found, or where
# spandsp finds none unmasked.
#
# usage: scripts/dtmf/masking.sh SPANDSP FOLDER      (SPANDSP: the program scripts/dtmf.sh builds)
set -eu
spandsp=$1
heard=$2
rm -rf "$heard"
mkdir -p "$heard"
heard=$(cd "$heard" && pwd)
speech=$(dirname "$(ls /usr/share/asterisk/sounds/en_*/vm-goodbye.wav | head -n 1)")
CROSSPOINT_PRESSES=1000 CROSSPOINT_SPEECH=$speech CROSSPOINT_HEARD=$heard \
    cargo test --release --locked --quiet --test engine_mask -- --nocapture >"$heard/log" 2>&1 || {
    tail -n 40 "$heard/log" >&2
    exit 1
}
failed=
# Prints a row about what some got, by the names of their files.
row() {
    # In zero and random the keys that were pressed are others than those put in their place.
    case $1 in
        zero) wrong='^[^0]' ;;
        random) wrong='^[^0-9]' ;;
        *) wrong='^.' ;;
    esac
    files=0 plain=0 filtered=0
    for file in "$heard/$1"-*-"$3"*.s16; do
        files=$((files + 1))
        plain=$((plain + $("$spandsp" <"$file" | grep -c "$wrong" || true)))
        filtered=$((filtered + $("$spandsp" -d <"$file" | grep -c "$wrong" || true)))
    done
    presses=1000
    [ "$1" = pass ] && presses=200
    echo "| $1 | $2 | $files | $presses | $plain | $filtered |"
    case $1 in
        pass) [ "$plain" -ge $((files * 80)) ] || failed=yes ;;
        *) [ "$plain$filtered" = 00 ] || failed=yes ;;
    esac
}
echo "| masking | who hears | of them | presses | spandsp | spandsp -d |"
echo "| --- | --- | --- | --- | --- | --- |"
for mode in pass absorb silence tone zero random; do
    row "$mode" listeners to
    row "$mode" "channels of recordings" recorded-
done
if [ -n "$failed" ]; then
    echo "a key was found that was masked, or none where nothing is" >&2
    exit 1
fi
