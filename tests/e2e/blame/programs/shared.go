// Goroutines that count in a shared mapping.
package main

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

type Shared struct {
	count  int64
	values [8]int32
	name   [16]byte
}

var wait sync.WaitGroup

//go:noinline
func change(shared *Shared) {
	atomic.AddInt64(&shared.count, 5) // atomic
	shared.values[3] = 4711           // index
	copy(shared.name[:], "golang")    // copy
	wait.Done()
}

func main() {
	page, err := syscall.Mmap(-1, 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_SHARED|syscall.MAP_ANON)
	if err != nil {
		os.Exit(2)
	}
	shared := (*Shared)(unsafe.Pointer(&page[0]))
	wait.Add(1)
	go change(shared)
	wait.Wait()
	if atomic.LoadInt64(&shared.count) != 5 || shared.values[3] != 4711 {
		os.Exit(1)
	}
}
