//go:build !cgo

package storage

// offHeap says that Pebble's memory lies outside the Go heap.
const offHeap = false
