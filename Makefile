# One door for every chore. `make run` and `make test` need Python 3.11, make, and nothing else to begin.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test test-slow check format lint types imports bench lock clean

run: $(READY)
	@$(BIN)/lianren demo

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

test-slow: $(READY) # whole networks, crashes, a million rows: some minutes more
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow

check: format lint types imports test test-slow

format: $(READY)
	@$(BIN)/ruff format --check .

lint: $(READY)
	@$(BIN)/ruff check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports --no-cache

bench: $(READY)
	@for file in bench/bench_*.py; do echo "== $$file"; $(BIN)/python -m bench.$$(basename $$file .py) || exit 1; done

lock: # needs uv; writes hashes and no index address
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra demo --extra dimse --extra bulk --extra oprf --extra otel --extra pkcs11 --group dev pyproject.toml -o requirements-dev.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra otel pyproject.toml -o requirements.lock

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "lianren needs Python 3.11 or newer; name one with: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "this Python cannot make environments; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "installing into $(VENV) (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

clean:
	rm -rf $(VENV) .demo
