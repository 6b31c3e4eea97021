package storage

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// diskSlowAfter is how long one disk operation may take before it is reported.
const diskSlowAfter = 2 * time.Second

// listener counts and logs what Pebble reports; it is called from Pebble's
// goroutines and never blocks. A failing disk repeats itself thousands of times a
// second, so each kind of event has a limit of its own.
func (e *Engine) listener() pebble.EventListener {
	var stalled, background, corrupt, low logLimit
	warn := func(l *logLimit, text string, args ...any) { l.log(e.env.Logger, slog.LevelWarn, text, args...) }
	return pebble.EventListener{
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			e.metrics.stalls.Inc()
			warn(&stalled, "storage: writes are stalled until flushes or compactions catch up", "reason", info.Reason)
		},
		BackgroundError: func(err error) {
			e.metrics.background.Inc()
			warn(&background, "storage: background work failed and will be tried again", "error", err)
		},
		// Left nil this would end the process: what is damaged is refused to the
		// reader instead, with ErrCorrupt.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			e.metrics.corruption.Inc()
			warn(&corrupt, "storage: damaged data on disk", "file", info.Path, "error", info.Details)
		},
		LowDiskSpace: func(info pebble.LowDiskSpaceInfo) {
			warn(&low, "storage: the disk is filling up", "free_bytes", info.AvailBytes, "total_bytes", info.TotalBytes)
		},
	}
}

// diskSlow hears of operations that take longer than diskSlowAfter.
func (e *Engine) diskSlow(info vfs.DiskSlowInfo) {
	e.metrics.slow.Inc()
	e.slowLog.log(e.env.Logger, slog.LevelWarn, "storage: the disk is slow",
		"operation", info.OpType.String(), "file", info.Path, "duration", info.Duration.Round(time.Millisecond))
}

// logLimit lets one line in ten seconds through and counts the others.
type logLimit struct {
	mu      sync.Mutex // guards the fields below
	last    time.Time
	skipped int
}

const logEvery = 10 * time.Second

func (l *logLimit) log(logger *slog.Logger, level slog.Level, text string, args ...any) {
	l.mu.Lock()
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < logEvery {
		l.skipped++
		l.mu.Unlock()
		return
	}
	skipped := l.skipped
	l.last, l.skipped = now, 0
	l.mu.Unlock()
	if skipped > 0 {
		args = append(args, "skipped_lines", skipped)
	}
	logger.Log(context.Background(), level, text, args...)
}
