# Every command installs its requirements from lock files into .venv, superset/.venv or spark/.venv, and nowhere else.
# It needs Python 3.11 or 3.12, make and git. Python 3.13 works too, except for Superset. make help lists the commands.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

SCALE ?= 1
SEED ?= 20
FORMAT ?= parquet
SCENARIO ?= story
# Functions of make split paths at spaces, so paths here are relative to the project or quoted in shell code. The shell
# code reads ACL_DATA_DIR, DAGSTER_HOME and PYTHON from the environment; make exports its arguments there too.
# The interpreter runs all programs, because the first line of a script in .venv/bin breaks when the folder is moved.
PY := .venv/bin/python
INSTALLED := .venv/installed
SUPERSET_INSTALLED := superset/.venv/installed
SPARK_CLIENT := .venv/spark_client_installed
SPARK_CLUSTER := spark/.venv/installed
# Additional requirements of a refresh, depending on its engine
ENGINE := $(if $(filter spark,$(ACL_DBT_TARGET)),$(SPARK_CLIENT))
SUPERSET := $(PY) -m acl_assets.superset
# Trust the authorities of the system, as pip does: the network of a company may have one of its own.
export UV_SYSTEM_CERTS ?= true
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps
# Dagster requires an absolute DAGSTER_HOME that exists.
SET_DAGSTER_HOME := export DAGSTER_HOME="$${DAGSTER_HOME:-.dagster}"; \
	[[ "$$DAGSTER_HOME" != "~/"* ]] || DAGSTER_HOME="$$HOME/$${DAGSTER_HOME:2}"; \
	[[ "$$DAGSTER_HOME" == /* ]] || DAGSTER_HOME="$$PWD/$$DAGSTER_HOME"; \
	[ -d "$$DAGSTER_HOME" ] || { mkdir -p "$$DAGSTER_HOME"; cp dagster.yaml "$$DAGSTER_HOME"; };
# Check the settings, and print one if it is named: $(SETTINGS) exports_dir
SETTINGS := $(PY) -m acl_assets.settings
# Variables of the simulator that the caller has set
SIMULATOR_GIVEN := $(strip $(foreach name,SCALE SEED SCENARIO FORMAT,$(if $(filter command environment,$(origin $(name))),$(name))))
# Use two test processes: more would disturb the tests that run servers and browsers.
# Tests use data folders and an instance of their own, so the variables of the caller are removed.
PARALLEL := -n 2 --dist loadscope --no-loadscope-reorder --max-worker-restart 0 --durations 25
PYTEST := env -u ACL_DATA_DIR -u ACL_EXPORTS_DIR -u ACL_WORK_DIR -u DAGSTER_HOME $(PY) -m pytest

ifeq ($(wildcard acl_assets/__init__.py),)
$(error Run make in the folder of the project, or with make -C FOLDER)
endif

.PHONY: help install run dev dbt-docs demo-source extract check test test-fast test-all test-spark bench bench-extraction docs lock audit clean
.PHONY: published superset superset-install superset-stop superset-export superset-screenshots
.PHONY: spark-install spark-cluster spark-cluster-install spark-cluster-stop spark-parity

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' Makefile

# Create a virtual environment in folder $(1) for the lock file $(2), with a Python from 3.11 to 3.$(3)
define new_environment
	@case "$$PWD" in *[:?%\\\#]* | *$$'\n'*) echo "The environment cannot be set up in '$$PWD': Python, Dagster and dbt take no path with a line break or one of : ? % # \\ in it. Move or rename the folder." >&2; exit 1;; esac; \
	python=$$(for candidate in "$${PYTHON:-}" python3 python3.13 python3.12 python3.11; do \
		"$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $(3)))' 2>/dev/null && { echo "$$candidate"; break; }; done || true); \
	if [ -z "$$python" ]; then echo "No Python 3.11 to 3.$(3) was found. Install one, or name it: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; fi; \
	echo "Installing $(2) into $(1) ..."; \
	rm -rf -- $(1); \
	"$$python" -m venv $(1) || { echo "$$python cannot create a virtual environment; on Debian and Ubuntu install python3-venv." >&2; exit 1; }
endef

# uv installs a lock file in seconds. Where uv is not available, pip does it in a minute.
$(INSTALLED): requirements.lock pyproject.toml
	$(call new_environment,.venv,requirements.lock,13)
	@awk '/^uv==/ {uv = 1} uv {print} uv && !/\\$$/ {exit}' requirements.lock > .venv/uv.lock
	@{ $(PY) $(PIP_INSTALL) --require-hashes -r .venv/uv.lock \
		&& $(PY) -m uv pip sync --quiet --python $(PY) --compile-bytecode --require-hashes requirements.lock; } \
		|| $(PY) $(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(PY) -m uv pip install --quiet --python $(PY) --offline --no-deps --no-build-isolation --editable . \
		|| $(PY) $(PIP_INSTALL) --no-build-isolation --editable .
	@touch $@

$(SUPERSET_INSTALLED): superset/requirements.lock | $(INSTALLED)
	$(call new_environment,superset/.venv,superset/requirements.lock,12)
	@$(PY) -m uv pip sync --quiet --python superset/$(PY) --compile-bytecode --require-hashes superset/requirements.lock \
		|| superset/$(PY) $(PIP_INSTALL) --require-hashes -r superset/requirements.lock
	@touch $@

$(SPARK_CLIENT): spark/client.lock $(INSTALLED)
	@echo "Installing spark/client.lock into .venv ..."
	@$(PY) -m uv pip install --quiet --python $(PY) --compile-bytecode --no-deps --require-hashes -r spark/client.lock \
		|| $(PY) $(PIP_INSTALL) --require-hashes -r spark/client.lock
	@touch $@

$(SPARK_CLUSTER): spark/cluster.lock | $(INSTALLED)
	$(call new_environment,spark/.venv,spark/cluster.lock,13)
	@$(PY) -m uv pip sync --quiet --python spark/$(PY) --require-hashes spark/cluster.lock \
		|| spark/$(PY) $(PIP_INSTALL) --require-hashes -r spark/cluster.lock
	@touch $@

install: $(INSTALLED) ## install requirements.lock into .venv

# Compare the content, not the time: after an upgrade the new dagster.yaml may be older than the copy.
.PHONY: instance
instance:
	@mkdir -p .dagster; cmp -s dagster.yaml .dagster/dagster.yaml || cp -f dagster.yaml .dagster/dagster.yaml

.PHONY: settings
settings: $(INSTALLED)
	@$(SETTINGS)

run: $(INSTALLED) $(ENGINE) instance ## run a refresh from the newest batch chain, or from a simulated batch if there is none (VERBOSE=1 for all output)
	@exports_dir="$$($(SETTINGS) exports_dir)"; \
	if [[ "$$exports_dir" != *://* ]] && [ -z "$$(find -L "$$exports_dir" -mindepth 2 -maxdepth 2 -type f -print -quit 2>/dev/null)" ]; then \
		echo "No export in $$exports_dir: simulating 20 years of ticket sales at scale $(SCALE)."; \
		$(PY) -m acl_assets.simulator write-batch --scale "$(SCALE)" --seed "$(SEED)" --scenario "$(SCENARIO)" --format "$(FORMAT)"; \
	elif [ -n "$(SIMULATOR_GIVEN)" ]; then \
		echo "Not used: $(SIMULATOR_GIVEN). Exports are read from $$exports_dir. To simulate others, name another folder: make run ACL_DATA_DIR=data/other $(foreach name,$(SIMULATOR_GIVEN),$(name)=...)"; fi
	@$(SET_DAGSTER_HOME) exec $(PY) -m acl_assets.refresh $(if $(filter-out 0,$(VERBOSE)),--verbose)

# Python runs the script: its first line breaks when the folder is moved.
dev: settings $(ENGINE) instance ## start Dagster's UI on 127.0.0.1:3000, with the daemon and the sensor
	@export ACL_DAGSTER_URL="$${ACL_DAGSTER_URL:-http://127.0.0.1:$(or $(PORT),3000)}"; $(SET_DAGSTER_HOME) \
	cmp -s dagster.yaml "$$DAGSTER_HOME/dagster.yaml" || echo "Warning: $$DAGSTER_HOME/dagster.yaml differs from that of the project. After an upgrade, copy it there or compare the two: with an old one, killed runs can hold the queue for ever." >&2; \
	exec $(PY) .venv/bin/dg dev -h 127.0.0.1 -p "$(or $(PORT),3000)"

dbt-docs: settings ## serve dbt's documentation of the published file on 127.0.0.1:8080, until Ctrl-C
	@$(PY) -m acl_assets.warehouse.dbt_docs --port "$(or $(PORT),8080)"

# Before an installation that takes minutes
published: $(INSTALLED)
	@file="$$($(SETTINGS) published_file)"; test -e "$$file" || { echo "Nothing is published: there is no $$file. Run: make run" >&2; exit 1; }

superset: published $(SUPERSET_INSTALLED) ## run Apache Superset with the dashboards on 127.0.0.1:8088, until Ctrl-C
	$(SUPERSET) start --port "$(or $(PORT),8088)"

superset-stop: $(INSTALLED) ## stop the Superset that another process runs
	$(SUPERSET) stop

superset-install: $(SUPERSET_INSTALLED) ## install superset/requirements.lock into superset/.venv

superset-export: $(INSTALLED) ## export the dashboards from Superset into superset/bundle
	$(SUPERSET) export

superset-screenshots: $(INSTALLED) browser ## update the screenshots of the dashboards in docs/images
	$(PY) -m docs.generate.superset_screenshots

spark-install: $(SPARK_CLIENT) ## install spark/client.lock into .venv, to build the warehouse on Apache Spark

spark-cluster: $(SPARK_CLUSTER) java ## run a Spark cluster of two workers on 127.0.0.1:15002, until Ctrl-C
	$(PY) -m spark.cluster start --port "$(or $(PORT),15002)"

spark-cluster-stop: $(INSTALLED) ## stop the Spark cluster that another process runs
	$(PY) -m spark.cluster stop

spark-parity: $(SPARK_CLIENT) $(SPARK_CLUSTER) java ## run a refresh on both engines and compare the results row for row
	@data_dir="$$($(SETTINGS) data_dir)"; mkdir -p "$$data_dir"; \
	$(PY) -m benchmarks --scales "$(SCALE)" --rounds 1 --contenders refresh "refresh on Spark" --results "$$data_dir/spark_parity.json" --page /dev/null

spark-cluster-install: $(SPARK_CLUSTER) ## install spark/cluster.lock into spark/.venv

demo-source: settings ## run a PostgreSQL database that sells tickets on 127.0.0.1:54321, to practise extracts on, until Ctrl-C
	$(PY) -m acl_assets.simulator live --port "$(or $(PORT),54321)" --scale "$(SCALE)" --seed "$(SEED)" --scenario "$(SCENARIO)"

extract: settings ## extract the ticketing database (ACL_TICKETING_DSN) into the landing zone
	$(PY) -m acl_assets.extraction.extract $(if $(FULL),--full)

check: $(INSTALLED) ## run linters and type checks, and validate the Dagster definitions
	@$(MAKE) --no-print-directory --jobs 2 check-types check-sql check-python check-definitions

.PHONY: check-types check-sql check-python check-definitions
check-types:
	$(PY) -m mypy

check-sql:
	$(PY) -m sqlfluff lint --disable-progress-bar dbt

check-python:
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) .venv/bin/lint-imports --no-cache --no-logo

check-definitions: instance
	@$(SET_DAGSTER_HOME) $(PY) .venv/bin/dg check defs

# The browser tests need Chromium; the tests of fonts also need a CJK font. make installs both on Debian and Ubuntu for
# root. Elsewhere install them yourself. Without them these tests are skipped.
.PHONY: browser
browser:
	@if { ! command -v chromium chromium-browser google-chrome >/dev/null || [ -z "$$(fc-list :charset=56fd 2>/dev/null)" ]; } && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing chromium and fonts-droid-fallback for the browser tests ..."; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-droid-fallback >/dev/null; fi

# The Spark cluster needs Java.
.PHONY: java
java:
	@if ! command -v java >/dev/null && [ -z "$${JAVA_HOME:-}" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing default-jre-headless for Spark ..."; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq default-jre-headless >/dev/null; fi

# The tests of the deployment's proxy need nginx; Debian keeps it in /usr/sbin.
.PHONY: nginx
nginx:
	@if ! PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing nginx-light and openssl for the tests of the proxy ..."; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light openssl >/dev/null; fi

test: check browser java nginx $(SUPERSET_INSTALLED) $(SPARK_CLIENT) $(SPARK_CLUSTER) ## run make check, then the tests, including tests with real servers, with coverage
	$(PY) -m coverage erase
	$(PYTEST) $(PARALLEL) -m "not exhaustive and not spark" --cov --cov-report=term-missing:skip-covered

test-all: check browser java nginx $(SUPERSET_INSTALLED) $(SPARK_CLIENT) $(SPARK_CLUSTER) ## run every test, including single defects, kills, Spark at larger scales and random examples
	$(PYTEST) $(PARALLEL) --hypothesis-profile=default

test-fast: $(INSTALLED) ## run the tests that need no server and take little time
	$(PYTEST) $(PARALLEL) -m "not server and not slow and not exhaustive"

test-spark: java $(SPARK_CLIENT) $(SPARK_CLUSTER) ## run the tests that use a Spark cluster for minutes
	$(PYTEST) -m spark

bench: $(INSTALLED) $(SPARK_CLIENT) $(SPARK_CLUSTER) java ## compare the refresh with other ways to build the warehouse (SCALES="10 30" takes hours)
	$(PY) -m benchmarks $(if $(SCALES),--scales $(SCALES)) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-extraction: $(INSTALLED) ## measure the latency of buyers during an extract
	$(PY) -m benchmarks.extraction

docs: $(INSTALLED) browser ## update the generated diagrams, tables and screenshots of docs/
	$(PY) -m docs.generate
	$(PY) -m docs.generate.screenshots

lock: ## resolve the requirements of the project, Superset and Spark into their lock files
	$(PY) -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --all-extras --group dev pyproject.toml -o requirements.lock
	$(PY) -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11 superset/requirements.in -o superset/requirements.lock
	$(PY) -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --constraints requirements.lock spark/client.in -o spark/client.lock
	$(PY) -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11 spark/cluster.in -o spark/cluster.lock

audit: $(INSTALLED) ## look up every locked package in a database of advisories (options of pip-audit: AUDIT="...")
	$(PY) -m deploy.audit $(AUDIT)

# Remove a folder named build only if it holds the lock file of a refresh: ACL_DATA_DIR can be any folder.
clean: ## remove environments and build files; batches and published data stay
	@rm -rf -- .venv superset/.venv spark/.venv dbt/target dbt/logs .dagster
	@data_dir="$${ACL_DATA_DIR:-data}"; \
	if [[ "$$data_dir" == *://* ]]; then data_dir="$${ACL_WORK_DIR:-data}"; fi; \
	if [[ "$$data_dir" == "~/"* ]]; then data_dir="$$HOME/$${data_dir:2}"; fi; \
	build_dir="$$data_dir/build"; [[ "$$build_dir" == /* ]] || build_dir="./$$build_dir"; \
	if grep -qs '^run ' "$$build_dir/refresh.lock"; then rm -rf -- "$$build_dir"; \
	elif [ -e "$$build_dir" ]; then echo "$$build_dir stays: it holds no lock of a refresh. If you no longer need it, remove it by hand." >&2; fi
