// LMDB as bench/compare runs it: gets and puts of random keys among 100,000 records of 100 bytes.
//
//   lmdb DIRECTORY fill | get | put | put-writemap SECONDS
//
// A get is a reader's transaction, renewed. Its environment is opened with MDB_WRITEMAP, which maps
// the data writable: of a file that is only ever mapped for reading nobody records accesses. Puts
// replace records, 100 in a transaction, without waiting for the disk; the plain ones write pages
// by descriptor, those of put-writemap are made in the map.
#include <lmdb.h>

#include <random>

#include "measured.h"

namespace {

constexpr uint32_t kRecords = 100'000;
constexpr int kPutsInTransaction = 100;

void check(int error, const char* what) {
  if (error == 0) return;
  fprintf(stderr, "%s: %s\n", what, mdb_strerror(error));
  exit(1);
}

class Database {
 public:
  Database(const char* directory, unsigned flags) {
    check(mdb_env_create(&environment_), "mdb_env_create");
    check(mdb_env_set_mapsize(environment_, size_t{256} << 20), "mdb_env_set_mapsize");
    check(mdb_env_open(environment_, directory, flags | MDB_NOSYNC, 0644), "mdb_env_open");
    MDB_txn* transaction = begin(0);
    check(mdb_dbi_open(transaction, nullptr, MDB_INTEGERKEY, &table_), "mdb_dbi_open");
    check(mdb_txn_commit(transaction), "mdb_txn_commit");
  }
  Database(const Database&) = delete;
  ~Database() { mdb_env_close(environment_); }

  MDB_txn* begin(unsigned flags) {
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_, nullptr, flags, &transaction), "mdb_txn_begin");
    return transaction;
  }
  void put(MDB_txn* transaction, uint32_t number) {
    char text[100] = {};
    snprintf(text, sizeof text, "record %u", number);
    MDB_val key{sizeof number, &number}, value{sizeof text, text};
    check(mdb_put(transaction, table_, &key, &value, 0), "mdb_put");
  }
  char get(MDB_txn* transaction, uint32_t number) {
    MDB_val key{sizeof number, &number}, value{};
    check(mdb_get(transaction, table_, &key, &value), "mdb_get");
    return static_cast<char*>(value.mv_data)[20];
  }

 private:
  MDB_env* environment_ = nullptr;
  MDB_dbi table_ = 0;
};

void fill(const char* directory, double) {
  Database database(directory, 0);
  MDB_txn* transaction = database.begin(0);
  for (uint32_t i = 0; i < kRecords; i++) database.put(transaction, i);
  check(mdb_txn_commit(transaction), "mdb_txn_commit");
}

void get(const char* directory, double seconds) {
  Database database(directory, MDB_WRITEMAP);
  std::minstd_rand random(1);
  MDB_txn* transaction = database.begin(MDB_RDONLY);
  volatile char sink = 0;
  bench::measure(seconds, 1, [&](uint64_t times) {
    for (uint64_t i = 0; i < times; i++) {
      mdb_txn_reset(transaction);
      check(mdb_txn_renew(transaction), "mdb_txn_renew");
      sink = database.get(transaction, static_cast<uint32_t>(random()) % kRecords);
    }
  });
  (void)sink;
  mdb_txn_abort(transaction);
}

void put_with(const char* directory, double seconds, unsigned flags) {
  Database database(directory, flags);
  std::minstd_rand random(1);
  bench::measure(seconds, kPutsInTransaction, [&](uint64_t times) {
    for (uint64_t i = 0; i < times; i++) {
      MDB_txn* transaction = database.begin(0);
      for (int k = 0; k < kPutsInTransaction; k++) {
        database.put(transaction, static_cast<uint32_t>(random()) % kRecords);
      }
      check(mdb_txn_commit(transaction), "mdb_txn_commit");
    }
  });
}

void put(const char* directory, double seconds) { put_with(directory, seconds, 0); }
void put_writemap(const char* directory, double seconds) {
  put_with(directory, seconds, MDB_WRITEMAP);
}

struct Mode {
  const char* name;
  void (*run)(const char* directory, double seconds);
};
constexpr Mode kModes[] = {
    {"fill", fill}, {"get", get}, {"put", put}, {"put-writemap", put_writemap}};

}  // namespace

int main(int argc, char** argv) {
  for (const Mode& mode : kModes) {
    if (argc > 2 && strcmp(argv[2], mode.name) == 0) {
      mode.run(argv[1], argc > 3 ? atof(argv[3]) : 0);
      return 0;
    }
  }
  fprintf(stderr, "usage: lmdb DIRECTORY fill | get | put | put-writemap SECONDS\n");
  return 2;
}
