package storage

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/record"
)

// windows remembers which windows of which tables hold rows, so that a read
// seeks only those. Readers take a snapshot without a lock; a window is noted
// before its first row is committed, so the set may name an empty window but
// never lacks one.
type windows struct {
	byTable atomic.Pointer[map[uint32][]uint32] // ascending; replaced, never changed
	mu      sync.Mutex                          // guards replacing byTable
}

// findWindows seeks from window to window through the row store.
func findWindows(db *pebble.DB) (*windows, error) {
	found := map[uint32][]uint32{}
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: record.AppendSpacePrefix(nil, 1, record.SpaceHeads)})
	if err != nil {
		return nil, corrupted("storage: find windows", err)
	}
	for ok := iter.First(); ok; {
		key := iter.Key()
		table, _ := record.KeyTable(key)
		if window, windowed := record.KeyWindow(key); windowed {
			found[table] = append(found[table], window)
			ok = iter.SeekGE(afterWindow(table, window))
			continue
		}
		space, _ := record.KeySpace(key)
		ok = iter.SeekGE(record.AppendSpacePrefix(nil, table, space+1))
	}
	if err := iter.Close(); err != nil {
		return nil, corrupted("storage: find windows", err)
	}
	w := &windows{}
	w.byTable.Store(&found)
	return w, nil
}

// afterWindow is the first key after all rows of a window.
func afterWindow(table, window uint32) []byte {
	if window == 1<<32-1 {
		return record.AppendSpacePrefix(nil, table, record.SpaceWindows+1)
	}
	return record.AppendWindowPrefix(nil, table, window+1)
}

// note adds the window of a key that is about to be written.
func (w *windows) note(key []byte) {
	window, ok := record.KeyWindow(key)
	if !ok {
		return
	}
	table, _ := record.KeyTable(key)
	if _, known := slices.BinarySearch((*w.byTable.Load())[table], window); !known {
		w.replace(table, func(all []uint32) []uint32 {
			at, known := slices.BinarySearch(all, window)
			if known {
				return all
			}
			return slices.Insert(slices.Clone(all), at, window)
		})
	}
}

func (w *windows) replace(table uint32, change func([]uint32) []uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := map[uint32][]uint32{}
	for t, all := range *w.byTable.Load() {
		next[t] = all
	}
	next[table] = change(next[table])
	w.byTable.Store(&next)
}

// between returns the windows from first to last that lie at or above the floor.
func (w *windows) between(table, first, last, floor uint32) []uint32 {
	all := (*w.byTable.Load())[table]
	from, _ := slices.BinarySearch(all, max(first, floor))
	to, exact := slices.BinarySearch(all, last)
	if exact {
		to++
	}
	return all[from:max(from, to)]
}

// Windows lists the windows of a table that may hold rows, ascending.
func (e *Engine) Windows(table uint32) []uint32 {
	return slices.Clone((*e.windows.byTable.Load())[table])
}

// Excise removes every window of a table below a floor, at the cost of a few
// file operations whatever the number of rows. No committer may be writing below
// the floor: callers have made the committers refuse such rows before, and call
// it inside Between.
func (e *Engine) Excise(table, below uint32) error {
	if doomed := e.windows.between(table, 0, below-1, 0); below == 0 || len(doomed) == 0 {
		return nil
	}
	err := e.Cut(record.AppendSpacePrefix(nil, table, record.SpaceWindows), record.AppendWindowPrefix(nil, table, below))
	if err != nil {
		return fmt.Errorf("storage: excise windows of table %d below %d: %w", table, below, err)
	}
	e.windows.replace(table, func(all []uint32) []uint32 {
		at, _ := slices.BinarySearch(all, below)
		return all[at:]
	})
	return nil
}
