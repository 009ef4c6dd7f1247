# The two commands are `make drill` and `make test`; `make help` lists the rest.
# Variables: DRILL=flink  INVENTORY=inventory/local  ARGS="-e drill_hold=8"  BENCH=--reduced  CONSOLE="--port 5050"  INVENTORIES="inventory/local inventory/docker"  PYTHON=python3.11
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:

DRILL ?= flink
INVENTORY ?= inventory/local
ARGS ?=
CONSOLE ?=
INVENTORIES ?= inventory/local inventory/docker
BENCH ?=
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/eventlog-drills
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3,$(if $(shell $(name) --version 2>/dev/null),$(name))))
VENV := .venv
# An inventory may need more on the controller than Ansible itself: requirements/<its name>.txt says what.
REQUIREMENTS ?= $(or $(wildcard requirements/$(notdir $(INVENTORY:%/=%)).txt),requirements/controller.txt)
DRILLS := $(patsubst playbooks/drill_%.yml,%,$(wildcard playbooks/drill_*.yml))
PLAYBOOK = $(VENV)/bin/ansible-playbook -i $(INVENTORY) $(ARGS)
SELFTEST = -e pipeline_name=selftest -e pipeline_port_offset=20000
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help environment drill-exists test-environment check test test-full bench bench-full up drill drills parity status console selftest down purge

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

environment:
	@$(if $(PYTHON),,echo "eventlog-drills: no Python found. Install Python 3.11 or 3.12 with venv (Debian, Ubuntu: apt-get install python3.11 python3.11-venv)."; exit 1)
	@$(PYTHON) tools/environment.py $(VENV) $(REQUIREMENTS) $(CACHE)

up: environment ## Provision the pipeline, wait until it is healthy, stream
	@$(PLAYBOOK) playbooks/site.yml

drill-exists:
	@test -f playbooks/drill_$(DRILL).yml || { echo "eventlog-drills: there is no drill '$(DRILL)'. There are: $(DRILLS). For example: make drill DRILL=flink"; exit 1; }

# The verdict of this very run: another drill may have moved runs/latest meanwhile.
drill: drill-exists up ## Provision, then run one drill (DRILL=flink) and print its verdict
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT; status=0; \
	$(PLAYBOOK) playbooks/drill_$(DRILL).yml -e drill_link=$$folder/run || status=$$?; \
	$(VENV)/bin/python plugins/plugin_utils/verdict.py $$folder/run --played $$status

drills: up ## Provision, then run every drill
	@$(PLAYBOOK) playbooks/drills.yml

parity: environment ## Run one short drill on several inventories (INVENTORIES="…", DRILL=flink) and compare
	@$(foreach inventory,$(INVENTORIES),$(PYTHON) tools/environment.py $(VENV) $(or $(wildcard requirements/$(notdir $(inventory)).txt),requirements/controller.txt) $(CACHE) &&) true
	@$(VENV)/bin/ansible-playbook -i $(firstword $(INVENTORIES)) $(ARGS) playbooks/parity.yml -e parity_drill=$(DRILL) \
	  -e parity_inventories="$$(echo $(INVENTORIES) | tr ' ' ,)"

# A pipeline of its own: what is planted spoils its data.
selftest: environment ## Plant defects in a pipeline of their own and demand that each is caught
	@$(PLAYBOOK) $(SELFTEST) playbooks/teardown.yml -e teardown_purge=true
	@$(PLAYBOOK) $(SELFTEST) playbooks/site.yml
	@$(PLAYBOOK) $(SELFTEST) playbooks/selftest.yml; status=$$?; \
	$(PLAYBOOK) $(SELFTEST) playbooks/teardown.yml -e teardown_purge=true && exit $$status

status: environment ## Show services, counts and the last verdict
	@$(PLAYBOOK) playbooks/status.yml

console: environment ## Serve the console: services, drills and their history in a browser (CONSOLE="--port 5050")
	@$(PYTHON) tools/environment.py $(VENV) requirements/console.txt $(CACHE)
	@$(VENV)/bin/python -m eventlog_console --inventory $(INVENTORY) $(CONSOLE) -- $(ARGS)

down: environment ## Stop everything, keep the data
	@$(PLAYBOOK) playbooks/teardown.yml

purge: environment ## Stop everything and remove its data
	@$(PLAYBOOK) playbooks/teardown.yml -e teardown_purge=true

test-environment: environment
	@$(PYTHON) tools/environment.py $(VENV) requirements/develop.txt $(CACHE)

check: test-environment ## Lint, types, documentation and unit tests, without any server
	@$(VENV)/bin/python tools/check.py

test: test-environment ## Checks and tests on real servers, in about 25 minutes; STAGES="check drills" runs some
	@$(VENV)/bin/python -m testing.suite $(STAGES)

test-full: test-environment ## What takes longer: every fault, loss and signal, every scenario; STAGES="more_faults" runs some
	@$(VENV)/bin/python -m testing.suite --full $(STAGES)

# A pipeline of its own: it is purged, filled and broken. `make up` may not run beside it, or the figures mean little.
bench: test-environment ## Measure the pipeline beside its ceilings: a table and a page, in 15 minutes at most
	@PYTHONPATH=$(CURDIR):$(CURDIR)/producer/src:$(CURDIR)/flink_job/src $(VENV)/bin/python -m bench $(BENCH)

bench-full: ## The same with more of everything: 5 M events, each recovery five times, about an hour
	@$(MAKE) --no-print-directory bench BENCH=--full
