# Two commands: "make report" and "make test". Each sets up .venv first, from requirements.lock.
# More options go into ARGS: make report ARGS="--model my.keras --batches 1"
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# TensorFlow's CPU wheel where there is no CUDA; the other wheel elsewhere (same version).
CPU_WHEEL := $(shell [ "$$(uname -s)-$$(uname -m)" = Linux-x86_64 ] && ! command -v nvidia-smi >/dev/null && echo yes)

# JupyterLab neither asks about news nor looks for a newer version of itself.
QUIET_LAB := --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate

.PHONY: report test quick lab app doctor setup lint settings lock clean

report: setup
	@$(BIN)/python -m workbench report $(ARGS)

test: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# Tests that start no engine and train nothing.
QUICK := $(addprefix tests/,accuracy choices compare differential graph measure plots precision records settings_table statistics timing \
	test_errors.py test_experiment.py)

quick: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile -q -m "not slow and not long" $(QUICK) $(ARGS)

lab: setup
	@WORKBENCH_STORE="$${WORKBENCH_STORE:-$(CURDIR)/.workbench}" $(BIN)/jupyter lab $(QUIET_LAB) notebooks/workbench.ipynb $(ARGS)

# The panel alone, without code cells, for teaching. Each browser tab gets a kernel of its own; runs outlive it. Only the
# address with the token, which Voilà prints, opens it: other users of the machine cannot.
app: setup
	@WORKBENCH_STORE="$${WORKBENCH_STORE:-$(CURDIR)/.workbench}" $(BIN)/voila --token notebooks/app.ipynb $(ARGS)

doctor: setup
	@$(BIN)/python -m workbench doctor

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v=sys.version_info[:2]; sys.exit(0 if (3,11)<=v<=(3,13) else "Python 3.11 to 3.13 is needed; found %d.%d. Run: make PYTHON=python3.12 ..." % v)'
	@start=$$(date +%s); \
	echo "setting up $(VENV) ..."; \
	$(PYTHON) -m venv $(VENV) && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)" && \
	sed $(if $(CPU_WHEEL),-e '',-e 's/^tensorflow-cpu==/tensorflow==/') requirements.lock > $(VENV)/requirements.txt && \
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r $(VENV)/requirements.txt && \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable . && \
	touch $@ && echo "set-up took $$(( $$(date +%s) - start )) s"

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/python scripts/settings.py --check

# After a change of workbench/settings_table: the parameters cells of the notebooks and docs/settings.md.
settings: setup
	@$(BIN)/python scripts/settings.py

# Choose versions again, for every supported Python at once. TensorFlow is pinned by its CPU wheel.
lock: setup
	@sed -e 's/"tensorflow>/"tensorflow-cpu>/' pyproject.toml > $(VENV)/pyproject.toml
	@printf 'uv\nhatchling\neditables\n' > $(VENV)/build.in
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	  --extra app --extra litert --extra openvino --extra nncf --extra text --extra loadgen --extra rtx --extra dev $(VENV)/pyproject.toml $(VENV)/build.in -o requirements.lock

clean:
	rm -rf $(VENV) .workbench reports
