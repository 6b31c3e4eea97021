package storage

import (
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/record"
)

// mergerName is stored in every table file; it never changes. New encodings get
// a new version byte instead.
const mergerName = "dunlin.lww.v1"

// retainedMax is the largest buffer that a pooled merger keeps.
const retainedMax = 256 << 10

// merger joins the fragments of one key. It implements only pebble.ValueMerger:
// dropping keys inside a merge (DeletableValueMerger) is unsafe for rows whose
// order is not the order of arrival.
func (e *Engine) merger() *pebble.Merger {
	pool := &sync.Pool{}
	return &pebble.Merger{
		Name: mergerName,
		Merge: func(key, value []byte) (pebble.ValueMerger, error) {
			m, ok := pool.Get().(*valueMerger)
			if !ok {
				m = &valueMerger{pool: pool, metrics: e.metrics}
			}
			space, _ := record.KeySpace(key) // of an unreadable key: any, the result is poison
			m.merge.Reset(space)
			m.merge.Add(value)
			return m, nil
		},
	}
}

// valueMerger is one merge in progress; it is its result's Closer too.
type valueMerger struct {
	pool    *sync.Pool
	metrics *metrics
	merge   record.Merger
	result  []byte
}

// MergeNewer and MergeOlder are the same: merging commutes.
func (m *valueMerger) MergeNewer(value []byte) error {
	m.merge.Add(value)
	return nil
}

// MergeOlder adds an operand.
func (m *valueMerger) MergeOlder(value []byte) error {
	m.merge.Add(value)
	return nil
}

// Finish returns the merged value, valid until Close.
func (m *valueMerger) Finish(bool) ([]byte, io.Closer, error) {
	m.result = m.merge.Finish(m.result[:0])
	if record.IsPoison(m.result) {
		m.metrics.poison.Inc()
	}
	return m.result, m, nil
}

// Close gives the merger back to its pool.
func (m *valueMerger) Close() error {
	if cap(m.result)+m.merge.Retained() <= retainedMax {
		m.pool.Put(m)
	}
	return nil
}
