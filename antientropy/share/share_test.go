package share

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// view is of four nodes, two of which are replicas of each range.
func view(t *testing.T, floor uint32) *schema.View {
	t.Helper()
	s := schema.Builtin(2, "dc1")
	for i := range s.Tables {
		if s.Tables[i].ID == schema.EventsTable {
			s.Tables[i].Floor, s.Tables[i].Retention = floor, s.Tables[i].Window
		}
	}
	member := func(i int) ring.Member {
		address := fmt.Sprintf("10.0.0.%d:7481", i+1)
		return ring.Member{
			ID: ring.NodeID{byte(i + 1)}, Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
			Zone: fmt.Sprint("z", i), Datacenter: "dc1", State: ring.Normal, Voter: true,
		}
	}
	layout := ring.Bootstrap(member(0), 1)
	for i := 1; i < 4; i++ {
		layout.Members = append(layout.Members, member(i))
	}
	for i := range layout.Owners {
		layout.Owners[i] = uint16(i % 4)
	}
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: 1, Sealed: true}, &layout, &s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestShares: what a node holds with others, added up, is what it holds; both sides
// name the same, and nobody else does.
func TestShares(t *testing.T) {
	v := view(t, 0)
	for i := range 4 {
		me := ring.NodeID{byte(i + 1)}
		var with []message.Target
		for j := range 4 {
			other := ring.NodeID{byte(j + 1)}
			if i == j {
				continue
			}
			shared := With(v, me, other)
			if !slices.Equal(shared, With(v, other, me)) {
				t.Errorf("nodes %d and %d do not agree on what they share", i, j)
			}
			for _, target := range shared {
				if !Both(v, target, me, other) || !slices.Equal(Others(v, target, me), []ring.NodeID{other}) {
					t.Errorf("nodes %d and %d: %+v", i, j, target)
				}
			}
			with = append(with, shared...)
		}
		if all := Targets(v, me); len(all) != len(with) || len(all) != token.Ranges/2 {
			t.Errorf("node %d holds %d targets and shares %d", i, len(all), len(with))
		}
	}
	stranger := ring.NodeID{9}
	for _, target := range []message.Target{{Placement: 99}, {ID: token.Ranges}, {}} {
		if Holds(v, target, stranger) || target != (message.Target{}) && Holds(v, target, ring.NodeID{1}) {
			t.Errorf("%+v is held", target)
		}
	}
}

// TestCovers: heads, and rows in the table's own space, of windows that are kept.
func TestCovers(t *testing.T) {
	const floor = 1<<31 + 7
	v := view(t, floor)
	events := v.Table(schema.EventsTable)
	target := message.Target{Placement: events.Placement, ID: 5}
	for _, c := range []struct {
		leaf record.Leaf
		want bool
	}{
		{record.Leaf{Range: 5, Table: events.ID, Space: record.SpaceHeads}, true},
		{record.Leaf{Range: 5, Table: events.ID, Space: record.SpaceWindows, Window: floor}, true},
		{record.Leaf{Range: 5, Table: events.ID, Space: record.SpaceWindows, Window: floor - 1}, false},
		{record.Leaf{Range: 5, Table: events.ID, Space: record.SpaceRows}, false},
		{record.Leaf{Range: 6, Table: events.ID, Space: record.SpaceHeads}, false},
		{record.Leaf{Range: 5, Table: 99, Space: record.SpaceHeads}, false},
	} {
		if got := Covers(v, target, c.leaf); got != c.want {
			t.Errorf("%+v: %v", c.leaf, got)
		}
	}
}
