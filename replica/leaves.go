package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// The records of leaves lie below all tables, whose ids begin at 1. A leaf's
// record is a version, its state and, of a clean leaf, its content.
const (
	leafPrefix    = "\x00\x00\x00\x00leaf/"
	leafPrefixEnd = "\x00\x00\x00\x00leaf0" // '0' follows '/'
	leafComplete  = "\x00\x00\x00\x00leaves complete"

	leafVersion = 2 // 1 had no Expires
	leafDirty   = 0
	leafClean   = 1
)

var dirtyRecord = []byte{leafVersion, leafDirty}

func appendLeafKey(dst []byte, l record.Leaf) []byte { return l.Append(append(dst, leafPrefix...)) }

func appendCleanRecord(dst []byte, c *record.LeafContent) []byte {
	dst = append(append(dst, leafVersion, leafClean), c.Sum[:]...)
	dst = binary.AppendUvarint(dst, c.Keys)
	dst = binary.AppendUvarint(dst, c.Bytes)
	return binary.AppendVarint(binary.AppendVarint(dst, c.Oldest), c.Expires)
}

// parseCleanRecord reads the content of a clean leaf. false: it is dirty, or
// another version has written it, which comes to the same.
func parseCleanRecord(b []byte) (c record.LeafContent, clean bool) {
	if len(b) < 2+len(c.Sum) || b[0] != leafVersion || b[1] != leafClean {
		return c, false
	}
	b = b[2+copy(c.Sum[:], b[2:]):]
	for _, field := range []*uint64{&c.Keys, &c.Bytes} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return c, false
		}
		*field, b = v, b[n:]
	}
	for _, field := range []*int64{&c.Oldest, &c.Expires} {
		v, n := binary.Varint(b)
		if n <= 0 {
			return c, false
		}
		*field, b = v, b[n:]
	}
	return c, len(b) == 0
}

// LeafRange tells of a range, at the cost of two loads, how often the records of
// its leaves have changed since the start, and how many leaves are dirty. A write
// that was acknowledged before is in both.
func (r *Replica) LeafRange(id token.RangeID) (epoch uint64, dirty int) {
	m := &r.leaves[id]
	epoch = m.epoch.Load()
	return epoch, int(m.dirty.Load())
}

