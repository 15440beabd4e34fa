/* Keeps libdw from loading libdebuginfod, which it would do as the program starts, to fetch symbols
 * from the network: a static program must not load shared libraries. These are libdw's own names
 * for the client; defined here, its client is not linked. */
#include <stddef.h>

struct Dwfl;

int __libdwfl_debuginfod_find_executable(struct Dwfl* dwfl, const unsigned char* id, size_t bytes);
int __libdwfl_debuginfod_find_debuginfo(struct Dwfl* dwfl, const unsigned char* id, size_t bytes);
void __libdwfl_debuginfod_end(void* client);

enum { kNotFound = -1 };

int __libdwfl_debuginfod_find_executable(struct Dwfl* dwfl, const unsigned char* id, size_t bytes) {
  (void)dwfl, (void)id, (void)bytes;
  return kNotFound;
}

int __libdwfl_debuginfod_find_debuginfo(struct Dwfl* dwfl, const unsigned char* id, size_t bytes) {
  (void)dwfl, (void)id, (void)bytes;
  return kNotFound;
}

void __libdwfl_debuginfod_end(void* client) { (void)client; }
