#!/usr/bin/env bash
# A private Docker engine for the tests and the demo.
#
#   tests/engine.sh install      installs what an engine needs, where it is missing
#   tests/engine.sh start DIR    starts an engine; its socket is DIR/docker.sock, its log DIR/log
#   tests/engine.sh restart DIR SIGNAL
#                                ends its daemon alone with the signal (KILL, TERM), and starts it again
#   tests/engine.sh stop DIR     ends it with all that runs in it; DIR can be removed afterwards
#   tests/engine.sh run CMD...   runs CMD with an engine of its own, named in
#                                DOCKER_LABEL_PROXY_TEST_ENGINE, and ends the engine with it
#   tests/engine.sh image        writes the file system of a small image (busybox) to stdout, as tar
#   tests/engine.sh fetch        downloads the engine that ENGINE names, and prints the versions of
#                                what it consists of; or says why it cannot
#   tests/engine.sh clients      downloads docker's plugins buildx and compose where they are missing,
#                                or says why it cannot
#
# ENGINE is one of
#
#   machine                      the machine's Docker (the default)
#   docker-26                    that of Debian 13
#   docker-26-containerd         the same, with containerd's store of images
#   docker-sid                   that of Debian unstable, whichever it is by now
#   docker-sid-containerd        the same, with containerd's store of images
#   podman                       the machine's Podman
#   podman-sid                   that of Debian unstable
#
# Docker comes with its own docker command and plugins, but for the machine's, which takes the
# plugins of "clients" if it has none. "run" names them in DOCKER and DOCKER_LABEL_PROXY_TEST_PLUGINS.
# What is downloaded is unpacked into a cache (DOCKER_LABEL_PROXY_TEST_CACHE); the machine has nothing
# installed by it.
#
# The engine has mount, network and process namespaces of its own, so it cannot reach an engine
# that the machine runs already, and nothing of it outlives its first process. All its state is in
# DIR. It has one image, busybox:latest, made of the machine's own busybox: no registry is asked.
# How engines are brought here is in engine/packages.sh, and how they run in engine/inside.sh. What is
# tested with them, none of these know.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
self=$(readlink -f "$0")

die() { echo "engine.sh: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }
usage() { sed -n '3,/^# Docker comes/{/^# Docker comes/d;s/^# \{0,1\}//p}' "$self" >&2; exit 2; }

# The machine's own docker rather than one that shadows it.
docker=${DOCKER:-/usr/bin/docker}
[ -x "$docker" ] || docker=docker

cache=${DOCKER_LABEL_PROXY_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/docker-label-proxy-test}

# shellcheck source=tests/engine/packages.sh
. "$(dirname "$self")/engine/packages.sh"
# shellcheck source=tests/engine/inside.sh
. "$(dirname "$self")/engine/inside.sh"

# What the engine is: Debian's release that it is from, unless it is the machine's, and its store of
# images.
engine=${ENGINE:-machine} kind=docker suite='' store=classic
case $engine in
machine) ;;
docker-26) suite=trixie ;;
docker-26-containerd) suite=trixie store=containerd ;;
docker-sid) suite=sid ;;
docker-sid-containerd) suite=sid store=containerd ;;
podman) kind=podman ;;
podman-sid) kind=podman suite=sid ;;
*) usage ;;
esac

# Downloads the engine if it is not here, and sets "packages" to the directory of what was downloaded
# for it, if anything, and "docker" and "plugins" to its docker command and where its plugins are.
provide_engine() {
	local names
	packages='' plugins=$cache/clients/current/root/usr/libexec/docker/cli-plugins
	if [ -z "$suite" ]; then
		[ "$kind" = docker ] || have podman ||
			die "no podman; it is tested where it is installed (apt-get install podman)"
		return 0
	fi
	case $kind in
	docker) names=(docker.io containerd runc docker-cli docker-buildx docker-compose) ;;
	podman) names=(podman crun netavark aardvark-dns conmon passt iproute2 catatonit) ;;
	esac
	provide "$kind-$suite" "$suite" "${names[@]}" procps busybox-static
	packages=$(readlink -f "$cache/$kind-$suite/current")
	[ "$kind" = docker ] || return 0
	plugins=$packages/root/usr/libexec/docker/cli-plugins
	docker=${DOCKER:-$packages/root/usr/bin/docker}
	# All but these run in a root of their own.
	"$docker" --version >/dev/null || die "the docker command of Debian's $suite does not run on this machine"
}

