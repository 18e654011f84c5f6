# Every target sets up what it needs: only Python 3.11 or newer and make have to be there.

CUSTOMERS ?= 100000
BIND ?= 127.0.0.1:8000
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
MANAGE := $(BIN)/python manage.py
# Written when the lock of that name is installed.
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

.PHONY: help demo test browser-test serve bench drill lint format shell openapi fuzz lock clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

demo: $(RUNTIME) ## Run a campaign over CUSTOMERS=100000 made-up customers
	@$(MANAGE) demo --customers $(CUSTOMERS)

test: $(DEV) ## Run the tests, without those that need a browser (ARGS for pytest)
	@$(BIN)/python -m pytest -m "not browser and not fuzz" $(ARGS)

browser-test: $(DEV) ## Run the tests that need a Chromium (ARGS for pytest)
	@$(BIN)/python -m pytest -m browser $(ARGS)

serve: $(RUNTIME) ## Serve admin and API on BIND=127.0.0.1:8000, and run the scheduler
	@$(MANAGE) migrate --verbosity 0
	@$(MANAGE) serve --bind $(BIND)

bench: $(RUNTIME) ## Measure a run over a million customers against the floor
	@$(MANAGE) bench --customers 1000000 --offers 50 --channels 3 --json

drill: $(RUNTIME) ## Kill a site of its own at random while it runs campaigns (ARGS for the drill)
	@$(MANAGE) drill $(ARGS)

lint: $(DEV) ## Check style, types, migrations and production settings
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(MANAGE) makemigrations --check --dry-run
	@secret() { $(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))'; }; \
	  KAIREON_ENV=production SECRET_KEY=$$(secret) API_KEY_PEPPER=$$(secret) \
	  ALLOWED_HOSTS=kaireon.example.com $(MANAGE) check --deploy --fail-level WARNING

format: $(DEV) ## Rewrite the code in the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

shell: $(RUNTIME) ## Open a Python shell with the project loaded
	@$(MANAGE) shell

fuzz: $(DEV) ## Send made-up requests of every operation to real servers (minutes; ARGS for pytest)
	@$(BIN)/python -m pytest -m fuzz tests/test_fuzz.py $(ARGS)

openapi: $(DEV) ## Write the API's description anew from the code
	@$(MANAGE) spectacular --format openapi-json --validate --fail-on-warn --file campaigns/api/openapi.json

# Pins stay as they are unless pyproject.toml rules them out; UPGRADE=--upgrade renews them all.
compile = $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header $(UPGRADE)
lock: | $(VENV)/.created ## Write the requirements locks anew from pyproject.toml
	@test -x $(BIN)/uv || { echo "make lock needs uv: rm -r $(VENV), then try again" >&2; exit 1; }
	@$(compile) --extra demo pyproject.toml -o requirements.txt
	@$(compile) --all-extras -c requirements.txt pyproject.toml -o requirements-dev.txt
	@echo uv | $(compile) --no-annotate - -o requirements-uv.txt

clean: ## Remove what can be made again, but not .venv nor the data in var/
	@rm -rf staticfiles htmlcov .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find kaireon campaigns executor tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Installs a lock in seconds with uv; where uv cannot be had, plain pip does it in a minute or two.
# Both refuse a file whose hash is not in the lock.
install = echo "Installing $(1)"; \
	if [ -x $(BIN)/uv ] && $(BIN)/uv pip install --quiet --python $(BIN)/python \
	  --require-hashes -r $(1); then :; \
	else echo "uv did not do it; using pip, which takes longer"; \
	  $(BIN)/python -m pip install --quiet --require-hashes -r $(1); fi

$(RUNTIME): requirements.txt | $(VENV)/.created
	@$(call install,$<)
	@touch $@

$(DEV): requirements-dev.txt | $(VENV)/.created
	@$(call install,$<)
	@touch $@ $(RUNTIME)

$(VENV)/.created:
	@for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  echo "Making $(VENV) with $$($$python --version)"; \
	  "$$python" -m venv $(VENV) && break; \
	  echo "That failed. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	done; \
	test -x $(BIN)/python || { \
	  echo "kaireon needs Python 3.11 or newer, and none was found." >&2; \
	  echo "Install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r requirements-uv.txt || echo "uv could not be installed; pip will do."
	@touch $@
