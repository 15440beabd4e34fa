/* Asks for the counter that every kernel with perf_event grants, to show that without_perf works.
 */
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
  struct perf_event_attr attributes = {
      .type = PERF_TYPE_SOFTWARE, .size = sizeof(attributes), .config = PERF_COUNT_SW_TASK_CLOCK};
  syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
  return 0;
}
