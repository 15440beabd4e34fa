// A plugin for qemu-user that keeps the address of each access to memory in a ring: the least that
// a recorder would have to do there. Debian has no header for plugins; what is used of the
// interface (qemu's docs/devel/tcg-plugins.rst, version 1) is declared here.
#include <stddef.h>
#include <stdint.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*TranslatedCallback)(uint64_t id, struct qemu_plugin_tb* tb);
typedef void (*MemoryCallback)(unsigned int cpu, uint32_t info, uint64_t address, void* own);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, TranslatedCallback callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* tb);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb* tb, size_t index);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn* insn, MemoryCallback callback,
                                      int registers, int accesses, void* own);
enum { kNoRegisters = 0, kReadsAndWrites = 3 };

#define EXPORTED __attribute__((visibility("default")))
EXPORTED int qemu_plugin_version = 1;

struct Entry {
  uint64_t address;
  uint32_t info;
};
static struct Entry ring[1 << 16];
static _Thread_local uint32_t next;

static void on_access(unsigned int cpu, uint32_t info, uint64_t address, void* own) {
  (void)cpu, (void)own;
  ring[next++ % (1 << 16)] = (struct Entry){address, info};
}

static void on_translated(uint64_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), on_access, kNoRegisters,
                                     kReadsAndWrites, 0);
  }
}

EXPORTED int qemu_plugin_install(uint64_t id, const void* info, int argc, char** argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
  return 0;
}
