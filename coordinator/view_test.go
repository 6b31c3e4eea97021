package coordinator

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// testTable is test.t (p text, c int, v text, primary key (p, c)): one
// partition column, one clustering column, and column 3.
const (
	testTable  uint32 = 3
	testColumn uint16 = 3
)

func testSchema(factor int) schema.Schema {
	s := schema.Builtin(factor, "dc1")
	s.Tables = append(s.Tables, schema.Table{
		ID: testTable, Keyspace: schema.BuiltinKeyspace, Name: "t", NextColumn: 4,
		Columns: []schema.Column{
			{ID: 1, Name: "p", Kind: record.Text, Role: schema.Partition},
			{ID: 2, Name: "c", Kind: record.Int, Role: schema.Clustering},
			{ID: testColumn, Name: "v", Kind: record.Text, Role: schema.Regular},
		},
	})
	s.NextTable = testTable + 1
	return s
}

// testView is a sealed catalog of some nodes in one zone.
func testView(tb testing.TB, nodes, factor int, version uint64) *schema.View {
	tb.Helper()
	s := testSchema(factor)
	members := testMembers(nodes)
	layout := ring.Bootstrap(members[0], version)
	if nodes > 1 {
		var err error
		if layout, err = layout.Join(version, members[1:], s.Placements()); err != nil {
			tb.Fatal(err)
		}
	}
	return viewOf(tb, &layout, &s, version)
}

func viewOf(tb testing.TB, layout *ring.Layout, s *schema.Schema, version uint64) *schema.View {
	tb.Helper()
	v, err := schema.NewView(schema.Identity{Version: version, Sealed: true}, layout, s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func testMembers(nodes int) []ring.Member {
	members := make([]ring.Member, nodes)
	for i := range members {
		address := fmt.Sprintf("10.0.0.%d:7481", i+1)
		members[i] = ring.Member{
			ID:        uuid.UUID{byte(i + 1)},
			Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
			Zone:      "z1", Datacenter: "dc1", State: ring.Normal, Voter: true,
		}
	}
	return members
}

// joinViews are the views while the last of some nodes joins, with three replicas of
// everything: streaming, flipped and finished.
func joinViews(tb testing.TB, nodes int) (views [3]*schema.View) {
	tb.Helper()
	s := testSchema(3)
	members := testMembers(nodes)
	layout, err := ring.Bootstrap(members[0], 1).Join(1, members[1:nodes-1], s.Placements())
	if err != nil {
		tb.Fatal(err)
	}
	for i, next := range []func() (ring.Layout, error){
		func() (ring.Layout, error) {
			return layout.Announce(2, ring.Plan{Kind: "join", Join: members[nodes-1:]})
		},
		func() (ring.Layout, error) { return layout.Assign(3, 0, s.Placements()) },
		func() (ring.Layout, error) { return layout.Flip(4, s.Placements()) },
		func() (ring.Layout, error) {
			finished, _, err := layout.Finish(5, s.Placements())
			return finished, err
		},
	} {
		if layout, err = next(); err != nil {
			tb.Fatal(err)
		}
		if i > 0 {
			views[i-1] = viewOf(tb, &layout, &s, uint64(i+2))
		}
	}
	return views
}
