package replica

import (
	"bytes"
	"sync/atomic"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// marks knows which leaves of a committer's ranges were written since they were
// hashed. It belongs to the committer's goroutine. A leaf that has rows has a
// record in the store, below all tables: its content while it is clean, else that
// it is dirty. The record turns dirty in the batch of the first row that is
// written after a hash, so no crash can leave a clean record of other rows. Rows
// after that one find a bit in memory and cost a look at it.
type marks struct {
	ranges *rangeMarks // of the whole replica
	sets   map[leafGroup]*leafSet
	list   []*leafSet // the same, in the order in which they came up

	prefix []byte   // what the keys of the set at hand begin with
	at     *leafSet // the set of the row before

	cuts   map[record.Leaf]uint64 // leaves not written since they were cut
	ticket uint64                 // of the last cut
	broken *atomic.Bool           // a batch with marks was not committed
	key    []byte                 // scratch
	head   record.Head            // scratch
}

// leafGroup is what the leaves of all ranges of a set have in common.
type leafGroup struct {
	table  uint32
	space  record.Space
	window uint32
}

// leafSet is the leaves of one table's space or window, a bit for each range.
type leafSet struct {
	leafGroup
	known  leafBits // there is a record
	dirty  leafBits // which says dirty
	hot    leafBits // written in this period, and since the last cut
	recent leafBits // written in this period before that, or in the last
}

// leafBits has a bit for each range.
type leafBits [token.Ranges / 64]uint64

func (b *leafBits) has(r token.RangeID) bool { return b[r/64]&(1<<(r%64)) != 0 }
func (b *leafBits) put(r token.RangeID)      { b[r/64] |= 1 << (r % 64) }
func (b *leafBits) drop(r token.RangeID)     { b[r/64] &^= 1 << (r % 64) }

// rangeMarks is what others may read of all committers' marks, without a lock.
type rangeMarks [token.Ranges]struct {
	epoch atomic.Uint64 // counts changes of the range's records
	dirty atomic.Int64  // leaves
}

// cutsMax bounds the cuts that were never kept; beyond it all are forgotten.
const cutsMax = 4096

func newMarks(ranges *rangeMarks) *marks {
	return &marks{
		ranges: ranges, sets: map[leafGroup]*leafSet{}, cuts: map[record.Leaf]uint64{}, broken: &atomic.Bool{},
	}
}

// set finds or makes the leaves of a group.
func (m *marks) set(g leafGroup) *leafSet {
	s := m.sets[g]
	if s == nil {
		s = &leafSet{leafGroup: g}
		m.sets[g] = s
		m.list = append(m.list, s)
	}
	return s
}

func (s *leafSet) leaf(r token.RangeID) record.Leaf {
	return record.Leaf{Range: r, Table: s.table, Space: s.space, Window: s.window}
}

// write marks the leaf of a row or head that is about to be merged. Its key was
// parsed before.
func (m *marks) write(b *storage.Batch, v *schema.View, key, value []byte) {
	if len(m.prefix) == 0 || !bytes.HasPrefix(key, m.prefix) {
		m.enter(key)
	}
	t, _ := record.KeyToken(key)
	r := t.Range()
	if m.at.space == record.SpaceHeads {
		m.writeHead(b, v, r, value)
		return
	}
	if !m.at.hot.has(r) {
		m.touch(b, m.at, r)
	}
}

// enter turns to the set of a key.
func (m *marks) enter(key []byte) {
	leaf, _ := record.LeafOf(key)
	size := record.AppendSpacePrefix(m.prefix[:0], leaf.Table, leaf.Space)
	if leaf.Space == record.SpaceWindows {
		size = record.AppendWindowPrefix(m.prefix[:0], leaf.Table, leaf.Window)
	}
	m.prefix, m.at = size, m.set(leafGroup{leaf.Table, leaf.Space, leaf.Window})
}

// touch marks a leaf, in the batch if it was clean or unknown.
func (m *marks) touch(b *storage.Batch, s *leafSet, r token.RangeID) {
	s.hot.put(r)
	if len(m.cuts) > 0 {
		delete(m.cuts, s.leaf(r))
	}
	if s.dirty.has(r) {
		return
	}
	s.known.put(r)
	s.dirty.put(r)
	m.key = appendLeafKey(m.key[:0], s.leaf(r))
	b.Set(m.key, dirtyRecord)
	m.ranges[r].dirty.Add(1)
	m.ranges[r].epoch.Add(1)
}

// writeHead marks the leaf of a head, and the rows' leaves that its deletions may
// reach: what a deletion hides is left out of a leaf's content.
func (m *marks) writeHead(b *storage.Batch, v *schema.View, r token.RangeID, fragment []byte) {
	heads := m.at
	m.touch(b, heads, r)
	first, last := m.reach(v, heads.table, fragment)
	for _, s := range m.list {
		inside := s.space != record.SpaceWindows || first <= s.window && s.window <= last
		if s.table == heads.table && s != heads && first <= last && inside && s.known.has(r) {
			m.touch(b, s, r)
		}
	}
}

// reach returns the windows that a head's deletions may reach: all of them if the
// fragment cannot be read; first above last if there are none.
func (m *marks) reach(v *schema.View, table uint32, fragment []byte) (first, last uint32) {
	const all = 1<<32 - 1
	t := v.Table(table)
	if t == nil || record.DecodeHead(fragment, &m.head) != nil || !m.head.Deletion.IsZero() {
		return 0, all
	}
	first, last = all, 0
	for _, deleted := range m.head.Ranges {
		from, to := t.Shape.WindowBounds(deleted.Start, deleted.End)
		first, last = min(first, from), max(last, to)
	}
	return first, last
}

// cut begins a hash of a leaf: what is written from now on is noticed by keep.
func (m *marks) cut(l record.Leaf) uint64 {
	s := m.set(leafGroup{l.Table, l.Space, l.Window})
	if s.hot.has(l.Range) {
		s.hot.drop(l.Range)
		s.recent.put(l.Range)
	}
	if len(m.cuts) >= cutsMax {
		clear(m.cuts)
	}
	m.ticket++
	m.cuts[l] = m.ticket
	return m.ticket
}

// keep makes a leaf clean, unless it was written since its cut. The record of a
// leaf without rows goes.
func (m *marks) keep(b *storage.Batch, cut *record.LeafCut) bool {
	if m.cuts[cut.Leaf] != cut.Ticket {
		return false
	}
	delete(m.cuts, cut.Leaf)
	s, r := m.set(leafGroup{cut.Table, cut.Space, cut.Window}), cut.Range
	if s.dirty.has(r) {
		m.ranges[r].dirty.Add(-1)
	}
	s.dirty.drop(r)
	m.ranges[r].epoch.Add(1)
	m.key = appendLeafKey(m.key[:0], cut.Leaf)
	if cut.Keys == 0 && cut.Bytes == 0 {
		s.known.drop(r)
		b.Delete(m.key)
		return true
	}
	s.known.put(r)
	b.Set(m.key, appendCleanRecord(nil, &cut.LeafContent))
	return true
}

// rotate begins a new period of settling.
func (m *marks) rotate() {
	for _, s := range m.list {
		s.recent, s.hot = s.hot, leafBits{}
	}
}

// repeat writes every dirty mark again, after a batch with marks has failed:
// nobody knows which of them are on disk.
func (m *marks) repeat(b *storage.Batch) {
	for _, s := range m.list {
		for r := range token.RangeID(token.Ranges) {
			if s.dirty.has(r) {
				m.key = appendLeafKey(m.key[:0], s.leaf(r))
				b.Set(m.key, dirtyRecord)
			}
		}
	}
}

// gone reports whether the leaves of a set are no table's any more, or lie below
// its retention floor.
func (s *leafSet) gone(v *schema.View) bool {
	t := v.Table(s.table)
	return t == nil || s.space == record.SpaceWindows && s.window < t.Floor
}

// forget drops the sets that are gone, with their records.
func (m *marks) forget(b *storage.Batch, v *schema.View) {
	kept := m.list[:0]
	for _, s := range m.list {
		if !s.gone(v) {
			kept = append(kept, s)
			continue
		}
		delete(m.sets, s.leafGroup)
		for r := range token.RangeID(token.Ranges) {
			if !s.known.has(r) {
				continue
			}
			if s.dirty.has(r) {
				m.ranges[r].dirty.Add(-1)
			}
			delete(m.cuts, s.leaf(r))
			m.ranges[r].epoch.Add(1)
			m.key = appendLeafKey(m.key[:0], s.leaf(r))
			b.Delete(m.key)
		}
	}
	clear(m.list[len(kept):])
	m.list, m.at, m.prefix = kept, nil, m.prefix[:0]
}
