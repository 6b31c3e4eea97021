package antientropy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// look is what was last seen of a range's leaves. It holds for as long as neither
// the view nor the epoch changes.
type look struct {
	view   *schema.View
	epoch  uint64
	roots  []root // by placement
	tables []tableLook
}

// loose reports whether something of a range may be dropped, given the purge point
// of a placement and when values of cells have expired.
func (l *look) loose(placement int, point, expired int64) bool {
	r := &l.roots[placement]
	return r.oldest <= point || r.expires <= expired
}

// root is the hash of a range's leaves in one placement.
type root struct {
	sum     uint64
	settled bool // all leaves are clean; else sum means nothing
	// The smallest of the clean leaves' Oldest and Expires: from there on a purge
	// point changes sum, and values have expired.
	oldest, expires int64
}

// tableLook counts a range's leaves of one table.
type tableLook struct {
	table        uint32
	clean, dirty int
}

// look returns what is known of a range, as of a moment after the call.
func (a *AntiEntropy) look(ctx context.Context, v *schema.View, id token.RangeID) (*look, error) {
	epoch, _ := a.env.Marks.LeafRange(id)
	a.mu.Lock()
	known := a.looks[id]
	a.mu.Unlock()
	if known != nil && known.view == v && known.epoch == epoch {
		return known, nil
	}
	leaves, err := a.env.Marks.Leaves(ctx, id)
	if err != nil {
		return nil, err
	}
	l := newLook(v, id, leaves)
	l.epoch = epoch
	a.mu.Lock()
	a.looks[id] = l
	a.mu.Unlock()
	return l, nil
}

// newLook hashes the leaves of a range into its roots. Leaves of which nothing is
// left in canonical form count as no leaves: a peer may have none.
func newLook(v *schema.View, id token.RangeID, leaves []record.LeafState) *look {
	l := &look{view: v, roots: make([]root, v.Ring.Placements())}
	for p := range l.roots {
		sum := sha256.New()
		l.roots[p] = root{settled: true, oldest: record.Never, expires: record.Never}
		var scratch []byte
		for i := range leaves {
			leaf := &leaves[i]
			if !share.Covers(v, message.Target{Placement: p, ID: id}, leaf.Leaf) {
				continue
			}
			l.count(leaf)
			if !leaf.Clean {
				l.roots[p].settled = false
				continue
			}
			l.roots[p].oldest = min(l.roots[p].oldest, leaf.Oldest)
			l.roots[p].expires = min(l.roots[p].expires, leaf.Expires)
			if leaf.Keys > 0 {
				scratch = append(leaf.Leaf.Append(scratch[:0]), leaf.Sum[:]...)
				sum.Write(binary.BigEndian.AppendUint64(scratch, leaf.Keys)) // a hash never returns an error
			}
		}
		l.roots[p].sum = binary.BigEndian.Uint64(sum.Sum(scratch[:0]))
	}
	return l
}

func (l *look) count(leaf *record.LeafState) {
	if n := len(l.tables); n == 0 || l.tables[n-1].table != leaf.Table {
		l.tables = append(l.tables, tableLook{table: leaf.Table})
	}
	t := &l.tables[len(l.tables)-1]
	if leaf.Clean {
		t.clean++
	} else {
		t.dirty++
	}
}
