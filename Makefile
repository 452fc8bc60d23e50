# Tasker's make targets; `make` alone lists them.
# Every target needs only Go, make and a POSIX shell. Tools that are not `tool` directives in go.mod
# are installed once, pinned, into .bin/.

MODULE           := github.com/tasker-engine/tasker
GOLANGCI_VERSION := v2.15.0
BUF_VERSION      := v1.75.0

TOOLS    := $(CURDIR)/.bin
GOLANGCI := $(TOOLS)/golangci-lint
BUF      := $(TOOLS)/buf
# A stamp is named for its version, so that a new pin reinstalls and nothing else does.
GOLANGCI_STAMP := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION).stamp
BUF_STAMP      := $(TOOLS)/buf-$(BUF_VERSION).stamp

# What `tasker version` reports: the tag, or before the first one the commit. The rest comes from the build info.
VERSION ?= $(or $(shell git describe --tags --match 'v*' --dirty 2>/dev/null | sed 's/^v//'),0.0.0-dev$(addprefix +,$(shell git rev-parse --short HEAD 2>/dev/null)))

# The race detector needs a C compiler; without one Go turns cgo off and the tests run without it.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# By default a program that was built with the detector sleeps for a second before it exits. The tests start and end
# hundreds of them. Races that were seen are reported without the sleep, too.
export GORACE ?= atexit_sleep_ms=0

PLATFORMS    := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
FUZZTIME     ?= 30s
CRASH_KILLS  ?= 200
RESTARTS     ?= 1000
PLUGIN_KILLS ?= 20
SOAK_TASKS   ?= 1000000
UPGRADE_TASKS ?= 1000
BENCH        ?= .
BENCH_COUNT  ?= 6
BENCH_BASE   ?= host/bench/baseline.txt
STABLE_RUNS  ?= 3
PROTO_BASE   := proto/baseline.binpb

# Modules of their own, as other people have them: ./... passes them by, and the test beside them builds and vets them.
MODULES := examples/05-custom-events/notifier
# Directories that hold Go code: what the scans for benchmarks and fuzz targets walk.
SOURCES := $(wildcard cmd host plugin plugins examples proto)
# Programs that only these targets use; ./... passes directories with a leading dot by.
CI_PROGRAMS := ./.ci/build ./.ci/stable

# Go uses all processors by itself, and `check` is a sequence.
.NOTPARALLEL:

.DEFAULT_GOAL := help
.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Build and run

.PHONY: build
build: ## Build bin/tasker, bin/plugins/* and bin/examples/*
	@go run ./.ci/build -version '$(VERSION)' -out bin

.PHONY: demo
demo: build ## Run the census example to its end; interrupt it and run it again to see it resume
	bin/tasker run examples/03-census/template.yaml --resume --plugin-dir bin/examples
	@printf '\nWhere the time went, as the events of the task tell it:\n\n'
	@bin/tasker task timeline $$(bin/tasker task list --json 2>/dev/null | grep -oE '[0-9A-HJKMNP-TV-Z]{26}' | head -n 1) 2>/dev/null
	@printf '\nNext: "bin/tasker task list" and "bin/tasker task trace ID" show more of it. Or run "make demo" again and kill it\nhalf-way (kill -9): the same command resumes where it stopped.\n'

.PHONY: dist
dist: ## Build release archives and checksums for all platforms into dist/
	@go run ./.ci/build -version '$(VERSION)' -dist dist -platforms '$(PLATFORMS)'

.PHONY: clean
clean: ## Remove what the targets leave behind, but not the pinned tools
	rm -rf bin dist coverage.out coverage.html bench.out

##@ Test

.PHONY: test
test: race-notice ## Run all tests, shuffled, under the race detector
	go test $(RACE) -shuffle=on -timeout 30m ./... $(CI_PROGRAMS)

.PHONY: test-stable
test-stable: race-notice ## Run the suite three times; fail unless the same tests pass each time
	@go run ./.ci/stable -runs $(STABLE_RUNS) -- $(RACE) -shuffle=on ./...

.PHONY: test-alerts
test-alerts: ## Fire every alert rule of docs/observability with Prometheus's own engine
	cd docs/observability/alerttest && go test ./...

.PHONY: verify-plugins
verify-plugins: build ## Check every plugin in the repository against the wire (tasker plugin verify)
	@.ci/verify-plugins

