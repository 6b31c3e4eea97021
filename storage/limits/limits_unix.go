//go:build unix

package limits

import (
	"errors"
	"syscall"
)

// OpenFiles is half of what the process may open, at most 16384: for all
// stores together.
func OpenFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1000
	}
	return int(min(uint64(limit.Cur)/2, 16384))
}

// IsLock recognises a file lock that another process holds.
func IsLock(err error) bool {
	return errors.Is(err, syscall.EAGAIN)
}
