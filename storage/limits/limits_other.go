//go:build !unix

package limits

// OpenFiles is Pebble's own default where no limit can be asked for.
func OpenFiles() int { return 1000 }

// IsLock recognises a file lock that another process holds.
func IsLock(error) bool { return false }