.PHONY: test-kits
test-kits: $(GOLANGCI_STAMP) ## Begin each kind of plugin, and a home, as a new user would; lint, build, test, verify, pack and use it
	TASKER_KITS=$(GOLANGCI) go test ./cmd/tasker/scaffold -run TestKits -count=1 -v -timeout 30m

.PHONY: test-crash
test-crash: ## Kill a host CRASH_KILLS times (200) and prove that nothing is lost or doubled
	TASKER_CRASH_KILLS=$(CRASH_KILLS) go test ./host/internal/crashtest/ -run TestCrash -count=1 -timeout 60m

.PHONY: test-kills
test-kills: ## Kill a handler plugin and a subscriber PLUGIN_KILLS times (20) under load: nothing is lost or skipped
	TASKER_PLUGIN_KILLS=$(PLUGIN_KILLS) go test ./host -run TestPluginsKilledUnderLoad -count=1 -timeout 60m

.PHONY: test-restarts
test-restarts: ## Crash a plugin RESTARTS times (1000) and prove that goroutines, files and memory stay flat
	TASKER_RESTARTS=$(RESTARTS) go test ./host/internal/supervisor/ -run TestTrapRestartsLeaveNothingBehind -count=1 -v -timeout 30m

NPM := npm --no-update-notifier --no-fund --no-audit

# npm runs no scripts of packages: what is installed is read, not executed, until it is used.
.PHONY: test-node
test-node: ## Test the SDK for TypeScript, its example, and both against the host; needs Node.js and npm
	@if ! command -v node >/dev/null || ! command -v npm >/dev/null; then echo 'test-node: there is no Node.js with npm here: nothing was tested'; exit 0; fi; \
	if ! npm view esbuild version --fetch-retries=1 --fetch-timeout=30000 >/dev/null 2>&1; then echo 'test-node: npm reaches no registry here: nothing was tested'; exit 0; fi; \
	set -ex; \
	(cd plugin/sdk/node && $(NPM) ci --ignore-scripts && $(NPM) test); \
	(cd examples/07-node/label && $(NPM) ci --ignore-scripts && $(NPM) test); \
	go build -o bin/tasker ./cmd/tasker; \
	node plugin/sdk/node/bin/tasker-plugin-build.mjs plugin/sdk/node/build/test/main.js bin/node/tasker-plugin-sample; \
	bin/tasker plugin verify bin/node/tasker-plugin-sample --fixtures plugin/sdk/node/test/verify.yaml; \
	TASKER_TEST_NODE=1 go test -count=1 -run 'TestNode' ./examples

.PHONY: test-upgrade
test-upgrade: ## Upgrade, reload and roll back a plugin under a load of UPGRADE_TASKS tasks (1000)
	TASKER_UPGRADE_TASKS=$(UPGRADE_TASKS) go test ./host -run TestUpgradeUnderLoad -count=1 -timeout 20m

.PHONY: soak
soak: ## Run SOAK_TASKS tasks (1000000) with retention on; fail if memory or the file keep growing
	@go build -o bin/plugins/tasker-plugin-mock ./plugins/mock
	go run ./host/internal/soak -tasks $(SOAK_TASKS) -plugin bin/plugins/tasker-plugin-mock -svg docs/soak.svg

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (30s)
	@.ci/fuzz '$(FUZZTIME)' $(SOURCES)

.PHONY: bench
bench: ## Run the benchmarks (BENCH=regexp) and compare them with those of the last release
	@dirs=$$(grep -rlE '^func Benchmark' --include='*_test.go' $(SOURCES) | xargs -n1 dirname | sort -u | sed 's,^,./,'); \
	if [ -z "$$dirs" ]; then echo 'bench: no benchmarks found'; exit 0; fi; \
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCH_COUNT) -timeout 60m $$dirs > bench.out || { cat bench.out; exit 1; }; \
	if [ -f '$(BENCH_BASE)' ]; then go tool benchstat '$(BENCH_BASE)' bench.out; else go tool benchstat bench.out; fi

# What a step costs in the parts that decide it: quick, and of little noise.
SHORT_BENCH := go test -run '^$$' -bench 'Task|Payloads|Attempts|Observe' -benchmem -benchtime 300x -count 6 \
	./host/internal/engine ./host/internal/publish ./host/internal/measure ./plugin/sdk

