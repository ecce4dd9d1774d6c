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
#   tests/engine.sh fetch        downloads the engine that ENGINE names, or says why it cannot
#   tests/engine.sh clients      downloads docker's plugins buildx and compose where they are missing,
#                                or says why it cannot; "run" tells CMD where they are, in
#                                DOCKER_LABEL_PROXY_TEST_PLUGINS
#
# The engine is the machine's dockerd, or with ENGINE=docker-26 that of Debian 13, or with
# ENGINE=podman the machine's Podman. What is downloaded is unpacked into a cache
# (DOCKER_LABEL_PROXY_TEST_CACHE); the machine has nothing installed by it.
#
# The engine has mount, network and process namespaces of its own, so it cannot reach an engine
# that the machine runs already, and nothing of it outlives its first process. All its state is in
# DIR. It has one image, busybox:latest, made of the machine's own busybox: no registry is asked.
# What is tested with the engine, this file does not know.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
self=$(readlink -f "$0")

die() { echo "engine.sh: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }
usage() { sed -n '3,/^#$/{/^#$/d;s/^# \{0,1\}//p}' "$self" >&2; exit 2; }

# The machine's own docker rather than one that shadows it.
docker=${DOCKER:-/usr/bin/docker}
[ -x "$docker" ] || docker=docker

engine=${ENGINE:-machine}
case $engine in machine | docker-26 | podman) ;; *) die "ENGINE=$engine: docker-26 or podman" ;; esac
cache=${DOCKER_LABEL_PROXY_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/docker-label-proxy-test}
plugins=$cache/clients/root/usr/libexec/docker/cli-plugins

# The packages that are missing. docker.io brings containerd, runc and iptables with it, and on
# older releases the docker command too.
missing() {
	have dockerd || echo docker.io
	have iptables || echo iptables
	have busybox || echo busybox-static
	if have dockerd && ! have "$docker"; then echo docker-cli; fi
}

install() {
	local packages log
	# Twice: only when docker.io is there it shows whether docker-cli is needed besides.
	for _ in 1 2; do
		packages=$(missing | xargs)
		[ -n "$packages" ] || return 0
		if ! have apt-get || [ "$(id -u)" != 0 ]; then
			die "missing: $packages. Install them (Debian's names; as root: apt-get install $packages)," \
				"or set DOCKER_LABEL_PROXY_TEST_ENGINE=unix://... to test with an engine you have"
		fi
		echo "installing $packages"
		log=$(mktemp)
		# --no-remove: rather fail than replace another Docker of the machine.
		# shellcheck disable=SC2086 # several words
		if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-remove \
			--no-install-recommends -o DPkg::Lock::Timeout=120 $packages; } >"$log" 2>&1 </dev/null; then
			tail -20 "$log" >&2
			rm -f "$log"
			die "apt-get could not install $packages"
		fi
		rm -f "$log"
	done
}

