package storage

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/record"
)

// Stats is what the stores hold.
type Stats struct {
	Bytes  uint64 // on disk, logs included
	Tables map[uint32]TableStats
}

// TableStats estimates one table from the sizes of its files.
type TableStats struct {
	Bytes   uint64 // on disk
	Windows int
}

// Stats measures the stores; tables are the ids to report on. It costs some
// file look-ups a table and reads no rows.
func (e *Engine) Stats(tables []uint32) (Stats, error) {
	s := Stats{Tables: map[uint32]TableStats{}}
	if !e.gate.Enter() {
		return s, ErrClosed
	}
	defer e.gate.Leave()
	for _, db := range []*pebble.DB{e.meta, e.rows, e.hints} {
		s.Bytes += db.Metrics().DiskSpaceUsage()
	}
	for _, id := range tables {
		n, err := e.rows.EstimateDiskUsage(record.AppendSpacePrefix(nil, id, 0), record.AppendSpacePrefix(nil, id+1, 0))
		if err != nil {
			return Stats{}, corrupted("storage: stats", err)
		}
		s.Tables[id] = TableStats{Bytes: n, Windows: len((*e.windows.byTable.Load())[id])}
	}
	return s, nil
}

// RowsEstimate estimates the number of keys in the row store: entries of the
// table files, plus what was written since the last flush. Partition heads and
// fragments that are not merged yet count too.
func (e *Engine) RowsEstimate() (uint64, error) {
	if !e.gate.Enter() {
		return 0, ErrClosed
	}
	defer e.gate.Leave()
	levels, err := e.rows.SSTables(pebble.WithProperties())
	if err != nil {
		return 0, corrupted("storage: estimate rows", err)
	}
	rows := e.written.Load() - e.flushed.Load()
	for _, level := range levels {
		for _, table := range level {
			rows += table.Properties.NumEntries
		}
	}
	return rows, nil
}

// Pressure is how far the row store is behind with its work.
type Pressure struct {
	Sublevels int    // of level 0; writes stop at 40
	Debt      uint64 // bytes that compactions have to move
	Memtables int64  // writes stop at 4
}

// Pressure measures the row store; it costs about 30 µs. It is nothing after Close.
func (e *Engine) Pressure() Pressure {
	if !e.gate.Enter() {
		return Pressure{}
	}
	defer e.gate.Leave()
	m := e.rows.Metrics()
	return Pressure{
		Sublevels: int(m.Levels[0].Sublevels), Debt: m.Compact.EstimatedDebt, Memtables: m.MemTable.Count,
	}
}
