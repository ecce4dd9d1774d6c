#!/usr/bin/env bash
# Shows with the docker command what docker-label-proxy does. `make demo` runs it.
#
#   tests/engine.sh run tests/demo.sh PROXY
#
# PROXY is the program. DOCKER_LABEL_PROXY_TEST_ENGINE names the engine. The demo fails if the label
# finds anything but what was created through the proxy.
set -euo pipefail

PATH=$(dirname "$(readlink -f "$1")"):$PATH
engine=$DOCKER_LABEL_PROXY_TEST_ENGINE
docker=${DOCKER:-/usr/bin/docker}
[ -x "$docker" ] || docker=docker
dir=$(mktemp -d "${TMPDIR:-/tmp}/dlp-demo.XXXXXX")
export DOCKER_CONFIG=$dir/config
# The classic builder: newer ones need the buildx plugin.
export DOCKER_BUILDKIT=0

docker() { command "$docker" "$@"; }

say() { printf '\n# %s\n' "$*"; }

# Shows a command as one would type it.
show() {
	local word line=
	for word; do
		case $word in *[!A-Za-z0-9_./:=,@%+-]*) word="'$word'" ;; esac
		line+=" $word"
	done
	echo "\$$line"
}

run() {
	show "$@"
	"$@"
}

fail() {
	printf 'FAILED: %s\n' "$*" >&2
	sed 's/^/  proxy: /' "$dir/log" >&2
	exit 1
}

# Sets the socket for the docker command.
use() { run export "DOCKER_HOST=$1"; }

# Creates one object of each kind, with names that begin with $1.
create() {
	run docker run --detach --name "$1-container" busybox sleep 600
	run docker network create "$1-network"
	run docker volume create "$1-volume"
	run docker build --quiet --tag "$1-image" context
}

# expect NAME COMMAND...: the command must print NAME and nothing else.
expect() {
	local wanted=$1 found
	shift
	show "$@"
	found=$("$@")
	echo "$found"
	[ "$found" = "$wanted" ] || fail "expected $wanted alone"
}

remove() {
	docker rm --force "$1-container"
	docker network rm "$1-network"
	docker volume rm "$1-volume"
	docker rmi "$1-image"
}

cleanup() {
	local status=$?
	trap - EXIT
	if [ $status != 0 ]; then
		for names in demo other; do DOCKER_HOST=$engine remove $names; done
	fi >/dev/null 2>&1 || true
	[ -z "${pid-}" ] || { kill "$pid" && wait "$pid"; } 2>/dev/null || true
	rm -rf "$dir"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cd "$dir"
mkdir config context
printf 'FROM busybox\nENV made_by=demo\n' >context/Dockerfile

say "The proxy, with two labels, in front of an engine"
proxy=(docker-label-proxy --label demo.job=42 --label 'demo.note=any text, "quoted" too'
	--listen "$dir/proxy.sock" --daemon "${engine#unix://}")
show "${proxy[@]}"
"${proxy[@]}" 2>"$dir/log" &
pid=$!
for _ in $(seq 100); do
	if docker --host "unix://$dir/proxy.sock" version >/dev/null 2>&1; then break; fi
	kill -0 "$pid" 2>/dev/null || fail "the proxy ended"
	sleep 0.1
done

say "Through the proxy: one object of each kind"
use "unix://$dir/proxy.sock"
create demo

say "Past the proxy, at the engine itself: the same"
use "$engine"
create other

say "The engine finds by the label what came through the proxy, and nothing else"
label=label=demo.job=42
expect demo-container docker ps --all --filter $label --format '{{.Names}}'
expect demo-network docker network ls --filter $label --format '{{.Name}}'
expect demo-volume docker volume ls --filter $label --format '{{.Name}}'
expect demo-image docker images --filter $label --format '{{.Repository}}'
note=$(docker inspect --format '{{index .Config.Labels "demo.note"}}' demo-container)
[ "$note" = 'any text, "quoted" too' ] || fail "the label demo.note is: $note"

say "Removing it all"
for names in demo other; do remove $names; done >/dev/null
left=$(docker ps --all --quiet; docker volume ls --quiet; docker network ls --quiet --filter type=custom; docker images --quiet --filter $label)
[ -z "$left" ] || fail "left behind: $left"
echo "done: nothing is left behind"
