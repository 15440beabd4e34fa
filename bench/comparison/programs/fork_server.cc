// A server of 200 forked processes as bench/compare runs it: an operation is a request, which any
// of the workers takes from a pipe, and answers by another.
//
//   fork_server SECONDS
//
// A request is 2,000 private steps, six accesses to a slot that belongs to the worker, and two
// atomic additions to counters that all share, of which nobody may be lost. Their processor time is
// that of all 201 processes, over the requests; the forks are over before it is measured.
#include <sys/mman.h>
#include <sys/wait.h>

#include <vector>

#include "measured.h"

namespace {

constexpr int kWorkers = 200;
constexpr uint64_t kOnTheWay = 64;  // requests that are not answered yet, at most
constexpr size_t kSlotBytes = 256;

struct Shared {
  uint64_t requests;
  char line[56];
  uint64_t sum;
  char other_line[56];
  unsigned char slots[kWorkers][kSlotBytes];
};

struct Channel {
  int read_end, write_end;
};
Channel channel() {
  int ends[2];
  if (pipe(ends) != 0) perror("pipe"), exit(1);
  return {ends[0], ends[1]};
}

uint64_t private_steps(uint64_t hash) {
  static uint64_t words[1024];
  for (uint32_t i = 0; i < 2000; i++) {
    hash = (hash ^ words[i % 1024]) * 0x9E3779B97F4A7C15;
    if (i % 8 == 0) words[i % 1024] = hash;
  }
  return hash;
}

void serve(Shared* shared, unsigned char* slot, Channel requests, Channel answers) {
  auto* words = reinterpret_cast<volatile uint64_t*>(slot);
  uint64_t request = 0;
  while (read(requests.read_end, &request, sizeof request) == sizeof request) {
    uint64_t hash = private_steps(request);
    for (int i = 0; i < 3; i++) words[i * 8] = words[i * 8] + hash;
    __atomic_fetch_add(&shared->requests, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&shared->sum, request, __ATOMIC_SEQ_CST);
    if (write(answers.write_end, "", 1) != 1) break;
  }
  _exit(0);
}

class Server {
 public:
  explicit Server(Shared* shared) : shared_(shared) {
    for (int i = 0; i < kWorkers; i++) {
      pid_t pid = fork();
      if (pid < 0) perror("fork"), exit(1);
      if (pid == 0) {
        close(requests_.write_end);  // whose last holder's end is the end of the requests
        serve(shared, shared->slots[i], requests_, answers_);
      }
      workers_.push_back(pid);
    }
  }
  double cpu_ns() const {
    double sum = bench::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (pid_t pid : workers_) sum += bench::clock_ns(bench::clock_of_process(pid));
    if (pid_t by = bench::tracer()) sum += bench::clock_ns(bench::clock_of_process(by));
    return sum;
  }
  void run(uint64_t count) {
    uint64_t sent = 0, answered = 0;
    char answers[kOnTheWay];
    while (answered < count) {
      for (; sent < count && sent - answered < kOnTheWay; sent++) {
        if (write(requests_.write_end, &sent, sizeof sent) != sizeof sent) exit(1);
      }
      ssize_t got = read(answers_.read_end, answers, sizeof answers);
      if (got <= 0) exit(1);
      answered += static_cast<uint64_t>(got);
    }
    made_ += count;
  }
  uint64_t made() const { return made_; }
  bool end() {
    close(requests_.write_end);
    for (pid_t pid : workers_) waitpid(pid, nullptr, 0);
    return shared_->requests == made_;
  }

 private:
  Shared* shared_;
  Channel requests_ = channel();
  Channel answers_ = channel();
  std::vector<pid_t> workers_;
  uint64_t made_ = 0;
};

void measure(Server& server, double seconds) {
  for (uint64_t n = kWorkers;;) {
    double cpu = server.cpu_ns(), wall = bench::clock_ns(CLOCK_MONOTONIC);
    server.run(n);
    wall = bench::clock_ns(CLOCK_MONOTONIC) - wall;
    cpu = server.cpu_ns() - cpu;
    if (wall >= seconds * 1e9) return bench::print(n, {cpu, wall}, server.made());
    n = bench::next_batch(n, wall, seconds * 1e9);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return fprintf(stderr, "usage: fork_server SECONDS\n"), 2;
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return perror("mmap"), 1;
  Server server(static_cast<Shared*>(memory));
  measure(server, atof(argv[1]));
  if (server.end()) return 0;
  fprintf(stderr, "requests were lost\n");
  return 1;
}
