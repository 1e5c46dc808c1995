# Every target sets up what it needs in .venv; nothing is installed outside the repository
# except by test and test-all, which take Chromium and Prometheus from Debian where they may.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
COMPILED := .venv-compiled
DEMO_ARGS ?=
TEST_ARGS ?= -n 2 --dist worksteal

# With it set, as images like to have it, each of the hundred processes that the tests start
# compiles our sources anew, and pytest rewrites all tests in each of its own.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv demo demo-vllm test test-all compiled test-compiled lint audit lock dashboards docs live-pictures clean

help:
	@echo "make demo        run Foretoken against a simulated fleet (about three minutes; DEMO_ARGS='--duration 20')"
	@echo "make demo-vllm   run it in front of two real vLLM servers on CPU (about three minutes, install included)"
	@echo "make test        all tests but those of test-all (about four minutes; TEST_ARGS='-x tests/proxy')"
	@echo "make test-all    the tests against two vLLM servers on CPU, against Envoy, and what takes minutes: a storm of faults"
	@echo "make compiled    install a build with a compiled hot path into .venv-compiled (needs a C compiler; three minutes)"
	@echo "make test-compiled  run the tests against that build"
	@echo "make lint        format, lint, types, import layers"
	@echo "make audit       known vulnerabilities and licences of what the image installs"
	@echo "make lock        pin anew what the image installs (asks the package index)"
	@echo "make dashboards  regenerate what is generated: Grafana dashboards, Prometheus rules, reference pages"
	@echo "make docs        build the documentation as a site, .work/site/index.html"
	@echo "make live-pictures  take the pictures of the live page again, in Chromium (about three minutes)"

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Foretoken needs Python 3.11 or later; say make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[test]"
	scripts/telemetry_protos.sh $(BIN)/python
	$(BIN)/python -c "import scheduler; scheduler.rehearse()"
	@touch $@

venv: $(VENV)/.installed

demo: venv
	$(BIN)/foretoken demo $(DEMO_ARGS)

demo-vllm: venv
	$(BIN)/foretoken demo-vllm $(DEMO_ARGS)

test: venv
	scripts/viewing_parts.sh
	$(BIN)/python -m pytest -m "not real" $(TEST_ARGS)

test-all: venv
	scripts/viewing_parts.sh
	scripts/real_parts.sh
	$(BIN)/python -m pytest -m real

# The wheel is built and installed: no extension module ever lies beside its source.
compiled:
	$(PYTHON) -m venv $(COMPILED)
	HATCH_BUILD_HOOK_ENABLE_CUSTOM=true $(COMPILED)/bin/pip install --quiet --disable-pip-version-check ".[test]"
	scripts/telemetry_protos.sh $(COMPILED)/bin/python
	cd $(COMPILED) && bin/python -c "import scheduler; scheduler.rehearse()" && bin/foretoken --version

# PYTHONSAFEPATH keeps the sources in this folder from being imported in place of the build.
test-compiled: compiled
	mkdir -p $(COMPILED)/tests-only && ln -sfn $(CURDIR)/tests $(COMPILED)/tests-only/tests
	PYTHONSAFEPATH=1 $(COMPILED)/bin/python -m pytest --compiled -m "not real" \
		-o pythonpath=$(COMPILED)/tests-only $(TEST_ARGS) $(addprefix tests/,predictor scheduler collectors proxy foretoken/workers/test_table.py)

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: venv
	scripts/audit.sh $(BIN)/python

lock:
	scripts/lock.sh

dashboards: venv
	$(BIN)/python -m dashboards.build
	$(BIN)/python -m foretoken.reference

docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "the documentation is in .work/site/index.html"

live-pictures: venv
	$(BIN)/python -m scripts.live_page_pictures

clean:
	rm -rf $(VENV) $(COMPILED) .venv-vllm .venv-envoy .venv-aiperf .work
