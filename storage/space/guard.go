package space

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// CheckEvery is how long a measurement of the disk is believed.
const CheckEvery = time.Second

const checkBytes = 8 << 20 // written since the last measurement

// FullError refuses a write because too little of the disk is free.
type FullError struct {
	Dir           string
	Free, Reserve uint64 // bytes
}

// Error says how much is free and how much has to be.
func (e *FullError) Error() string {
	return fmt.Sprintf("storage: the disk is full: %d MiB are free under %s, and %d MiB are kept for compactions; free some space", e.Free>>20, e.Dir, e.Reserve>>20)
}

// Guard watches one directory, for one goroutine.
type Guard struct {
	FS      vfs.FS
	Dir     string
	Reserve uint64 // bytes; 0: no check

	checked time.Time
	written int // bytes since
	full    *FullError
}

// Wrote counts bytes that were written.
func (g *Guard) Wrote(bytes int) { g.written += bytes }

// Check returns a *FullError while less than the reserve is free, and after that
// until a quarter more is. A file system that cannot tell is never full.
func (g *Guard) Check() error {
	if g.Reserve == 0 {
		return nil
	}
	now := time.Now()
	if g.checked.IsZero() || now.Sub(g.checked) >= CheckEvery || g.written >= checkBytes {
		g.checked, g.written = now, 0
		g.measure()
	}
	if g.full != nil {
		return g.full
	}
	return nil
}

// Wedged is Check for writes that lead to space being freed: they may use half of
// the reserve.
func (g *Guard) Wedged() error {
	if err := g.Check(); err != nil && g.full.Free < g.Reserve/2 {
		return err
	}
	return nil
}

func (g *Guard) measure() {
	usage, err := g.FS.GetDiskUsage(g.Dir)
	need := g.Reserve
	if g.full != nil {
		need += need / 4
	}
	switch {
	case err != nil || usage.AvailBytes >= need:
		g.full = nil
	default:
		g.full = &FullError{Dir: g.Dir, Free: usage.AvailBytes, Reserve: g.Reserve}
	}
}
