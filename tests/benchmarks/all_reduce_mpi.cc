// The peer: MPI's all-reduce. Which algorithm and transport is the caller's choice:
//
//   mpirun -n 4 [--mca OPTION VALUE ...] all_reduce_mpi NAME [values] [repetitions]
#include <mpi.h>

#include "tests/benchmarks/process_group.h"

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    const std::string name = argc > 1 ? argv[1] : "mpi";
    const std::size_t values = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 124'000'000;
    const int repetitions = argc > 3 ? std::atoi(argv[3]) : 3;
    int rank = 0;
    int size = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    std::vector<float> vector(values, 0.5F);
    std::vector<double> all;
    for (int i = 0; i <= repetitions; ++i) {
        MPI_Barrier(MPI_COMM_WORLD);
        const double start = MPI_Wtime();
        MPI_Allreduce(MPI_IN_PLACE, vector.data(), static_cast<int>(values), MPI_FLOAT, MPI_SUM,
                      MPI_COMM_WORLD);
        const double own = MPI_Wtime() - start;
        double slowest = 0;
        MPI_Allreduce(&own, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        all.push_back(slowest);
    }
    std::sort(all.begin() + 1, all.end());
    if (rank == 0) {
        Atoll::benchmarks::print_all_reduce(name, static_cast<std::size_t>(size), values,
                                            all[static_cast<std::size_t>(repetitions + 2) / 2]);
    }
    MPI_Finalize();
    return 0;
}
