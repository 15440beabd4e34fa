// Two processes write to one LMDB environment, two read it; the content at the end does not depend
// on who was first.
//
// usage: lmdb_writers DIRECTORY; prints the number of records and a checksum of the content.
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kWriters = 2, kReaders = 2, kTransactions = 40, kPutsEach = 5 };

static void check(int result, const char* what) {
  if (result == 0) return;
  fprintf(stderr, "%s: %s\n", what, mdb_strerror(result));
  exit(1);
}

static MDB_env* open_environment(const char* directory) {
  MDB_env* environment;
  check(mdb_env_create(&environment), "mdb_env_create");
  check(mdb_env_set_mapsize(environment, 4 << 20), "mdb_env_set_mapsize");
  check(mdb_env_open(environment, directory, MDB_NOSYNC | MDB_WRITEMAP, 0600), "mdb_env_open");
  return environment;
}

static void put(MDB_txn* txn, MDB_dbi dbi, uint64_t key_number, uint64_t value_number) {
  MDB_val key = {sizeof(key_number), &key_number}, value = {sizeof(value_number), &value_number};
  check(mdb_put(txn, dbi, &key, &value, 0), "mdb_put");
}

// A counter that all writers raise, and records of the writer's own.
static void write_all(const char* directory, int writer) {
  MDB_env* environment = open_environment(directory);
  for (uint64_t i = 0; i < kTransactions; ++i) {
    MDB_txn* txn;
    MDB_dbi dbi;
    check(mdb_txn_begin(environment, NULL, 0, &txn), "mdb_txn_begin");
    check(mdb_dbi_open(txn, NULL, MDB_CREATE, &dbi), "mdb_dbi_open");
    uint64_t counter_key = 0, counter = 0;
    MDB_val key = {sizeof(counter_key), &counter_key}, value;
    if (mdb_get(txn, dbi, &key, &value) == 0) memcpy(&counter, value.mv_data, sizeof(counter));
    put(txn, dbi, 0, counter + 1);
    for (uint64_t j = 0; j < kPutsEach; ++j)
      put(txn, dbi, (uint64_t)(writer + 1) << 32 | (i * kPutsEach + j), i * 1000003 + j);
    check(mdb_txn_commit(txn), "mdb_txn_commit");
  }
  mdb_env_close(environment);
}

static uint64_t read_all(MDB_env* environment, uint64_t* records, uint64_t* counter) {
  MDB_txn* txn;
  MDB_dbi dbi;
  MDB_cursor* cursor;
  MDB_val key, value;
  uint64_t sum = 0;
  *records = *counter = 0;
  check(mdb_txn_begin(environment, NULL, MDB_RDONLY, &txn), "mdb_txn_begin");
  check(mdb_dbi_open(txn, NULL, 0, &dbi), "mdb_dbi_open");
  check(mdb_cursor_open(txn, dbi, &cursor), "mdb_cursor_open");
  while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
    uint64_t key_number, value_number;
    memcpy(&key_number, key.mv_data, sizeof(key_number));
    memcpy(&value_number, value.mv_data, sizeof(value_number));
    if (key_number == 0) *counter = value_number;
    sum = (sum ^ key_number * 31 ^ value_number) * 0x9E3779B97F4A7C15;
    ++*records;
  }
  mdb_cursor_close(cursor);
  mdb_txn_abort(txn);
  return sum;
}

// Every snapshot is one that the writers committed: as many records as the counter says.
static void read_while_written(const char* directory) {
  MDB_env* environment = open_environment(directory);
  for (int i = 0; i < 10; ++i) {
    uint64_t records, counter;
    read_all(environment, &records, &counter);
    if (records != 1 + counter * kPutsEach) {
      fprintf(stderr, "a snapshot has %llu records at counter %llu\n", (unsigned long long)records,
              (unsigned long long)counter);
      exit(1);
    }
  }
  mdb_env_close(environment);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  MDB_env* environment = open_environment(argv[1]);
  MDB_txn* txn;
  MDB_dbi dbi;
  check(mdb_txn_begin(environment, NULL, 0, &txn), "mdb_txn_begin");
  check(mdb_dbi_open(txn, NULL, MDB_CREATE, &dbi), "mdb_dbi_open");
  put(txn, dbi, 0, 0);
  check(mdb_txn_commit(txn), "mdb_txn_commit");
  mdb_env_close(environment);
  for (int i = 0; i < kWriters + kReaders; ++i) {
    if (fork() != 0) continue;
    if (i < kWriters)
      write_all(argv[1], i);
    else
      read_while_written(argv[1]);
    exit(0);
  }
  int status, bad = 0;
  for (int i = 0; i < kWriters + kReaders; ++i) {
    wait(&status);
    bad |= status;
  }
  environment = open_environment(argv[1]);
  uint64_t records, counter;
  uint64_t sum = read_all(environment, &records, &counter);
  mdb_env_close(environment);
  printf("%llu records, counter %llu, checksum %016llx\n", (unsigned long long)records,
         (unsigned long long)counter, (unsigned long long)sum);
  return bad != 0 || counter != kWriters * kTransactions;
}
