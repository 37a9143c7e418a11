# Everything that a person or CI runs here. `make help` lists it.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
ONLY ?=
PEERS ?=
ARGS ?=
JOBS ?= 3

# uv and pip cache downloads in the home of the user. Where that cannot be written (a service account, a container with
# a foreign user id), in the checkout.
CACHE_IS_WRITABLE := $(shell place="$${XDG_CACHE_HOME:-$$HOME/.cache}/uv"; \
	while [ ! -e "$$place" ]; do place=$$(dirname "$$place"); done; [ -w "$$place" ] && echo yes)
ifneq ($(CACHE_IS_WRITABLE),yes)
export UV_CACHE_DIR := $(CURDIR)/.cache/uv
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check bench lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.warm ## Make .venv from requirements.lock and compile the learner; costs nothing when nothing changed

demo: setup ## Learn from real interactions on a real Kafka: two workers, a follower, a table at the end
	@$(BIN)/python -m deploy.demo

test: setup ## Run all tests, on a real Kafka, JOBS=3 at a time; ARGS="-k name" picks some
	@$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

check: setup ## What CI runs: format, lint, types, layers, all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

bench: setup ## Measure, in half an hour or more; ONLY=name picks one part, PEERS=torch adds a peer of some gigabytes
	@$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(if $(PEERS),--peers $(PEERS))

# One set of versions: what the image is made from and with is a part of what all of this is tested with.
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

lock: .venv/.uv ## Write requirements.lock anew from pyproject.toml, and the image's locks from it
	$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml -c requirements.lock $(LOCK) -o deploy/image/requirements.lock
	$(BIN)/uv pip compile --group build -c requirements.lock $(LOCK) -o deploy/image/build.lock

clean: ## Remove .venv, .cache, build and every cache
	rm -rf .venv .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each step, so that only what its inputs changed is done again.

.venv/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
		echo "'$(PYTHON) -m venv' failed: on Debian and Ubuntu, install the package python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

# uv, because pip alone takes six times as long. Bytecode like pip: where PYTHONDONTWRITEBYTECODE is set, each of the
# hundreds of processes of the tests would compile numba's sources otherwise, which takes longer than all that they do.
.venv/.installed: .venv/.uv requirements.lock pyproject.toml
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@

# numba keeps what it compiled beside the source. It looks at the file of a kernel, not at those of the kernels that it
# calls: so all is compiled anew when any of them changes.
.venv/.warm: .venv/.installed $(wildcard worker/*.py worker/*/*.py)
	@find worker -name '*.nb[ci]' -delete
	@$(BIN)/python -m compileall -q worker
	@$(BIN)/python -m worker.warm
	@touch $@
