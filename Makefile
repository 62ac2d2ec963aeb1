# Two commands from a fresh clone: `make run` shows the main job, `make test` proves the project.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Hundreds of processes are started by the tests: each would compile the whole package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test torture lint bench accept docs clean

# Torch first and by its pin: a range would let the installer choose a build for graphics cards.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	touch $(READY)

run: $(READY)
	$(BIN)/python pipelines/prepare_motion.py data
	$(BIN)/flowedge run pipelines/motion.flow
	$(BIN)/python pipelines/score_motion.py

# Four workers on two cores: one waits for the soak, which takes what the others leave, and others for processes that they start.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

# What `make test` does in a fast setting, for hours; each line stands alone.
torture: $(READY)
	FLOWEDGE_SLOW=1 FLOWEDGE_FAULT_POINTS=2000 $(BIN)/python -m pytest --numprocesses 2 --dist load tests/faults/test_recovery.py
	FLOWEDGE_SLOW=1 FLOWEDGE_SEEDS=5000 $(BIN)/python -m pytest --numprocesses 2 --dist load tests/simulation
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[torture]"
	$(BIN)/python tests/fuzz/torture.py --guided payload --inputs 1000000
	$(BIN)/python tests/fuzz/torture.py --guided checkpoint --inputs 1000000
	$(BIN)/python tests/fuzz/torture.py --guided grammar --inputs 1000000
	$(BIN)/python tests/fuzz/torture.py --inputs 1000000
	FLOWEDGE_SLOW=1 $(BIN)/python -m pytest tests/models tests/benchmarks tests/docs tests/cli tests/stages tests/session tests/runtime tests/live tests/faults/test_signals.py tests/faults/test_hostile.py
	FLOWEDGE_KEYS=10000000 $(BIN)/python -m pytest tests/session/test_expire.py
	FLOWEDGE_SOAK_S=3600 $(BIN)/python -m pytest tests/faults/test_soak.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/flowedge fmt --check pipelines/*.flow
	$(BIN)/codespell flowedge tests pipelines benchmarks docs README.md CHANGELOG.md CONTRIBUTING.md

bench: $(READY)
	$(BIN)/python benchmarks/run.py

# Instructions a row as they are now; `make test` fails where they change by more than 5 %.
accept: $(READY)
	$(BIN)/python benchmarks/instructions.py --accept

docs: $(READY)
	$(BIN)/python -m flowedge.operators.manual > docs/operators.md

clean:
	rm -rf out data build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
