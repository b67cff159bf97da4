# `make bench` and `make test` need nothing but Python >= 3.11 and a package registry.
PYTHON  ?= python3
DATASET ?= samples
BENCH   ?=
PYTEST  ?=
VENV    := .venv
PY      := $(VENV)/bin/python
export OMP_NUM_THREADS ?= 1

.PHONY: bench zoo test suite test-browser compressai cluster screenshots lint perf check train weights lock venv clean
.DEFAULT_GOAL := bench

bench: $(VENV)/ready
	$(PY) -m bench run --dataset $(DATASET) $(BENCH)

# All learned codecs that have weights, beside VVC and JPEG, in a run of their own.
zoo: $(VENV)/ready
	codecs="$$($(PY) -m codecs.zoo)" && $(PY) -m bench run vvenc jpeg $$codecs \
		--dataset $(DATASET) --run runs/zoo-$(notdir $(DATASET)) $(BENCH)

# What reads the code runs beside what runs it. Options for pytest: make test PYTEST="-k metrics --cov"
test: $(VENV)/ready $(VENV)/cluster
	@$(MAKE) --no-print-directory --jobs 2 lint suite

# One process more than there are cores, at most four: some tests wait for others of their own.
suite: $(VENV)/ready $(VENV)/cluster
	$(PY) -m pytest --ignore=tests/browser -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses 4 --dist worksteal $(PYTEST)

# CompressAI, for its models and for your own weights of its networks; its tests then run as well.
# Without its dependencies, of which numpy 1 is one: codecs/compressai_zoo.py.
compressai: $(VENV)/compressai
$(VENV)/compressai: $(VENV)/ready requirements-compressai.lock
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PY) --no-deps --require-hashes \
		-r requirements-compressai.lock
	touch $@

# Dask, for `--cluster`; workers on other machines need it too.
cluster: $(VENV)/cluster
$(VENV)/cluster: $(VENV)/ready requirements-cluster.lock
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r requirements-cluster.lock
	touch $@

# The report in a real browser: Debian's Chromium, or CHROMIUM=/path/to/one.
test-browser: $(VENV)/browser chromium
	$(PY) -m pytest tests/browser -n auto --maxprocesses 2 --dist worksteal

# The pictures of the README, from a stored run of Kodak: make screenshots RUN=runs/kodak
RUN ?= runs/kodak
screenshots: $(VENV)/browser chromium
	$(PY) -m bench report $(RUN) --pictures full
	$(PY) -m tests.browser.screenshots $(RUN)/report.html docs

.PHONY: chromium
chromium:
	$(call program,$${CHROMIUM:-chromium},chromium,; or CHROMIUM=/path/to/one)

# What no Python package has: the program that computes Butteraugli.
.PHONY: metrics
metrics:
	$(call program,butteraugli_main,libjxl-devtools)

# $(call program,NAME,DEBIAN PACKAGE,OTHER WAYS): have a program on the PATH.
define program
@command -v "$(1)" >/dev/null && exit 0; \
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	apt-get update -q && apt-get install -q -y --no-install-recommends $(2); \
else \
	echo "$(2) is needed: on Debian and Ubuntu, sudo apt install $(2)$(3)" >&2; exit 1; \
fi
endef

$(VENV)/browser: $(VENV)/ready requirements-browser.lock
	$(VENV)/bin/uv pip install --quiet --python $(PY) --require-hashes -r requirements-browser.lock
	touch $@

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

perf: $(VENV)/ready
	$(PY) -m bench.perf

# make train NETWORK=minnen TRAIN_DATA=photos VALID_DATA=other TRAIN="--preset quick --minutes 10"
NETWORK ?= rdonet
OUT     ?= checkpoints/$(NETWORK)
train: $(VENV)/ready
	@test -n "$(TRAIN_DATA)" -a -n "$(VALID_DATA)" || { echo "name two folders of photographs: \
	make train NETWORK=$(NETWORK) TRAIN_DATA=DIR VALID_DATA=DIR" >&2; exit 1; }
	$(PY) -m codecs.train $(NETWORK) --data $(TRAIN_DATA) --valid $(VALID_DATA) --out $(OUT) $(TRAIN)

# A set by its recipe, from nothing, or on from where it was stopped; STEPS=40 tries the chain out:
# make weights SET=minnen-mse TRAIN_DATA="photos more" VALID_DATA=other TRAIN="--threads 1"
SHARED := $(or $(BENCH_DATA),$(wildcard ../shared/data))
ifneq ($(and $(SHARED),$(SET)),)
TRAIN_DATA ?= $(SHARED)/train $(SHARED)/detail[:-24]
VALID_DATA ?= $(SHARED)/valid $(SHARED)/detail[-24:]
endif
weights: $(VENV)/ready
	@test -n "$(SET)" -a -n "$(TRAIN_DATA)" -a -n "$(VALID_DATA)" || { echo "name a set and folders \
	of photographs: make weights SET=minnen-mse TRAIN_DATA=DIR VALID_DATA=DIR" >&2; exit 1; }
	$(PY) -m codecs.recipe $(SET) $(if $(STEPS),--steps $(STEPS)) \
		--data $(foreach d,$(TRAIN_DATA),'$(d)') --valid $(foreach d,$(VALID_DATA),'$(d)') $(TRAIN)

check: $(VENV)/ready
	$(PY) -m bench check

# An interpreter that was removed or upgraded leaves links that lead nowhere: install again.
GONE := $(shell test -x $(PY) || rm -f $(VENV)/ready)

# Everything is installed from hash-pinned locks; the .pth line makes the folder codecs/
# importable beside the standard library's module of that name (see bench/__init__.py).
$(VENV)/ready: requirements.lock requirements-uv.lock
	@$(MAKE) --no-print-directory venv
	$(PY) -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		--require-hashes -r requirements-uv.lock
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r requirements.lock
	$(PY) -c 'import pathlib, site; pathlib.Path(site.getsitepackages()[0], "codec-bench.pth").write_text("import codecs; codecs.__path__ = [%r]\n" % str(pathlib.Path("codecs").resolve()))'
	touch $@

# A virtual environment with pip and a recent Python; one that was left half made is made anew.
USABLE := $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' && $(PY) -m pip --version
venv:
	@if ! { $(USABLE); } >/dev/null 2>&1; then set -e; \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'; \
		$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
			{ echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
		echo "$(PYTHON) -m venv --clear $(VENV)"; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi

lock: $(VENV)/ready
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--group dev --extra metrics pyproject.toml -o requirements.lock
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--constraint requirements.lock --group browser -o requirements-browser.lock
	echo "distributed dask-jobqueue" | tr ' ' '\n' | $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-header --constraint requirements.lock --no-annotate - -o requirements-cluster.lock
	$(PY) -c 'import bench; from codecs.compressai_zoo import REQUIREMENTS; print(*REQUIREMENTS, sep="\n")' | \
		$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-deps - -o requirements-compressai.lock
	echo uv | $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate - -o requirements-uv.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
