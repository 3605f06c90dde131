# gaggle: `make help` lists what can be made. Every target does its own set-up; it needs Go, make
# and a C compiler (for the race detector), and apt for what only the tests use.

PREFIX   ?= /usr/local
DESTDIR  ?=
FUZZTIME ?= 30s
BENCH    ?= .
STARTS   ?= 100000
SECONDS  ?= 60
SEED     ?=
GO       ?= go
# Tests of faults wait most of the time: more of them run at once than there are cores.
PARALLEL ?= 8

# The commit is stamped into the binaries (go version -m bin/coord) where git can tell it.
VCS := $(shell git status --porcelain >/dev/null 2>&1 && echo true || echo false)

.DEFAULT_GOAL := help
.PHONY: help build builds corpus demo test race fuzz cluster soak bench bench-build bench-mesh bench-overlay bench-sandbox bench-video bench-ways plant vuln install clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

# The stand-in for compilers, of coord make, is for Linux.
SHIM := $(if $(filter Linux,$(shell uname -s)),bin/gaggle-shim)

build: $(SHIM) ## bin/coord, bin/node and bin/gaggle-shim
	CGO_ENABLED=0 $(GO) build -buildvcs=$(VCS) -o bin/ ./node ./coord

# Static where that can be had: it starts once for each call of a compiler.
bin/gaggle-shim: coord/shim/shim.c
	mkdir -p bin
	$(CC) -O2 -Wall -Wextra -static -o $@ $< 2>/dev/null || $(CC) -O2 -Wall -Wextra -o $@ $< || echo "no bin/gaggle-shim: coord make needs a C compiler once, to build it"

demo: build ## count the identifiers of Go's own sources on this machine, twice
	scripts/demo

test: ## everything that must hold: style, vet, staticcheck, builds, unit, script and cluster tests
	scripts/needs
	scripts/check
	scripts/vuln || echo "not failing: see make vuln"
	scripts/unit
	$(GO) test -count=1 -timeout=15m -parallel=$(PARALLEL) ./cluster-test/...

race: ## unit and script tests, with the race detector but where it finds nothing
	scripts/unit

fuzz: ## every fuzz target for FUZZTIME (30s)
	scripts/fuzz $(FUZZTIME)

cluster: ## the built binaries on hosts in network namespaces, and the simulator
	$(GO) test -count=1 -timeout=15m -parallel=$(PARALLEL) ./cluster-test/...

soak: ## random faults for SECONDS (60) on a mesh with jobs, drawn by SEED (printed)
	GAGGLE_SOAK=$(SECONDS) GAGGLE_SEED=$(SEED) $(GO) test -count=1 -timeout=0 -v -run='Soak' ./cluster-test/

bench: ## the benchmarks that match BENCH (all), and what they come to against the targets and against others
	scripts/bench "$(BENCH)"

bench-build: build ## build Lua or git (PROJECT) by make, ccache, distcc, icecc and coord make in one run; ratios
	scripts/bench-build "$(or $(ROUNDS),3)" "$(or $(PROJECT),lua)"

bench-mesh: ## blobs between members against quic-go, TLS, HTTP/2 and bitswap; one input to many nodes, HOT="16 20 64" (nodes, Mbit/s, MiB)
	scripts/bench-mesh "$(or $(HOT),16 20 64)"

bench-overlay: ## tenant networks of root: first packets of 1 to 1,000 endpoints, and paths against VXLAN with a bridge
	scripts/bench-overlay

bench-video: ## the encoders of examples/video by files, over a tenant network and over Docker Swarm's
	GAGGLE_ROUNDS=$(ROUNDS) $(GO) test -run='^$$' -bench='^BenchmarkVideo$$' -benchtime=1x -timeout=30m -v ./cluster-test

bench-ways: ## tenant networks over the mesh, as root: TCP over paths that lose packets, UDP beside TCP and floods, short connections
	$(GO) test -v -run='^$$' -bench='^Benchmark(Stream|Loss|Beside|Flood|ShortConnections)$$' -benchtime=1x -timeout=30m ./overlay

builds: build ## build redis, git, vim, mosh and others by make and by coord make, here and on a mesh of four nodes, and compare
	scripts/builds $(PROJECTS)
	$(GO) test -count=1 -timeout=3h -v -run=TestMakeProjects ./cluster-test/ -projects=redis,vim,mosh,git

corpus: build ## each compiler, archiver and linker call of builds twice, here and by coord cc, compared; goes on where it was, or PROJECT again
	$(GO) build -o bin/ ./cluster-test/agree
	scripts/builds calls $(PROJECT)

bench-sandbox: ## the sandbox against os/exec, bubblewrap, crun and runc; STARTS (100000) without a leak
	scripts/bench-sandbox "$(STARTS)"

plant: ## bugs put into a copy of the scheduler, and which simulated world finds each
	$(GO) test -count=1 -v -run=TestPlantedBugs ./coord/sched

vuln: ## known vulnerabilities that the code reaches
	scripts/vuln

install: build ## coord and gaggle-node into PREFIX/bin (/usr/local), node only if there is no other; an AppArmor profile where that is used
	scripts/install "$(PREFIX)/bin" "$(DESTDIR)"

clean: ## remove what was built
	rm -rf bin out
