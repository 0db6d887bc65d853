#!/usr/bin/env bash
# Makes the sounds of the built-in demo flow, src/flow/demo/*.wav: speech by flite, music of our own
# computed by sox. They are committed; run this again only to change what is said.
#
#     scripts/demo-sounds.sh [FOLDER]
#
# Needs Debian's flite and sox.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-src/flow/demo}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# As G.711 A-law at 8 kHz, which is what phones get; -R dithers alike at each run.
wire=(-R -V1)
as_wav=(-r 8000 -c 1 -e a-law)

# say NAME TEXT: without what is below the band of a phone, at -17 dBFS RMS, peaks limited.
say() {
    flite -voice slt -o "$work/$1.wav" -t "$2"
    sox "${wire[@]}" "$work/$1.wav" -r 8000 "$work/$1.8k.wav" \
        highpass 200 silence 1 0.02 0.5% reverse silence 1 0.02 0.5% reverse
    local rms
    rms=$(sox "$work/$1.8k.wav" -n stat 2>&1 | awk '/^RMS +amplitude/ { print $3 }')
    local gain
    gain=$(awk -v rms="$rms" 'BEGIN { printf "%.2f", -17 - 20 * log(rms) / log(10) }')
    sox "${wire[@]}" "$work/$1.8k.wav" "${as_wav[@]}" "$folder/$1.wav" \
        gain -l "$gain" pad 0.05 0.1
}

# chord NUMBER NOTE...: 2 s, softly struck.
chord() {
    local number=$1
    shift
    local notes=()
    for note in "$@"; do
        notes+=(pluck "$note")
    done
    sox "${wire[@]}" -n -r 8000 -c $# -b 16 "$work/chord$number.wav" \
        synth 2 "${notes[@]}" remix - fade t 0.005 2 0.15 gain -n -12
}

say welcome "Welcome to Crosspoint. Your call is handled by the built in demonstration."
say menu "To ring three agents at once, press 1. To leave a message and hear it, press 2. \
For the echo test, press 3. To wait in a queue with music, press 4."
say again "Sorry, that is not one of the choices."
say ringing "Three agents ring now. One is busy, one never answers, and one will talk to you."
say agent "Hello, this is the agent who answered first. What you hear is a recording, sent over a \
real call that was bridged to yours. The other two agents were told that they are not needed. \
Thank you for trying Crosspoint. Good bye."
say nobody "Nobody answered."
say message "Please speak after the tone, and press the hash key when you are done."
say recorded "This is what you said."
say echo "You will now hear yourself. Press any key to go back."
say queue "All our agents are busy. Please hold the line."
say waiting "Thank you for waiting. You are still in the queue."
say goodbye "Thank you for calling. Good bye."

# Eight chords of 2 s: C, A minor, F, G, twice, the second time broken up higher.
chord 1 C3 G3 C4 E4
chord 2 A2 E3 A3 C4
chord 3 F2 F3 A3 C4
chord 4 G2 G3 B3 D4
chord 5 C3 E4 G4 C5
chord 6 A2 C4 E4 A4
chord 7 F2 C4 F4 A4
chord 8 G2 D4 G4 B4
sox "${wire[@]}" "$work"/chord?.wav "${as_wav[@]}" "$folder/music.wav" gain -n -6

ls -l "$folder"/*.wav
