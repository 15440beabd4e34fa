#include "agent/signals/unwind.h"

#include "agent/arch/x86_64/entry.h"
#include "agent/image_layout.h"
#include "agent/patches/arena.h"
#include "agent/patches/patch.h"
#include "agent/signals/signals.h"
#include "agent/sites/table.h"

namespace shmrec::agent {

UnwindInfo unwind_info = {};

namespace {

UnwindRow* next_row;

void row(uint64_t begin, uint64_t end, UnwindIp ip, UnwindRest rest) {
  *next_row++ = {begin, end, ip, rest};
}
void row(void (*begin)(), void (*end)(), UnwindIp ip, UnwindRest rest) {
  row(reinterpret_cast<uint64_t>(begin), reinterpret_cast<uint64_t>(end), ip, rest);
}

void describe_code(UnwindInfo* info) {
  next_row = info->rows;
  row(shmrec_syscall_plain, shmrec_syscall_plain_end, UnwindIp::kCall, UnwindRest::kLive);
  row(shmrec_int80, shmrec_int80_end, UnwindIp::kCall, UnwindRest::kLive);
  row(shmrec_syscall_post, shmrec_syscall_post_done, UnwindIp::kCall, UnwindRest::kLive);
  row(shmrec_tail_begin, shmrec_tail_end, UnwindIp::kExit, UnwindRest::kRegs);
  row(shmrec_call_end, shmrec_call_end_end, UnwindIp::kExit, UnwindRest::kStack);
  row(shmrec_call_load, shmrec_call_load_end, UnwindIp::kRegs, UnwindRest::kStack);
  row(shmrec_call_make, shmrec_call_make_end, UnwindIp::kRegs, UnwindRest::kStack);
  row(shmrec_quick_load1, shmrec_quick_end, UnwindIp::kStub, UnwindRest::kStack);
  row(thread_blocks(), thread_blocks() + kMaxThreads * kThreadBlockBytes, UnwindIp::kExit,
      UnwindRest::kLive);
  row(code_base(), code_base() + kCodeBytes, UnwindIp::kRegs, UnwindRest::kRegs);
  row(shmrec_image_layout.image_begin, shmrec_image_layout.image_end, UnwindIp::kRegs,
      UnwindRest::kRegs);
  info->row_count = static_cast<uint64_t>(next_row - info->rows);
}

}  // namespace

void unwind_start() {
  UnwindInfo& info = unwind_info;
  memcpy(info.magic, "shmrecU1", sizeof info.magic);
  info.thread_block_bytes = kThreadBlockBytes;
  info.regs = offsetof(Thread, regs);
  info.exit_ip = offsetof(Thread, exit_ip);
  info.call_pc = offsetof(Thread, call.pc);
  info.stack_top = offsetof(Thread, stack_top);
  info.fast_key = offsetof(Thread, fast_key);
  info.outer = offsetof(Thread, outer);
  info.signal_stack = thread_signal_stack(nullptr);
  info.context_regs = offsetof(Context, regs);
  arena_describe(&info);
  patch_describe(&info);
  describe_code(&info);
}

}  // namespace shmrec::agent
