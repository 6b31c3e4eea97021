# Dunlin: everything a developer does goes through here. `make help` lists it.
GO      ?= go
BIN     := bin/dunlin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
SEEDS   ?= 20
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
CHAOS   ?= 2m

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/dunlin
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/dunlin

.PHONY: run
run: build ## run a three-node cluster on this machine, with sample events in it
	$(BIN) dev --sample

.PHONY: test
test: lint ## check everything that needs Go and a C compiler alone
	$(GO) test ./...

.PHONY: lint
lint: ## gofmt, go vet, staticcheck (the house rules are tests: internal/tidy)
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "run gofmt on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

.PHONY: race
race: ## the tests of the packages with goroutines, under the race detector
	$(GO) test -race -short ./hlc ./storage ./transport ./membership ./catalog ./replica ./coordinator ./hinted ./antientropy/... ./mend ./rebalance/... ./httpapi ./client ./node

.PHONY: sim
sim: ## simulate a cluster: SEEDS=n runs seeds 1..n, SEED=k repeats one and prints its faults
	$(GO) test ./internal/sim -run TestSeeds -count=1 -timeout 30m $(if $(SEED),-v -seed $(SEED),-seeds $(SEEDS))

.PHONY: sim-layout
sim-layout: ## simulate nodes that join, leave, burn and are replaced under load: SEEDS=n or SEED=k as for sim
	$(GO) test ./internal/sim -run TestLayoutSeeds -count=1 -timeout 30m -v -args -virtual 11m $(if $(SEED),-seed $(SEED),-seeds $(SEEDS))

.PHONY: sim-long
sim-long: ## simulate seeds 1..SEEDS=1000, each in a process of its own, JOBS=n at a time; prints the seeds that fail
	$(GO) test -c -o bin/sim.test ./internal/sim
	@mkdir -p bin/sim-long; rm -f bin/sim-long/*.log; seq 1 $(if $(filter file,$(origin SEEDS)),1000,$(SEEDS)) | xargs -P $(JOBS) -I{} sh -c \
	  'if bin/sim.test -test.v -test.run TestSeeds -test.timeout 30m -seed {} >bin/sim-long/{}.log 2>&1; then \
	     echo "seed {}: $$(tail -n 1 bin/sim-long/{}.log)"; rm bin/sim-long/{}.log; \
	   else echo "seed {} failed: bin/sim-long/{}.log"; exit 1; fi' \
	  && echo "no seed failed"

.PHONY: planted
planted: ## plant bugs into the nodes, one at a time: the simulator must find each
	bash scripts/planted.sh

.PHONY: chaos
chaos: build ## kill, stop and restart nodes of a real cluster for CHAOS=2m, then check every event
	$(GO) test ./internal/e2e -run TestChaos -count=1 -v -timeout 20m -args -chaos $(CHAOS)

.PHONY: fuzz
fuzz: ## each fuzz target for 20 seconds
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test $$pkg -run '^$$' -fuzz "^$$f$$" -fuzztime 20s || exit 1; \
	  done; \
	done

.PHONY: bench
bench: ## the Go benchmarks, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: marks
marks: build ## measure the marks of docs/results.md on this machine (ratios, interleaved)
	bash scripts/marks.sh

.PHONY: heal
heal: build ## measure how fast a replica that was away becomes equal again
	bash scripts/heal.sh

.PHONY: grow-marks
grow-marks: build ## measure what joins and replacements of nodes cost and how long they take
	bash scripts/grow.sh

.PHONY: clean
clean: ## remove what was built and the development cluster's data
	rm -rf bin dunlin-dev
