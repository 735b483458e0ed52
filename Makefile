# make quickstart  the environment, then the main job on a bundled clip (minutes, CPU is enough)
# make test        the environment, then the tests
# make check       what is cheap to check before a commit: format, lint, types, the lessons' form, the layout (a minute)
# make accuracy    the method, its siblings and the point bottleneck trained under one small budget, as a table (minutes)
# make bench       time and memory at the paper's size and of the presets, beside their floors (minutes), build/bench/speed.json
# make gpu         the same on a GPU that is lent for minutes, CPU and GPU beside each other, a training (8 minutes), build/gpu/gpu.json
# make notebooks   executes the fifteen lessons into build/notebooks
# make slides      what is shown in the lab of three hours, from the executed lessons' figures, build/slides/index.html
# make site        the course as executed, the guides and the API as pages that need no network, build/site/index.html
# make lite        two lessons that run in a browser without any installation, build/lite/index.html
PYTHON ?= python3
CLIP ?= rat
SOURCES = bkind3d_lite tests benchmarks tools docs/site docs/lite/lesson.py

.PHONY: quickstart test check accuracy bench gpu notebooks slides site lite clean
quickstart: .venv/ready
	.venv/bin/python -m bkind3d_lite quickstart --clip $(CLIP)

test: .venv/ready
	.venv/bin/python -m pytest

check: .venv/ready
	.venv/bin/ruff format --check $(SOURCES)
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/mypy bkind3d_lite
	.venv/bin/python -m bkind3d_lite notebooks check
	.venv/bin/python -m pytest -n 0 tests/test_layout.py

accuracy: .venv/ready
	.venv/bin/python benchmarks/accuracy.py --clip $(CLIP) --steps 120 --rows full triang-reproj depth-map keypoint3d points

bench: .venv/ready
	.venv/bin/python benchmarks/speed.py

gpu: # no environment is made: a lent machine has PyTorch and no network
	$(PYTHON) benchmarks/gpu.py --out build/gpu

notebooks: .venv/ready
	.venv/bin/python -m bkind3d_lite notebooks run --html

slides: .venv/ready
	test -f build/notebooks/09_evaluation.ipynb || $(MAKE) notebooks
	.venv/bin/python tools/build_slides.py

site: .venv/ready
	test -f build/notebooks/11_your_clip.ipynb || $(MAKE) notebooks
	.venv/bin/python tools/build_site.py

lite: .venv/ready
	.venv/bin/python tools/build_lite.py --fetch

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet -e ".[lab,test,dev,site,lite]"
	touch $@

clean:
	rm -rf build runs .venv
