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

// testView is a sealed catalog of some nodes in one zone.
func testView(tb testing.TB, nodes, factor int, version uint64) *schema.View {
	tb.Helper()
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
	members := make([]ring.Member, nodes)
	for i := range members {
		address := fmt.Sprintf("10.0.0.%d:7481", i+1)
		members[i] = ring.Member{
			ID:        uuid.UUID{byte(i + 1)},
			Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
			Zone:      "z1", Datacenter: "dc1", State: ring.Normal, Voter: true,
		}
	}
	layout := ring.Bootstrap(members[0], version)
	if nodes > 1 {
		var err error
		if layout, err = layout.Join(version, members[1:], s.Placements()); err != nil {
			tb.Fatal(err)
		}
	}
	v, err := schema.NewView(schema.Identity{Version: version, Sealed: true}, &layout, &s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}
