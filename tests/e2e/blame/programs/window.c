// Two ranks with a window of shared memory (MPI_Win_allocate_shared), and a message between them.
#include <mpi.h>
#include <stdio.h>

static int* window;

__attribute__((noinline)) static void change(int rank) {
  window[rank * 4] = 100 + rank;  // window
}

int main(int argc, char** argv) {
  int rank, unit, value = 0;
  MPI_Aint bytes;
  MPI_Win handle;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Win_allocate_shared(rank == 0 ? 4096 : 0, sizeof(int), MPI_INFO_NULL, MPI_COMM_WORLD, &window,
                          &handle);
  MPI_Win_shared_query(handle, 0, &bytes, &unit, &window);
  MPI_Win_fence(0, handle);
  change(rank);
  MPI_Win_fence(0, handle);
  if (rank == 0) MPI_Send(&window[4], 1, MPI_INT, 1, 0, MPI_COMM_WORLD);                 // send
  if (rank == 1) MPI_Recv(&value, 1, MPI_INT, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);  // receive
  if (rank == 1 && value != 101) return 1;
  MPI_Win_free(&handle);
  MPI_Finalize();
  return 0;
}
