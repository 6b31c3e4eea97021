package storage

import (
	"fmt"
	"log/slog"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// formatMajorVersion is Pebble's format of our stores; raising it is one-way.
const formatMajorVersion = pebble.FormatNewest

// memory is how Config.Memory is split.
type memory struct {
	cache    int64  // one block cache for all stores
	memtable uint64 // of the row store; four of them at most
	small    uint64 // of the other stores
}

// memtableStop is how many memtables a store may have before it stops writes.
const memtableStop = 4

// splitMemory gives two thirds to the row store's memtables, up to 16 MiB each
// (more cost memory and recovery time and save no CPU), and the rest, less the
// small stores' memtables, to the block cache. Without cgo memtables and cache
// live on the Go heap, which needs as much again: everything is halved.
func splitMemory(total int64, cgo bool) memory {
	if !cgo {
		total /= 2
	}
	m := memory{memtable: 16 << 20, small: 1 << 20}
	if most := uint64(total) * 2 / 3 / memtableStop; m.memtable > most {
		m.memtable = max(most, 256<<10)
		m.small = max(m.memtable/16, 64<<10)
	}
	m.cache = max(total-memtableStop*int64(m.memtable)-2*2*int64(m.small), 1<<20)
	return m
}

// rowOptions are Pebble's options for the row store; docs/results.md and the
// decisions beside it say where the numbers come from.
func (e *Engine) rowOptions(cache *pebble.Cache) *pebble.Options {
	o := e.baseOptions(cache)
	o.Merger = e.merger()
	o.EventListener.FlushBegin = func(pebble.FlushInfo) { e.flushing.Store(e.written.Load()) }
	o.EventListener.FlushEnd = func(pebble.FlushInfo) { e.flushed.Store(e.flushing.Load()) }
	o.MemTableSize = e.memory.memtable
	o.MemTableStopWritesThreshold = memtableStop
	o.L0CompactionThreshold = 8
	o.L0StopWritesThreshold = 40
	o.L0CompactionFileThreshold = 500 // many disjoint files are normal with windows
	o.LBaseMaxBytes = 64 << 20
	o.TargetFileSizes[0] = 4 << 20
	o.CompactionConcurrencyRange = func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) }
	o.WALBytesPerSync = 512 << 10
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
		if i < len(o.Levels)-1 { // the last level's filters cost memory and spare nothing here
			o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		} else {
			o.Levels[i].FilterPolicy = pebble.NoFilterPolicy
		}
	}
	if e.env.Simulated {
		o.MemTableSize = 256 << 10
		o.L0CompactionThreshold = 2
	}
	return o
}

// smallOptions are for the meta and hint stores.
func (e *Engine) smallOptions(cache *pebble.Cache) *pebble.Options {
	o := e.baseOptions(cache)
	o.MemTableSize = e.memory.small
	if e.env.Simulated {
		o.MemTableSize = 64 << 10
	}
	return o
}

func (e *Engine) baseOptions(cache *pebble.Cache) *pebble.Options {
	listener := e.listener()
	o := &pebble.Options{
		FS: e.env.FS, Cache: cache, EventListener: &listener,
		FormatMajorVersion: formatMajorVersion,
		Logger:             &pebbleLogger{log: e.env.Logger, fatal: e.fatal},
		MaxOpenFiles:       openFilesMax(),
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	if e.env.Simulated {
		o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	}
	return o
}

// pebbleLogger passes Pebble's warnings on; what it says of its routine work is
// in metrics.
type pebbleLogger struct {
	log   *slog.Logger
	fatal func(error)
}

// Infof drops routine messages.
func (l *pebbleLogger) Infof(string, ...any) {}

// Errorf logs a background error.
func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("storage: " + fmt.Sprintf(format, args...))
}

// Fatalf ends the node. It does not return: Pebble must not go on.
func (l *pebbleLogger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf("storage: "+format, args...))
	runtime.Goexit()
}
