// SQLite in WAL mode as bench/compare runs it: the index of the log (FILE-shm) is shared memory.
//
//   sqlite DIRECTORY fill | select | update SECONDS
//
// 100,000 rows of 100 bytes; an operation is one statement, prepared once, of a random row, in a
// transaction of its own. The disk is not waited for (synchronous = off).
#include <sqlite3.h>

#include <random>
#include <string>

#include "measured.h"

namespace {

constexpr int kRows = 100'000;

class Database {
 public:
  explicit Database(const std::string& directory) {
    check(sqlite3_open((directory + "/data").c_str(), &handle_), SQLITE_OK);
    run("pragma journal_mode = wal");
    run("pragma synchronous = off");
  }
  Database(const Database&) = delete;
  ~Database() { sqlite3_close_v2(handle_); }

  void run(const char* text) {
    check(sqlite3_exec(handle_, text, nullptr, nullptr, nullptr), SQLITE_OK);
  }
  sqlite3_stmt* prepared(const char* text) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v2(handle_, text, -1, &statement, nullptr), SQLITE_OK);
    return statement;
  }
  void step(sqlite3_stmt* statement, int row, int wanted) {
    sqlite3_bind_int(statement, 1, row);
    check(sqlite3_step(statement), wanted);
    check(sqlite3_reset(statement), SQLITE_OK);
  }

 private:
  void check(int status, int wanted) {
    if (status == wanted) return;
    fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(handle_));
    exit(1);
  }
  sqlite3* handle_ = nullptr;
};

int fill(Database& database) {
  database.run("create table items (id integer primary key, number integer, text text)");
  database.run("begin");
  sqlite3_stmt* insert =
      database.prepared("insert into items values (?1, 0, 'item ' || hex(zeroblob(45)))");
  for (int i = 0; i < kRows; i++) database.step(insert, i, SQLITE_DONE);
  sqlite3_finalize(insert);
  database.run("commit");
  return 0;
}

int measured(Database& database, const char* text, int wanted, double seconds) {
  sqlite3_stmt* statement = database.prepared(text);
  std::minstd_rand random(1);
  bench::measure(seconds, 1, [&](uint64_t times) {
    for (uint64_t i = 0; i < times; i++) {
      database.step(statement, static_cast<int>(random() % kRows), wanted);
    }
  });
  sqlite3_finalize(statement);
  return 0;
}

struct Mode {
  const char* name;
  const char* statement;
  int wanted;  // of a step
};
constexpr Mode kModes[] = {
    {"select", "select text from items where id = ?1", SQLITE_ROW},
    {"update", "update items set number = number + 1 where id = ?1", SQLITE_DONE}};

}  // namespace

int main(int argc, char** argv) {
  std::string wanted = argc > 2 ? argv[2] : "";
  if (wanted == "fill") {
    Database database(argv[1]);
    return fill(database);
  }
  for (const Mode& mode : kModes) {
    if (wanted != mode.name || argc < 4) continue;
    Database database(argv[1]);
    return measured(database, mode.statement, mode.wanted, atof(argv[3]));
  }
  fprintf(stderr, "usage: sqlite DIRECTORY fill | select | update SECONDS\n");
  return 2;
}
