# What an engine consists of: packages of the machine, or of another Debian release, unpacked into
# a cache of ours. Part of tests/engine.sh, which knows what becomes of them.
# shellcheck shell=bash disable=SC2154 # engine.sh sets what these do not

# The packages of the machine that are missing. docker.io brings containerd, runc and iptables with
# it, and on older releases the docker command too.
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

# Asks an apt of its own, in the directory $1, for packages of Debian's release $2. Neither what the
# machine has installed nor what it may install counts, so all that a package depends on comes too.
private_apt() {
	local dir=$1 suite=$2 keys=/usr/share/keyrings/debian-archive-keyring.gpg mirror
	shift 2
	if ! have apt-get || ! have dpkg || ! [ -e "$keys" ]; then
		echo "packages can be downloaded on Debian only"
		return 1
	fi
	mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] *\)\?\([^ ]*\).*/\2/p' \
		/etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -1 || true)
	echo "deb [signed-by=$keys] ${mirror:-http://deb.debian.org/debian} $suite main" >"$dir/sources.list"
	mkdir -p "$dir"/{lists,archives}/partial
	touch "$dir/status"
	# The sandbox user of apt has no rights in the cache.
	apt-get -qq -o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o "Dir::State=$dir" -o "Dir::State::Status=$dir/status" -o "Dir::Cache=$dir" \
		-o APT::Sandbox::User=root -o APT::Install-Recommends=false -o APT::Update::Error-Mode=any \
		-o Acquire::http::Timeout=30 -o Acquire::Retries=1 "$@"
}

# Unpacks the packages in $1/archives into $1/root, which becomes an engine's root.
unpack() {
	local dir=$1 package link
	for link in bin sbin lib lib64; do
		mkdir -p "$dir/root/usr/$link"
		ln -s "usr/$link" "$dir/root/$link"
	done
	for package in "$dir"/archives/*.deb; do dpkg -x "$package" "$dir/root" || return; done
	rm -rf "$dir"/root/usr/share/{doc,info,locale,man}
	# No package's script runs, so these are missing.
	mkdir -p "$dir"/root/{dev,etc,proc,root,run,sys,tmp,var/tmp}
	echo 'root:x:0:0:root:/root:/bin/sh' >"$dir/root/etc/passwd"
	echo 'root:x:0:' >"$dir/root/etc/group"
}

# Puts the packages ($3...) of Debian's release $2 into $1/KEY, unless they are there, and sets
# "key" to KEY, which stands for their versions.
download() {
	local dir=$1 suite=$2 new=$1/new
	shift 2
	rm -rf "$new"
	mkdir "$new"
	private_apt "$new" "$suite" update || return
	private_apt "$new" "$suite" download --print-uris "$@" >"$new/uris" || return
	# The second word is NAME_VERSION_ARCHITECTURE.deb; a colon is written %3a.
	cut -d ' ' -f 2 "$new/uris" | sed 's/_[^_]*$//; s/%3a/:/; s/_/ /' | sort >"$new/versions"
	key=$(sha256sum "$new/versions" | cut -c -12)
	[ ! -e "$dir/$key" ] || return 0
	private_apt "$new" "$suite" install --yes --download-only "$@" || return
	unpack "$new" || return
	rm -rf "$new/lists" "$new/archives"
	mv -T "$new" "$dir/$key"
}

# Sees to it that $cache/$1/current has the packages ($3...) of Debian's release $2, with all that
# they depend on. Releases move, so newer ones are looked for after half a day. Where that fails,
# what is there serves.
provide() {
	local dir=$cache/$1 lock key old
	mkdir -p "$dir"
	# Who comes second finds what the first has fetched.
	exec {lock}>"$dir/lock"
	flock "$lock"
	if ! [ -e "$dir/current" ] || [ -z "$(find "$dir/looked" -mmin -720 2>/dev/null)" ]; then
		if ! download "$dir" "${@:2}" >"$dir/log" 2>&1 </dev/null; then
			tail -5 "$dir/log" >&2
			rm -rf "$dir/new"
			key=$(readlink "$dir/current") || die "$1 could not be downloaded"
			echo "$1: could not look for newer packages; those of the cache serve" >&2
		fi
		ln -sfnT "$key" "$dir/current"
		for old in "$dir"/*/; do
			# Engines keep theirs locked.
			case $old in */current/ | */"$key"/) ;; *) flock --nonblock "$old" rm -rf "$old" || true ;; esac
		done
		touch "$dir/looked"
	fi
	exec {lock}>&-
}
