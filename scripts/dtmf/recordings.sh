#!/bin/sh
# Speech and music of Debian packages as raw 16-bit samples of 8 kHz, each at five speeds:
# FOLDER/speech/NAME-SPEED.raw and FOLDER/music/NAME-SPEED.raw. What is there already stays.
#
# usage: scripts/dtmf/recordings.sh FOLDER
set -eu
folder=$1
mkdir -p "$folder/speech" "$folder/music"

# One file of all given on standard input, half a second of silence after each.
join() {
    while read -r file; do
        sox -q -V1 "$file" -t raw -r 8000 -e signed -b 16 -c 1 - pad 0 0.5
    done
}

# recording KIND NAME, file names on standard input
recording() {
    base=$folder/$2.base
    last=$folder/$1/$2-1.2.raw
    if [ ! -e "$last" ]; then
        sort | join >"$base"
        if [ ! -s "$base" ]; then
            echo "no recordings of $2" >&2
            exit 1
        fi
        for speed in 0.8 0.9 1.0 1.1 1.2; do
            out=$folder/$1/$2-$speed.raw
            sox -q -V1 -t raw -r 8000 -e signed -b 16 -c 1 "$base" \
                -t raw -r 8000 "$out.part" speed $speed
            mv "$out.part" "$out"
        done
        rm "$base"
    fi
}

# sounds PACKAGE PATTERN: its files that match
sounds() {
    dpkg -L "$1" | grep -E "$2"
}

for language in en es fr it ru; do
    sounds asterisk-core-sounds-$language-wav '\.wav$' | recording speech core-$language
done
sounds asterisk-prompt-it-menardi-wav '\.wav$' | recording speech menardi-it
sounds asterisk-prompt-es-co '\.gsm$' | recording speech prompt-es-co
sounds asterisk-prompt-fr-armelle '\.gsm$' | recording speech armelle-fr
sounds fillets-ng-data-cs '\.ogg$' | recording speech fillets-cs
sounds fillets-ng-data '/sound/.*/en/.*\.ogg$' | recording speech fillets-en
sounds ktuberling-data '/sounds/.*\.(ogg|wav)$' | recording speech ktuberling
sounds asterisk-moh-opsound-wav '\.wav$' | recording music moh
sounds fillets-ng-data '/music/.*\.ogg$' | recording music fillets
sounds singularity-music '\.ogg$' | recording music singularity
