# What CI and people call; CI calls nothing else. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CHECK ?=
WHAT ?= proxy

.PHONY: help setup build demo test lint unit e2e-local bench

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the other targets need; safe to repeat
	@e2e/setup.sh

build: ## Release binaries in target/release
	@SETUP_WITHOUT_LINTERS=1 e2e/setup.sh
	cargo build --release --locked --workspace --bins

demo: build ## Bookinfo as a local mesh, with a tour; CHECK=1 asserts each point and exits
	target/release/lateen-demo $(if $(CHECK),--check)

lint: setup ## Formatting, clippy with warnings as errors, licences and duplicate crates
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny --locked --log-level error check licenses bans sources
	e2e/advisories.sh

unit: setup ## Unit and integration tests, without the local mesh
	cargo test --locked --workspace --exclude lateen-e2e

e2e-local: setup ## The end-to-end tests on a local mesh, one after the other
	cargo build --locked --workspace --bins
	cargo test --locked -p lateen-e2e -- --test-threads=1

test: lint unit e2e-local ## Everything that must hold before a change lands

bench: build ## Ratios against Envoy in the same run
	e2e/bench.sh $(WHAT)
