# make quickstart   the environment, then the main job on a bundled clip (minutes, CPU is enough)
# make test         the environment, then the tests
# make notebooks    executes the twelve lessons into build/notebooks
PYTHON ?= python3
CLIP ?= rat

.PHONY: quickstart test notebooks clean
quickstart: .venv/ready
	.venv/bin/python -m bkind3d_lite quickstart --clip $(CLIP)

test: .venv/ready
	.venv/bin/python -m pytest

notebooks: .venv/ready
	.venv/bin/python -m bkind3d_lite.notebooks run --html

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet -e ".[lab,test]"
	touch $@

clean:
	rm -rf build runs .venv
