#!/bin/sh
# Four calls by a real softphone (baresip) to number 1000 of a switch without a call flow of its own:
# one for each key of the menu that answers. Leaves in out/demo/phones what each caller heard, as
# audio and as a picture, and prints what the switch wrote down of the calls. Keys are pressed in
# the voice, as tones.
#
# usage: scripts/demo-phones.sh      (after scripts/demo.sh, which builds the switch)
set -eu
cd "$(dirname "$0")/.."

out=out/demo/phones
sounds=/usr/share/asterisk/sounds/en_US_f_Allison
crosspoint=target/release/crosspoint
sip=22240
seconds=45
rm -rf "$out"
mkdir -p "$out"

"$crosspoint" serve --ng 127.0.0.1:22232 --http 127.0.0.1:22233 --ports 22400-22599 --workers 1 \
    --sip-listen "udp:127.0.0.1:$sip" --call-records "$out/calls.sqlite" \
    --recording-dir "$out/recordings" --recording-pattern '{call}' >"$out/switch.log" 2>&1 &
switch=$!
phones=
trap 'kill $switch $phones 2>/dev/null || true' EXIT INT TERM
sleep 0.5
kill -0 "$switch" 2>/dev/null || { cat "$out/switch.log" >&2; exit 1; }

# The menu's keys with what they lead to, and the two tones of each.
press() {
    case $1 in
        1) low=697 high=1209 ;;
        2) low=697 high=1336 ;;
        3) low=697 high=1477 ;;
        4) low=770 high=1209 ;;
    esac
    sox -q -n -r 8000 -c 1 -b 16 "$2" synth 0.12 sine "$low" synth 0.12 sine mix "$high" gain -9
}

# A softphone that is silent for 8 s, presses a key, waits 5 s and speaks.
phone() {
    key=$1 name=$2
    home=$out/phone-$key
    mkdir -p "$home"
    press "$key" "$home/key.wav"
    sox -q "$home/key.wav" -r 8000 -c 1 -b 16 "$home/key-then.wav" pad 8 5
    sox -q "$sounds/demo-abouttotry.wav" -r 8000 -c 1 -b 16 "$home/speech.wav" trim 0 6 pad 0 60
    sox -q "$home/key-then.wav" "$home/speech.wav" "$home/say.wav"
    base=$((22600 + key * 20))
    cat >"$home/config" <<CONFIG
poll_method epoll
sip_listen 127.0.0.1:$base
audio_source aufile,$home/say.wav
audio_player aubridge,null
audio_alert aubridge,null
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports $((base + 4))-$((base + 11))
module_path ${BARESIP_MODULES:-/usr/lib/baresip/modules}
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
snd_path $home
CONFIG
    echo "<sip:$name@127.0.0.1>;regint=0;audio_codecs=PCMU/8000/1" >"$home/accounts"
    : >"$home/contacts"
    baresip -4 -f "$home" -t "$seconds" -e "/dial sip:1000@127.0.0.1:$sip" \
        >"$home/log" 2>&1 </dev/null &
    phones="$phones $!"
}
phone 1 three-agents
phone 2 voicemail
phone 3 echo
phone 4 queue
echo "four calls to 1000, $seconds seconds …"
for pid in $phones; do
    wait "$pid" || true
done

for key in 1 2 3 4; do
    heard=$(ls "$out/phone-$key"/*dec.wav 2>/dev/null | head -n 1)
    [ -n "$heard" ] || { echo "key $key: nothing was heard" >&2; cat "$out/phone-$key/log" >&2; exit 1; }
    mv "$heard" "$out/key-$key-hears.wav"
    sox "$out/key-$key-hears.wav" -n spectrogram -x 1200 -y 257 -z 70 -Z -20 -w Hann \
        -t "what the caller hears who presses $key after eight seconds" -c "1000 at the switch" \
        -o "$out/key-$key-hears.png"
    rm -r "$out/phone-$key"
done

# Calls are written down a moment after they end.
sleep 1
echo
echo "crosspoint calls --call-records $out/calls.sqlite says:"
"$crosspoint" calls --call-records "$out/calls.sqlite"
sid=$("$crosspoint" calls --call-records "$out/calls.sqlite" --number three-agents --json |
    sed -n '/"to":"1000"/s/.*"sid":"\([0-9a-f]*\)".*/\1/p')
echo
echo "and of the call that rang three agents:"
"$crosspoint" calls --call-records "$out/calls.sqlite" "$sid"
echo
echo "in $out:"
echo "  key-1-hears.wav  key-1-hears.png   three agents ring, one answers and talks"
echo "  key-2-hears.wav  key-2-hears.png   a message is left, and played back"
echo "  key-3-hears.wav  key-3-hears.png   an echo"
echo "  key-4-hears.wav  key-4-hears.png   music in a queue, until an agent answers"
echo "  recordings/                        the message"
