# Two commands do all set-up on a fresh Debian 12 with Python 3.11: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8080
DIR ?= demo-data
CATALOG ?= alphio

.PHONY: demo test lint types contracts unit docs site locales page-locales bench clean

demo: .venv/.runtime
	$(BIN)/purser demo --port $(PORT) --dir $(DIR) --catalog $(CATALOG)

test: lint types contracts unit

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/.dev
	$(BIN)/mypy

contracts: .venv/.dev
	$(BIN)/lint-imports

# These start servers, browsers and kills, and some watch the clock: one after the other. The others share two processes,
# each with a PostgreSQL of its own; a database that was named is one process's.
ALONE := tests/browser tests/docs tests/e2e tests/engine tests/simulation
PROCESSES ?= $(if $(PURSER_TEST_DATABASE_URL),0,2)

unit: .venv/.dev
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	$(BIN)/pytest $(ALONE)
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadfile $(ALONE:%=--ignore=%)
endif

# Takes new phrases of documents and mails into every language's catalogue, untranslated; what is gone is dropped.
locales: receipts/locales.receipts api/mails/locales.mails

%/locales.receipts %/locales.mails: .venv/.dev
	$(BIN)/pybabel -q extract -F $(basename $@)/babel.cfg --omit-header --no-location --sort-output \
		-o $(basename $@)/messages.pot .
	$(BIN)/pybabel -q update -D $(patsubst .%,%,$(suffix $@)) -i $(basename $@)/messages.pot -d $(basename $@) \
		--no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date

docs: .venv/.dev
	$(BIN)/python -m tests.docs.write

site: .venv/.dev  ## docs/ as HTML in build/site; a broken link stops it
	$(BIN)/mkdocs build --strict -f .ci/mkdocs.yml

bench: .venv/.dev
	$(BIN)/python -m bench.spends
	$(BIN)/python -m bench.http
	$(BIN)/python -m bench.documents
	$(BIN)/python -m bench.audit

.venv/.runtime: pyproject.toml .ci/system
	sh .ci/system runtime
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/.dev: pyproject.toml .ci/system
	sh .ci/system dev
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ .venv/.runtime

page-locales: .venv/.runtime  ## take up new phrases of the pages into their catalogues
	$(BIN)/python -m api.pages.phrases

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
