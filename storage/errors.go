package storage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/storage/space"
)

// The errors that callers decide on.
var (
	// ErrOverloaded: a committer's queue is full; nothing was queued.
	ErrOverloaded = errors.New("storage: the write queue is full")
	errBehind     = fmt.Errorf("%w: compactions are behind", ErrOverloaded)
	// ErrClosed: the engine is closing; nothing was queued.
	ErrClosed = errors.New("storage: closed")
	// ErrCorrupt: stored bytes cannot be read or decoded.
	ErrCorrupt = errors.New("storage: corrupt data")
	// ErrInUse: another process has the directory open.
	ErrInUse = errors.New("storage: the data directory is in use by another process")
)

// FormatError is a directory that a newer version of Dunlin has written.
type FormatError struct {
	Dir          string
	Found, Known uint64
}

// Error says which versions meet.
func (e *FormatError) Error() string {
	return fmt.Sprintf("storage: %s has format version %d; this binary knows up to %d: run the newer binary again", e.Dir, e.Found, e.Known)
}

// PartialError is a directory whose stores do not belong together.
type PartialError struct {
	Dir    string
	Reason string
}

// Error says what is missing or does not match.
func (e *PartialError) Error() string {
	return fmt.Sprintf("storage: %s is not a whole data directory: %s; restore it whole, or wipe it and join as a new node", e.Dir, e.Reason)
}

// DiskFullError refuses a write because too little of the disk is free.
type DiskFullError = space.FullError

// corrupted marks Pebble's errors about damaged bytes with ErrCorrupt. (They carry
// marks of their own, which the standard errors.Is does not see.)
func corrupted(op string, err error) error {
	if err == nil {
		return nil
	}
	if pebble.IsCorruptionError(err) {
		line, _, _ := strings.Cut(err.Error(), "\n")
		return fmt.Errorf("%s: %w: %s", op, ErrCorrupt, line)
	}
	return fmt.Errorf("%s: %w", op, err)
}
