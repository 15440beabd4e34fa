#!/usr/bin/env python3
"""multiprocessing.shared_memory, Value, Array, Lock, Queue and a pool between processes; prints what
came out."""

import hashlib
import multiprocessing
import struct
from multiprocessing import shared_memory

COUNT = 200


def fill(name, index):
    memory = shared_memory.SharedMemory(name=name)
    for i in range(index, COUNT, 3):
        struct.pack_into("<Q", memory.buf, i * 8, i * i + 7)
    memory.close()


def count(value, array, lock):
    for i in range(50):
        with lock:
            value.value += 1
            array[i % len(array)] += i


def square(x):
    return x * x


def main():
    context = multiprocessing.get_context("fork")
    memory = shared_memory.SharedMemory(create=True, size=COUNT * 8)
    children = [context.Process(target=fill, args=(memory.name, i)) for i in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print("exit codes", [child.exitcode for child in children])
    print("content", hashlib.sha256(bytes(memory.buf[:COUNT * 8])).hexdigest())
    print("words", [struct.unpack_from("<Q", memory.buf, i * 8)[0] for i in range(5)])
    memory.close()
    memory.unlink()
    numbers = shared_memory.ShareableList([1, 2.5, "text", None, b"bytes"])
    numbers[0] += 41
    print("list", list(numbers))
    numbers.shm.close()
    numbers.shm.unlink()
    value, array, lock = context.Value("q", 0), context.Array("i", 8), context.Lock()
    children = [context.Process(target=count, args=(value, array, lock)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print("value", value.value, "array", list(array))
    with context.Pool(2) as pool:
        print("pool", pool.map(square, range(10)))
    queue = context.Queue()
    child = context.Process(target=queue.put, args=({"from": "child"},))
    child.start()
    print("queue", queue.get())
    child.join()


if __name__ == "__main__":
    main()
