# make demo   a fresh environment, then hands out of two example images
# make test   a fresh environment, then the tests, but for the slow ones
# make test-slow   those: in a browser, with a Hub, with processes that are killed, whole recipes
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
# PyTorch's own index holds the CPU build; without it, Linux pulls several GB of CUDA packages.
TORCH_INDEX ?=
DEMO_OUT ?= out/demo
TEST_PROCESSES ?= 2

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-slow lint clean

$(BIN)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=24"
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	touch $@

$(BIN)/.installed: $(BIN)/.torch pyproject.toml
	$(BIN)/pip install --quiet -e ".[dev]"
	touch $@

demo: $(BIN)/.installed
	$(BIN)/handdiff predict examples/*.jpg --out $(DEMO_OUT) --seed 0
	@echo
	@echo "Per image: NAME.glb (3D, any viewer), NAME.png (overlay), NAME.json (numbers):"
	@ls $(DEMO_OUT)/*.glb $(DEMO_OUT)/*.png $(DEMO_OUT)/*.json

test: $(BIN)/.installed
	$(PYTEST) -m "not slow"

test-slow: $(BIN)/.installed
	$(PYTEST) -m slow

lint: $(BIN)/.installed
	$(BIN)/ruff check src train scripts tests space

clean:
	rm -rf $(VENV) out
