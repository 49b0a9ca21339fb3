# Every target is listed by `make help`. Nothing here needs more than Go, make and a Debian or Ubuntu machine; what else a
# target needs it installs with apt-get where it may, and says so.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO        ?= go
TOOLS     := $(CURDIR)/build/tools
LINT      := $(TOOLS)/golangci-lint
# The version of the linter is pinned: a new one finds new things in code that did not change.
LINT_VERSION := v2.15.0
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -s -w -X main.version=$(VERSION)
# Packages whose code runs in several goroutines at once.
RACE      ?= . ./llb/... ./layers/... ./cluster/... ./internal/bundle/... ./internal/cli/... ./internal/convert/... ./internal/docker/... ./internal/engine/... ./internal/fetch/... ./internal/registry/... ./internal/signing/... ./internal/sources/... ./internal/stepnet/... ./internal/world/...
# Test binaries share the machine's CPUs with engines that they start: more than this many at once makes them time out.
TEST_P    ?= 2
TEST_FLAGS ?=

.PHONY: help build check check-commits cross docs lint-tool release-files release-check image needs needs-build test test-race test-security fuzz test-sign test-rllib world world-down quickstart pictures bench bench-core bench-faults ray-versions resolving test-cluster bench-cluster clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/raybuild, one static binary
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/raybuild ./cmd/raybuild

check: lint-tool ## gofmt, go vet, golangci-lint, and that the generated docs are up to date
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$bad" ]; then echo "not gofmt'd (run gofmt -w on them):" >&2; echo "$$bad" >&2; exit 1; fi
	$(GO) vet ./...
	$(LINT) run ./...
	@mkdir -p build && rm -rf build/docs-cli && $(GO) run ./cmd/raybuild docs build/docs-cli
	@diff -ru docs/cli build/docs-cli || { echo "docs/cli is out of date: run 'make docs'" >&2; exit 1; }
	@for f in recipe cluster; do \
		diff -u schema/$$f.schema.json <($(GO) run ./cmd/raybuild schema $$f) && diff -u docs/$$f.md <($(GO) run ./cmd/raybuild schema $$f --page) || \
		{ echo "schema/$$f.schema.json or docs/$$f.md is out of date: run 'make docs'" >&2; exit 1; }; done
	@$(MAKE) --no-print-directory cross CROSS=darwin/arm64
	@$(MAKE) --no-print-directory check-commits

check-commits: # subjects of commits, as CONTRIBUTING.md has them: those after BASE, without it that of HEAD
	@scripts/check-commits $(BASE)

# The platforms of a release. None of raybuild's own code is for one architecture alone, so one vet of macOS is enough, and check
# builds for one of them. Benchmarks and tests of whole programs are for Linux.
CROSS := darwin/arm64 darwin/amd64 linux/arm64
cross: ## build the command for the other platforms of a release, and vet the code and tests of macOS
	@for p in $(CROSS); do echo "build for $$p"; CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -o /dev/null ./cmd/raybuild; done
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) vet $$($(GO) list ./... | grep -vE '/(bench|test)(/|$$)')

docs: ## regenerate docs/cli from the commands' help; schema, docs/recipe.md and docs/cluster.md from the readers' descriptions
	rm -rf docs/cli
	$(GO) run ./cmd/raybuild docs docs/cli
	@mkdir -p schema
	for f in recipe cluster; do $(GO) run ./cmd/raybuild schema $$f >schema/$$f.schema.json; $(GO) run ./cmd/raybuild schema $$f --page >docs/$$f.md; done

lint-tool:
	@if ! [ -x $(LINT) ] || ! $(LINT) version 2>/dev/null | grep -qF '$(patsubst v%,%,$(LINT_VERSION))'; then \
		echo "installing golangci-lint $(LINT_VERSION) into $(TOOLS)" >&2; mkdir -p $(TOOLS); \
		GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION); fi

needs: ## install what builds and tests need (runc, mmdebstrap, …), as root; says what
	@scripts/needs

test: needs $(if $(filter 1,$(RAYBUILD_TEST_STRICT)),$(TOOLS)/cosign-v3/cosign) ## every test; RAYBUILD_TEST_STRICT=1 makes a test that would skip fail
	$(GO) test -p $(TEST_P) -timeout 80m $(TEST_FLAGS) ./...

test-race: needs ## the packages that run things at once, under the race detector
	$(GO) test -race -p $(TEST_P) -timeout 40m $(TEST_FLAGS) $(RACE)

test-security: ## attacks on what raybuild believes of a registry; needs no root and no network
	$(GO) test -count=1 -timeout 10m $(TEST_FLAGS) ./test/security/

