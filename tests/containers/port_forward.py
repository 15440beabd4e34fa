#!/usr/bin/env python3
"""What `kubectl port-forward` does, for a network namespace of this machine.

usage: port_forward.py PID PORT
Listens on a free port of 127.0.0.1 here, says which in kubectl's words, and connects whoever comes with
127.0.0.1:PORT of the network namespace that process PID is in. Needs root. Ends when it is killed.
"""

import ctypes
import os
import socket
import sys
import threading

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace):
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def pump(source, target):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other direction ends too


def main():
    there = os.open("/proc/%s/ns/net" % sys.argv[1], os.O_RDONLY)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    port = int(sys.argv[2])
    listener = socket.create_server(("127.0.0.1", 0))
    print("Forwarding from 127.0.0.1:%d -> %d" % (listener.getsockname()[1], port), flush=True)
    while True:
        client, _ = listener.accept()
        enter(there)  # this thread only; a socket stays in the namespace that it was made in
        try:
            server = socket.create_connection(("127.0.0.1", port))
        finally:
            enter(here)
        for ends in (client, server), (server, client):
            threading.Thread(target=pump, args=ends, daemon=True).start()


main()
