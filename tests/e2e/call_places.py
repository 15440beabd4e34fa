#!/usr/bin/env python3
"""Sends a signal to a recorded process at each instruction between a patched syscall instruction and the
kernel, and back: those of the stub and those of the agent. The victim checks what its handler sees.

usage: call_places.py --shmrec PATH --agent AGENT.so VICTIM

The places are met by a hardware breakpoint, as a debugger sets it: the process does not step. Exit status:
0 as it should be; 1 not; 77 there are no such breakpoints here.
"""

import argparse
import ctypes
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

BASE = 0x7e8000000000  # kBases (agent/agent_abi.h)
SEIZE, INTERRUPT, CONTINUE, DETACH, GET_REGISTERS, POKE_USER = 0x4206, 0x4207, 7, 17, 12, 6
DEBUG_REGISTERS, CONTROL = 848, 848 + 7 * 8  # of struct user
RIP = 16  # of user_regs_struct
EVENT_STOP = 128
BEFORE, BEHIND, EITHER = "before", "behind", "either"  # where the program is seen by the signal's handler
RANGES = (("shmrec_syscall_plain", "shmrec_syscall_plain_done", BEFORE),
          ("shmrec_syscall_plain_done", "shmrec_syscall_plain_end", BEHIND),
          ("shmrec_syscall_post", "shmrec_syscall_post_done", BEFORE),
          ("shmrec_syscall_post_done", "shmrec_call_jumped", BEHIND),
          ("shmrec_call_jumped", "call_deferred", BEFORE), ("call_whole", "shmrec_call_make", EITHER),
          ("shmrec_call_make", "shmrec_call_make_end", BEFORE), ("shmrec_call_end", "shmrec_call_end_end", BEHIND),
          ("shmrec_tail_begin", "shmrec_tail_end", EITHER))
STUB = ((0, BEFORE), (10, BEFORE), (17, BEFORE), (27, BEHIND), (33, EITHER))
EACH = 3  # signals at each place
PATIENCE = 5

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, pid, address=0, data=0):
    if libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace %#x" % request)


def instructions(agent):
    """Where the instructions of the agent's RANGES lie, what is seen there, and which they are."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", agent], check=True, stdout=subprocess.PIPE,
                          text=True).stdout
    labels = {name: int(at, 16) for at, name in re.findall(r"^([0-9a-f]+) <([^>]+)>:$", text, re.M)}
    listed = [(int(at, 16), what) for at, what in re.findall(r"^ +([0-9a-f]+):\t(.+)$", text, re.M)]
    local = re.findall(r"^([0-9a-f]+) \w (\w+)$", subprocess.run(["nm", agent], check=True, text=True,
                                                                   stdout=subprocess.PIPE).stdout, re.M)
    labels.update((name, int(at, 16)) for at, name in local)
    return [(BASE + at, seen, what) for begin, end, seen in RANGES for at, what in listed
            if labels[begin] <= at < labels[end]]


class Traced:
    def __init__(self, pid):
        self.pid = pid
        ptrace(SEIZE, pid)

    def wait(self, seconds):
        """The signal that it stops with, or None; an event's stop is 0."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            got, status = os.waitpid(self.pid, os.WNOHANG | 0x40000000)
            if got:
                assert os.WIFSTOPPED(status), "the victim has ended: %#x" % status
                return 0 if status >> 16 == EVENT_STOP else os.WSTOPSIG(status)
            time.sleep(0.0002)
        return None

    def rip(self):
        registers = ctypes.create_string_buffer(27 * 8)
        ptrace(GET_REGISTERS, self.pid, 0, ctypes.addressof(registers))
        return struct.unpack_from("<Q", registers.raw, RIP * 8)[0]

    def stop(self):
        ptrace(INTERRUPT, self.pid)
        while (stopped := self.wait(PATIENCE)) != 0:
            assert stopped, "it does not stop"
            ptrace(CONTINUE, self.pid, 0, 0 if stopped == signal.SIGTRAP else stopped)

    def breakpoint(self, address):
        ptrace(POKE_USER, self.pid, CONTROL, 0)
        ptrace(POKE_USER, self.pid, DEBUG_REGISTERS, address)
        ptrace(POKE_USER, self.pid, CONTROL, 1 if address else 0)

    def send_at(self, address, number):
        """False: it does not come there."""
        self.stop()
        self.breakpoint(address)
        ptrace(CONTINUE, self.pid)
        end = time.monotonic() + 0.2
        met = False
        while not met:
            stopped = self.wait(max(end - time.monotonic(), 0))
            if stopped is None:
                self.stop()
                self.breakpoint(0)
                ptrace(CONTINUE, self.pid)
                return False
            met = stopped == signal.SIGTRAP and self.rip() == address
            if not met:
                ptrace(CONTINUE, self.pid, 0, stopped)
        self.breakpoint(0)
        ptrace(CONTINUE, self.pid, 0, number)
        return True


def stub_places(pid, site):
    """Its first instructions and those behind its call."""
    with open("/proc/%d/mem" % pid, "rb") as memory:
        memory.seek(site)
        code = memory.read(5)
    assert code[0] == 0xE9, "the call is not patched: %s" % code.hex()
    stub = site + 5 + struct.unpack("<i", code[1:])[0]
    return [(site, BEFORE, "jmp stub")] + [(stub + at, seen, "stub+%d" % at) for at, seen in STUB]


def run(options, top):
    launcher = subprocess.Popen([options.shmrec, "run", "-q", "-o", os.path.join(top, "bundle"), "--", options.victim],
                                stdout=subprocess.PIPE)
    try:
        pid, site = launcher.stdout.readline().split()
        pid, site = int(pid), int(site, 16)
        traced = Traced(pid)
        places = stub_places(pid, site) + instructions(options.agent)
        sent, missed = {BEFORE: 0, BEHIND: 0, EITHER: 0}, []
        for address, seen, what in places:
            for _ in range(EACH):
                if traced.send_at(address, signal.SIGUSR1):
                    sent[seen] += 1
                    continue
                missed.append("%#x %s" % (address, what))
                break
        traced.stop()
        ptrace(DETACH, pid)
        os.kill(pid, signal.SIGUSR2)
        said = launcher.stdout.read().decode()
        status = launcher.wait()
    finally:
        launcher.kill()
    print("%d places, not met: %s; sent: %s; victim: %s" % (len(places), "; ".join(missed) or "none", sent, said))
    assert status == 0, "status %d" % status
    handled, before, behind = map(int, re.findall("[0-9]+", said))
    assert handled == sum(sent.values()), "signals are lost"
    assert before >= sent[BEFORE] and behind >= sent[BEHIND], "a signal was seen too late or too early"
    assert len(missed) <= 4, "too many places were not met"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("victim")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shmrec-places-") as top:
        try:
            run(options, top)
        except OSError as error:
            print(error)
            return 77
        except AssertionError as wrong:
            print(wrong)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
