"""Lets gdb see recorded programs behind shmrec's agent: `gdb -x shmrec-gdb.py -p PID`, or with a core.

A thread that is found in the agent (in a system call, at an access to shared memory, in the code that
an instruction has become) has no frames there that gdb knows. This finds the program's registers where
the agent keeps them, so that the second frame is the program's own, at the instruction that the agent
performs for it, and all others follow.

Of the registers, rip, rsp and rbp are always right. Where the agent's compiled code runs, the others
that a call keeps are not known; gdb says so of variables that lie there.

What is where in a process, the agent tells itself (agent/signals/unwind.h).
"""

import struct

import gdb
from gdb.unwinder import Unwinder, register_unwinder

UNWIND_AT = 392  # Thread::unwind
MAGIC = b"shmrecU1"
FIELDS = ("thread_block_bytes regs exit_ip call_pc stack_top fast_key outer signal_stack context_regs arenas "
          "arena_count arena_size arena_owners arena_bytes granule patches patch_size patch_ip patch_stub "
          "patch_lengths patch_count patch_back patch_parts part_size part_begin part_hit part_done part_end "
          "part_stacked part_unstacked row_count").split()
REGS = "r8 r9 r10 r11 r12 r13 r14 r15 rdi rsi rbp rbx rdx rax rcx rsp rip".split()
KEPT = "rbx r12 r13 r14 r15".split()
IP_REGS, IP_EXIT, IP_CALL, IP_STUB = range(4)
REST_REGS, REST_STACK, REST_LIVE = range(3)
SYSCALL = b"\x0f\x05"


def read(address, count):
    return bytes(gdb.selected_inferior().read_memory(address, count))


def word(address):
    return struct.unpack("<Q", read(address, 8))[0]


def half(address):
    return struct.unpack("<H", read(address, 2))[0]


