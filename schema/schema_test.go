package schema

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
)

func TestBuiltinIsValidAndSurvivesJSON(t *testing.T) {
	s := Builtin(3, "dc1")
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Schema
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(s, back) {
		t.Errorf("%v\n%+v\n%+v", err, s, back)
	}
}

func TestValidateNamesTheFault(t *testing.T) {
	for _, tc := range []struct {
		want   string
		change func(*Schema)
	}{
		{"never assigned", func(s *Schema) { s.Tables[0].ID = 9 }},
		{"taken", func(s *Schema) { s.Tables[1].ID = 1 }},
		{"bad or taken", func(s *Schema) { s.Tables[1].Name = "events" }},
		{"bad or taken", func(s *Schema) { s.Keyspaces[0].Name = "a b" }},
		{"no keyspace", func(s *Schema) { s.Tables[0].Keyspace = "other" }},
		{"no partition key", func(s *Schema) { s.Tables[1].Columns = s.Tables[1].Columns[2:] }},
		{"unknown kind", func(s *Schema) { s.Tables[0].Columns[2].Kind = 99 }},
		{"never assigned", func(s *Schema) { s.Tables[0].Columns[2].ID = 77 }},
		{"outside the key", func(s *Schema) { s.Tables[0].Columns[0].ID = 1 }},
		{"timeuuid or timestamp", func(s *Schema) { s.Tables[0].Columns[1].Kind = record.Text }},
		{"at least 1h", func(s *Schema) { s.Tables[0].Window = Seconds(time.Second) }},
		{"more than 4096 windows", func(s *Schema) { s.Tables[0].Retention = Seconds(5000 * EventsWindow) }},
		{"needs time windows", func(s *Schema) { s.Tables[1].Retention = Seconds(EventsWindow) }},
		{"replication factor 0", func(s *Schema) { s.Keyspaces[0].Replication.Factors = map[string]int{"dc1": 0} }},
	} {
		s := Builtin(3, "dc1")
		for i := range s.Tables {
			s.Tables[i].Columns = append([]Column(nil), s.Tables[i].Columns...)
		}
		tc.change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("want %q, got %v", tc.want, err)
		}
	}
}

func TestRetentionAndFloors(t *testing.T) {
	s := Builtin(3, "dc1")
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	if _, raised := s.RaiseFloors(now); raised {
		t.Error("a floor rose without a retention")
	}
	limited, err := s.WithRetention("dunlin", "events", 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if s.Tables[0].Retention != 0 {
		t.Error("the original changed")
	}
	floored, raised := limited.RaiseFloors(now)
	if !raised {
		t.Fatal("no floor rose")
	}
	events := floored.Tables[0]
	shape := events.Shape()
	if end := shape.WindowEnd(events.Floor - 1); end.Add(30 * 24 * time.Hour).After(now) {
		t.Errorf("the last dropped window ended %s: too young", end)
	}
	if end := shape.WindowEnd(events.Floor); !end.Add(30 * 24 * time.Hour).After(now) {
		t.Errorf("window %d has passed its retention and is kept", events.Floor)
	}
	longer, err := floored.WithRetention("dunlin", "events", 0)
	if err != nil {
		t.Fatal(err)
	}
	if again, raised := longer.RaiseFloors(now); raised || again.Tables[0].Floor != events.Floor {
		t.Error("a longer retention moved the floor")
	}
	for _, tc := range []struct {
		table     string
		retention time.Duration
	}{{"kv", EventsWindow}, {"events", time.Hour}, {"events", -time.Second}, {"events", EventsWindow + time.Millisecond}} {
		if _, err := s.WithRetention("dunlin", tc.table, tc.retention); err == nil {
			t.Errorf("%s: retention %s was accepted", tc.table, tc.retention)
		}
	}
	var missing *NotFoundError
	if _, err := s.WithRetention("dunlin", "event", EventsWindow); !errors.As(err, &missing) {
		t.Errorf("a missing table: %v", err)
	}
}

func TestView(t *testing.T) {
	s := Builtin(1, "dc1")
	l := ring.Bootstrap(ring.Member{
		ID: uuid.New(), Zone: "a", Datacenter: "dc1", State: ring.Normal, Voter: true,
		Addresses: ring.Addresses{Internode: "127.0.0.1:7481"},
	}, 1)
	v, err := NewView(Identity{Version: 1}, &l, &s)
	if err != nil {
		t.Fatal(err)
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
}