# The targets of docs/security.md, one after the other. Only raybuild's own packages count for coverage: to build all of
# its modules once more for each package would take longer than the fuzzing.
FUZZ     ?=
FUZZTIME ?= 1m
fuzz: ## fuzz the parsers of other people's texts, FUZZTIME (1m) each; FUZZ=layers.FuzzLock fuzzes one
	@scripts/fuzz "$(FUZZTIME)" "$(FUZZ)"

# Released cosigns, to check signatures with. Each takes some two minutes on two CPUs, so CI has the newest one alone.
COSIGN_V2 := v2.6.5
COSIGN_V3 := v3.1.3
$(TOOLS)/cosign-v2/cosign $(TOOLS)/cosign-v3/cosign: $(TOOLS)/cosign-%/cosign: Makefile
	GOFLAGS= GOBIN=$(@D) $(GO) install -ldflags '-s -w' github.com/sigstore/cosign/$*/cmd/cosign@$(COSIGN_$(shell echo $* | tr v V))

test-sign: $(TOOLS)/cosign-v2/cosign $(TOOLS)/cosign-v3/cosign ## signatures of raybuild and of released cosigns, each checked by the other
	RAYBUILD_TEST_STRICT=1 RAYBUILD_TEST_COSIGNS=all $(GO) test -count=1 -timeout 10m $(TEST_FLAGS) ./internal/signing/ ./test/sign/

# Not part of `make test`: torch alone is 3 GB of the image.
RLLIB_PAGE ?= $(CURDIR)/docs/rllib.md
test-rllib: needs ## train with RLlib on real Ray, on clusters of 2 and 6 CPUs, in an image with torch; writes docs/rllib.md, or RLLIB_PAGE
	RAYBUILD_TEST_STRICT=1 RAYBUILD_TEST_RLLIB=1 RAYBUILD_TEST_RLLIB_PAGE=$(RLLIB_PAGE) \
		$(GO) test -count=1 -timeout 3h -v $(TEST_FLAGS) ./test/rllib/

needs-build: # what building and the offline world need; no services for tests
	@scripts/needs build

world: needs-build build ## start the offline package world and the embedded registry in the background (build/world)
	$(GO) run ./internal/world/cmd/world up

world-down: ## stop what `make world` and `make quickstart` left running
	$(GO) run ./internal/world/cmd/world down

quickstart: needs-build build ## build a Ray image, push it to a registry on loopback, and run it
	@scripts/quickstart

pictures: needs-build build ## build real Ray, and draw docs/pictures from it: the terminal, and the page of --report
	@scripts/pictures

# BuildKit's own client, of go.mod's version, for benchmarks to compare with. It needs a few modules more than raybuild does:
# its go.mod is a copy of ours with those.
$(TOOLS)/buildctl: go.mod go.sum
	@mkdir -p $(TOOLS)
	cp go.mod $(TOOLS)/buildctl.mod && cp go.sum $(TOOLS)/buildctl.sum
	$(GO) get -modfile=$(TOOLS)/buildctl.mod github.com/moby/buildkit/cmd/buildctl@$$($(GO) list -m -f '{{.Version}}' github.com/moby/buildkit)
	$(GO) build -modfile=$(TOOLS)/buildctl.mod -o $@ github.com/moby/buildkit/cmd/buildctl

bench-core: needs-build build $(TOOLS)/buildctl ## engine start, up-to-date check, cached and cold builds, as a table
	$(GO) run ./bench/core

# The edit matrix: small and full are stand-ins without network, real is wheels of PyPI. A peer that takes long is measured less often than five times, and the table says so.
BENCH_SCALE ?= small
BENCH_BUDGET_small := 40s
BENCH_BUDGET_full  := 50s
BENCH_BUDGET_real  := 0
BENCH_OUT_small    := build/bench.json
BENCH_OUT_full     := build/bench.json
BENCH_OUT_real     := build/bench-real.json
BENCH_PAGE_small   := docs/benchmarks-small.md
BENCH_PAGE_full    := docs/benchmarks-offline.md
BENCH_PAGE_real    := docs/benchmarks.md
BENCH_FLAGS ?=
BENCH_PAGE ?= $(BENCH_PAGE_$(BENCH_SCALE))
bench: needs build $(TOOLS)/buildctl ## what each edit costs, beside Dockerfiles and commits (BENCH_SCALE=small|full|real); writes a page in docs, or BENCH_PAGE
	$(GO) run ./bench/matrix -scale $(BENCH_SCALE) -budget $(BENCH_BUDGET_$(BENCH_SCALE)) -out $(BENCH_OUT_$(BENCH_SCALE)) -docs $(BENCH_PAGE) $(BENCH_FLAGS)

