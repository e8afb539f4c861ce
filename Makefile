# Everything runs in one environment, .venv, which any target builds on its first use.

EXTRAS := torch,steering,trainer,lora,sweeps,s3,auth,test,dev
TORCH := 2.13.0
BIN := .venv/bin

# Asked by running it: a version manager may have a command of that name that only complains.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# Named by content and place, so a changed pin or a moved checkout rebuilds and anything else costs nothing.
ENVIRONMENT := .venv/installed-$(shell { echo '$(CURDIR) $(EXTRAS)'; cat setup.cfg pyproject.toml projects/common/pyproject.toml constraints.txt; } | cksum | cut -d ' ' -f 1)

# Which tests run and how; `make test TESTFLAGS="tests/unit/decision/test_rules.py -x"` replaces it.
# In the order of `testpaths`, so that the short tests come last and no worker is left alone with a long file. One worker
# more than there are cores, up to four in all: tests of commands also wait.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
XDIST := -n $(shell echo $$(( $(CORES) + 1 ))) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
TESTFLAGS ?= $(XDIST)
# Further arguments of `mlflow run`, for example DEMOFLAGS="-P preset=gpt2".
DEMOFLAGS ?=
LORAFLAGS ?=
BENCHFLAGS ?=
# For example FAULTFLAGS="--trials 50 --store local".
FAULTFLAGS ?=

ifeq ($(origin MLFLOW_TRACKING_URI),undefined)
demo lora: export MLFLOW_TRACKING_URI := sqlite:///$(CURDIR)/mlflow.db
LOOK := $(BIN)/mlflow server --app-name phases --backend-store-uri sqlite:///mlflow.db   then open http://127.0.0.1:5000/phases
else
LOOK := open /phases on your tracking server (MLFLOW_TRACKING_URI), started with --app-name phases
endif

.DEFAULT_GOAL := help
.PHONY: help demo lora quick test nightly browser check faults bench bench-peers bench-times lock clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: export PATH := $(CURDIR)/$(BIN):$(PATH)
demo: $(ENVIRONMENT) ## Steer a real language model through four phases; again: everything is reused
	@echo "Running phases 1 to 4 on SmolLM2-135M under MLflow: minutes the first time, seconds once there is work to reuse."
	@$(BIN)/mlflow run . -e main -b phases --env-manager local --experiment-name sentiment-steering $(DEMOFLAGS)
	@echo "To look at it: $(LOOK)."

lora: export PATH := $(CURDIR)/$(BIN):$(PATH)
lora: $(ENVIRONMENT) ## Retrain a real language model with LoRA in eight phases; again: everything is reused
	@echo "Running eight phases on SmolLM2-135M under MLflow: about 20 minutes the first time, seconds once there is work to reuse."
	@$(BIN)/mlflow run projects/lora_retraining -e main -b phases --env-manager local --experiment-name lora-retraining $(LORAFLAGS)
	@echo "To look at it: $(LOOK)."

quick: $(ENVIRONMENT) ## Run the unit tests: under two minutes
	@$(BIN)/python -m pytest $(XDIST) tests/unit

test: $(ENVIRONMENT) ## Run all tests but the nightly ones: about 25 minutes
	@$(BIN)/python -m pytest $(TESTFLAGS)

nightly: $(ENVIRONMENT) ## Run every route, store and kind that `make test` leaves out, and the tests of the page in a slow browser
	@$(BIN)/python -m pytest $(XDIST) tests/nightly
	@SLOW_BROWSER=1 $(BIN)/python -m pytest $(XDIST) tests/end_to_end/dashboard

# pip installs no browser. Where there is none, `make test` says so and leaves out the tests of the page.
browser: ## Install Chromium for the tests of the page (Debian and Ubuntu, as root), unless a browser is there
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
		echo "Installing Chromium with apt-get: about 100 MB."; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }

check: $(ENVIRONMENT) ## Lint, formatting, types and the order of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

faults: $(ENVIRONMENT) ## Kill trainings at random moments and break what they save, on every store (long)
	@$(BIN)/python -m tests.nightly.faults $(FAULTFLAGS)

bench: $(ENVIRONMENT) ## Measure the speed of verdicts, of a finished pipeline, of checkpoints and of phase 2
	@$(BIN)/python -m benchmarks $(BENCHFLAGS)

# Apart from `bench`: they install six other tools, about 1 GB. BENCHFLAGS="--tools dvc,redun --rows 1,2" measures a part.
bench-peers: $(ENVIRONMENT) ## Make 70 changes to projects of other tools and of this one (installs them; an hour)
	@$(BIN)/python -m benchmarks.peer_rows $(BENCHFLAGS)

bench-times: $(ENVIRONMENT) ## Measure the time that other tools need on a finished pipeline (20 minutes)
	@$(BIN)/python -m benchmarks.peers $(BENCHFLAGS)

lock: ## Resolve every dependency afresh and rewrite constraints.txt
	$(require_python)
	@echo "Resolving mlflow-phases[$(EXTRAS)] with torch $(TORCH) in a fresh environment."
	@$(PYTHON) -m venv --clear .cache/lock
	@.cache/lock/bin/python -m pip install -qq --disable-pip-version-check "torch==$(TORCH)" -e ".[$(EXTRAS)]"
	@{ echo "# Written by 'make lock': the exact versions that 'make' installs and the tests have passed with."; \
	   .cache/lock/bin/python -m pip freeze --disable-pip-version-check --exclude-editable \
	   | grep -v ' @ ' | sed 's/+.*//'; } > .cache/constraints.txt
	@mv .cache/constraints.txt constraints.txt
	@rm -rf .cache/lock
	@echo "Wrote constraints.txt."

clean: ## Remove the environment and caches, never the tracking store or what it holds
	rm -rf .venv build dist *.egg-info .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

define require_python
@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found. Install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11, or does not start. Name another: make PYTHON=/path/to/python3.11"; exit 1; }
endef

# A copied environment keeps pointing at its origin: it is made anew unless its scripts name this folder.
$(ENVIRONMENT):
	$(require_python)
	@grep -qsF '$(CURDIR)/.venv/' $(BIN)/pip && $(BIN)/python -c '' 2>/dev/null || { \
		echo "Making the environment .venv with $$($(PYTHON) --version)."; $(PYTHON) -m venv --clear .venv; }
	@echo "Installing the pinned packages (MLflow, torch, transformers and the tools): about 2 GB, minutes, once."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]" -e projects/common
	@rm -f .venv/installed-*
	@touch $@
