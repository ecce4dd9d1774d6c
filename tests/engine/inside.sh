# The engine's first process: it sees to what the engine finds around it, and starts its daemon.
# Part of tests/engine.sh, which knows how it is called and ended.
# shellcheck shell=bash disable=SC2154 # engine.sh sets what these do not

# Runs as the first process in the new namespaces; with it all the others end.
inside() {
	local dir=$1 pid held
	# /proc is still the outside's, and so is this pid. (A builtin reads it: this very process.)
	read -r pid _ </proc/self/stat
	echo "$pid $(started "$pid")" >"$dir/pid"
	# What is newer does not replace it while it is used.
	exec {held}<"${packages:-/dev/null}"
	flock --shared "$held"
	# -n: without notes of it in /run, which is the outside's as yet.
	mount -n -t proc proc /proc
	# What daemons write outside of their directories goes to memory.
	mount -n -t tmpfs tmpfs /run
	mount_cgroups
	busybox ip link set lo up
	if [ -n "$packages" ]; then enter_root "$dir"; else copy_etc; fi
	while :; do
		"run_$kind" "$dir" "$(cgroup_of "$pid")" {held}<&- &
		wait $! || true
		[ -e "$dir/restart" ] || break
		# A killed daemon leaves it, and its number may be another's by now.
		busybox rm -f "$dir/dockerd.pid" "$dir/restart"
	done
}

# Without an init system nobody may have mounted the control groups: the hierarchies of the first
# version if the kernel has some, else the second version.
mount_cgroups() {
	local groups group
	[ -z "$(ls -A /sys/fs/cgroup)" ] || return 0
	groups=$(sed -n 's/^[0-9]*:\([^:]\+\):.*/\1/p' /proc/self/cgroup)
	mount -n -t "$([ -n "$groups" ] && echo tmpfs || echo cgroup2)" cgroup /sys/fs/cgroup
	for group in $groups; do
		mkdir "/sys/fs/cgroup/${group#name=}"
		mount -n -t cgroup -o "$group" cgroup "/sys/fs/cgroup/${group#name=}"
	done
}

# For an engine of the machine: a copy of its /etc, and nothing in /opt.
copy_etc() {
	mkdir /run/etc /run/lock
	cp -a /etc/. /run/etc
	# Settings of the machine's engine are not ours.
	rm -rf /run/etc/docker
	mount -n --bind /run/etc /etc
	[ ! -d /opt ] || mount -n -t tmpfs tmpfs /opt
}

# For an engine of the cache: its own root, in which nothing is written but memory. It has the
# machine's devices and control groups, and at the same paths the engine's directory and those of
# the tests. (No chroot: image stores go to roots of their own.)
enter_root() {
	local root=/run/root path
	mkdir "$root" /run/upper /run/work
	mount -n -t overlay -o "lowerdir=$packages/root,upperdir=/run/upper,workdir=/run/work" overlay "$root"
	mount -n -t proc proc "$root/proc"
	mount -n -t tmpfs tmpfs "$root/run"
	for path in /dev /sys "${TMPDIR:-/tmp}" "$1"; do
		mkdir -p "$root$path"
		mount -n --rbind "$path" "$root$path"
	done
	cd "$root" || exit
	pivot_root . .
	PATH=/usr/sbin:/usr/bin
	busybox umount -l .
	cd /
}

run_docker() {
	local is_containerd=false
	[ "$store" != containerd ] || is_containerd=true
	echo "{\"features\": {\"containerd-snapshotter\": $is_containerd}}" >"$1/daemon.json"
	# No firewall rules: nobody needs to reach these containers, and not every kernel has them.
	exec dockerd --config-file "$1/daemon.json" --host "unix://$1/docker.sock" --group root \
		--pidfile "$1/dockerd.pid" --data-root "$1/data" --exec-root "$1/exec" --cgroup-parent "/$2" \
		--exec-opt native.cgroupdriver=cgroupfs --iptables=false --ip6tables=false
}

run_podman() {
	local files processes
	files=$(ulimit -Hn) processes=$(ulimit -Hu)
	# Its own limits may be more than are allowed here; and see above for firewall rules.
	printf '[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=%s:%s"]\n[network]\nfirewall_driver = "none"\n' \
		"$files" "$files" "$processes" "$processes" >"$1/containers.conf"
	# crun refuses to work where both versions of control groups are in use.
	busybox umount -l /sys/fs/cgroup/unified 2>/dev/null || true
	# Where it puts uploads and build contexts, and leaves some of them.
	busybox mkdir -p "$1/uploads"
	CONTAINERS_CONF=$1/containers.conf TMPDIR=$1/uploads PODMAN_IGNORE_CGROUPSV1_WARNING=1 \
		exec podman --root "$1/data" --runroot "$1/exec" --tmpdir "$1/tmp" --cgroup-manager cgroupfs \
		--events-backend file --network-config-dir "$1/networks" \
		system service --time 0 "unix://$1/docker.sock"
}