fetch() {
	provide_engine
	case $engine in
	machine) dockerd --version ;;
	podman) podman --version ;;
	*) paste -sd , "$packages/versions" | sed 's/,/, /g' ;;
	esac
}

# Whether docker has this plugin without our help.
has_plugin() { DOCKER_CONFIG=/nonexistent "$docker" "$1" version >/dev/null 2>&1; }

clients() {
	if has_plugin buildx && has_plugin compose; then return 0; fi
	provide clients trixie docker-buildx docker-compose
}

image() {
	local root applet box
	box=$(command -v busybox) || die "no busybox; see: $0 install"
	root=$(mktemp -d)
	# shellcheck disable=SC2064 # now
	trap "rm -rf '$root'" EXIT
	mkdir "$root"/{bin,etc,root,tmp}
	chmod 1777 "$root/tmp"
	cp "$box" "$root/bin/busybox"
	# A busybox that is not static takes its libraries with it.
	{ ldd "$box" 2>/dev/null | grep -o '/[^ ]*' || true; } | xargs -r cp -L --parents -t "$root"
	for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
	echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	tar -C "$root" --owner=0 --group=0 -c .
}

# When process $1 was started, in the kernel's ticks: with the pid it tells processes apart for good.
started() {
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	# From the third field on; the second may hold blanks.
	read -ra stat <<<"${stat##*) }"
	# A zombie has ended.
	[ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

# The pid of DIR's engine, if it still runs.
running() {
	local pid time
	read -r pid time 2>/dev/null <"$1/pid" && [ "$(started "$pid")" = "$time" ] && echo "$pid"
}

# Whether the engine in $1, whose first process is $2, answers within a minute.
answers() {
	for _ in $(seq 600); do
		# "version" is answered once the daemon answers /_ping.
		if "$docker" -H "unix://$1/docker.sock" version >/dev/null 2>&1; then return 0; fi
		started "$2" >/dev/null || return 1
		sleep 0.1
	done
	return 1
}

# Which store of images the Docker in $1 uses.
store_of() {
	local status
	status=$("$docker" -H "unix://$1/docker.sock" info --format '{{.DriverStatus}}')
	case $status in *io.containerd.snapshotter*) echo containerd ;; *) echo classic ;; esac
}

cgroup_of() { echo "docker-label-proxy-test-$1"; }

