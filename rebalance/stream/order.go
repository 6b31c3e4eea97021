package stream

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// compareLeaves orders leaves of a range as they are sent: heads of all tables,
// then rows; of a table the newest window first.
func compareLeaves(a, b record.Leaf) int {
	return cmp.Or(
		cmp.Compare(min(a.Space, record.SpaceRows), min(b.Space, record.SpaceRows)),
		cmp.Compare(a.Table, b.Table), cmp.Compare(a.Space, b.Space), cmp.Compare(b.Window, a.Window),
	)
}

// compareKeys orders keys of a range as they are sent. Both have a leaf.
func compareKeys(a, b []byte) int {
	left, _ := record.LeafOf(a)
	right, _ := record.LeafOf(b)
	return cmp.Or(compareLeaves(left, right), bytes.Compare(a, b))
}

// covers reports whether a leaf is part of a range in a placement.
func covers(v *schema.View, placement int, id token.RangeID, l record.Leaf) bool {
	t := v.Table(l.Table)
	if t == nil || t.Placement != placement || l.Range != id {
		return false
	}
	return l.Space == record.SpaceHeads ||
		l.Space == t.Shape.Space() && (l.Space != record.SpaceWindows || l.Window >= t.Floor)
}

// leaves lists the leaves of a range in a placement that may have keys, in the order
// in which they are sent, from the one of a key on (nil: all). windows lists those of
// a table.
func leaves(v *schema.View, q *Request, windows func(table uint32) []uint32) (all []record.Leaf) {
	add := func(l record.Leaf) {
		if covers(v, q.Placement, q.Range, l) {
			all = append(all, l)
		}
	}
	for _, t := range v.Tables() {
		add(record.Leaf{Range: q.Range, Table: t.ID, Space: record.SpaceHeads})
		if t.Placement != q.Placement || t.Shape.Window == 0 {
			add(record.Leaf{Range: q.Range, Table: t.ID, Space: record.SpaceRows})
			continue
		}
		for _, w := range windows(t.ID) {
			add(record.Leaf{Range: q.Range, Table: t.ID, Space: record.SpaceWindows, Window: w})
		}
	}
	slices.SortFunc(all, compareLeaves)
	if at, ok := record.LeafOf(q.After); ok {
		first, _ := slices.BinarySearchFunc(all, at, compareLeaves)
		all = all[first:]
	}
	return all
}
