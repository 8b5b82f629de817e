# Every target sets up what it needs on a fresh machine: a virtual environment in .venv.
# uv is used where it is installed, else pip.   PYTHON=python3.12 make test   chooses another Python.

PYTHON ?= python3
BIN := .venv/bin
OUT ?= mudra-demo

STUDY ?= runs/study
TWINS := resnet-mean resnet-lstm resnet-transformer r2plus1d efficientnet-lstm efficientnet-transformer regularised

.PHONY: demo test test-slow mutants bench study clean

demo: .venv/.installed        ## make clips, train, evaluate, report, recognise a file
	$(BIN)/mudra demo --out $(OUT)

test: .venv/.developer        ## linters, type checker and the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest

test-slow: .venv/.developer   ## the long tests as well: minutes each
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow or not slow" --timeout 3600

mutants: .venv/.developer     ## break each promise in turn: does a test notice?
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py

bench: .venv/.bench           ## the benchmarks that need no data of one's own; the others say what they take with --help
	for name in reading segments augmentation points attention keypoint_transformer saving processes streaming tfrecords timesformer; do \
	  $(BIN)/python benchmarks/$$name.py || exit 1; done

study: .venv/.developer       ## the EPIC-KITCHENS study in small, on puppets: seven networks, crossed tasks, a sweep; interrupted, it goes on
	mkdir -p $(STUDY)
	printf '%s\n' $(TWINS) cross-task | OMP_NUM_THREADS=1 xargs -P 2 -I{} sh -c 'run=$(STUDY)/{}; test -e $$run/report.html || \
	  { $(BIN)/mudra train puppets-{} --out $$run $$(test ! -e $$run/recipe.yaml || echo --resume) >> $$run.log 2>&1; \
	    code=$$?; tail -n 5 $$run.log; exit $$code; }'
	$(BIN)/mudra compare $(TWINS:%=$(STUDY)/%) --out $(STUDY)/compare.html
	OMP_NUM_THREADS=1 $(BIN)/mudra sweep puppets-phase2 --workers 2 --out $(STUDY)/phase2

clean:                        ## remove the environment and the demo
	rm -rf .venv mudra-demo

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "mudra needs Python 3.11 to 3.13; found $$($(PYTHON) --version). Try: PYTHON=python3.12 make ..." >&2; exit 2; }
	if command -v uv >/dev/null; then uv venv --seed --python $(PYTHON) .venv; else $(PYTHON) -m venv .venv; fi

.venv/.installed: pyproject.toml | .venv/bin/python
	$(call install,.)
	touch $@

.venv/.developer: pyproject.toml | .venv/bin/python
	$(call install,.[dev])
	touch $@ .venv/.installed

.venv/.bench: pyproject.toml | .venv/bin/python
	$(call install,.[dev$(,)bench])
	touch $@ .venv/.installed

, := ,
define install
	@echo "installing mudra and what it needs into .venv (a few minutes and about 6 GB the first time)"
	if command -v uv >/dev/null; then uv pip install --python $(BIN)/python -q -e '$(1)'; else $(BIN)/python -m pip install -q -e '$(1)'; fi
endef
