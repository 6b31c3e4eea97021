package route

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// testView is version 5 of a catalog with some members and the built-in tables.
func testView(tb testing.TB, nodes, factor int) *schema.View {
	tb.Helper()
	s := schema.Builtin(factor, "dc1")
	layout := testLayout(tb, nodes, s)
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: 5, Sealed: true}, &layout, &s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// testLayout is the layout of some members since version 5.
func testLayout(tb testing.TB, nodes int, s schema.Schema) ring.Layout {
	tb.Helper()
	var all []ring.Member
	for i := range nodes {
		address := fmt.Sprintf("10.0.0.%d:7481", i+1)
		all = append(all, ring.Member{
			ID: ring.NodeID{byte(i + 1)}, Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
			Zone: "z1", Datacenter: "dc1", State: ring.Normal, Voter: true,
		})
	}
	layout := ring.Bootstrap(all[0], 5)
	if nodes > 1 {
		var err error
		if layout, err = layout.Join(5, all[1:], s.Placements()); err != nil {
			tb.Fatal(err)
		}
	}
	return layout
}

// row is a row of a table, at a place on the ring.
type row struct {
	table   uint32
	ordinal uint64
}

func (r row) key() []byte {
	b := record.AppendSpacePrefix(nil, r.table, record.SpaceRows)
	return append(binary.BigEndian.AppendUint64(b, r.ordinal), 0, 1, 'p')
}

// rowsOf lists what parcels bring to each node.
func rowsOf(t *rapid.T, parcels []Parcel) map[ring.NodeID][]row {
	got := map[ring.NodeID][]row{}
	for _, p := range parcels {
		n := 0
		for rest := p.Entries; len(rest) > 0; n++ {
			key, _, next, err := record.NextEntry(rest)
			if err != nil {
				t.Fatal(err)
			}
			table, _ := record.KeyTable(key)
			tok, _ := record.KeyToken(key)
			got[p.To] = append(got[p.To], row{table, tok.Ordinal()})
			rest = next
		}
		if n != p.Rows || n == 0 {
			t.Fatalf("a parcel says %d rows and has %d", p.Rows, n)
		}
	}
	return got
}

// sorted prints rows in any one order: parcels of different sets come as they like.
func sorted(m map[ring.NodeID][]row) string {
	for _, rows := range m {
		slices.SortFunc(rows, func(a, b row) int { return bytes.Compare(a.key(), b.key()) })
	}
	return fmt.Sprint(m)
}

// TestRoute: every row goes exactly where the view has its replicas; rows of no table
// go nowhere, and plain ones of ranges that have changed since they were hinted neither.
func TestRoute(t *testing.T) {
	clusters := [][2]int{{1, 1}, {3, 1}, {4, 2}, {5, 3}}
	views := map[[2]int]*schema.View{}
	for _, c := range clusters {
		views[c] = testView(t, c[0], c[1])
	}
	rapid.Check(t, func(t *rapid.T) {
		v := views[rapid.SampledFrom(clusters).Draw(t, "cluster")]
		target := ring.NodeID{byte(rapid.IntRange(1, 6).Draw(t, "target"))}
		all := rapid.Bool().Draw(t, "all")
		h := form.Hint{Version: rapid.Uint64Range(4, 6).Draw(t, "version")}
		want := map[ring.NodeID][]row{}
		marks := map[token.RangeID]bool{}
		lost, dropped := 0, 0
		for range rapid.IntRange(1, 12).Draw(t, "rows") {
			r := row{rapid.SampledFrom([]uint32{1, 1, 1, 2, 77}).Draw(t, "table"), rapid.Uint64().Draw(t, "token")}
			h.Entries = record.AppendEntry(h.Entries, r.key(), []byte("v"))
			h.Count++
			table := v.Table(r.table)
			if table == nil {
				dropped++
				continue
			}
			id := token.FromOrdinal(r.ordinal).Range()
			var holders []ring.NodeID
			for _, m := range v.Ring.Replicas(table.Placement, id) {
				holders = append(holders, v.Ring.Member(m).ID)
			}
			switch {
			case slices.Contains(holders, target) && (all || h.Version >= v.Ring.ChangedAt(id)):
				want[target] = append(want[target], r)
			case all:
				for _, holder := range holders {
					want[holder] = append(want[holder], r)
				}
			default:
				lost++
				marks[id] = true
			}
		}
		parcels, out := New(v, target, all).Route(&h, nil)
		if out.Lost != lost || out.Dropped != dropped || out.Corrupt || out.Early != (dropped > 0 && h.Version > 5) {
			t.Fatalf("%+v; %d lost, %d dropped", out, lost, dropped)
		}
		if lost > 0 {
			if ranges, _ := out.Marks.List(); len(ranges) != len(marks) || !marks[ranges[0]] {
				t.Fatalf("marked %v, not %v", ranges, marks)
			}
		}
		if got := sorted(rowsOf(t, parcels)); got != sorted(want) {
			t.Fatalf("got %v, want %v", got, sorted(want))
		}
	})
}

