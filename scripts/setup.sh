#!/bin/sh
# Installs the Debian packages that the build, the demo, the benchmarks and the interoperability
# tests use.
# Says nothing and needs no privilege when everything is there already.
#
# usage: scripts/setup.sh [build] [demo] [bench] [interop] [quality] [dtmf]
#        (default: all but quality and dtmf)
set -eu

packages() {
    case "$1" in
        # Opus, and what tells the build where it is.
        build) echo libopus-dev pkg-config ;;
        # Speech (Allison Smith, CC BY-SA 3.0), what cuts and draws it, and a softphone.
        demo) echo sox asterisk-core-sounds-en-wav baresip-core ;;
        # The peer, and the tools that keep both switches on one CPU.
        bench) echo rtpengine-daemon util-linux sip-tester sqlite3 ffmpeg curl ;;
        # A SIP proxy, a SIP load tester, and players of recordings.
        interop) echo kamailio sip-tester baresip-core ffmpeg sox opus-tools ;;
        # Speech in five languages (CC BY-SA 3.0), narrow and wide band, a compiler for PESQ, and
        # Python to run it.
        quality)
            for language in en es fr it ru; do
                echo "asterisk-core-sounds-$language-wav asterisk-core-sounds-$language-g722"
            done
            echo gcc libc6-dev
            # Any other Python with venv does too.
            python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
            ;;
        # Other receivers of keys, a compiler for what joins them, and hours of speech and music in
        # which there are none.
        dtmf)
            echo gcc libc6-dev libspandsp-dev multimon-ng sox
            for language in en es fr it ru; do
                echo "asterisk-core-sounds-$language-wav"
            done
            echo asterisk-prompt-it-menardi-wav asterisk-prompt-es-co asterisk-prompt-fr-armelle
            echo fillets-ng-data fillets-ng-data-cs ktuberling-data
            echo asterisk-moh-opsound-wav singularity-music
            ;;
        *) echo "usage: $0 [build] [demo] [bench] [interop] [quality] [dtmf]" >&2; exit 2 ;;
    esac
}

# By what it is for, not by its name: other distributions and people's own builds count too.
installed() {
    case "$1" in
        asterisk-core-sounds-*)
            form=${1##*-}
            language=${1#asterisk-core-sounds-}
            set -- /usr/share/asterisk/sounds/"${language%-*}"_*/vm-goodbye."$form"
            [ -e "$1" ]
            ;;
        libspandsp-dev)
            ls /usr/include/spandsp.h /usr/include/*/spandsp.h 2>/dev/null | grep -q .
            ;;
        # The scripts ask the package manager for their files.
        asterisk-prompt-* | asterisk-moh-* | fillets-* | ktuberling-* | singularity-*)
            dpkg -L "$1" >/dev/null 2>&1
            ;;
        libc6-dev) [ -e /usr/include/stdio.h ] ;;
        python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        libopus-dev) pkg-config --exists opus 2>/dev/null ;;
        rtpengine-daemon) command -v rtpengine >/dev/null ;;
        baresip-core) command -v baresip >/dev/null ;;
        sip-tester) command -v sipp >/dev/null ;;
        opus-tools) command -v opusinfo >/dev/null ;;
        util-linux) command -v taskset >/dev/null && command -v chrt >/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Debian leaves these out of an ordinary user's path, and puts daemons there.
PATH=$PATH:/usr/sbin:/sbin

[ $# -gt 0 ] || set -- build demo bench interop
missing=
for group in "$@"; do
    for package in $(packages "$group"); do
        installed "$package" || missing="$missing $package"
    done
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "please install what these Debian packages hold:$missing" >&2
    exit 1
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    if ! command -v sudo >/dev/null; then
        echo "please run as root: apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
fi
# Once per package, however often it is named.
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
echo "installing: $missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
install() {
    # tshark asks whether ordinary users may capture: no is the default and fine.
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends $missing >"$log" 2>&1
}
if ! install; then
    # The package lists may be old or absent.
    $sudo apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    install || { cat "$log" >&2; exit 1; }
fi

# Debian starts daemons it installs. Ours are started by the scripts that need them, on ports of
# their own; one that came with this installation must not occupy the usual ones.
if [ -d /run/systemd/system ]; then
    for service in kamailio rtpengine-daemon; do
        case " $missing " in
            *" $service "*) $sudo systemctl disable --quiet --now "$service" || true ;;
        esac
    done
fi
