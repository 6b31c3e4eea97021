//go:build !unix

package storage

// openFilesMax is Pebble's own default where no limit can be asked for.
func openFilesMax() int { return 1000 }

// isLockErrno recognises a file lock that another process holds.
func isLockErrno(error) bool { return false }
