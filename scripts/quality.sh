#!/bin/sh
# How speech sounds after a network, scored by PESQ (ITU-T P.862) beside what other receivers do.
# Prints the tables and writes them into docs/quality.md. Under ten minutes on two cores.
#
# The first run installs Debian packages with speech, and the Python packages of
# scripts/quality/requirements.txt into target/quality (from PyPI, with their dependencies pinned).
#
# usage: scripts/quality.sh [--dry] [--seed SEED] [TABLE...]      (--dry: print only)
set -eu
cd "$(dirname "$0")/.."

scripts/setup.sh quality
venv=target/quality/venv
stamp=$venv/requirements.txt
if ! cmp -s scripts/quality/requirements.txt "$stamp"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    if ! "$venv/bin/pip" install --quiet --requirement scripts/quality/requirements.txt; then
        echo "the Python package index could not be reached: nothing was scored" >&2
        exit 1
    fi
    cp scripts/quality/requirements.txt "$stamp"
fi
cargo build --release --quiet --example quality
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" scripts/quality/score.py \
    "${CARGO_TARGET_DIR:-target}/release/examples/quality" "$@"