start() {
	local dir pid
	[ "$(id -u)" = 0 ] || die "needs root; or set DOCKER_LABEL_PROXY_TEST_ENGINE=unix://... to test with an engine you have"
	[ -z "$(missing)" ] || die "missing: $(missing | xargs); see: $0 install"
	mkdir -p "$1"
	dir=$(readlink -f "$1")
	case $dir/ in /run/* | /etc/* | /opt/*) die "$dir: the engine has a /run, /etc and /opt of its own" ;; esac
	[ ${#dir} -le 90 ] || die "$dir: too long for a socket's path"
	if running "$dir" >/dev/null; then die "$dir: runs already"; fi
	provide_engine
	rm -f "$dir/pid" "$dir/docker.sock"
	setsid unshare --mount --propagation private --net --pid --fork -- \
		bash "$self" inside "$dir" >"$dir/log" 2>&1 </dev/null &
	pid=$!
	if ! answers "$dir" "$pid"; then
		tail -20 "$dir/log" >&2
		stop "$dir"
		die "the engine does not answer"
	fi
	image | "$docker" -H "unix://$dir/docker.sock" import -c 'CMD ["/bin/sh"]' -c 'ENV PATH=/bin' \
		- busybox:latest >/dev/null || { stop "$dir"; die "could not import the image busybox:latest"; }
	[ "$kind" != docker ] || [ "$(store_of "$dir")" = "$store" ] || {
		stop "$dir"
		die "$engine does not have the $store store of images"
	}
}

restart() {
	local dir pid
	dir=$(readlink -f "$1")
	provide_engine
	[ "$kind" != podman ] || die "Podman has no daemon to be restarted"
	pid=$(running "$dir") || die "$dir: does not run"
	: >"$dir/restart"
	nsenter --target "$pid" --mount --pid busybox kill "-$2" "$(cat "$dir/dockerd.pid")"
	# Who is asked to end may take its time for the containers.
	for _ in $(seq 600); do
		[ -e "$dir/restart" ] || break
		sleep 0.1
	done
	[ ! -e "$dir/restart" ] || die "the daemon in $dir does not end"
	answers "$dir" "$pid" || { tail -20 "$dir/log" >&2; die "the daemon in $dir does not answer again"; }
}

stop() {
	local dir pid mounts root groups
	dir=$(readlink -f "$1")
	# Its state is thrown away, so no time is lost on a graceful end: the kernel ends all processes
	# of the namespace before it lets the first one go, and drops mounts and interfaces after them.
	if pid=$(running "$dir"); then
		# Its view of the control groups, which nobody else may have mounted.
		exec {mounts}<"/proc/$pid/ns/mnt" {root}<"/proc/$pid/root"
		kill -KILL "$pid" 2>/dev/null || true
		for _ in $(seq 300); do
			running "$dir" >/dev/null || break
			sleep 0.1
		done
		if running "$dir" >/dev/null; then die "the engine in $dir does not end"; fi
		# Empty by now; only the kernel may still be about to notice.
		for _ in $(seq 50); do
			groups=$(nsenter "--mount=/proc/self/fd/$mounts" "--root=/proc/self/fd/$root" \
				busybox find /sys/fs/cgroup -depth -type d -path "*/$(cgroup_of "$pid")*" ! -exec busybox rmdir {} \; -print 2>/dev/null || true)
			[ -n "$groups" ] || break
			sleep 0.1
		done
		# Podman knows one parent for all; only if nobody else uses it, it is empty.
		[ "$kind" != podman ] || nsenter "--mount=/proc/self/fd/$mounts" "--root=/proc/self/fd/$root" \
			busybox find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' -exec busybox rmdir {} \; 2>/dev/null || true
		exec {mounts}<&- {root}<&-
	fi
	rm -f "$dir/pid" "$dir/docker.sock"
}

run() {
	local dir status=0
	dir=$(mktemp -d "${TMPDIR:-/tmp}/dlp-engine.XXXXXX")
	# shellcheck disable=SC2064 # now
	trap "bash '$self' stop '$dir'; rm -rf '$dir'" EXIT
	# While the command runs, bash acts on these after it has ended.
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	bash "$self" start "$dir"
	provide_engine
	export DOCKER=$docker
	[ ! -d "$plugins" ] || export DOCKER_LABEL_PROXY_TEST_PLUGINS=$plugins
	# What is below this cgroup is cleaned up with the engine; and whoever runs has it alone.
	DOCKER_LABEL_PROXY_TEST_ENGINE=unix://$dir/docker.sock DOCKER_LABEL_PROXY_TEST_ENGINE_IS_PRIVATE=1 \
		DOCKER_LABEL_PROXY_TEST_CGROUP=/$(cgroup_of "$(running "$dir")") "$@" || status=$?
	exit $status
}

case ${1-} in
install | image | fetch | clients) [ $# = 1 ] || usage; "$1" ;;
start | stop) [ $# = 2 ] || usage; "$1" "$2" ;;
inside) provide_engine; inside "$2" ;;
restart) [ $# = 3 ] || usage; restart "$2" "$3" ;;
run) [ $# -ge 2 ] || usage; shift; run "$@" ;;
*) usage ;;
esac