# Downloads packages of Debian 13 and unpacks them into $cache/$1/root.
unpack() {
	local name=$1 keys=/usr/share/keyrings/debian-archive-keyring.gpg mirror options dir package
	[ ! -e "$cache/$name/complete" ] || return 0
	if ! have apt-get || ! have dpkg || ! [ -e "$keys" ]; then die "$name can be fetched on Debian only"; fi
	mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] *\)\?\([^ ]*\).*/\2/p' \
		/etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -1 || true)
	mkdir -p "$cache"
	# Whoever fetches at the same time has a directory of their own.
	dir=$(mktemp -d "$cache/$name.XXXXXX")
	# shellcheck disable=SC2064 # now
	trap "rm -rf '$dir'" EXIT
	mkdir -p "$dir"/{lists/partial,archives/partial,debs,root}
	echo "deb [signed-by=$keys] ${mirror:-http://deb.debian.org/debian} trixie main" >"$dir/sources.list"
	# An apt of its own: what the machine may install stays as it is. (The sandbox user of apt has
	# no rights in the cache.)
	options=(-qq -o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir" -o APT::Sandbox::User=root
		-o Acquire::http::Timeout=30 -o Acquire::Retries=1)
	if ! { apt-get "${options[@]}" update && (cd "$dir/debs" && apt-get "${options[@]}" download "${@:2}"); } \
		>"$dir/log" 2>&1 </dev/null; then
		tail -20 "$dir/log" >&2
		die "$name could not be downloaded"
	fi
	for package in "$dir"/debs/*.deb; do dpkg -x "$package" "$dir/root"; done
	rm -rf "$dir/lists" "$dir/archives" "$dir/debs" "$dir"/*cache.bin "$dir/log"
	touch "$dir/complete"
	chmod 755 "$dir"
	rm -rf "${cache:?}/$name"
	mv -T "$dir" "$cache/$name"
	trap - EXIT
}

fetch() {
	case $engine in
	machine) ;;
	podman) have podman || die "no podman; it is tested where it is installed (apt-get install podman)" ;;
	docker-26)
		# runc is the machine's: trixie's needs a newer libc.
		unpack docker-26 docker.io containerd
		"$cache/docker-26/root/usr/sbin/dockerd" --version
		;;
	esac
}

# Whether docker has this plugin without our help.
has_plugin() { DOCKER_CONFIG=/nonexistent "$docker" "$1" version >/dev/null 2>&1; }

clients() {
	if has_plugin buildx && has_plugin compose; then return 0; fi
	unpack clients docker-buildx docker-compose
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
	fetch
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
}

# Runs as the first process in the new namespaces; with it all the others end.
inside() {
	local dir=$1 pid groups group
	# /proc is still the outside's, and so is this pid. (A builtin reads it: this very process.)
	read -r pid _ </proc/self/stat
	echo "$pid $(started "$pid")" >"$dir/pid"
	# -n: without notes of it in /run, which is the outside's as yet.
	mount -n -t proc proc /proc
	# What dockerd and containerd write outside of their directories goes to a copy.
	mount -n -t tmpfs tmpfs /run
	mkdir /run/etc /run/lock
	cp -a /etc/. /run/etc
	# Settings of the machine's engine are not ours.
	rm -rf /run/etc/docker
	mount -n --bind /run/etc /etc
	[ ! -d /opt ] || mount -n -t tmpfs tmpfs /opt
	# Without an init system nobody may have mounted the control groups: the hierarchies of the
	# first version if the kernel has some, else the second version.
	if [ -z "$(ls -A /sys/fs/cgroup)" ]; then
		groups=$(sed -n 's/^[0-9]*:\([^:]\+\):.*/\1/p' /proc/self/cgroup)
		mount -n -t "$([ -n "$groups" ] && echo tmpfs || echo cgroup2)" cgroup /sys/fs/cgroup
		for group in $groups; do
			mkdir "/sys/fs/cgroup/${group#name=}"
			mount -n -t cgroup -o "$group" cgroup "/sys/fs/cgroup/${group#name=}"
		done
	fi
	busybox ip link set lo up
	while :; do
		case $engine in
		podman) run_podman "$dir" & ;;
		*) run_dockerd "$dir" "$(cgroup_of "$pid")" & ;;
		esac
		wait $! || true
		[ -e "$dir/restart" ] || break
		# A killed daemon leaves it, and its number may be another's by now.
		rm -f "$dir/dockerd.pid" "$dir/restart"
	done
}

restart() {
	local dir pid
	dir=$(readlink -f "$1")
	[ "$engine" != podman ] || die "Podman has no daemon to be restarted"
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

run_podman() {
	# Where it puts uploads and build contexts, and leaves some of them.
	mkdir -p "$1/uploads"
	TMPDIR=$1/uploads exec podman --root "$1/data" --runroot "$1/exec" --tmpdir "$1/tmp" --cgroup-manager cgroupfs \
		--events-backend file --network-config-dir "$1/networks" \
		system service --time 0 "unix://$1/docker.sock"
}

run_dockerd() {
	[ "$engine" != docker-26 ] || PATH=$cache/docker-26/root/usr/sbin:$cache/docker-26/root/usr/bin:$PATH
	# No firewall rules: nobody needs to reach these containers, and not every kernel has them.
	exec dockerd --host "unix://$1/docker.sock" --group "$(id -gn)" --pidfile "$1/dockerd.pid" \
		--data-root "$1/data" --exec-root "$1/exec" --cgroup-parent "/$2" \
		--exec-opt native.cgroupdriver=cgroupfs --iptables=false
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
				find /sys/fs/cgroup -depth -type d -path "*/$(cgroup_of "$pid")*" ! -exec rmdir {} \; -print 2>/dev/null || true)
			[ -n "$groups" ] || break
			sleep 0.1
		done
		# Podman knows one parent for all; only if nobody else uses it, it is empty.
		[ "$engine" != podman ] || nsenter "--mount=/proc/self/fd/$mounts" "--root=/proc/self/fd/$root" \
			find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' -exec rmdir {} \; 2>/dev/null || true
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
	[ ! -e "$cache/clients/complete" ] || export DOCKER_LABEL_PROXY_TEST_PLUGINS=$plugins
	# What is below this cgroup is cleaned up with the engine; and whoever runs has it alone.
	DOCKER_LABEL_PROXY_TEST_ENGINE=unix://$dir/docker.sock DOCKER_LABEL_PROXY_TEST_ENGINE_IS_PRIVATE=1 \
		DOCKER_LABEL_PROXY_TEST_CGROUP=/$(cgroup_of "$(running "$dir")") "$@" || status=$?
	exit $status
}

case ${1-} in
install | image | fetch | clients) [ $# = 1 ] || usage; "$1" ;;
start | stop | inside) [ $# = 2 ] || usage; "$1" "$2" ;;
restart) [ $# = 3 ] || usage; restart "$2" "$3" ;;
run) [ $# -ge 2 ] || usage; shift; run "$@" ;;
*) usage ;;
esac
