# What CI and people call; CI calls nothing else. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CHECK ?=
WHAT ?= proxy
# Of `make cluster`: its name, what it has, and the cluster whose network it shares.
NAME ?= lab
SIZE ?= control
JOIN ?=

.PHONY: help setup build demo test lint unit e2e-local e2e fuzz bench cluster cluster-build cluster-down gen

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the other targets need; safe to repeat
	@e2e/setup.sh

build: ## Release binaries in target/release
	@SETUP_WITHOUT_LINTERS=1 e2e/setup.sh
	cargo build --release --locked --workspace --bins

gen: ## The files that are made from the code: the CustomResourceDefinitions of charts/base, docs/proxy-features.md
	@out=charts/base/files/crd-all.gen.yaml; cargo run --locked --quiet -p lateen-api --example crds >$$out.new && mv $$out.new $$out || { rm -f $$out.new; exit 1; }
	LATEEN_GEN=1 cargo test --locked --quiet -p lateen-proxy-sync --lib the_page_of_features >/dev/null

demo: build ## Bookinfo as a local mesh, with a tour; CHECK=1 asserts each point and exits
	target/release/lateen-demo $(if $(CHECK),--check)

lint: setup ## Formatting, clippy with warnings as errors, licences and duplicate crates
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny --locked --log-level error check licenses bans sources
	e2e/advisories.sh

unit: setup ## Unit and integration tests, without the local mesh
	cargo test --locked --workspace --exclude lateen-e2e

e2e-local: setup cluster-build ## The end-to-end tests on a local mesh and on a real API server, one after the other
	cargo build --locked --workspace --bins
	cargo test --locked -p lateen-e2e -- --test-threads=1

e2e: setup ## Floods in full: 9,000 idle connections, ten times what `make test` sends; minutes
	cargo build --locked -p lateen-proxy
	LATEEN_FLOODS=full cargo test --locked -p lateen-e2e --test floods -- --test-threads=1 --nocapture

test: cluster-build lint unit e2e-local ## Everything that must hold before a change lands

fuzz: ## Fuzz what reads manifests, ten minutes a target (SECONDS_EACH=600)
	e2e/fuzz.sh

bench: build ## Ratios against Envoy in the same run; WHAT=analyze: time and memory of analyze
	e2e/bench.sh $(WHAT)

cluster-build: ## What a Kubernetes cluster for tests is made of; minutes once, then nothing to do
	@SETUP_WITHOUT_LINTERS=1 SETUP_WITH_CLUSTER=1 e2e/setup.sh
	@e2e/cluster/build.sh

cluster: ## A Kubernetes cluster (SIZE=control, NAME=lab, JOIN=other): see docs/cluster.md
	@SETUP_WITHOUT_LINTERS=1 SETUP_WITH_CLUSTER=1 e2e/setup.sh
	@e2e/cluster/up.sh --name '$(NAME)' --size '$(SIZE)' $(if $(JOIN),--join '$(JOIN)')

cluster-down: ## Take the cluster NAME down, also after a crash
	@e2e/cluster/down.sh --name '$(NAME)'
