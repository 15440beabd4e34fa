// One shared table, reached by as many kinds of variables as there are; a child writes one member
// after the other, each on a line of its own, and where.py asks for each by several expressions.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#define USED __attribute__((used))  // kept, though the optimizer could do without

enum Colour : uint8_t { kRed, kGreen };
struct Named {
  int kind;
  int tag;
};
struct Item : Named {
  union {
    int number;
    float real;
  };
  unsigned low : 4, high : 12;
  char name[8];
  Colour colour;
  double rate;
  Item* next;
};
template <class T, int N>
struct Table {
  std::atomic<int> used;
  T item[N];
  std::array<T, 3> more;
  int grid[2][3];
};
using Shared = Table<Item, 4>;

USED Shared* plain;
USED static Shared* of_file;
namespace {
USED Shared* unnamed;
}
namespace outer {
USED Shared* in_namespace;
namespace inner {
USED Shared* deep;
}
}  // namespace outer
struct Holder {
  static Shared* declared;
  USED inline static Shared* defined;
  Shared* member;
};
USED Shared* Holder::declared;
template <class T>
struct Single {
  static T* pointer;
};
template <class T>
USED T* Single<T>::pointer;
USED Holder holder;
USED std::unique_ptr<Shared> unique;
USED Shared* several[2];
Shared** twice = &several[1];

static Shared* of_function(Shared* now) {
  USED static Shared* kept;
  if (now != nullptr) kept = now;
  return kept;
}

__attribute__((noinline)) static void write_all(Shared* table) {
  volatile Shared* at = table;
  at->item[2].tag = 41;              // tag
  at->item[2].number = 42;           // number
  at->item[2].high = 43;             // high
  at->item[2].name[1] = 'n';         // name
  at->item[2].colour = kGreen;       // colour
  at->item[2].rate = -2.5;           // rate
  at->item[2].next = table->item;    // next
  at->more._M_elems[1].number = 45;  // more
  at->grid[1][2] = 46;               // grid
  table->used.store(47);             // used
}

int main() {
  void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  void* second = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  *static_cast<int*>(second) = 1;
  plain = new (static_cast<char*>(memory) + 64) Shared();  // not at the segment's start
  of_file = unnamed = outer::in_namespace = outer::inner::deep = plain;
  Holder::declared = Holder::defined = holder.member = Single<Shared>::pointer = plain;
  several[0] = several[1] = of_function(plain);
  unique.reset(plain);
  if (fork() == 0) {
    write_all(plain);
    _exit(0);
  }
  wait(nullptr);
  const bool bad = plain->item[2].number == 42 && of_file == unnamed && outer::in_namespace &&
                   Single<Shared>::pointer == Holder::declared && of_function(nullptr) == *twice;
  if (bad) abort();
  return 0;
}
