package storage

import (
	"fmt"
	"log/slog"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/dunlindb/dunlin/storage/pacing"
	"github.com/dunlindb/dunlin/storage/quiet"
)

// formatMajorVersion is Pebble's format of our stores. It is named and not
// "newest", because raising it is one-way: a library upgrade must not do that.
const formatMajorVersion = pebble.FormatValueSeparation

// memory is how Config.Memory is split.
type memory struct {
	// total is the size of the one block cache of all stores. Pebble takes the
	// memtables that exist out of it, so that it is memtables and blocks together.
	total    int64
	memtable uint64 // of the row store; memtableStop of them at most
	small    uint64 // of the other stores; two of them at most in each
}

// memtableStop is how many memtables the row store may have before it stops writes.
const memtableStop = 4

// splitMemory lets the row store's memtables have two thirds, up to 16 MiB each
// (more cost memory and recovery time and save no CPU); blocks have what memtables
// leave. Without cgo both live on the Go heap, which needs as much again:
// everything is halved.
func splitMemory(total int64, cgo bool) memory {
	if !cgo {
		total /= 2
	}
	m := memory{total: total, memtable: 16 << 20, small: 1 << 20}
	if most := uint64(total) * 2 / 3 / memtableStop; m.memtable > most {
		m.memtable = max(most, 64<<10)
		m.small = max(m.memtable/16, 16<<10)
	}
	return m
}

// rowOptions are Pebble's options for the row store; docs/results.md and the
// decisions beside it say where the numbers come from.
func (e *Engine) rowOptions(cache *pebble.Cache, openFiles int) *pebble.Options {
	o := e.baseOptions(cache, openFiles)
	e.pace = o.Experimental.CompactionScheduler.(*pacing.Scheduler)
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
func (e *Engine) smallOptions(cache *pebble.Cache, openFiles int) *pebble.Options {
	o := e.baseOptions(cache, openFiles)
	o.MemTableSize = e.memory.small
	if e.env.Simulated {
		o.MemTableSize = 64 << 10
	}
	return o
}

func (e *Engine) baseOptions(cache *pebble.Cache, openFiles int) *pebble.Options {
	listener := e.listener()
	pace, warn := pacing.New(!e.env.Simulated), listener.BackgroundError
	listener.BackgroundError = func(err error) {
		pace.Failed()
		warn(err)
	}
	o := &pebble.Options{
		FS: e.env.FS, Cache: cache, EventListener: &listener,
		FormatMajorVersion: formatMajorVersion,
		Logger:             &pebbleLogger{engine: e},
		MaxOpenFiles:       openFiles,
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	o.Experimental.CompactionScheduler = pace
	return o
}

// pebbleLogger passes Pebble's warnings on; what it says of its routine work is
// in metrics.
type pebbleLogger struct {
	engine *Engine
	limit  quiet.Limit
}

// Infof drops routine messages.
func (l *pebbleLogger) Infof(string, ...any) {}

// Errorf logs a background error.
func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.limit.Log(l.engine.env.Logger, slog.LevelError, "storage: "+fmt.Sprintf(format, args...))
}

// Fatalf ends the node. It does not return: Pebble must not go on.
func (l *pebbleLogger) Fatalf(format string, args ...any) {
	l.engine.fatal(fmt.Errorf("storage: "+format, args...))
	runtime.Goexit()
}
