#!/usr/bin/env bash
# Atoll's training step against tuned PyTorch: runs both in turn on the same initial weights and tokens, and prints the
# ratio of the medians. Quote the ratios; the absolute figures belong to this machine.
#
#   tests/benchmarks/compare_training.sh [--bench PROGRAM] [--rounds N] [--sizes "tiny small 124m"] [--threads N] [--bf16]
#
# PyTorch is Debian's (apt install python3-torch libopenblas0-openmp), tuned: OpenBLAS chooses its own kernels, the
# widest vectors this CPU has, OpenMP threads, huge pages, and large blocks stay mapped between steps.
set -euo pipefail

bench=build/release/tests/training_bench
rounds=5
sizes="tiny small 124m"
threads=2
precision=()
while (($#)); do
    case $1 in
        --bench) bench=$2; shift 2 ;;
        --rounds) rounds=$2; shift 2 ;;
        --sizes) sizes=$2; shift 2 ;;
        --threads) threads=$2; shift 2 ;;
        --bf16) precision=(--bf16); shift ;;
        *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
here=$(cd "$(dirname "$0")" && pwd)
[[ -x $bench ]] || { echo "no program $bench: build it with 'ninja training_bench', or name it with --bench" >&2; exit 1; }
/usr/bin/python3 -c 'import torch' 2>/dev/null || { echo "no PyTorch: apt install python3-torch" >&2; exit 1; }

capability=avx2
grep -qw avx512f /proc/cpuinfo && capability=avx512
openblas=${OPENBLAS:-$(echo /usr/lib/*-linux-gnu/openblas-openmp)}
[[ -e $openblas/libblas.so.3 ]] || {
    echo "no OpenMP build of OpenBLAS in $openblas: PyTorch would use the slow reference BLAS, and beating that is no news;" \
        "apt install libopenblas0-openmp, or set OPENBLAS to its folder" >&2
    exit 1
}
tuned=(env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE ATEN_CPU_CAPABILITY=$capability OMP_NUM_THREADS="$threads"
    MALLOC_MMAP_THRESHOLD_=17179869184 MALLOC_TRIM_THRESHOLD_=17179869184 GLIBC_TUNABLES=glibc.malloc.hugetlb=1
    LD_LIBRARY_PATH="$openblas${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}")

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for size in $sizes; do
    "$bench" "$size" --steps 1 --threads "$threads" --save "$folder/weights" >/dev/null
    for ((round = 0; round < rounds; ++round)); do
        "$bench" "$size" --threads "$threads" "${precision[@]}" | tee -a "$folder/results" >&2
        "${tuned[@]}" /usr/bin/python3 "$here/pytorch_step.py" "$size" --threads "$threads" "${precision[@]}" \
            --weights "$folder/weights" | tee -a "$folder/results" >&2
    done
    rm -f "$folder/weights"
done
/usr/bin/python3 - "$folder/results" <<'PYTHON'
import json, statistics, sys

runs = [json.loads(line) for line in open(sys.argv[1])]
median = lambda size, ours, key: statistics.median(
    run[key] for run in runs if run["size"] == size and (run["trainer"] == "atoll") == ours)
print(f"{'size':8}{'Atoll tokens/s':>16}{'PyTorch':>12}{'ratio':>8}{'Atoll MB':>10}{'PyTorch':>10}{'ratio':>8}{'loss apart':>12}")
for size in dict.fromkeys(run["size"] for run in runs):
    speed = [median(size, ours, "tokens_per_second") for ours in (True, False)]
    memory = [median(size, ours, "peak_rss_bytes") / 1e6 for ours in (True, False)]
    apart = max(abs(median(size, True, key) - median(size, False, key)) for key in ("first_loss", "last_loss"))
    print(f"{size:8}{speed[0]:16.0f}{speed[1]:12.0f}{speed[0] / speed[1]:8.2f}"
          f"{memory[0]:10.0f}{memory[1]:10.0f}{memory[0] / memory[1]:8.2f}{apart:12.6f}")
PYTHON
