# Everything that must hold before a change lands.
default: check test

# Style, lint, types.
check:
    uv run ruff format --check .
    uv run ruff check .
    uv run mypy

# The README's own command.
test:
    uv run pytest

# The tests that take long: whole sweeps over all families, and long runs.
slow:
    uv run pytest -m slow

# Apply what the linter can mend.
fix:
    uv run ruff check --fix .
    uv run ruff format .

# Take the newest versions of everything and write them down as constraints.
pin:
    uv run --no-project --python '>=3.11' python tools/pin.py

# The licences of everything that the extras bring.
notice:
    uv run --all-extras python tools/notice.py

# The table of all networks beside what is published of them.
networks:
    uv run python tools/networks.py

# Networks x formats and runtimes, every file run and compared.
matrix:
    uv run --extra executorch python tools/export_matrix.py

# Every figure of the README, from the commands that it names.
figures:
    uv run python benchmarks/import_time.py
    uv run python benchmarks/trace_time.py
    uv run python benchmarks/digits.py
