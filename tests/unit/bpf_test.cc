// Classic BPF as seccomp takes it: what is valid, and what each instruction does.
#include "agent/kernel/bpf.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <random>
#include <vector>

namespace shmrec::agent {
namespace {

using Program = std::vector<BpfInstruction>;

BpfInstruction statement(int code, uint32_t k) { return {static_cast<uint16_t>(code), 0, 0, k}; }
BpfInstruction jump(int code, uint32_t k, int if_true, int if_false) {
  return {static_cast<uint16_t>(code), static_cast<uint8_t>(if_true),
          static_cast<uint8_t>(if_false), k};
}
BpfInstruction loads(size_t offset) {
  return statement(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}
const BpfInstruction kReturnA = statement(BPF_RET | BPF_A, 0);

bool valid(const Program& program) {
  return bpf_valid(program.data(), static_cast<uint32_t>(program.size()));
}
uint32_t run(const Program& program, const SeccompData& call = {}) {
  EXPECT_TRUE(valid(program));
  return bpf_run(program.data(), static_cast<uint32_t>(program.size()), call);
}
uint32_t calculated(int operation, uint32_t a, uint32_t by) {
  const uint32_t with_constant =
      run({statement(BPF_LD | BPF_IMM, a), statement(BPF_ALU | operation | BPF_K, by), kReturnA});
  EXPECT_EQ(with_constant, run({statement(BPF_LD | BPF_IMM, a), statement(BPF_LDX | BPF_IMM, by),
                                statement(BPF_ALU | operation | BPF_X, 0), kReturnA}));
  return with_constant;
}
bool jumps(int comparison, uint32_t a, uint32_t with) {
  const uint32_t taken =
      run({statement(BPF_LD | BPF_IMM, a), jump(BPF_JMP | comparison | BPF_K, with, 0, 1),
           statement(BPF_RET | BPF_K, 1), statement(BPF_RET | BPF_K, 2)});
  EXPECT_EQ(taken, run({statement(BPF_LD | BPF_IMM, a), statement(BPF_LDX | BPF_IMM, with),
                        jump(BPF_JMP | comparison | BPF_X, 0, 0, 1), statement(BPF_RET | BPF_K, 1),
                        statement(BPF_RET | BPF_K, 2)}));
  return taken == 1;
}

TEST(Bpf, ReadsEachWordOfTheCall) {
  SeccompData call = {39, kBpfX86_64, 0x1122334455667788, {1, 2, 3, 4, 5, 0xAABBCCDD00000006}};
  EXPECT_EQ(run({loads(0), kReturnA}, call), 39u);
  EXPECT_EQ(run({loads(4), kReturnA}, call), kBpfX86_64);
  EXPECT_EQ(run({loads(8), kReturnA}, call), 0x55667788u);
  EXPECT_EQ(run({loads(12), kReturnA}, call), 0x11223344u);
  EXPECT_EQ(run({loads(16), kReturnA}, call), 1u);
  EXPECT_EQ(run({loads(60), kReturnA}, call), 0xAABBCCDDu);
  EXPECT_EQ(run({statement(BPF_LD | BPF_W | BPF_LEN, 0), kReturnA}, call), 64u);
  EXPECT_EQ(
      run({statement(BPF_LDX | BPF_W | BPF_LEN, 0), statement(BPF_MISC | BPF_TXA, 0), kReturnA},
          call),
      64u);
}

TEST(Bpf, CalculatesWithConstantAndWithX) {
  EXPECT_EQ(calculated(BPF_ADD, 0xFFFFFFFF, 2), 1u);
  EXPECT_EQ(calculated(BPF_SUB, 1, 2), 0xFFFFFFFFu);
  EXPECT_EQ(calculated(BPF_MUL, 0x10001, 0x10001), 0x20001u);
  EXPECT_EQ(calculated(BPF_DIV, 0xFFFFFFFF, 16), 0x0FFFFFFFu);
  EXPECT_EQ(calculated(BPF_AND, 0xF0F0, 0xFF00), 0xF000u);
  EXPECT_EQ(calculated(BPF_OR, 0xF0F0, 0x0F00), 0xFFF0u);
  EXPECT_EQ(calculated(BPF_XOR, 0xF0F0, 0xFF00), 0x0FF0u);
  EXPECT_EQ(calculated(BPF_LSH, 3, 31), 0x80000000u);
  EXPECT_EQ(calculated(BPF_RSH, 0x80000000, 31), 1u);
  EXPECT_EQ(run({statement(BPF_LD | BPF_IMM, 5), statement(BPF_ALU | BPF_NEG, 0), kReturnA}),
            0xFFFFFFFBu);
}

TEST(Bpf, ComparesUnsigned) {
  EXPECT_TRUE(jumps(BPF_JEQ, 7, 7));
  EXPECT_FALSE(jumps(BPF_JEQ, 7, 8));
  EXPECT_TRUE(jumps(BPF_JGT, 0x80000000, 0x7FFFFFFF));
  EXPECT_FALSE(jumps(BPF_JGT, 7, 7));
  EXPECT_TRUE(jumps(BPF_JGE, 7, 7));
  EXPECT_TRUE(jumps(BPF_JSET, 6, 2));
  EXPECT_FALSE(jumps(BPF_JSET, 4, 2));
}

TEST(Bpf, KeepsScratchWordsAndMovesRegisters) {
  EXPECT_EQ(run({statement(BPF_LD | BPF_IMM, 11), statement(BPF_ST, 15),
                 statement(BPF_LD | BPF_IMM, 0), statement(BPF_LDX | BPF_MEM, 15),
                 statement(BPF_STX, 0), statement(BPF_LD | BPF_MEM, 0), kReturnA}),
            11u);
  EXPECT_EQ(run({statement(BPF_LD | BPF_IMM, 12), statement(BPF_MISC | BPF_TAX, 0),
                 statement(BPF_LD | BPF_IMM, 0), statement(BPF_MISC | BPF_TXA, 0), kReturnA}),
            12u);
}

TEST(Bpf, JumpsFarAndNear) {
  EXPECT_EQ(run({statement(BPF_JMP | BPF_JA, 1), statement(BPF_RET | BPF_K, 1),
                 statement(BPF_RET | BPF_K, 2)}),
            2u);
}

TEST(Bpf, ADivisionByZeroKillsTheThread) {
  EXPECT_EQ(run({statement(BPF_LD | BPF_IMM, 5), statement(BPF_ALU | BPF_DIV | BPF_X, 0),
                 statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}),
            static_cast<uint32_t>(SECCOMP_RET_KILL_THREAD));
}

TEST(Bpf, RefusesWhatTheKernelRefuses) {
  const BpfInstruction ends = statement(BPF_RET | BPF_K, 0);
  EXPECT_FALSE(bpf_valid(nullptr, 0));
  EXPECT_FALSE(valid({loads(0)}));                                       // no end
  EXPECT_FALSE(valid({loads(64), ends}));                                // beyond the call
  EXPECT_FALSE(valid({loads(2), ends}));                                 // not aligned
  EXPECT_FALSE(valid({statement(BPF_LD | BPF_H | BPF_ABS, 0), ends}));   // not a word
  EXPECT_FALSE(valid({statement(BPF_LD | BPF_W | BPF_IND, 0), ends}));   // a packet's
  EXPECT_FALSE(valid({statement(BPF_ALU | BPF_MOD | BPF_K, 3), ends}));  // not for seccomp
  EXPECT_FALSE(valid({statement(BPF_ALU | BPF_DIV | BPF_K, 0), ends}));
  EXPECT_FALSE(valid({statement(BPF_ALU | BPF_LSH | BPF_K, 32), ends}));
  EXPECT_FALSE(valid({statement(BPF_ST, 16), ends}));
  EXPECT_FALSE(valid({statement(BPF_JMP | BPF_JA, 1), ends}));
  EXPECT_FALSE(valid({statement(BPF_JMP | BPF_JA, 0xFFFFFFFF), ends}));
  EXPECT_FALSE(valid({jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), ends}));
  EXPECT_FALSE(valid({statement(0xFF, 0), ends}));
  EXPECT_FALSE(valid(Program(4097, ends)));
  EXPECT_TRUE(valid(Program(4096, ends)));
}

TEST(Bpf, SeesWhoAsksForTheAddress) {
  for (const uint32_t offset : {0u, 4u, 8u, 12u, 16u}) {
    const Program program = {loads(offset), kReturnA};
    EXPECT_EQ(bpf_reads_instruction_pointer(program.data(), 2), offset == 8 || offset == 12);
  }
}

// ---- Against the kernel -------------------------------------------------------------------------

// A program of random instructions that ends with an errno made of its result.
Program random_program(std::mt19937& random) {
  static const uint16_t kCodes[] = {
      BPF_LD | BPF_W | BPF_ABS,  BPF_LD | BPF_IMM,          BPF_LDX | BPF_IMM,
      BPF_ALU | BPF_ADD | BPF_X, BPF_ALU | BPF_SUB | BPF_K, BPF_ALU | BPF_MUL | BPF_X,
      BPF_ALU | BPF_DIV | BPF_K, BPF_ALU | BPF_AND | BPF_X, BPF_ALU | BPF_OR | BPF_K,
      BPF_ALU | BPF_XOR | BPF_X, BPF_ALU | BPF_LSH | BPF_X, BPF_ALU | BPF_RSH | BPF_X,
      BPF_ALU | BPF_RSH | BPF_K, BPF_ALU | BPF_NEG,         BPF_MISC | BPF_TAX,
      BPF_MISC | BPF_TXA,        BPF_JMP | BPF_JGT | BPF_X, BPF_JMP | BPF_JSET | BPF_K,
      BPF_JMP | BPF_JGE | BPF_X, BPF_JMP | BPF_JEQ | BPF_K};
  Program program;
  for (int i = 0; i < 40; ++i) {
    BpfInstruction instruction = statement(kCodes[random() % std::size(kCodes)],
                                           static_cast<uint32_t>(random()) >> random() % 32);
    if (instruction.code == (BPF_LD | BPF_W | BPF_ABS)) {
      // Not the address: another one in each run.
      instruction.k = random() % 2 ? 0 : 16 + 4 * (random() % 12);
    } else if (BPF_OP(instruction.code) == BPF_RSH && BPF_SRC(instruction.code) == BPF_K) {
      instruction.k %= 32;
    } else if (BPF_OP(instruction.code) == BPF_DIV && !instruction.k) {
      instruction.k = 3;
    }
    instruction.if_true = random() % 3;
    instruction.if_false = random() % 3;
    if (BPF_CLASS(instruction.code) != BPF_JMP) instruction.if_true = instruction.if_false = 0;
    program.push_back(instruction);
  }
  for (int i = 0; i < 3; ++i) program.push_back(statement(BPF_ALU | BPF_ADD | BPF_K, 1));
  // An errno below 4096 says twelve bits of the result, folded.
  const Program end = {statement(BPF_MISC | BPF_TAX, 0),
                       statement(BPF_ALU | BPF_RSH | BPF_K, 12),
                       statement(BPF_ALU | BPF_XOR | BPF_X, 0),
                       statement(BPF_ALU | BPF_AND | BPF_K, 0x7FF),
                       statement(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO | 1),
                       kReturnA};
  program.insert(program.end(), end.begin(), end.end());
  return program;
}

// Puts the filter on getppid alone, in a child, and returns what the kernel's answer was.
int asked_of_the_kernel(const Program& filter, const SeccompData& call) {
  Program program = {loads(0), jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
                     statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                     statement(BPF_LD | BPF_IMM, 0)};  // as at the start of a program
  program.insert(program.end(), filter.begin(), filter.end());
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t pid = fork();
  if (pid == 0) {
    const sock_fprog code = {static_cast<unsigned short>(program.size()),
                             reinterpret_cast<sock_filter*>(program.data())};
    int result = -2;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &code) == 0) {
      const uint64_t* a = call.args;
      result = syscall(SYS_getppid, a[0], a[1], a[2], a[3], a[4], a[5]) < 0 ? errno : 0;
    }
    _exit(write(ends[1], &result, sizeof result) == sizeof result ? 0 : 1);
  }
  int result = -3;
  waitpid(pid, nullptr, 0);
  if (read(ends[0], &result, sizeof result) != sizeof result) result = -4;
  close(ends[0]);
  close(ends[1]);
  return result;
}

TEST(Bpf, AgreesWithTheKernelOnRandomPrograms) {
  std::mt19937 random(20261125);
  for (int i = 0; i < 200; ++i) {
    const Program program = random_program(random);
    SeccompData call = {SYS_getppid, kBpfX86_64, 0, {}};
    for (uint64_t& argument : call.args)
      argument = static_cast<uint64_t>(random()) << 32 | random();
    const int kernel = asked_of_the_kernel(program, call);
    if (kernel == -2) GTEST_SKIP() << "this place refuses seccomp filters";
    ASSERT_EQ(static_cast<int>(run(program, call) & SECCOMP_RET_DATA), kernel) << "program " << i;
  }
}

}  // namespace
}  // namespace shmrec::agent
