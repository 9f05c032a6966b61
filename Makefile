# `make demo`: everything from a fresh machine to a live model. `make test`: everything tested.
SHELL := /bin/bash
CACHE ?= $(or $(KFOPS_CACHE),$(HOME)/.cache/kfops)
export KFOPS_CACHE := $(CACHE)
export CARGO_TARGET_DIR ?= $(CACHE)/target
REPORT ?=
DEMO_ARGS = $(if $(REPORT),--report $(abspath $(REPORT)))

.PHONY: help demo images test sim lint bench bench-webhooks bench-commands fuzz install build setup schema cluster-up cluster-down test-cluster lint-chart

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

demo: setup ## the story of three pull requests on real parts, without a person (REPORT=FILE writes JSON)
	cargo build --quiet --locked --bin kfc
	$(CARGO_TARGET_DIR)/debug/kfc local demo $(DEMO_ARGS)

test: setup ## all tests
	cargo build --locked --workspace --bins
	$(CARGO_TARGET_DIR)/debug/kfc local provision --env > $(CACHE)/test.env
	deploy/github-description >> $(CACHE)/test.env
	set -a && source $(CACHE)/test.env && set +a && cargo test --locked --workspace --no-fail-fast

sim: ## 10,000 random schedules of scm-bot and its crash matrix (KFOPS_SIM_RUNS, KFOPS_SIM_SEED)
	KFOPS_SIM_RUNS=$${KFOPS_SIM_RUNS:-10000} cargo test --locked --package kfops-scm-bot --test it -- --nocapture schedules matrix

lint: setup ## rustfmt, clippy, cargo deny, buf
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	deploy/lint/deny
	deploy/lint/buf

bench: setup ## idle memory of the five services, time from start to ready
	cargo build --release --locked --workspace --bins
	$(CARGO_TARGET_DIR)/release/kfc local provision --env > $(CACHE)/test.env
	set -a && source $(CACHE)/test.env && set +a && $(CARGO_TARGET_DIR)/release/bench-services

bench-webhooks: setup ## webhooks a second through gateway and scm-bot, against Probot
	cargo build --release --locked --package kfops-gateway --package kfops-scm-bot --package kfops-bench --bins
	deploy/github-description > $(CACHE)/bench.env
	echo "KFOPS_PROBOT=$$(deploy/npm tests/bench/probot)" >> $(CACHE)/bench.env
	set -a && source $(CACHE)/bench.env && set +a && $(CARGO_TARGET_DIR)/release/bench-webhooks

bench-commands: setup ## 10,000 open commands on one scm-bot: memory, restart, time to the next step (BENCH_COMMANDS)
	cargo build --release --locked --package kfops-scm-bot --package kfops-bench --bins
	$(CARGO_TARGET_DIR)/release/bench-commands

fuzz: setup ## random comments, signatures, webhooks, kfops.yaml and arguments (FUZZ_SECONDS each, FUZZ_SEED)
	cargo build --release --locked --package kfops-fuzz
	$(CARGO_TARGET_DIR)/release/fuzz $(FUZZ)

cluster-up: ## a small real Kubeflow on this machine: deploy/test-cluster (PARTS="kubernetes", "all", or of istio s3 buildkit kserve)
	deploy/test-cluster/up $(PARTS)

cluster-down: ## its end; programs and images stay in the cache
	deploy/test-cluster/down

test-cluster: ## proofs that it is one (SUITES="kubernetes network-policies s3 istio kserve buildkit"), then the crates' tests against it (CRATES)
	deploy/lint/chart
	deploy/test-cluster/prove $(SUITES)
	deploy/test-cluster/test $(CRATES)

lint-chart: ## charts/kfops with several values files; against the test cluster's API server too where there is one (helm is compiled first: minutes)
	deploy/test-cluster/build helm
	deploy/lint/chart

images: setup ## one small OCI image per service, into the cache (IMAGES_TO=REGISTRY/FOLDER pushes them, IMAGES_TAG, IMAGES_PROFILE=dev)
	deploy/images/build $(SERVICES)

install: setup ## kfc into ~/.cargo/bin, optimised
	cargo install --locked --path services/kfc

build: setup ## all binaries, optimised
	cargo build --release --locked --workspace --bins

schema: ## writes docs/kfops.schema.json anew
	KFOPS_UPDATE=1 cargo test --locked --package kfops-project

setup:
	@deploy/setup
