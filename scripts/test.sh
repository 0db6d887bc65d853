#!/bin/bash
# All tests: the documentation's first, then everything else, by nextest where it is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --doc
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast
else
    cargo test --no-fail-fast --lib --bins --tests -- --test-threads=2
fi