class Agent:
    """The agent of a process, as it describes itself."""

    def __init__(self, at):
        values = struct.unpack("<%dQ" % len(FIELDS), read(at + len(MAGIC), 8 * len(FIELDS)))
        self.__dict__.update(zip(FIELDS, values))
        rows = read(at + len(MAGIC) + 8 * len(FIELDS), 32 * self.row_count)
        self.rows = list(struct.iter_unpack("<4Q", rows))

    def place(self, ip):
        """(where rip is, where the others are), or None."""
        for begin, end, ip_from, rest in self.rows:
            if begin <= ip < end:
                return ip_from, rest
        return None

    def in_stub(self, ip):
        """(the program's address, is the stack pointer the agent's), or None."""
        count = struct.unpack("<I", read(self.arena_count, 4))[0]
        for i in range(count):
            arena = self.arenas + i * self.arena_size
            offset = ip - word(arena)
            if not 0 <= offset < self.arena_bytes:
                continue
            number = half(arena + self.arena_owners + 2 * (offset // self.granule))
            return self.in_patch(self.patches + number * self.patch_size, ip) if number else None
        return None

    def in_patch(self, patch, ip):
        at, found = ip - word(patch + self.patch_stub), word(patch + self.patch_ip)
        count, back = read(patch + self.patch_count, 1)[0], half(patch + self.patch_back)
        lengths = read(patch + self.patch_lengths, count)
        parts = [patch + self.patch_parts + i * self.part_size for i in range(count)]
        begins = [half(part + self.part_begin) for part in parts] + [back]
        for i, part in enumerate(parts):
            hit = half(part + self.part_hit) <= at < half(part + self.part_end)
            if not hit and not begins[i] <= at < begins[i + 1]:
                found += lengths[i]
                continue
            done = half(part + self.part_done)
            stacked = half(part + self.part_stacked) <= at < half(part + self.part_unstacked)
            if hit and done and at >= done:
                found += lengths[i]
            return found, hit and stacked
        return found, False


def agent_of(thread):
    """The agent of the Thread at this address; None: there is none."""
    try:
        if thread == 0 or word(thread) != thread:
            return None
        at = word(thread + UNWIND_AT)
        return Agent(at) if read(at, len(MAGIC)) == MAGIC else None
    except gdb.MemoryError:
        return None


class State:
    """Registers of a thread; those that are not known are left out."""

    def __init__(self, registers, thread, agent):
        self.registers, self.thread, self.agent = registers, thread, agent

    def saved(self, name):
        return word(self.thread + self.agent.regs + 8 * REGS.index(name))

    def keep_live(self):
        self.registers = {name: self.registers[name] for name in KEPT + ["rbp", "rsp", "rip"] if name in self.registers}

    def leave_handler(self):
        """From a handler of the agent to what it has interrupted."""
        begin = self.thread + self.agent.signal_stack
        outer = word(self.thread + self.agent.outer)
        if not outer or not begin <= self.registers["rsp"] < self.thread + self.agent.thread_block_bytes:
            return False
        values = struct.unpack("<%dQ" % len(REGS), read(outer + self.agent.context_regs, 8 * len(REGS)))
        self.registers = dict(zip(REGS, values))
        return True

    def leave_stub(self):
        place = self.agent.in_stub(self.registers["rip"])
        if not place:
            return False
        self.keep_live()
        self.registers["rip"] = place[0]
        if place[1]:
            self.registers["rsp"] = self.saved("rsp")
        return True

    def stub_that_called(self):
        top = word(self.thread + self.agent.stack_top)
        called = word(top - 16)
        return called if self.agent.in_stub(called) else word(self.thread + self.agent.fast_key)

    def leave_agent(self):
        place = self.agent.place(self.registers["rip"])
        if not place:
            return False
        ip_from, rest = place
        self.keep_live()
        if rest != REST_LIVE:
            self.registers["rsp"] = self.saved("rsp")
        if rest == REST_REGS:
            self.registers = {"rsp": self.registers["rsp"], "rbp": self.saved("rbp")}
        ip = {IP_REGS: lambda: self.saved("rip"), IP_EXIT: lambda: word(self.thread + self.agent.exit_ip),
              IP_CALL: lambda: word(self.thread + self.agent.call_pc) + len(SYSCALL),
              IP_STUB: self.stub_that_called}[ip_from]()
        stub = self.agent.in_stub(ip)
        self.registers["rip"] = stub[0] if stub else ip
        return True


class ShmrecUnwinder(Unwinder):
    def __init__(self):
        super().__init__("shmrec")

    def state_of(self, frame):
        registers = {name: int(frame.read_register(name)) & (1 << 64) - 1 for name in REGS}
        blocks = ~0x3FFFF  # a Thread is at the start of its block
        for thread in int(frame.read_register("gs_base")) & (1 << 64) - 1, registers["rsp"] & blocks:
            agent = agent_of(thread)
            if agent:
                return State(registers, thread, agent)
        return None

    def __call__(self, frame):
        try:
            state = self.state_of(frame)
            # What a handler has interrupted may be the agent, too.
            found = state and any([state.leave_handler(), state.leave_agent(), state.leave_stub()])
            return self.unwound(frame, state.registers) if found else None
        except (gdb.error, gdb.MemoryError, struct.error):
            return None

    def unwound(self, frame, registers):
        ip = registers["rip"]
        # gdb looks at the byte before, as at a call's; behind a system call that is right.
        if read(ip - len(SYSCALL), len(SYSCALL)) != SYSCALL:
            ip += 1
        pointer = gdb.lookup_type("char").pointer()
        info = frame.create_unwind_info(FrameId(registers["rsp"], int(frame.read_register("rip")) & (1 << 64) - 1))
        for name, value in registers.items():
            value = ip if name == "rip" else value
            info.add_saved_register(name, gdb.Value(value).cast(frame.read_register(name).type))
        return info


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = gdb.Value(sp), gdb.Value(pc)


register_unwinder(None, ShmrecUnwinder(), replace=True)
