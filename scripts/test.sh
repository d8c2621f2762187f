#!/usr/bin/env bash
# All tests: the Rust tests, 10,000 random polygons against exactextract, then the demo configurations run into a temporary
# folder and their tables checked by independent readers (pyarrow, GeoPandas, DuckDB, a GeoParquet validator) and against
# independently computed values.
# CARGO_TARGET_DIR and LINTAN_VENV (folder of the Python environment) are honoured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

target=${CARGO_TARGET_DIR:-target}
venv=${LINTAN_VENV:-$target/venv}
passed=0 failed=0 incomplete=0

# --- Python environment, made once and again when scripts/requirements.txt changes
stamp=$(sha256sum scripts/requirements.txt | cut -d' ' -f1)
if [[ $(cat "$venv/requirements.sha256" 2>/dev/null) != "$stamp" ]] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    if [[ -e $venv && ! -e $venv/pyvenv.cfg ]]; then
        echo "test: $venv is there and is no Python environment; remove it or set LINTAN_VENV to another folder" >&2
        exit 1
    fi
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "test: found $(python3 --version), expected Python 3.11 or newer" >&2
        exit 1
    fi
    echo "== Python readers into $venv (once)"
    rm -f "$venv/requirements.sha256"
    "$venv/bin/python" -c '' 2>/dev/null || python3 -m venv --clear "$venv"
    if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
        --timeout 60 --retries 8 --prefer-binary -r scripts/requirements.txt; then
        echo "test: the packages of scripts/requirements.txt could not be installed; this needs a network the first time" >&2
        exit 1
    fi
    echo "$stamp" >"$venv/requirements.sha256"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# --- cargo_test LOG [ARGUMENT ...]: adds the tests that passed and failed
cargo_test() {
    local log=$1 code=0 ok bad
    shift
    CARGO_TERM_COLOR=never cargo test --locked "$@" 2>&1 | tee "$log" || code=$?
    read -r ok bad < <(awk '/^test result:/ { ok += $4; bad += $6 } END { print ok + 0, bad + 0 }' "$log")
    passed=$((passed + ok)) failed=$((failed + bad))
    if [[ $code -ne 0 && $bad -eq 0 ]]; then
        echo "test: cargo test ended with exit code $code before all tests had a result" >&2
        incomplete=1
    fi
}

# --- Rust
echo "== cargo test"
cargo_test "$work/cargo.log" --no-fail-fast

# --- Footprints and statistics of 10,000 random polygons, made now, against exactextract
echo "== 10,000 polygons against exactextract"
if "$venv/bin/python" scripts/make_reference.py --compare "$work" 10000 20240815 2>"$work/compare.err"; then
    LINTAN_COMPARE=$work/compare.json cargo_test "$work/compare.log" --test it footprints_and_statistics -- --nocapture
    if ! grep -q '^running 1 test' "$work/compare.log"; then
        echo "test: the test that compares with exactextract was not found" >&2
        incomplete=1
    fi
    rm -f "$work/compare.json"
else
    tail -n 5 "$work/compare.err" >&2
    echo "test: make_reference.py made no polygons" >&2
    incomplete=1
fi

# --- readers NAME EXIT_CODE [ARGUMENT ...]: runs configs/NAME.toml and reads its tables
readers() {
    local name=$1 expected=$2 code=0
    shift 2
    echo "== $name"
    "$target/debug/lintan" run "configs/$name.toml" --out "$work/$name" || code=$?
    if [[ $code -ne $expected ]]; then
        echo "FAIL $name: lintan run ended with exit code $code, expected $expected"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
    code=0
    "$venv/bin/python" scripts/check_outputs.py "$work/$name" --reference testdata/reference/products.json "$@" \
        >"$work/$name.log" 2>&1 || code=$?
    cat "$work/$name.log"
    read -r ok bad < <(awk '/^[0-9]+ passed, [0-9]+ failed$/ { ok = $1; bad = $3 } END { print ok + 0, bad + 0 }' "$work/$name.log")
    passed=$((passed + ok)) failed=$((failed + bad))
    if [[ $code -ne 0 && $bad -eq 0 ]]; then
        echo "test: check_outputs.py on $name ended with exit code $code before it had a result" >&2
        incomplete=1
    fi
}

if cargo build --locked --bin lintan; then
    # Exit code 3: two parcels of a forest type without a default are set aside on purpose.
    readers demo-romania 3
    # One acquisition and no biomass method: no losses, stocks or deltas.
    readers demo-safe 0 --allow-missing disturbances stocks deltas
    readers demo-landsat 0 --allow-missing disturbances stocks deltas
else
    incomplete=1
fi

echo
[[ $incomplete -eq 0 ]] || echo "not everything was tested: see the messages above"
echo "$passed passed, $failed failed"
[[ $failed -eq 0 && $incomplete -eq 0 ]]
