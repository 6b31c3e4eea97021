//go:build unix

package storage

import "syscall"

// openFilesMax is half of what the process may open, at most 16384 a store.
func openFilesMax() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1000
	}
	return int(min(uint64(limit.Cur)/2, 16384))
}
