# Everything runs from `.venv`, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= runs
SERVE ?= 1
STUDY := engine/demo/study.toml

.PHONY: install demo app test test-long lint bench bench-app big-store claims demo-model chromium clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.developing: $(VENV)/.installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# The app starts first, so that the study can be watched while it runs; with SERVE=0 there is no app.
demo: install
	SERVE=$(SERVE) STORE=$(STORE) $(BIN)/python -m engine.demo.show

app: install
	PRUNOSCOPE_STORE=$(STORE) $(BIN)/python -m streamlit run app.py

# Three workers on two cores: those that drive a browser mostly wait. One thread each, or they wait for one another.
WORKERS ?= 3
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test: $(VENV)/.developing chromium
	$(PYTEST) -m "not long" tests

test-long: $(VENV)/.developing chromium
	$(PYTEST) -m long tests

# Browser tests drive Debian's Chromium. Without the right to install it they skip (and fail under CI).
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	  && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core fonts-noto-core fonts-noto-cjk >/dev/null; } || true

lint: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.developing bench-app
	$(BIN)/python -m tests.bench.ratios

# The app on a store of that size, in a real Chromium: a few minutes on a quiet machine.
BIG ?= $(VENV)/big-store
bench-app: $(VENV)/.developing chromium
	test -f $(BIG)/big/scores.parquet || $(BIN)/python -m tests.synthetic $(BIG)
	$(BIN)/python -m tests.bench.app $(BIG)

# What the papers claim, tested on the bundled model: at most an hour on two cores. Smaller: make claims CLAIMS="--seeds 1"
claims: install
	$(BIN)/python -m engine.demo.claims --store $(STORE) $(CLAIMS)

# A synthetic study of 12 languages x 5 methods x 6 levels x 3 seeds, for looking at the app and timing it at that size.
big-store: $(VENV)/.developing
	$(BIN)/python -m tests.synthetic $(STORE)

demo-model: install
	$(BIN)/python -m engine.demo.build

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