.PHONY: bench-short
bench-short: ## Compare the benchmarks of the parts with BENCH_BASE; it informs and fails for no number
	@$(SHORT_BENCH) > bench.out || { cat bench.out; exit 1; }
	@go tool benchstat '$(BENCH_BASE)' bench.out

.PHONY: bench-baseline
bench-baseline: ## Record what bench-short compares with, on a machine that does nothing else
	$(SHORT_BENCH) > '$(BENCH_BASE)'

.PHONY: cover
cover: ## Measure test coverage; leaves coverage.out and coverage.html
	go test -coverpkg=./... -coverprofile=coverage.out ./...
	@go tool cover -html=coverage.out -o coverage.html
	@go tool cover -func=coverage.out | tail -n 1

.PHONY: race-notice
race-notice:
	@$(if $(RACE),:,echo 'note: no C compiler here, so the tests run without the race detector')

##@ Check

# The order is the order of cost: what fails fast comes first.
.PHONY: check
check: fmt-check proto-check mod-check lint deadcode cross test ## Everything a change must pass; CI runs this

.PHONY: fmt
fmt: $(GOLANGCI_STAMP) $(BUF_STAMP) ## Format Go code, imports and proto files
	$(GOLANGCI) fmt ./... $(CI_PROGRAMS)
	$(BUF) format --write

.PHONY: fmt-check
fmt-check: $(GOLANGCI_STAMP) $(BUF_STAMP) ## Fail where `make fmt` would change something
	$(GOLANGCI) fmt --diff ./... $(CI_PROGRAMS)
	$(BUF) format --diff --exit-code

.PHONY: lint
lint: $(GOLANGCI_STAMP) ## Run the linters; .golangci.yml says which and why
	$(GOLANGCI) config verify
	$(GOLANGCI) run ./... $(CI_PROGRAMS)

.PHONY: deadcode
deadcode: ## Fail on functions that no binary reaches (public API and test support apart)
	@.ci/deadcode

.PHONY: mod-check
mod-check: ## Fail unless go.mod and go.sum are tidy and the module cache is unmodified
	go mod tidy -diff
	go mod verify
	set -e; for m in $(MODULES); do (cd $$m && go mod tidy -diff); done

.PHONY: cross
cross: ## Build everything and vet it, tests included, for each platform that we ship for
	@set -e; export CGO_ENABLED=0; for p in $(PLATFORMS); do \
		echo "go build, go vet ($$p)"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} go build ./...; \
		GOOS=$${p%/*} GOARCH=$${p#*/} go vet ./...; \
	done

.PHONY: vuln
vuln: ## Look for known vulnerabilities; needs the network, gates nothing
	@.ci/vuln

##@ Contracts

.PHONY: generate
generate: $(BUF_STAMP) ## Generate Go code from proto/
	$(BUF) generate

.PHONY: proto-check
proto-check: $(BUF_STAMP) ## Lint proto/, compare its generated code and its baseline
	$(BUF) lint
	@if [ -f $(PROTO_BASE) ]; then \
		echo '$(BUF) breaking --against $(PROTO_BASE)'; $(BUF) breaking --against $(PROTO_BASE); \
	else echo 'proto-check: $(PROTO_BASE) does not exist yet: not compared'; fi
	@.ci/generated '$(BUF)'

# The baseline is what the last release promised. Moving it is a release step: doing so with a change
# would compare the change with itself.
.PHONY: baseline
baseline: $(BUF_STAMP) ## Record proto/ as the contract that later changes must not break (releases only)
	$(BUF) build --exclude-source-info -o $(PROTO_BASE)

##@ Tools

.PHONY: tools
tools: $(GOLANGCI_STAMP) $(BUF_STAMP) ## Install the pinned tools into .bin/

# GOFLAGS and the target platform are cleared: a tool is built for this machine, from its own module graph.
$(GOLANGCI_STAMP):
	@mkdir -p $(TOOLS) && rm -f $(TOOLS)/golangci-lint-*.stamp
	GOFLAGS= GOOS= GOARCH= GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@touch $@

$(BUF_STAMP):
	@mkdir -p $(TOOLS) && rm -f $(TOOLS)/buf-*.stamp
	GOFLAGS= GOOS= GOARCH= GOBIN=$(TOOLS) go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
	@touch $@
