package filling

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
)

// TestServedBuckets: a session finds what it has read before, and nothing that
// another one has; places are few, and one that is not used is given away.
func TestServedBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		leaf := record.Leaf{Range: 1, Table: 3, Space: record.SpaceRows}
		first := Key{ring.NodeID{1}, 1, leaf}
		v := s.Take(first)
		v.Buckets.Add([]byte("k"), record.Digest{1})
		v.Done = true
		if s.Take(first) != nil || s.Take(Key{ring.NodeID{2}, 1, leaf}) != nil {
			t.Error("a place is taken twice")
		}
		s.Give(v, true)
		if v = s.Take(first); v == nil || !v.Done || v.Buckets.Keys != 1 {
			t.Fatalf("what was read is gone: %+v", v)
		}
		s.Give(v, true)
		if v = s.Take(Key{ring.NodeID{1}, 2, leaf}); v == nil || v.Done || v.Buckets.Keys != 0 || v.Buckets.Children(0, 0) != [8]uint64{} {
			t.Fatalf("a later session sees what was read before it: %+v", v)
		}
		s.Give(v, true)
		other := Key{ring.NodeID{2}, 1, leaf}
		if s.Take(other) != nil {
			t.Error("a place in use is given away")
		}
		time.Sleep(idle + 1)
		if v = s.Take(other); v == nil || v.Leaf != leaf {
			t.Fatal("an idle place is not given away")
		}
		s.Give(v, false)
		if v = s.Take(first); v == nil || v.Done {
			t.Error("a place that was given up is not free")
		}
	})
}
