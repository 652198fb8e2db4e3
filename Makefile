# Everything a developer runs. Each recipe sources env.sh, which finds or fetches libtorch first, so a
# fresh machine needs Go 1.26, g++, make and pip only.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# No -trimpath here: it changes the key under which Go caches gotch's C++ objects, and `make build` and
# `make test` would each spend three minutes on their own copy. The image, built once, uses it.
GOFLAGS_BUILD ?=
LDFLAGS := -s -w -X main.commit=$(VERSION)

# Two OpenMP teams on the same cores spin against each other, ten times slower: test binaries run side by
# side with one thread each.
TEST_ENV := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# In CI every test really runs; elsewhere Go may answer from its cache.
TEST_FLAGS ?= -timeout 15m $(if $(CI),-count=1)
PKG ?= ./...
BENCH ?= .
BENCH_FLAGS ?=
JOBS ?=
GROWTH ?=
FUZZTIME ?= 10s
IMAGE ?= salsa
IMAGE_FLAGS ?=
CONTAINER ?= $(firstword $(notdir $(shell command -v docker podman buildah 2>/dev/null)))

.PHONY: help libtorch cuda build lint test demo bench bench-jobs bench-check bench-growth fuzz image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

libtorch: ## find or fetch libtorch 2.11 (once per user; 530 MB download)
	@scripts/libtorch.sh

cuda: ## also fetch the libraries that --device cuda opens (1.7 GB download)
	@scripts/libtorch.sh --cuda

build: ## build bin/salsa (the first build compiles gotch: 3 minutes)
	@source env.sh && go build -buildvcs=auto $(GOFLAGS_BUILD) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/salsa
	@echo "built bin/salsa $(VERSION)"

lint: ## gofmt, go vet and staticcheck
	@files=$$(gofmt -l .); [ -z "$$files" ] || { printf 'run gofmt -w on:\n%s\n' "$$files" >&2; exit 1; }
	@source env.sh && go vet $(PKG) && go tool staticcheck $(PKG)

test: lint ## set up, lint, then all tests (PKG=./models/... for some)
	@scripts/libtorch_test.sh
	@source env.sh && export $(TEST_ENV) && \
	  $(if $(filter ./...,$(PKG)),{ out=$$(go test -run '^$$' -bench . -benchtime 1x ./bench 2>&1) && echo "bench: every benchmark runs" || { echo "$$out"; exit 1; }; } && )\
	  go test $(TEST_FLAGS) $(PKG)

demo: build ## train, mix and evaluate a tiny model: salsa run demo
	@bin/salsa run demo

bench: ## benchmarks (BENCH=Attention for some, BENCH_FLAGS='-args -device cuda' on a GPU)
	@source env.sh && OMP_WAIT_POLICY=PASSIVE go test -run '^$$' -bench '$(BENCH)' ./bench $(BENCH_FLAGS) | \
	  awk '{ print; fflush() } /^Benchmark/ { n++ } END { if (!n) { print "make bench: no benchmark ran for BENCH=$(BENCH); grep -ho \"func Benchmark[A-Za-z]*\" bench/*_test.go lists them" > "/dev/stderr"; exit 2 } }'

bench-jobs: build ## whole jobs beside the Python tools (JOBS='-row dpo -rounds 3'; bench/rivals/README.md)
	@source env.sh && go run ./bench/jobs $(JOBS)

bench-check: build ## a quick run of them, held to the ratios of bench/results.json
	@source env.sh && go run ./bench/jobs -check $(JOBS)

bench-growth: ## cost against length, batch, vocabulary, depth and rows (GROWTH='-curve length')
	@source env.sh && OMP_WAIT_POLICY=PASSIVE go run ./bench/growth $(GROWTH)

fuzz: ## run every fuzz target for FUZZTIME (10s) each
	@source env.sh && $(TEST_ENV) scripts/fuzz.sh '$(FUZZTIME)'

image: ## build the container image IMAGE (salsa) with CONTAINER (docker, podman or buildah)
	@tool='$(CONTAINER)'; command -v "$$tool" >/dev/null || \
	  { echo "make image: no docker, podman or buildah found; install one or set CONTAINER" >&2; exit 1; }; \
	"$$tool" build $(IMAGE_FLAGS) --build-arg VERSION='$(VERSION)' -t '$(IMAGE)' .

clean: ## remove what was built here (libtorch and Go's cache stay)
	@rm -rf bin
