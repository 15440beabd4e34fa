// Faults of instructions that have accessed shared memory before, of which a handler makes what can
// be made: it unwinds the stack, throws an exception through the faulting frame, jumps out, or goes
// on. It finds the instruction itself and its registers, whatever the instruction has become.
#include <execinfo.h>
#include <setjmp.h>
#include <ucontext.h>

#include <stdexcept>

extern "C" {
#include "victim.h"

// Each accesses (%rdi) with its first instruction, and moves rsi, rdx and rcx meanwhile.
#define FORM(name, code, behind)                                                     \
  void form_##name(void* address, uint64_t second, uint64_t third, uint64_t fourth); \
  extern const char form_##name##_end[];                                             \
  __asm__(".text\nform_" #name ":\n.cfi_startproc\n" code "\n" behind                \
          "\nret\n.cfi_endproc\nform_" #name "_end:\n.fill 32, 1, 0xCC\n");

#define FORMS(form)                                                                           \
  form(load, "mov (%rdi), %rax", "mov %rax, %r9")                                             \
      form(load_byte, "movzbl (%rdi), %eax", "mov %rax, %r9")                                 \
          form(store, "mov %rsi, (%rdi)", "mov %rsi, %r9")                                    \
              form(store_word, "movw $7, (%rdi)", "mov %rsi, %r9")                            \
                  form(add, "add %rdx, (%rdi)", "mov %rsi, %r9")                              \
                      form(increment, "lock incq (%rdi)", "mov %rsi, %r9")                    \
                          form(exchange, "xchg %rcx, (%rdi)", "mov %rsi, %r9")                \
                              form(vector_load, "movdqu (%rdi), %xmm0", "mov %rsi, %r9")      \
                                  form(vector_store, "movdqu %xmm0, (%rdi)", "mov %rsi, %r9") \
                                      form(compare, "cmp %rdx, (%rdi)", "mov %rsi, %r9")
FORMS(FORM)
}

namespace {

using Code = void(void*, uint64_t, uint64_t, uint64_t);
struct Form {
  const char* name;
  Code* code;
  const char* end;
};
#define ROW(name, code, behind) {#name, form_##name, form_##name##_end},
const Form kForms[] = {FORMS(ROW)};
constexpr int kForms_ = sizeof kForms / sizeof *kForms;

enum How { kGoOn, kJump, kThrow, kHows };
constexpr uint64_t kSecond = 0x1234567890, kThird = 0x77, kFourth = 0x4242424242;

struct {
  const Form* form;
  void* address;
  How how;
  int faults;
  sigjmp_buf out;
} now;
uint64_t sum;
uint64_t good[4];

__attribute__((noinline)) void trace() {
  void* frames[64];
  const int count = backtrace(frames, 64);
  const uint64_t begin = reinterpret_cast<uint64_t>(now.form->code);
  const uint64_t bytes = reinterpret_cast<uint64_t>(now.form->end) - begin;
  int found = 0;
  for (int i = 0; i < count && !found; ++i)
    if (reinterpret_cast<uint64_t>(frames[i]) - begin < bytes) found = count - i;
  CHECK(found >= 4);  // the form, fault_by, main and what called that
}

void on_fault(int signal, siginfo_t* info, void* raw) {
  ucontext_t* context = static_cast<ucontext_t*>(raw);
  auto& registers = context->uc_mcontext.gregs;
  ++now.faults;
  CHECK_EQ(registers[REG_RIP], reinterpret_cast<uint64_t>(now.form->code));
  CHECK_EQ(registers[REG_RDI], reinterpret_cast<uint64_t>(now.address));
  CHECK(registers[REG_RSI] == kSecond && registers[REG_RDX] == kThird);
  CHECK_EQ(registers[REG_RCX], kFourth);
  const uint64_t named = info->si_code == SI_KERNEL ? 0 : registers[REG_RDI];
  CHECK_EQ(reinterpret_cast<uint64_t>(info->si_addr), named);
  sum = mix(sum, static_cast<uint64_t>(signal) * 1000 + static_cast<uint64_t>(info->si_code));
  sum = mix(sum, static_cast<uint64_t>(registers[REG_ERR]));
  trace();
  if (now.how == kGoOn) registers[REG_RDI] = static_cast<greg_t>(reinterpret_cast<uint64_t>(good));
  if (now.how == kJump) siglongjmp(now.out, 1);
  if (now.how == kThrow) throw std::runtime_error(now.form->name);
}

void set_handlers() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  CHECK(sigaction(SIGSEGV, &action, nullptr) == 0 && sigaction(SIGBUS, &action, nullptr) == 0);
}

__attribute__((noinline)) bool fault_by(const Form& form, void* address, How how) {
  now.form = &form;
  now.address = address;
  now.how = how;
  if (how == kJump && sigsetjmp(now.out, 1)) return true;
  try {
    form.code(address, kSecond, kThird, kFourth);
  } catch (const std::runtime_error& error) {
    CHECK(how == kThrow && !strcmp(error.what(), form.name));
    return true;
  }
  return how == kGoOn;
}

struct Place {
  const char* name;
  char* address;
  bool writes_only;  // reads are allowed
};

void fault_at(const Place& place, char* shared) {
  int faults = 0;
  for (int i = 0; i < 3 * kHows * kForms_; ++i) {
    const Form& form = kForms[i % kForms_];
    form.code(shared, kSecond, kThird, kFourth);
    now.faults = 0;
    CHECK(fault_by(form, place.address, static_cast<How>(i / kForms_ % kHows)) ||
          (place.writes_only && !now.faults));
    faults += now.faults;
  }
  say("%s: %d faults, %016llx\n", place.name, faults, static_cast<unsigned long long>(sum));
}

}  // namespace

int main() {
  char* shared = static_cast<char*>(map_shared(4 * kPage));
  char* hole = static_cast<char*>(map_private(kPage));
  const int file = make_file("short", kPage);
  char* beyond = static_cast<char*>(map_fd(file, 2 * kPage, PROT_READ | PROT_WRITE));
  CHECK(munmap(hole, kPage) == 0);
  CHECK(mprotect(shared + kPage, kPage, PROT_NONE) == 0);
  CHECK(mprotect(shared + 2 * kPage, kPage, PROT_READ) == 0);
  void* warm[2];
  backtrace(warm, 2);
  for (int i = 0; i < 4; ++i)
    for (const Form& form : kForms) form.code(shared, kSecond, kThird, kFourth);
  set_handlers();
  const Place places[] = {
      {"not mapped", hole, false},
      {"null", nullptr, false},
      {"no address", reinterpret_cast<char*>(0x8000000000000000), false},
      {"not accessible", shared + kPage + 64, false},
      {"read only", shared + 2 * kPage + 64, true},
      {"behind the file's end", beyond + kPage + 64, false},
  };
  for (const Place& place : places) fault_at(place, shared);
  say("good %llu\n", static_cast<unsigned long long>(good[0]));
  return 0;
}
