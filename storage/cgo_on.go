//go:build cgo

package storage

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>

// Keeps the C heap as small as what is in use: glibc would give every thread a heap
// of its own, and learn from the first memtable that is freed to keep the next
// ones. It has to run before there are threads.
__attribute__((constructor)) static void dunlin_tune_heap(void) {
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
}
#endif
*/
import "C"

// offHeap says that Pebble's memory lies outside the Go heap.
const offHeap = true
