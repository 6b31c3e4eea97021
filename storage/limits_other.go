//go:build !unix

package storage

// openFilesMax is Pebble's own default where no limit can be asked for.
func openFilesMax() int { return 1000 }
