#!/bin/bash
# Measures on a machine without a network, in the checkout:   bash .kit/device.sh A|B|all SECONDS [LIST]
#   A   environment, probes and the tests of CUDA, then the list benchmarks/gpu/cases/A.txt
#   B   the list B.txt, then Snakemake itself on the house-price model
# LIST: a list of your own in place of either. What comes back lies in $OUT (default: /tmp/out): log.txt,
# probe.json, tests.txt, snakemake.txt, report.html, summary.md, and run.tgz and flow.tgz, which hold
# results, reports and logs. In the environment:
#   TESTS='…'       other tests than those of CUDA before the list; TESTS= for none
#   TESTS_S=130     seconds that they may take
#   KIT_DEVICE=cpu  try all of it where there is no GPU
set -u
usage="bash .kit/device.sh A|B|all SECONDS [LIST]"
what=${1:?$usage} limit=${2:?$usage} list=${3:-}
case $what in A | B | all) ;; *) echo "$usage" && exit 2 ;; esac
kit=$(cd "$(dirname "$0")" && pwd) checkout=$PWD
OUT=${OUT:-/tmp/out}
site=$(mktemp -d) apart=$(mktemp -d) # nothing of the machine's own environment is changed
export PYTHONUNBUFFERED=1 GIT_PYTHON_REFRESH=quiet HF_HUB_OFFLINE=1 MPLBACKEND=Agg
tests="tests/unit/test_cuda.py tests/unit/test_clock.py tests/unit/test_memory.py
    tests/unit/test_gpu.py tests/unit/test_energy.py tests/unit/test_devices.py"
# Held open, the driver stays initialised between the processes of cases; it changes no setting.
{ exec 9</dev/nvidia0; } 2>/dev/null || true

say() { echo "=== $SECONDS s: $*"; }
left() { echo $((limit - SECONDS)); }
install_into() { # folder, wheels
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \
        --target "$1" "${@:2}"
}
drive() { # list, seconds
    timeout -k 3 $(($2 + 5)) python3 -m benchmarks.gpu.drive "$1" "$2" 2>&1 | tee -a "$OUT/log.txt"
    [ "${PIPESTATUS[0]}" -lt 124 ] || say "$1 was ended at its time"
    pack
}
pack() {
    local made=() folder
    for folder in results reports logs; do [ -d "$folder" ] && made+=("$folder"); done
    [ ${#made[@]} -gt 0 ] || return 0
    tar czf "$OUT/run.tgz" --exclude='*.so' "${made[@]}"
    if [ "$(stat -c %s "$OUT/run.tgz")" -gt 16000000 ]; then # larger than a slow way back likes
        tar czf "$OUT/run.tgz" --exclude='*.so' --exclude=internals --exclude='trace.json.gz' "${made[@]}"
    fi
    cp reports/report.html reports/summary.md "$OUT/" 2>/dev/null
}
probe() {
    { nvidia-smi || echo "no nvidia-smi"; } 2>/dev/null | head -15
    timeout -k 3 60 python3 -m benchmarks.gpu.probe "$OUT/probe.json" 2>&1 | tee -a "$OUT/log.txt"
    say probed
    drive benchmarks/gpu/cases/first.txt 80
}
run_tests() {
    say "tests"
    # shellcheck disable=SC2086 # several files
    PYTHONPATH=$apart:$PYTHONPATH timeout -s INT -k 10 "${TESTS_S:-130}" python3 -m pytest $1 \
        -n "${WORKERS:-10}" -v --tb=short -rfEs --timeout 110 -p no:cacheprovider >"$OUT/tests.txt" 2>&1
    say "tests: $(tail -1 "$OUT/tests.txt")"
    grep -E '^(FAILED|ERROR)|^E  ' "$OUT/tests.txt" | cut -c1-220 | head -40
}
run_snakemake() {
    say "Snakemake"
    local flow
    flow=$(mktemp -d)
    # Of the report, not of all: a machine like this may have no pyarrow for the summary's parquet.
    timeout -k 5 $(($(left) - 8)) python3 -m snakemake reports/report.html --cores all --directory "$flow" \
        --snakefile "$checkout/Snakefile" --configfile "$checkout/config/gpu-quick.yaml" \
        "$checkout/benchmarks/gpu/house_price.yaml" >"$OUT/snakemake.txt" 2>&1
    say "Snakemake: exit $?"
    tail -25 "$OUT/snakemake.txt" | cut -c1-160
    (cd "$flow" && tar czf "$OUT/flow.tgz" results reports logs)
}
main() {
    mkdir -p "$OUT"
    install_into "$site" "$kit"/wheels/*.whl || return
    install_into "$apart" "$kit"/wheels-apart/*.whl
    export PYTHONPATH=$site:$checkout
    say installed
    if [ "$what" = B ]; then tests=; else probe; fi
    tests=${TESTS-$tests}
    [ -z "$tests" ] || run_tests "$tests"
    local name
    for name in A B; do
        [ "$what" = all ] || [ "$what" = $name ] || continue
        say "list ${list:-$name}, $(left) s left"
        drive "${list:-benchmarks/gpu/cases/$name.txt}" $(($(left) - 12))
    done
    [ "$what" = A ] || [ "$(left)" -le 100 ] || run_snakemake
    say end
    ls -la "$OUT"
}
main
