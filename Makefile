# Berth: see README.md. The work is done by scripts/, so that it can be read and called without make, too.

# What test-all runs; .ci/run leaves out what has just passed.
KINDS ?= unit integration slow

.DEFAULT_GOAL := help
.PHONY: help build up demo down lab lab-down test test-all bench lint fmt images clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## install what is missing, start Berth here, run an example, say how to log in (root)
	@scripts/up

demo: ## the same with a real Consul and a real Zabbix agent beside it (root)
	@scripts/demo

down: ## end everything that up and demo started; leave nothing behind (root)
	@scripts/down

lab: ## three hosts, a router and an office on this machine, to play with (root)
	@scripts/lab up

lab-down: ## end the lab; leave nothing behind (root)
	@scripts/lab down

build: ## build the programs into bin/
	@bash -c '. scripts/lib.sh && build_programs'

images: ## build the images into the local Docker Engine
	@images/build

test: ## unit tests, and integration tests on real Docker and Consul
	@scripts/test unit integration

test-all: ## the same and the slow ones (Zabbix server, 1,000 schedules of faults)
	@scripts/test $(KINDS)

bench: ## measure placements, a fleet, the network, and starts as ratios to plain Docker (root)
	@scripts/bench

lint: ## look for mistakes without running anything
	@scripts/lint

fmt: ## format all Go files
	@git ls-files -z --cached --others --exclude-standard -- '*.go' | xargs -0 gofmt -l -w

clean: ## remove bin/ and the images; the cache folder stays
	@scripts/clean
