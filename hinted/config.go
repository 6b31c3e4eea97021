package hinted

import (
	"errors"
	"fmt"
	"time"
)

// Config bounds the hints and their replay. Bytes are those of keys and values,
// before compression.
type Config struct {
	// TargetBytes and TotalBytes bound the plain hints of one target and of all.
	TargetBytes, TotalBytes int64
	// MaxAge bounds the age of plain hints; they go by segments, so up to a
	// sixteenth later.
	MaxAge time.Duration
	// CountedBytes bounds the counted hints; more are refused as Overloaded.
	CountedBytes int64
	// SegmentBytes is how much a segment holds before the next is begun.
	SegmentBytes int64
	// BufferBytes bounds the hints that wait for the disk, for each class.
	BufferBytes int
	// SyncInterval is how long a plain hint may stay in memory.
	SyncInterval time.Duration
	// ReplayRate is how many bytes a second this node replays, to all targets.
	ReplayRate int64
	// ReplayBytes bounds the bytes that one queue has sent and that are not answered.
	ReplayBytes int
	// ReplayTimeout is the deadline of each group that is replayed.
	ReplayTimeout time.Duration
	// Poll is how often liveness and ages are looked at while there are hints.
	Poll time.Duration
	// BackoffMin and BackoffMax bound the pause after a replay that had to stop.
	BackoffMin, BackoffMax time.Duration
	// Attempts is how often a hint that its replica fails to apply is tried.
	Attempts int
}

// DefaultConfig returns bounds that fit a node with default memory.
func DefaultConfig() Config {
	return Config{
		TargetBytes: 2 << 30, TotalBytes: 8 << 30, MaxAge: 3 * time.Hour,
		CountedBytes: 2 << 30, SegmentBytes: 8 << 20,
		BufferBytes: 4 << 20, SyncInterval: 100 * time.Millisecond,
		ReplayRate: 16 << 20, ReplayBytes: 1 << 20, ReplayTimeout: 5 * time.Second,
		Poll: time.Second, BackoffMin: 500 * time.Millisecond, BackoffMax: 30 * time.Second,
		Attempts: 8,
	}
}

// Validate reports every bound that makes no sense.
func (c Config) Validate() error {
	var errs []error
	positive := func(name string, value int64) {
		if value < 1 {
			errs = append(errs, fmt.Errorf("hinted: %s is %d: give at least 1", name, value))
		}
	}
	positive("TargetBytes", c.TargetBytes)
	positive("TotalBytes", c.TotalBytes)
	positive("MaxAge", int64(c.MaxAge))
	positive("CountedBytes", c.CountedBytes)
	positive("SegmentBytes", c.SegmentBytes)
	positive("BufferBytes", int64(c.BufferBytes))
	positive("SyncInterval", int64(c.SyncInterval))
	positive("ReplayRate", c.ReplayRate)
	positive("ReplayBytes", int64(c.ReplayBytes))
	positive("ReplayTimeout", int64(c.ReplayTimeout))
	positive("Poll", int64(c.Poll))
	positive("BackoffMin", int64(c.BackoffMin))
	positive("Attempts", int64(c.Attempts))
	if c.BackoffMax < c.BackoffMin {
		errs = append(errs, fmt.Errorf("hinted: BackoffMax is %s: give at least BackoffMin, %s", c.BackoffMax, c.BackoffMin))
	}
	return errors.Join(errs...)
}

// segmentSpan is the longest time that a segment is filled for, so that ages are
// kept by dropping whole segments.
func (c Config) segmentSpan() time.Duration { return c.MaxAge / 16 }