// TestCorrupt entries go nowhere, wherever the damage is.
func TestCorrupt(t *testing.T) {
	v := testView(t, 1, 1)
	good := record.AppendEntry(nil, row{1, 1}.key(), nil)
	for _, entries := range [][]byte{{200}, record.AppendEntry(nil, []byte("short"), nil), append(bytes.Clone(good), 200)} {
		parcels, out := New(v, ring.NodeID{2}, true).Route(&form.Hint{Count: 1, Entries: entries}, nil)
		if len(parcels) > 0 || !out.Corrupt {
			t.Errorf("%x: %v, %+v", entries, parcels, out)
		}
	}
	if parcels, out := New(v, ring.NodeID{1}, true).Route(&form.Hint{Count: 1, Entries: good}, nil); len(parcels) != 1 || out.Corrupt {
		t.Errorf("%v, %+v", parcels, out)
	}
}

// TestGivenUp: what is counted for a node that a change goes on without goes to all the
// others that have the range, or to all if there are none; what is plain waits for it.
func TestGivenUp(t *testing.T) {
	for _, factor := range []int{3, 1} {
		v := givenUp(t, factor, ring.NodeID{2})
		h := form.Hint{Version: v.Version}
		ordinals := map[uint64]bool{}
		lone := 0 // rows that it has alone
		for id := range token.RangeID(token.Ranges) {
			at := row{1, uint64(id) << (64 - 10)}
			if m, _ := v.Ring.Index(ring.NodeID{2}); !v.Ring.Holds(v.Table(1).Placement, id, m) {
				continue
			}
			if len(v.Ring.Writers(v.Table(1).Placement, id)) == 1 {
				lone++
			}
			ordinals[at.ordinal] = true
			h.Entries = record.AppendEntry(h.Entries, at.key(), []byte("v"))
			h.Count++
		}
		if (lone > 0) != (factor == 1) || len(ordinals) == 0 {
			t.Fatalf("%d of %d rows are at one node", lone, len(ordinals))
		}
		parcels, out := New(v, ring.NodeID{2}, true).Route(&h, nil)
		got, sent := 0, map[uint64]int{}
		for _, p := range parcels {
			for rest := p.Entries; len(rest) > 0; {
				key, _, next, err := record.NextEntry(rest)
				if err != nil {
					t.Fatal(err)
				}
				tok, _ := record.KeyToken(key)
				sent[tok.Ordinal()]++
				rest = next
			}
			if p.To == (ring.NodeID{2}) {
				got += p.Rows
			}
		}
		if got != lone || len(sent) != len(ordinals) || out.Lost+out.Dropped > 0 {
			t.Errorf("%d rows for the one that was given up, %d of %d for anybody, %+v", got, len(sent), len(ordinals), out)
		}
		if factor == 3 {
			for at, n := range sent {
				if want := len(v.Ring.Writers(v.Table(1).Placement, token.FromOrdinal(at).Range())) - 1; n != want {
					t.Errorf("a row goes to %d, not %d", n, want)
				}
			}
		}
		if parcels, _ := New(v, ring.NodeID{2}, false).Route(&h, nil); len(parcels) != 1 || parcels[0].To != (ring.NodeID{2}) {
			t.Errorf("plain ones go to %d", len(parcels))
		}
	}
}

// givenUp is a view in which the fourth of four nodes leaves, reads ask those that stay,
// and one of them was given up.
func givenUp(t *testing.T, factor int, lost ring.NodeID) *schema.View {
	t.Helper()
	s := schema.Builtin(factor, "dc1")
	layout := testLayout(t, 4, s)
	for _, step := range []func() (ring.Layout, error){
		func() (ring.Layout, error) {
			return layout.Announce(6, ring.Plan{Kind: "decommission", Leave: []ring.NodeID{{4}}})
		},
		func() (ring.Layout, error) { return layout.Assign(7, 0, s.Placements()) },
		func() (ring.Layout, error) { return layout.Flip(8, s.Placements()) },
		func() (ring.Layout, error) { return layout.GiveUp(lost) },
	} {
		var err error
		if layout, err = step(); err != nil {
			t.Fatal(err)
		}
	}
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: 9, Sealed: true}, &layout, &s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
