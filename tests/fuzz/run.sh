#!/bin/sh
# Runs fuzz targets, each for FUZZ_SECONDS (600):
#
#   tests/fuzz/run.sh [TARGET...]
#
# The seeds are tests/requests and tests/fuzz/seeds. New inputs are kept in tests/fuzz/corpus, and
# failing ones in tests/fuzz/artifacts; git ignores both. CARGO_FUZZ_FLAGS go to cargo-fuzz,
# FUZZ_FLAGS to the target.
set -eu
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}

fail() {
    echo "fuzzing needs $1" >&2
    exit 1
}
"$cargo" fuzz --version >/dev/null 2>&1 ||
    fail "cargo-fuzz, which is not installed: cargo install cargo-fuzz"
"$cargo" +nightly --version >/dev/null 2>&1 ||
    fail "a nightly toolchain, which is not installed: rustup toolchain install nightly"

[ $# -gt 0 ] || set -- head chunked query json connection frames messages
# Link-time optimisation takes longer than it saves.
export CARGO_PROFILE_RELEASE_LTO=false
for target in "$@"; do
    seeds= flags=
    # A thread that has done its work may still exist when leaks are checked.
    [ "$target" != connection ] || flags=-detect_leaks=0
    case $target in
    head | chunked | connection) seeds="tests/requests/valid tests/requests/invalid" ;;
    esac
    [ ! -f "tests/fuzz/$target.dict" ] || flags="$flags -dict=tests/fuzz/$target.dict"
    [ ! -d "tests/fuzz/seeds/$target" ] || seeds="$seeds tests/fuzz/seeds/$target"
    corpus=tests/fuzz/corpus/$target
    mkdir -p "$corpus"
    echo "--- $target"
    # shellcheck disable=SC2086 # lists of words
    "$cargo" +nightly fuzz run --fuzz-dir tests/fuzz ${CARGO_FUZZ_FLAGS-} "$target" \
        "$corpus" $seeds -- -max_total_time="${FUZZ_SECONDS:-600}" -rss_limit_mb=2048 $flags ${FUZZ_FLAGS-}
done
