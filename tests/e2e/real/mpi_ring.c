// Ranks that share memory through their MPI library: a token round the ring, sums, larger messages.
#include <mpi.h>
#include <stdio.h>
#include <string.h>

static char block[1 << 18];

int main(int argc, char** argv) {
  int rank, ranks, token = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const int next = (rank + 1) % ranks, before = (rank + ranks - 1) % ranks;
  for (int round = 0; round < 20; ++round) {
    if (rank != 0) MPI_Recv(&token, 1, MPI_INT, before, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    ++token;
    MPI_Send(&token, 1, MPI_INT, next, 0, MPI_COMM_WORLD);
    if (rank == 0) MPI_Recv(&token, 1, MPI_INT, before, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  long mine = rank + 1, sum = 0;
  MPI_Allreduce(&mine, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
  memset(block, rank ? 0 : 7, sizeof block);
  MPI_Bcast(block, sizeof block, MPI_CHAR, 0, MPI_COMM_WORLD);
  long total = 0;
  for (size_t i = 0; i < sizeof block; ++i) total += block[i];
  if (rank == 0) printf("token %d sum %ld block %ld\n", token, sum, total);
  MPI_Finalize();
  return 0;
}
