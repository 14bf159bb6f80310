# Two commands: "make report" and "make test". Each sets up .venv first, from requirements.lock.
# More options go into ARGS: make report ARGS="--model my.keras --batches 1"
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# TensorFlow's CPU wheel where there is no CUDA; the other wheel elsewhere (same version).
CPU_WHEEL := $(shell [ "$$(uname -s)-$$(uname -m)" = Linux-x86_64 ] && ! command -v nvidia-smi >/dev/null && echo yes)

.PHONY: report test quick lab app wheel docs coverage oldest doctor setup lint settings conda lock serving clean

report: setup
	@$(BIN)/python -m workbench report $(ARGS)

test: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# Tests that start no engine and train nothing.
QUICK := $(addprefix tests/,accuracy compare differential display errors graph measure precision records settings stats timing)

quick: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile -q -m "not slow and not long" $(QUICK) $(ARGS)

lab: setup
	@$(BIN)/python -m workbench lab notebooks/workbench.ipynb -- $(ARGS)

app: setup
	@$(BIN)/python -m workbench app -- $(ARGS)

# The wheel, in an environment of its own without TensorFlow; and the site of the documentation, in the folder site.
wheel: setup
	@$(BIN)/python -m pytest -q -m long tests/test_wheel.py $(ARGS)

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS) && echo "site/index.html"

# The share of lines that the quick tests run, without code for GPUs.
coverage: setup
	@$(MAKE) --no-print-directory quick ARGS="--cov --cov-report=term:skip-covered $(ARGS)"

# The tests of models and backends with the oldest TensorFlow that pyproject.toml allows, in an environment of its own. That TensorFlow needs an older
# ONNX, which the two files that are left out do not expect; they need no TensorFlow.
OLDEST := $(VENV)/oldest
oldest: setup
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(OLDEST) && \
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python -r requirements-oldest.lock && \
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python --no-deps --no-build-isolation --editable . && \
	$(OLDEST)/bin/python -m pytest -n 2 --dist loadfile -q tests/models tests/backends $(addprefix --ignore=tests/models/test_onnx_,repair.py upgrade.py) $(ARGS)

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
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/codespell -D - -D scripts/words.txt && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/python scripts/settings.py --check && $(BIN)/python scripts/conda.py --check
	@# pytest imports test files by their names alone
	@! find tests -name 'test_*.py' -printf '%f\n' | sort | uniq -d | grep .

# Triton's server, for "workbench serve" and its tests.
serving: setup
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements-serving.txt

# After a change of workbench/settings: the parameters cells of the notebooks and docs/settings.md.
settings: setup
	@$(BIN)/python scripts/settings.py

# After a change of pyproject.toml's dependencies: environment.yml and environment-gpu.yml for conda.
conda: setup
	@$(BIN)/python scripts/conda.py

# What .venv has. The GPU's packages are installed by hand (docs/gpu.md).
EXTRAS := tensorflow app litert openvino nncf text loadgen rtx cluster mlflow docs dev

# Choose versions again, for every supported Python at once. TensorFlow is pinned by its CPU wheel. The second file has the oldest TensorFlow that
# pyproject.toml allows, and the newest of all others that go with it, for Python 3.11.
lock: setup
	@sed -e 's/"tensorflow>/"tensorflow-cpu>/' pyproject.toml > $(VENV)/pyproject.toml
	@printf 'uv\nhatchling\neditables\n' > $(VENV)/build.in
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	  $(addprefix --extra ,$(EXTRAS)) $(VENV)/pyproject.toml $(VENV)/build.in -o requirements.lock
	@sed -e 's/"tensorflow>=\([0-9.]*\)[^"]*"/"tensorflow-cpu==\1.*"/' pyproject.toml > $(VENV)/pyproject.toml
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate \
	  $(addprefix --extra ,$(filter-out docs,$(EXTRAS))) $(VENV)/pyproject.toml $(VENV)/build.in -o requirements-oldest.lock

clean:
	rm -rf $(VENV) .workbench reports site