ray-versions: needs ## build and run the versions of Ray that people have, on one host; writes docs/ray-versions.md
	RAYBUILD_RAY_VERSIONS_PAGE=$(CURDIR)/docs/ray-versions.md $(GO) test -count=1 -timeout 40m -run TestVersions $(TEST_FLAGS) ./test/real

resolving: needs ## resolve 100 sets of real packages by uv and by the newest pip; writes docs/resolving.md
	RAYBUILD_UV_CORPUS=$(CURDIR)/docs/resolving.md $(GO) test -count=1 -timeout 40m -run TestCorpus -v $(TEST_FLAGS) ./internal/uv

bench-faults: needs-build build $(TOOLS)/buildctl ## pushes through a faulty registry, beside buildctl and crane; writes docs/faults.md
	$(GO) run ./bench/faults -docs docs/faults.md

test-cluster: needs ## the launcher's tests on real hosts and engines
	$(GO) test -timeout 40m $(TEST_FLAGS) ./cluster/... ./internal/docker/... ./internal/kube/... ./test/launcher/...

# Docker's compose plugin, to compare with. Debian has no version 2 of it; a later version than this one needs a later Go.
COMPOSE_VERSION := v5.6.0
$(TOOLS)/docker-compose: Makefile
	@mkdir -p $(TOOLS)/compose
	$(GO) mod download github.com/docker/compose/v5@$(COMPOSE_VERSION)
	dir=$$($(GO) env GOMODCACHE)/github.com/docker/compose/v5@$(COMPOSE_VERSION); cd $(TOOLS)/compose; \
	sed 's#^module .*#module compose.local#' $$dir/go.mod >go.mod; cp $$dir/go.sum go.sum; chmod u+w go.mod go.sum; \
	$(GO) mod edit -require github.com/docker/compose/v5@$(COMPOSE_VERSION); \
	GOFLAGS=-mod=mod $(GO) build -trimpath -ldflags '-s -w -X github.com/docker/compose/v5/internal.Version=$(COMPOSE_VERSION)' -o $@ github.com/docker/compose/v5/cmd

bench-cluster: needs build $(TOOLS)/docker-compose ## the launcher's benchmarks, as a table; writes docs/benchmarks-cluster.md
	@RAYBUILD_BENCH_COMPOSE=$(TOOLS)/docker-compose bench/cluster

# It is built as a module of its own: `go install` would ask for its repository.
GO_LICENSES_VERSION := v2.0.1
$(TOOLS)/go-licenses: Makefile
	@mkdir -p $(TOOLS)/licences
	cd $(TOOLS)/licences && printf 'module licences.local\n\ngo 1.26\n\nrequire github.com/google/go-licenses/v2 %s\n' $(GO_LICENSES_VERSION) >go.mod && \
	GOFLAGS=-mod=mod $(GO) build -o $@ github.com/google/go-licenses/v2

release-files: build $(TOOLS)/go-licenses # man pages, completions and licences of a release, in build/release
	rm -rf build/release && mkdir -p build/release/completions
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) bin/raybuild docs --format man build/release/man
	for shell in bash fish; do bin/raybuild completion $$shell >build/release/completions/raybuild.$$shell; done
	bin/raybuild completion zsh >build/release/completions/_raybuild
	GO_LICENSES=$(TOOLS)/go-licenses scripts/licences build/release/licences

# A later version than this one needs a later Go. .github/workflows/release.yml names it too.
GORELEASER_VERSION := v2.16.0
$(TOOLS)/goreleaser: Makefile
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) $(GO) install github.com/goreleaser/goreleaser/v2@$(GORELEASER_VERSION)

release-check: $(TOOLS)/goreleaser ## make a release's archives in build/dist without publishing them, and check what is in them
	$(TOOLS)/goreleaser check
	$(TOOLS)/goreleaser release --snapshot --clean
	scripts/release-check build/dist

# A container image of raybuild itself. IMAGE pushes it; without IMAGE it is an OCI archive. BASE_IMAGE is what it stands on.
IMAGE ?=
BASE_IMAGE ?= debian:12-slim
IMAGE_FLAGS ?=
image: needs-build release-files ## the container image of raybuild itself: pushes it to IMAGE, or writes build/raybuild-image.tar
	PATH="$(CURDIR)/bin:$$PATH" SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(GO) run ./internal/selfimage --base $(BASE_IMAGE) --version $(VERSION) \
		--revision $$(git rev-parse HEAD) --docs LICENSE,build/release/licences $(IMAGE_FLAGS) $(or $(IMAGE),--output build/raybuild-image.tar)

clean: ## remove what make built
	rm -rf bin build
