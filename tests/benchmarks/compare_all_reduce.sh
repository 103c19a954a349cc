#!/usr/bin/env bash
# Atoll's all_reduce beside the ring all-reduce of Open MPI and of gloo: the same vector among 2, 4 and 8 processes on
# loopback, all in turn in one run. Quote the ratios; the absolute figures belong to this machine.
#
#   tests/benchmarks/compare_all_reduce.sh [--values N] [--repetitions N] [--processes "2 4 8"] [--codecs "none int8_block"]
#
# Peers: apt install openmpi-bin libopenmpi-dev libgloo-dev, then configure anew; who is missing is left out.
set -euo pipefail

values=124000000
repetitions=3
processes="2 4 8"
codecs=()
while (($#)); do
    case $1 in
        --values) values=$2; shift 2 ;;
        --repetitions) repetitions=$2; shift 2 ;;
        --processes) processes=$2; shift 2 ;;
        --codecs) read -ra codecs <<<"$2"; shift 2 ;;
        *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
programs=build/release/tests
ring=(--mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_allreduce_algorithm 4)
mpi() { # NAME PROCESSES OPTIONS...
    local name=$1 count=$2
    shift 2
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe --bind-to none \
        --mca mpi_yield_when_idle 1 -n "$count" "$@" "$programs/all_reduce_mpi" "$name" "$values" "$repetitions"
}
echo "TCP congestion control: $(cat /proc/sys/net/ipv4/tcp_congestion_control)"
for count in $processes; do
    if [[ -x $programs/all_reduce_mpi ]]; then
        mpi "open mpi ring, tcp" "$count" --mca btl tcp,self "${ring[@]}"
        mpi "open mpi ring, shared memory" "$count" --mca btl vader,self "${ring[@]}"
    fi
    [[ ! -x $programs/all_reduce_gloo ]] || "$programs/all_reduce_gloo" "$count" "$values" "$repetitions"
    "$programs/all_reduce_bench" "$count" "$values" "$repetitions" plain "${codecs[@]}"
    "$programs/all_reduce_bench" "$count" "$values" "$repetitions" curve none int8_block
done
