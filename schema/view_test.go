package schema

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/ring"
)

func oneNode() ring.Layout {
	return ring.Bootstrap(ring.Member{
		ID: uuid.UUID{1}, Zone: "a", Datacenter: "dc1", State: ring.Normal, Voter: true,
		Addresses: ring.Addresses{Internode: "127.0.0.1:7481"},
	}, 1)
}

func TestView(t *testing.T) {
	s, l := Builtin(1, "dc1"), oneNode()
	s.Keyspaces = append([]Keyspace{{Name: "first", Replication: ring.Placement{Strategy: ring.SimpleStrategy, Factors: map[string]int{"": 2}}}}, s.Keyspaces...)
	v, err := NewView(Identity{Version: 7, Sealed: true}, &l, &s)
	if err != nil {
		t.Fatal(err)
	}
	if v.Version != 7 || !v.Sealed || v.Ring.Version() != 7 {
		t.Errorf("identity %+v, ring of version %d", v.Identity, v.Ring.Version())
	}
	if tv := v.Table(EventsTable); tv == nil || tv != v.TableNamed("dunlin", "events") || tv.Shape.Window != EventsWindow {
		t.Errorf("events: %+v", tv)
	}
	if v.Table(0) != nil || v.Table(99) != nil || v.TableNamed("dunlin", "x") != nil {
		t.Error("a table that does not exist was found")
	}
	if got := len(v.Tables()); got != 2 {
		t.Errorf("%d tables", got)
	}
	if v.Ring.Factor(v.Table(KVTable).Placement) != 1 {
		t.Error("the table's placement is not its keyspace's")
	}
	s.Tables[0].Columns[3].Name = "changed"
	if v.Table(EventsTable).ColumnNamed("data") == nil {
		t.Error("the view changed with the document that it was made from")
	}
}

func TestViewRefusesWhatItCannotServe(t *testing.T) {
	l := oneNode()
	s := Builtin(1, "dc2") // no member is there
	if _, err := NewView(Identity{Version: 1}, &l, &s); err == nil || !strings.Contains(err.Error(), "no member can hold") {
		t.Errorf("no datacenter: %v", err)
	}
	s = Builtin(1, "dc1")
	s.NextTable = 1
	if _, err := NewView(Identity{Version: 1}, &l, &s); err == nil {
		t.Error("an invalid schema was accepted")
	}
}

func TestNewerIsByGenerationThenVersion(t *testing.T) {
	view := func(generation, version uint64) *View {
		return &View{Identity: Identity{Generation: generation, Version: version}}
	}
	ordered := []*View{nil, view(0, 1), view(0, 2), view(1, 1), view(1, 2)}
	for i, older := range ordered {
		for _, newer := range ordered[i+1:] {
			if !newer.Newer(older) || older != nil && older.Newer(newer) {
				t.Errorf("%+v and %+v are in the wrong order", older, newer)
			}
		}
		if older != nil && older.Newer(older) {
			t.Errorf("%+v is newer than itself", older)
		}
	}
}
