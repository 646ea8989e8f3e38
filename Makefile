# Every target does its own set-up, and is quick when that is already done.

.DEFAULT_GOAL := help
.PHONY: help app test check

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APP_READY := $(VENV)/.app-ready
TEST_READY := $(VENV)/.test-ready
# A file's tests stay together, so that it starts its server or browser once. One thread each:
# workers that all ask for every core slow each other down. Three for two cores: a server that
# starts, a browser and a lock keep their test waiting.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile
INSTALL := $(BIN)/pip install --disable-pip-version-check -r

help:
	@echo "make app     set up what the app needs and start it (HOST and PORT say where)"
	@echo "make test    set up what the tests need and run all of them"
	@echo "make check   formatting, lint, types and the fast tests"

app: $(APP_READY)
	exec $(BIN)/python app.py

test: $(TEST_READY)
	bash tests/setup.sh
	$(PYTEST)

check: $(TEST_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy app.py kfer survey training
	$(PYTEST) -m "not slow and not browser"

# pip comes last into a new environment: where it is missing, making one was interrupted.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { \
		echo "KFER needs Python 3.11 or 3.12, and there is no $(PYTHON)." \
			"Install one, or name one: make PYTHON=python3.12 app" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { \
		echo "KFER needs Python 3.11 or 3.12; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
			"Name another: make PYTHON=python3.12 app" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "The environment $(VENV) could not be made." \
			"On Debian: apt-get install python3-venv" >&2; exit 1; }

$(APP_READY): requirements.txt | $(BIN)/pip
	$(INSTALL) requirements.txt
	@touch $@

$(TEST_READY): $(wildcard requirements*.txt) training/requirements.txt tests/requirements.txt | $(BIN)/pip
	$(INSTALL) tests/requirements.txt
	@touch $(APP_READY) $@
