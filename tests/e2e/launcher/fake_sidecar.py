#!/usr/bin/env python3
"""A sidecar that does nothing but talk: fake_sidecar.py SOCKET LOG [MODE] [KEY=VALUE...]

Writes each line that it gets, and "end" when a client hangs up, to LOG. MODE says how it behaves:
  answer    as a sidecar does (KEY=VALUE go into its answer to hello: join=NAME)
  silent    takes connections and never answers
  hangup    closes each connection after its first line
  hello     hangs up on everything but the hello
  garbage   answers with what is no JSON
  number    answers with JSON that is no object
  long      answers with a line that never ends
  slow      answers byte by byte
  refuse    answers ok: false
  version   answers in another version
  busy      as answer, but has no time for triggers
  old       as answer, but knows no operations
"""
import json
import os
import selectors
import socket
import sys
import time

path, log_path = sys.argv[1:3]
mode = sys.argv[3] if len(sys.argv) > 3 else "answer"
extra = dict(word.split("=", 1) for word in sys.argv[4:])
instance = "%08x" % os.getpid()
asked = 0


def log(text):
    with open(log_path, "a") as file:
        file.write(text + "\n")


def answer_to(request):
    """The protocol of docs/spool.md."""
    global asked
    kind = request.get("type")
    if kind == "hello":
        if mode == "refuse":
            return {"ok": False, "error": "no more\x1b[31m launchers"}
        version = 2 if mode == "version" else 1
        return {"ok": True, "version": version, "instance": instance, "join": "", **extra}
    if kind == "run":
        return {"ok": True}
    if kind == "trigger":
        if mode == "busy":
            return {"ok": False, "busy": True, "error": "a bundle is being made"}
        if request.get("run", "").startswith("none"):
            return {"ok": False, "error": "no such run"}
        return {"ok": True, "operation": "op-1"}
    if kind == "operation" and mode != "old":
        asked += 1
        if extra.get("state") == "failed":
            return {"ok": True, "state": "failed", "error": "the store is full"}
        if asked < 3 or extra.get("state") == "running":
            return {"ok": True, "state": "running"}
        return {"ok": True, "state": "succeeded", "bundle": "x.shmrec.tar.zst"}
    return {"ok": False, "error": "unknown type"}


def reply(client, line):
    """False: hang up."""
    log(line)
    if mode == "silent":
        return True
    if mode == "hangup" or (mode == "hello" and '"hello"' not in line):
        return False
    if mode == "garbage":
        client.sendall(b"HTTP/1.1 400 Bad \xff\x00\x1b[31mRequest\r\n")
        return True
    if mode == "number":
        client.sendall(b"[17]\n")
        return True
    if mode == "long":
        client.sendall(b"x" * 200000)
        return True
    text = (json.dumps(answer_to(json.loads(line))) + "\n").encode()
    if mode == "slow":
        for i in range(len(text)):
            client.sendall(text[i:i + 1])
            time.sleep(0.002)
    else:
        client.sendall(text)
    return True


server = socket.socket(socket.AF_UNIX)
if os.path.exists(path):
    os.unlink(path)
# It comes to its name when it can be connected to: that is what who starts this waits for.
server.bind(path + ".new")
server.listen(8)
os.rename(path + ".new", path)
selector = selectors.DefaultSelector()
selector.register(server, selectors.EVENT_READ)
buffers = {}
while True:
    for key, _ in selector.select():
        if key.fileobj is server:
            client, _ = server.accept()
            buffers[client] = b""
            selector.register(client, selectors.EVENT_READ)
            continue
        client = key.fileobj
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        alive = bool(data)
        buffers[client] += data
        while alive and b"\n" in buffers[client]:
            line, buffers[client] = buffers[client].split(b"\n", 1)
            try:
                alive = reply(client, line.decode())
            except OSError:
                alive = False
        if not alive:
            log("end")
            selector.unregister(client)
            buffers.pop(client)
            client.close()
