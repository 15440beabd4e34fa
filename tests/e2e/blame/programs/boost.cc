// A parent and a child with a vector and a map of Boost.Interprocess in one segment.
#include <sys/wait.h>
#include <unistd.h>

#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/containers/map.hpp>
#include <boost/interprocess/containers/vector.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>

namespace bip = boost::interprocess;

template <typename T>
using Shared = bip::allocator<T, bip::managed_shared_memory::segment_manager>;
using Pair = std::pair<const int, int>;

struct Table {
  explicit Table(bip::managed_shared_memory::segment_manager* manager)
      : numbers(manager), by_key(manager) {}  // constructor
  bip::interprocess_mutex mutex;
  bip::offset_ptr<Table> self;
  int marker = 0;
  bip::vector<int, Shared<int>> numbers;
  bip::map<int, int, std::less<int>, Shared<Pair>> by_key;
};

Table* table;

__attribute__((noinline)) void fill() {
  bip::scoped_lock<bip::interprocess_mutex> lock(table->mutex);
  for (int i = 0; i < 5; ++i) table->numbers.push_back(100 + i);  // push
  table->by_key.insert(Pair(7, 777));                             // insert
}

__attribute__((noinline)) void change() {
  bip::scoped_lock<bip::interprocess_mutex> lock(table->mutex);
  table->numbers[2] = 4711;  // index
  table->by_key[7] = 778;    // key
  table->marker = 42;        // marker
}

int main() {
  const std::string name = "shmrec-boost-" + std::to_string(getpid());
  bip::managed_shared_memory segment(bip::create_only, name.c_str(), 65536);
  bip::shared_memory_object::remove(name.c_str());
  table = segment.construct<Table>("table")(segment.get_segment_manager());
  table->self = table;
  fill();
  if (fork() == 0) {
    change();
    _exit(0);
  }
  int status = 0;
  wait(&status);
  return status != 0 || table->self->marker != 42 || table->by_key.at(7) != 778;
}
