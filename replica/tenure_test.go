package replica

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// TestTenureGoesOn: which tenures continue in a later view, and what they are then.
func TestTenureGoesOn(t *testing.T) {
	flipped := &ring.Change{ID: 7, Phase: ring.Flipped}
	streaming := &ring.Change{ID: 7, Phase: ring.Streaming}
	later := &ring.Change{ID: 9, Phase: ring.Streaming}
	for _, tc := range []struct {
		name        string
		before      tenure
		change      *ring.Change
		now, target bool
		goesOn      bool
		next        tenure
	}{
		{"nothing held", 0, nil, false, false, false, 0},
		{"settled, and goes on so", settled, nil, true, true, true, settled},
		{"becomes pending", 0, streaming, false, true, false, 7},
		{"is pending still", 7, streaming, false, true, true, 7},
		{"is pending, reads come", 7, flipped, false, true, true, 7},
		{"the change has finished", 7, nil, true, true, true, settled},
		{"the change has finished, another began", 7, later, true, true, true, settled},
		{"the change was aborted, another makes it pending", 7, later, false, true, false, 9},
		{"displaced, may be aborted", settled, streaming, true, false, true, settled},
		{"displaced, for good", settled, flipped, true, false, true, -7},
		{"displaced, still", -7, flipped, true, false, true, -7},
		{"was displaced, and is pending again", -7, later, false, true, false, 9},
		{"was displaced, and holds it again", -7, nil, true, true, false, settled},
		{"was displaced", -7, nil, false, false, false, 0},
		{"was displaced without hearing of it, and is pending again", settled, later, false, true, false, 9},
	} {
		change, phase := tenure(0), ring.Phase("")
		if tc.change != nil {
			change, phase = tenure(tc.change.ID), tc.change.Phase
		}
		if got := tc.before.goesOn(change, tc.now); got != tc.goesOn {
			t.Errorf("%s: goes on %v", tc.name, got)
		}
		if got := nextTenure(change, phase, tc.now, tc.target); got != tc.next {
			t.Errorf("%s: next %d", tc.name, got)
		}
	}
	var some tenures
	some[3], some[5] = settled, -8
	again, err := decodeTenures(some.encode())
	if err != nil || again != some {
		t.Errorf("decoded %v: %v", again, err)
	}
	if _, err := decodeTenures([]byte{1}); err == nil {
		t.Error("a short record is read")
	}
}

// TestTenuresOfGenerations: after a recovery versions are counted on from before what was
// forgotten, so a change may have the id of an earlier one.
func TestTenuresOfGenerations(t *testing.T) {
	change := func(generation uint64) tenure {
		s := schema.Builtin(1, "dc1")
		members := make([]ring.Member, 2)
		for i := range members {
			at := fmt.Sprintf("10.0.0.%d:1", i+1)
			members[i] = ring.Member{
				ID: ring.NodeID{byte(i + 1)}, Addresses: ring.Addresses{Internode: at, Gossip: at, HTTP: at, Admin: at},
				Zone: "z1", Datacenter: "dc1", State: ring.Normal, Voter: true,
			}
		}
		layout, err := ring.Bootstrap(members[0], 1).Announce(7, ring.Plan{Kind: "join", Join: members[1:]})
		if err != nil {
			t.Fatal(err)
		}
		v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Generation: generation, Version: 7, Sealed: true}, &layout, &s)
		if err != nil {
			t.Fatal(err)
		}
		return numbered(v)
	}
	if before := change(0); before != 7 || before.goesOn(change(1), false) || !before.goesOn(change(0), false) {
		t.Errorf("a tenure of change %d goes on", before)
	}
}
