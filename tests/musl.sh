#!/bin/sh
# Builds the static binary, target/x86_64-unknown-linux-musl/release/docker-label-proxy, and fails
# if that is not static or does not run.
#
# The Rust standard library for musl comes from the toolchain, else from rustup, else from the
# packages of Debian 12 and 13. All other settings of the build are in Cargo.toml.
set -eu
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-musl
mkdir -p "${CARGO_TARGET_DIR:=target}"
out=$(cd "$CARGO_TARGET_DIR" && pwd)
bin=$out/$target/release/docker-label-proxy
debian="rustc-web cargo-web rust-web-src musl-dev"

say() { echo "make static: $*" >&2; }
die() { say "$*"; exit 1; }

has_std() { ls "$(rustc --print target-libdir --target $target)"/libstd-*.rlib >/dev/null 2>&1; }

build() {
	cargo=$1
	shift
	$cargo build ${CARGOFLAGS---locked} --release --target $target --target-dir "$out" "$@"
}

# --no-remove: a library for one build is not worth removing other packages.
debian_packages() {
	dpkg -s $debian >/dev/null 2>&1 && return
	[ "$(id -u)" = 0 ] || return
	say "installing $debian"
	apt-get -qq update &&
		DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends --no-remove $debian
}

# Fills $1 with what rustup's target has in self-contained/: musl and an unwinder. The package of
# the unwinder conflicts with common ones, so it is only unpacked.
debian_parts() {
	mkdir -p "$1"
	for f in rcrt1.o crti.o crtn.o libc.a; do ln -sf /usr/lib/x86_64-linux-musl/$f "$1/" || return; done
	for f in crtbeginS.o crtendS.o; do ln -sf "$(gcc -print-file-name=$f)" "$1/" || return; done
	[ -f "$1/libunwind.a" ] && return
	unwinder=$(apt-cache search --names-only '^libunwind-[0-9]+-dev$' | cut -d' ' -f1 | sort -V | tail -1)
	rm -rf "$1/deb" && mkdir "$1/deb"
	(
		cd "$1/deb" && apt-get -qq download "$unwinder" && dpkg -x "$unwinder"_*.deb . &&
			unfortified | gcc -O2 -fno-builtin -c -o unfortified.o -x c - &&
			cp "$(find usr -type f -name libunwind.a)" libunwind.a &&
			ar r libunwind.a unfortified.o && mv libunwind.a ..
	)
}

# The functions of glibc that the unwinder needs and musl lacks.
unfortified() {
	cat <<'C'
typedef __builtin_va_list list;
int vfprintf(void *, const char *, list);
int vsnprintf(char *, unsigned long, const char *, list);
int __vfprintf_chk(void *file, int flag, const char *format, list args) { return vfprintf(file, format, args); }
int __fprintf_chk(void *file, int flag, const char *format, ...)
{
	list args;
	__builtin_va_start(args, format);
	int n = vfprintf(file, format, args);
	__builtin_va_end(args);
	return n;
}
int __vsnprintf_chk(char *to, unsigned long max, int flag, unsigned long size, const char *format, list args)
{
	return vsnprintf(to, max, format, args);
}
C
}

# Builds with Debian's compiler, and the standard library from Debian's source of it. build-std is
# unstable, hence RUSTC_BOOTSTRAP.
debian_build() {
	say "no $target in the toolchain: building its standard library with Debian's $(/usr/bin/rustc --version)"
	unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS # they would hide the ones given here
	RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 build /usr/bin/cargo -Z build-std=std,panic_unwind \
		--config "target.$target.rustflags = ['-Lnative=$1', '-Clink-self-contained=yes']"
}

if has_std || { command -v rustup >/dev/null && rustup target add $target && has_std; }; then
	build "${CARGO:-cargo}"
elif command -v apt-get >/dev/null && debian_packages && debian_parts "$out/musl"; then
	debian_build "$out/musl"
else
	die "no Rust standard library for $target. Run one of
  rustup target add $target
  apt-get install $debian       (as root, Debian 12 or 13)"
fi

headers=$(LC_ALL=C readelf --wide --program-headers --dynamic "$bin")
case $headers in
*INTERP*) die "$bin asks for a dynamic loader" ;;
*NEEDED*) die "$bin asks for shared libraries" ;;
*LOAD*) ;;
*) die "$bin is no program" ;;
esac
"$bin" --version
say "$bin"
