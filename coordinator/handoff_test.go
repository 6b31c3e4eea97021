package coordinator

import (
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// writeOne writes one row of partition p.
func (n *node) writeOne(t *testing.T, opts WriteOptions) (*GroupResult, error) {
	t.Helper()
	opts.Receipt = true
	res, err := n.write(t, opts, func(w *Write) { put(t, w, "p", 1, "v") })
	if err != nil {
		return nil, err
	}
	return res.Row(0), res.Err()
}

// total is how many rows a node's coordinator has left to hints, and was asked to hold.
func (cl *cluster) total() (kept, held int) {
	for _, n := range cl.nodes {
		n.behave(func(n *node) {
			for _, rows := range n.kept {
				kept += rows
			}
			for _, rows := range n.held {
				held += rows
			}
		})
	}
	return kept, held
}

// TestMissedWritesBecomeHints: whatever keeps a replica from taking a write, one
// hint is left for it; but none for what it must not get.
func TestMissedWritesBecomeHints(t *testing.T) {
	refuse := func(code transport.Code) func(*node) {
		return func(n *node) { n.refuses = &transport.Verdict{Code: code} }
	}
	for _, test := range []struct {
		name  string
		fault func(*node)
		kept  int
	}{
		{"dead", func(n *node) { n.dead = true }, 1},
		{"hangs", func(n *node) { n.hangs = true }, 1},
		{"overloaded", refuse(transport.Overloaded), 1},
		{"failed", refuse(transport.Failed), 1},
		{"unreachable", refuse(transport.Unreachable), 1},
		{"stale", refuse(transport.StaleCatalog), 1},
		{"fenced", refuse(transport.Fenced), 0},
		{"table dropped", refuse(transport.UnknownTable), 0},
		{"well", func(*node) {}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := newCluster(t, 5, 3, nil)
				bad := cl.replica("p", 1)
				bad.behave(test.fault)
				r, err := cl.nodes[0].writeOne(t, WriteOptions{Level: Two})
				if unknown := (*UnknownTableError)(nil); errors.As(err, &unknown) && test.name == "table dropped" {
					err = nil // if that replica answers before the others
				}
				if err != nil || r.Receipt.Hinted {
					t.Fatalf("%+v, %v", r, err)
				}
				time.Sleep(time.Minute) // the deadline
				if kept, held := cl.total(); kept != test.kept || held != 0 || cl.nodes[0].kept[bad.id] != test.kept {
					t.Errorf("%d hints kept, %d held", kept, held)
				}
			})
		})
	}
}

// TestRefusedWritesLeaveNoHint: a write that was refused before it was sent is
// nobody's.
func TestRefusedWritesLeaveNoHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		cl.replica("p", 0).behave(func(n *node) { n.dead = true })
		var unavailable *UnavailableError
		if _, err := cl.nodes[0].writeOne(t, WriteOptions{Level: All}); !errors.As(err, &unavailable) {
			t.Fatal(err)
		}
		if kept, _ := cl.total(); kept != 0 {
			t.Errorf("%d hints", kept)
		}
	})
}

// TestAny: one replica, or a hint on disk, is enough.
func TestAny(t *testing.T) {
	for _, test := range []struct {
		name         string
		fault        func(*node)
		acks, hinted bool
		kept, held   int
	}{
		{"all well", func(*node) {}, true, false, 0, 0},
		{"all dead", func(n *node) { n.dead = true }, true, true, 2, 1},
		{"all overloaded", func(n *node) { n.refuses = &transport.Verdict{Code: transport.Overloaded} }, true, true, 2, 1},
		{"all hang", func(n *node) { n.hangs = true }, true, true, 2, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := newCluster(t, 5, 3, nil)
				writer := cl.bystander("p")
				for i := range 3 {
					cl.replica("p", i).behave(test.fault)
				}
				r, err := writer.writeOne(t, WriteOptions{Level: Any})
				if err != nil || r.Acks < 1 || r.Receipt.Hinted != test.hinted {
					t.Fatalf("%+v, %v", r, err)
				}
				time.Sleep(time.Minute)
				kept, held := cl.total()
				if kept+held != test.kept+test.held || (held > 0) != test.hinted {
					t.Errorf("%d hints kept and %d held, want %d and %d", kept, held, test.kept, test.held)
				}
				for i, owner := range writer.held {
					if owner > 0 && i == writer.id {
						t.Error("a node holds a hint for itself that is no replica")
					}
				}
			})
		})
	}
}

// bystander returns a node that is no replica of a partition.
func (cl *cluster) bystander(partition string) *node {
	v := cl.current()
	for i, n := range cl.nodes {
		if !v.Ring.Holds(v.Table(testTable).Placement, token.Of([]byte(partition)).Range(), uint16(i)) {
			return n
		}
	}
	return nil
}

// TestSloppy: the next nodes of the walk stand in for replicas that are not
// alive, if the request or its table allows it.
func TestSloppy(t *testing.T) {
	for _, byTable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			cl := newCluster(t, 5, 3, nil)
			if byTable {
				cl.current().Table(testTable).Sloppy = true
			}
			down := map[ring.NodeID]int{}
			for i := range 2 {
				n := cl.replica("p", i)
				n.behave(func(n *node) { n.dead = true })
				down[n.id] = 1
			}
			var unavailable *UnavailableError
			if _, err := cl.nodes[4].writeOne(t, WriteOptions{Level: Quorum}); !byTable && (!errors.As(err, &unavailable) || unavailable.Alive != 1) {
				t.Fatal(err)
			}
			r, err := cl.nodes[4].writeOne(t, WriteOptions{Level: Quorum, Sloppy: true})
			if err != nil || r.Acks != 2 || !r.Receipt.Hinted {
				t.Fatalf("%+v, %v", r, err)
			}
			r, err = cl.nodes[4].writeOne(t, WriteOptions{Level: All, Sloppy: true})
			if err != nil || r.Acks != 3 {
				t.Fatalf("%+v, %v", r, err)
			}
			time.Sleep(time.Minute)
			held := map[ring.NodeID]int{}
			for _, n := range cl.nodes {
				for owner := range n.held {
					held[owner] = 1
					if v := cl.current(); v.Ring.Holds(v.Table(testTable).Placement, token.Of([]byte("p")).Range(), uint16(n.id[0]-1)) {
						t.Errorf("replica %s holds a hint for replica %s", n.id, owner)
					}
				}
			}
			if !maps.Equal(held, down) {
				t.Errorf("hints are held for %v, want %v", held, down)
			}
			cl.bystander("p").behave(func(n *node) { n.dead = true })
			if _, err := cl.nodes[4].writeOne(t, WriteOptions{Level: All, Sloppy: true}); !errors.As(err, &unavailable) || unavailable.Need != 3 || unavailable.Alive != 2 {
				t.Errorf("with one node too few: %v", err)
			}
		})
	}
}
