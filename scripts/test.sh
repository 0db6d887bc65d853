#!/bin/bash
# All tests: nextest where it is installed, else cargo's own runner; then the documentation's.
set -euo pipefail
cd "$(dirname "$0")/.."
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast
else
    cargo test --no-fail-fast --lib --bins --tests -- --test-threads=2
fi
cargo test --doc
