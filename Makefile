# make demo   a fresh environment, then hands out of two example images
# make test   a fresh environment, then the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
# PyTorch's own index holds the CPU build; without it, Linux pulls several GB of CUDA packages.
TORCH_INDEX ?=
DEMO_OUT ?= out/demo
TEST_PROCESSES ?= 2

.PHONY: demo test lint clean

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
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

lint: $(BIN)/.installed
	$(BIN)/ruff check src train scripts tests space

clean:
	rm -rf $(VENV) out
