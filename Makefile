# rr-runtime: `make` lists the targets. `make demo` and `make test` set everything up by themselves.
#
# Each target is a script of scripts/, which says what it does.

PREFIX ?= /usr/local
DESTDIR ?=
TIME ?= 60
export PREFIX DESTDIR TIME

.DEFAULT_GOAL := help
.PHONY: help setup build guests demo test lint bench eval eval-full conformance conformance-vm fuzz install uninstall clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## what the machine lacks, for all targets
	@scripts/setup

build: ## rr-runtime and its executor, optimised
	@scripts/setup build
	@scripts/build

guests: ## the demo's and the tests' functions, as Wasm
	@scripts/setup build guests
	@scripts/build-guests

demo: ## two functions hand a photograph to each other, over each transport; pictures in demo-output/
	@scripts/setup build guests demo
	@scripts/build
	@scripts/build-guests
	@scripts/demo

test: ## lint, unit tests, and end to end through the installed binary, a part of runc's own tests among them (as root)
	@scripts/setup build guests demo tests lint
	@scripts/test

lint: ## rustfmt, clippy, rustdoc, cargo-deny, shellcheck
	@scripts/setup build lint
	@scripts/lint

bench: ## against runc and crun; a table, and bench-output/results.json
	@scripts/setup build guests bench
	@scripts/build
	@scripts/build-guests
	@scripts/bench

eval: ## the paper's evaluation in a quarter of an hour: plots, and the page eval-output/index.html (as root)
	@scripts/setup build guests eval
	@scripts/build
	@scripts/build-guests
	@scripts/eval all --quick

eval-full: ## the same as in the paper, which takes hours; goes on where it was interrupted
	@scripts/setup build guests eval
	@scripts/build
	@scripts/build-guests
	@scripts/eval all --full

conformance: ## the tests of runc, crun and others beside runc (as root); a table, and conformance-output/
	@scripts/setup build conformance
	@scripts/build
	@scripts/conformance

conformance-vm: ## the same with podman and containerd in a virtual machine with cgroup v2 and systemd (as root)
	@scripts/setup build conformance-vm
	@scripts/build
	@scripts/conformance-vm

fuzz: ## hostile bytes for every parser of the hose, each for TIME seconds (60)
	@scripts/setup build
	@scripts/fuzz

install: ## to PREFIX (/usr/local), below DESTDIR if that is set; run `make build` first
	@scripts/install

uninstall: ## what install put there
	@scripts/install --remove

clean: ## all that was built; the cache folder stays (CONTRIBUTING.md says where)
	rm -rf target guest/examples/target demo-output bench-output eval-output
