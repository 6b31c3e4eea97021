package antientropy

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/record"
)

// TestServedBuckets: a session finds what it has read before, and nothing that
// another one has; places are few, and one that is not used is given away.
func TestServedBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServed(1)
		leaf := record.Leaf{Range: 1, Table: 3, Space: record.SpaceRows}
		first := servedKey{nodeID(1), 1, leaf}
		v := s.take(first)
		v.buckets.Add([]byte("k"), record.Digest{1})
		v.done = true
		if s.take(first) != nil || s.take(servedKey{nodeID(2), 1, leaf}) != nil {
			t.Error("a place is taken twice")
		}
		s.give(v, true)
		if v = s.take(first); v == nil || !v.done || v.buckets.Keys != 1 {
			t.Fatalf("what was read is gone: %+v", v)
		}
		s.give(v, true)
		if v = s.take(servedKey{nodeID(1), 2, leaf}); v == nil || v.done || v.buckets.Keys != 0 || v.buckets.Children(0, 0) != [8]uint64{} {
			t.Fatalf("a later session sees what was read before it: %+v", v)
		}
		s.give(v, true)
		other := servedKey{nodeID(2), 1, leaf}
		if s.take(other) != nil {
			t.Error("a place in use is given away")
		}
		time.Sleep(servedIdle + 1)
		if v = s.take(other); v == nil || v.leaf != leaf {
			t.Fatal("an idle place is not given away")
		}
		s.give(v, false)
		if v = s.take(first); v == nil || v.done {
			t.Error("a place that was given up is not free")
		}
	})
}