// Leaves lists the leaves of a range that have rows, in order, as of one moment.
func (r *Replica) Leaves(ctx context.Context, id token.RangeID) ([]record.LeafState, error) {
	var states []record.LeafState
	var cursor *storage.Cursor
	lower := appendLeafKey(nil, record.Leaf{Range: id})
	upper := []byte(leafPrefixEnd)
	if id+1 < token.Ranges {
		upper = appendLeafKey(nil, record.Leaf{Range: id + 1})
	}
	known := map[record.Leaf]record.LeafState{}
	c := r.engine.CommitterOf(id)
	err := r.engine.Between(ctx, c, func() (err error) {
		for _, s := range r.committers[c].marks.list {
			if l := s.leaf(id); s.known.has(id) {
				known[l] = record.LeafState{Leaf: l, Clean: !s.dirty.has(id), Recent: s.hot.has(id) || s.recent.has(id)}
			}
		}
		if len(known) > 0 {
			cursor, err = r.engine.Cursor(lower, upper)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("replica: list leaves of range %d: %w", id, err)
	}
	if cursor == nil {
		return nil, nil
	}
	for ok := cursor.Seek(lower); ok; ok = cursor.Next() {
		leaf, err := record.ParseLeaf(cursor.Key()[len(leafPrefix):])
		s, ok := known[leaf]
		if err != nil || !ok {
			continue
		}
		value, err := cursor.Value()
		if err != nil {
			return nil, errors.Join(err, cursor.Close())
		}
		if s.Clean {
			s.LeafContent, s.Clean = parseCleanRecord(value)
		}
		states = append(states, s)
	}
	return states, errors.Join(cursor.Err(), cursor.Close())
}

// CutLeaf begins a hash of a leaf. Whoever reads the leaf after it sees all that
// was written before; what is written later makes KeepLeaves refuse the ticket.
func (r *Replica) CutLeaf(ctx context.Context, l record.Leaf) (ticket uint64, err error) {
	c := r.engine.CommitterOf(l.Range)
	err = r.engine.Between(ctx, c, func() error {
		ticket = r.committers[c].marks.cut(l)
		return nil
	})
	return ticket, err
}

// KeepLeaves records leaves as clean that were read whole since their cuts, except
// those that were written since, and returns how many it recorded.
func (r *Replica) KeepLeaves(ctx context.Context, cuts []record.LeafCut) (kept int, err error) {
	var total atomic.Int64
	for c := range r.committers {
		var own []record.LeafCut
		for i := range cuts {
			if r.engine.CommitterOf(cuts[i].Range) == c {
				own = append(own, cuts[i])
			}
		}
		if len(own) == 0 {
			continue
		}
		err = errors.Join(err, r.stage(ctx, c, func(b *storage.Batch, m *marks) {
			for i := range own {
				if m.keep(b, &own[i]) {
					total.Add(1)
				}
			}
		}))
	}
	return int(total.Load()), err
}

// RotateLeaves begins a new period of settling: LeafState.Recent is true of what
// was written since the call before the last.
func (r *Replica) RotateLeaves(ctx context.Context) error {
	for c := range r.committers {
		err := r.engine.Between(ctx, c, func() error {
			r.committers[c].marks.rotate()
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// markItem stages changes of a committer's marks. It is a storage.Item.
type markItem struct {
	marks *marks
	run   func(*storage.Batch, *marks)
	done  chan error
}

// Bytes is about the size of a few records.
func (i *markItem) Bytes() int { return 1 << 10 }

// Frees lets marks be written on a full disk: what frees space needs them.
func (i *markItem) Frees() bool { return true }

// Stage runs on the committer's goroutine.
func (i *markItem) Stage(b *storage.Batch) {
	if i.marks.broken.Swap(false) {
		i.marks.repeat(b)
	}
	i.run(b, i.marks)
}

// Done hears that the records are on disk.
func (i *markItem) Done(err error) {
	if err != nil {
		i.marks.broken.Store(true)
	}
	i.done <- err
}

// stage changes a committer's marks and waits until that is on disk.
func (r *Replica) stage(ctx context.Context, committer int, run func(*storage.Batch, *marks)) error {
	item := &markItem{marks: r.committers[committer].marks, run: run, done: make(chan error, 1)}
	if err := r.engine.Submit(committer, item); err != nil {
		return err
	}
	select {
	case err := <-item.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forgetLeaves drops the marks of what v has no place for.
func (r *Replica) forgetLeaves(ctx context.Context, v *schema.View) error {
	for c := range r.committers {
		gone := false
		err := r.engine.Between(ctx, c, func() error {
			for _, s := range r.committers[c].marks.list {
				gone = gone || s.gone(v)
			}
			return nil
		})
		if err == nil && gone {
			err = r.stage(ctx, c, func(b *storage.Batch, m *marks) { m.forget(b, v) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loadLeaves reads the records of all leaves. In a store that was written without
// them, it looks for the leaves and marks each dirty. Nothing is applied yet.
func (r *Replica) loadLeaves(ctx context.Context) error {
	if err := r.readLeaves(); err != nil {
		return err
	}
	end := []byte(leafComplete + "\x00")
	cursor, err := r.engine.Cursor([]byte(leafComplete), end)
	if err != nil {
		return err
	}
	found := cursor.Seek([]byte(leafComplete))
	if err := errors.Join(cursor.Err(), cursor.Close()); err != nil || found {
		return err
	}
	if err := r.discoverLeaves(ctx); err != nil {
		return err
	}
	return r.stage(ctx, 0, func(b *storage.Batch, _ *marks) { b.Set([]byte(leafComplete), []byte{leafVersion}) })
}

func (r *Replica) readLeaves() error {
	cursor, err := r.engine.Cursor([]byte(leafPrefix), []byte(leafPrefixEnd))
	if err != nil {
		return err
	}
	for ok := cursor.Seek([]byte(leafPrefix)); ok; ok = cursor.Next() {
		leaf, err := record.ParseLeaf(cursor.Key()[len(leafPrefix):])
		if err != nil {
			continue // of another version; what it stands for is found dirty when it is written
		}
		value, err := cursor.Value()
		if err != nil {
			return errors.Join(err, cursor.Close())
		}
		_, clean := parseCleanRecord(value)
		m := r.committers[r.engine.CommitterOf(leaf.Range)].marks
		s := m.set(leafGroup{leaf.Table, leaf.Space, leaf.Window})
		s.known.put(leaf.Range)
		if !clean {
			s.dirty.put(leaf.Range)
			r.leaves[leaf.Range].dirty.Add(1)
		}
	}
	return errors.Join(cursor.Err(), cursor.Close())
}

// discoverLeaves seeks from leaf to leaf through all rows.
func (r *Replica) discoverLeaves(ctx context.Context) error {
	found := make([][]record.Leaf, len(r.committers))
	first := record.AppendSpacePrefix(nil, 1, record.SpaceHeads)
	cursor, err := r.engine.Cursor(first, nil)
	if err != nil {
		return err
	}
	for ok := cursor.Seek(first); ok; {
		leaf, whole := record.LeafOf(cursor.Key())
		if !whole {
			ok = cursor.Next()
			continue
		}
		c := r.engine.CommitterOf(leaf.Range)
		found[c] = append(found[c], leaf)
		_, upper := leaf.Bounds()
		ok = cursor.Seek(upper)
	}
	if err := errors.Join(cursor.Err(), cursor.Close()); err != nil {
		return err
	}
	for c, leaves := range found {
		err := r.stage(ctx, c, func(b *storage.Batch, m *marks) {
			for _, l := range leaves {
				m.touch(b, m.set(leafGroup{l.Table, l.Space, l.Window}), l.Range)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
