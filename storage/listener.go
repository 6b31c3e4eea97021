package storage

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dunlindb/dunlin/storage/quiet"
)

// diskSlowAfter is how long one disk operation may take before it is reported.
const diskSlowAfter = 2 * time.Second

// listener counts and logs what Pebble reports; it is called from Pebble's
// goroutines and never blocks. Each kind of event has a limit of its own.
func (e *Engine) listener() pebble.EventListener {
	var stalled, background, corrupt, low quiet.Limit
	warn := func(l *quiet.Limit, text string, args ...any) { l.Log(e.env.Logger, slog.LevelWarn, text, args...) }
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
	e.slowLog.Log(e.env.Logger, slog.LevelWarn, "storage: the disk is slow",
		"operation", info.OpType.String(), "file", info.Path, "duration", info.Duration.Round(time.Millisecond))
}
