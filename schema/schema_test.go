package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

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
	if want := `"window_seconds":604800`; !strings.Contains(string(text), want) {
		t.Errorf("no %s in %s", want, text)
	}
}

// TestBuiltinIdsMeanWhatTheConstantsSay: they are written into every row.
func TestBuiltinIdsMeanWhatTheConstantsSay(t *testing.T) {
	s := Builtin(3, "dc1")
	for _, tc := range []struct {
		table  uint32
		column uint16
		want   string
	}{
		{EventsTable, EventsType, "dunlin.events type text regular"},
		{EventsTable, EventsData, "dunlin.events data text regular"},
		{KVTable, KVValue, "dunlin.kv value blob regular"},
		{KVTable, KVContentType, "dunlin.kv content_type text regular"},
	} {
		table := s.Table(tc.table)
		c := table.Column(tc.column)
		if got := fmt.Sprint(table.FullName(), " ", c.Name, " ", c.Kind, " ", c.Role); got != tc.want {
			t.Errorf("column %d of table %d is %s, want %s", tc.column, tc.table, got, tc.want)
		}
	}
	kv, events := s.Table(KVTable).Key(Partition), s.Table(EventsTable).Shape()
	if len(kv) != 2 || kv[0].Name != "bucket" || kv[1].Name != "key" {
		t.Errorf("partition key of dunlin.kv: %+v", kv)
	}
	want := record.Shape{Table: EventsTable, Window: 7 * 24 * time.Hour, Clustering: []record.Component{{Kind: record.TimeUUID}}}
	if !reflect.DeepEqual(events, want) {
		t.Errorf("shape of dunlin.events: %+v", events)
	}
}

func TestValidateNamesTheFault(t *testing.T) {
	for _, tc := range []struct {
		want   string
		change func(*Schema)
	}{
		{"events has id 9, but the next to be given out is 3", func(s *Schema) { s.Tables[0].ID = 9 }},
		{"events has no id", func(s *Schema) { s.Tables[0].ID = 0 }},
		{"ids must ascend, 1 follows 1", func(s *Schema) { s.Tables[1].ID = 1 }},
		{"dunlin.events is listed twice", func(s *Schema) { s.Tables[1].Name = "events" }},
		{"dunlin is listed twice", func(s *Schema) { s.Keyspaces = append(s.Keyspaces, s.Keyspaces[0]) }},
		{"letters, digits and underscores only, not ' '", func(s *Schema) { s.Keyspaces[0].Name = "a b" }},
		{"1 to 48 characters", func(s *Schema) { s.Tables[0].Name = strings.Repeat("x", 49) }},
		{`there is no keyspace "other"`, func(s *Schema) { s.Tables[0].Keyspace = "other" }},
		{"replication factor 0", func(s *Schema) { s.Keyspaces[0].Replication.Factors["dc1"] = 0 }},
		{"at most 256 and 1024", func(s *Schema) { s.Tables = make([]Table, TablesMax+1) }},
		{"no partition key", func(s *Schema) { s.Tables[1].Columns = s.Tables[1].Columns[2:] }},
		{"key column key is at position 3, not 1", func(s *Schema) { s.Tables[1].Columns[1].Position = 3 }},
		{"only key columns have positions", func(s *Schema) { s.Tables[1].Columns[2].Position = 3 }},
		{"column type has an unknown type", func(s *Schema) { s.Tables[0].Columns[2].Kind = 99 }},
		{"column type has id 77, but", func(s *Schema) { s.Tables[0].Columns[2].ID = 77 }},
		{"ids must ascend, 2 follows 2", func(s *Schema) { s.Tables[0].Columns[2].ID = 2 }},
		{"column data is listed twice", func(s *Schema) { s.Tables[0].Columns[2].Name = "data" }},
		{"a name has 1 to 48 bytes", func(s *Schema) { s.Tables[0].Columns[2].Name = "" }},
		{`unknown role "index"`, func(s *Schema) { s.Tables[0].Columns[2].Role = "index" }},
		{"only clustering columns descend", func(s *Schema) { s.Tables[0].Columns[2].Desc = true }},
		{"a windowed table has none", func(s *Schema) { s.Tables[0].Columns[2].Role = Static }},
		{"one row a partition", func(s *Schema) { s.Tables[1].Columns[2].Role = Static }},
		{"timeuuid or timestamp", func(s *Schema) { s.Tables[0].Columns[1].Kind = record.Text }},
		{"whole seconds, 1h0m0s or more", func(s *Schema) { s.Tables[0].Window = Seconds(time.Second) }},
		{"whole seconds, 1h0m0s or more", func(s *Schema) { s.Tables[0].Window++ }},
		{"more than 4096 windows", func(s *Schema) { s.Tables[0].Retention = Seconds(5000 * EventsWindow) }},
		{"only a table with windows", func(s *Schema) { s.Tables[1].Retention = Seconds(EventsWindow) }},
		{"only a table with windows", func(s *Schema) { s.Tables[1].Floor = 1 }},
	} {
		s := Builtin(3, "dc1").Clone()
		tc.change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("want %q, got %v", tc.want, err)
		}
	}
}

func TestChangesThatMayNotFollow(t *testing.T) {
	for _, tc := range []struct {
		want   string
		change func(*Schema)
	}{
		{"", func(*Schema) {}},
		{"", func(s *Schema) { s.Tables = s.Tables[:1] }}, // dropped
		{"", func(s *Schema) { s.Tables[1].ID, s.Tables[1].Name, s.NextTable = 3, "kv2", 4 }},
		{"", func(s *Schema) { s.Tables[1].Columns[3].Name = "media_type" }},
		{"", func(s *Schema) { s.Tables[1].Columns = s.Tables[1].Columns[:3] }},
		{"", func(s *Schema) { addColumn(s, 5, Regular); s.Tables[1].NextColumn = 6 }},
		{"next table id cannot fall", func(s *Schema) { s.Tables, s.NextTable = s.Tables[:1], 2 }},
		{"id 2 belongs to dunlin.kv", func(s *Schema) { s.Tables[1].Name = "other" }},
		{"windows are 168h0m0s wide for ever", func(s *Schema) { s.Tables[0].Window *= 2 }},
		{"the floor cannot fall", func(s *Schema) { s.Tables[0].Floor = 1 }},
		{"next column id cannot fall", func(s *Schema) { s.Tables[1].Columns = s.Tables[1].Columns[:3]; s.Tables[1].NextColumn = 4 }},
		{"fixed when a column is made", func(s *Schema) { s.Tables[1].Columns[2].Kind = record.Text }},
		{"fixed when a column is made", func(s *Schema) { s.Tables[0].Columns[1].Desc = true }},
		{"primary key is fixed", func(s *Schema) { addColumn(s, 5, Clustering); s.Tables[1].NextColumn = 6 }},
		{"primary key is fixed", func(s *Schema) { s.Tables[1].Columns = append(s.Tables[1].Columns[:1:1], s.Tables[1].Columns[2:]...) }},
	} {
		before, err := Builtin(3, "dc1").WithFloor(EventsTable, 5)
		if err != nil {
			t.Fatal(err)
		}
		next := before.Clone()
		tc.change(&next)
		if err := next.Validate(); err != nil {
			t.Errorf("the change for %q is invalid by itself: %v", tc.want, err)
		}
		err = before.CheckChange(&next)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("want %q, got %v", tc.want, err)
		}
	}
}

// TestIdsAreNotGivenOutTwice: what was dropped stays dropped.
func TestIdsAreNotGivenOutTwice(t *testing.T) {
	s := Builtin(3, "dc1")
	dropped := s.Clone()
	dropped.Tables[1].Columns = dropped.Tables[1].Columns[:3]
	if err := s.CheckChange(&dropped); err != nil {
		t.Fatal(err)
	}
	if err := dropped.CheckChange(&s); err == nil || !strings.Contains(err.Error(), "id 4 was given out before") {
		t.Errorf("a dropped column came back: %v", err)
	}
	dropped.Tables = dropped.Tables[:1]
	if err := dropped.CheckChange(&s); err == nil || !strings.Contains(err.Error(), "id 2 was given out before") {
		t.Errorf("a dropped table came back: %v", err)
	}
}

func addColumn(s *Schema, id uint16, role Role) {
	t := &s.Tables[1]
	t.Columns = append(t.Columns, Column{ID: id, Name: "new", Kind: record.Text, Role: role})
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
	if _, again := floored.RaiseFloors(now); again {
		t.Error("a floor rose twice at one time")
	}
	if _, back := floored.RaiseFloors(now.Add(-365 * 24 * time.Hour)); back {
		t.Error("a clock set back moved the floor")
	}
	longer, err := floored.WithRetention("dunlin", "events", 0)
	if err != nil {
		t.Fatal(err)
	}
	if again, raised := longer.RaiseFloors(now); raised || again.Tables[0].Floor != floored.Tables[0].Floor {
		t.Error("a longer retention moved the floor")
	}
	if err := floored.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := floored.WithFloor(EventsTable, floored.Tables[0].Floor-1); err == nil {
		t.Error("a floor fell")
	}
	if _, err := s.WithFloor(KVTable, 1); err == nil {
		t.Error("a table without windows has a floor")
	}
}

func TestRetentionThatATableCannotKeep(t *testing.T) {
	s := Builtin(3, "dc1")
	for _, tc := range []struct {
		table     string
		retention time.Duration
	}{
		{"kv", EventsWindow}, {"events", time.Hour}, {"events", -time.Second},
		{"events", EventsWindow + time.Millisecond}, {"events", WindowsMax * EventsWindow},
	} {
		if _, err := s.WithRetention("dunlin", tc.table, tc.retention); err == nil {
			t.Errorf("%s: retention %s was accepted", tc.table, tc.retention)
		}
	}
	var missing *NotFoundError
	if _, err := s.WithRetention("dunlin", "event", EventsWindow); !errors.As(err, &missing) {
		t.Errorf("a missing table: %v", err)
	}
	if _, err := s.WithFloor(99, 1); !errors.As(err, &missing) {
		t.Errorf("a missing table: %v", err)
	}
}

// TestFloorsRetireWholeWindowsInTime: below the floor every window has ended a
// retention ago, from it on none has.
func TestFloorsRetireWholeWindowsInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := Table{
			Window:    Seconds(time.Duration(rapid.Int64Range(3600, 90*24*3600).Draw(t, "window")) * time.Second),
			Retention: Seconds(time.Duration(rapid.Int64Range(3600, 1000*24*3600).Draw(t, "retention")) * time.Second),
		}
		now := time.UnixMilli(rapid.Int64Range(0, 7e12).Draw(t, "now"))
		shape := record.Shape{Window: table.Window.Duration()}
		floor := table.RetiredAt(now)
		if floor == 0 {
			if now.Sub(time.Unix(0, 0)) >= table.Retention.Duration() {
				t.Fatalf("nothing is retired at %s", now)
			}
			return
		}
		if end := shape.WindowEnd(floor); !end.Add(table.Retention.Duration()).After(now) {
			t.Fatalf("window %d ended %s and is kept at %s", floor, end, now)
		}
		if end := shape.WindowEnd(floor - 1); end.Add(table.Retention.Duration()).After(now) {
			t.Fatalf("window %d ended %s and is retired at %s", floor-1, end, now)
		}
	})
}

func TestSecondsInJSON(t *testing.T) {
	for _, bad := range []string{`-1`, `1.5`, `"7d"`, `null`, `9223372037`, `99999999999999999999`} {
		var s Seconds
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%s was read as %s", bad, s)
		}
	}
	var s Seconds
	if err := json.Unmarshal([]byte(`9223372036`), &s); err != nil || s.Duration() != 9223372036*time.Second {
		t.Errorf("the longest: %s (%v)", s, err)
	}
}

// FuzzSchema: a document from another node is refused or usable, and reading it
// again changes nothing.
func FuzzSchema(f *testing.F) {
	text, err := json.Marshal(Builtin(3, "dc1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"keyspaces":[{"name":"k","replication":{"strategy":"SimpleStrategy","factors":{"":1}}}],"tables":[{"id":1,"keyspace":"k","name":"t","columns":[{"id":1,"name":"a","type":"int","role":"partition_key"}],"next_column":2}],"next_table":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Schema
		if json.Unmarshal(b, &s) != nil || s.Validate() != nil {
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("valid, but cannot be written: %v", err)
		}
		var back Schema
		if err := json.Unmarshal(text, &back); err != nil || back.Validate() != nil || s.CheckChange(&back) != nil {
			t.Fatalf("%s does not come back: %v", text, err)
		}
		for i := range s.Tables {
			s.Tables[i].Shape()
			s.Tables[i].RetiredAt(time.Unix(1_760_000_000, 0))
		}
	})
}

func TestPlacementsFollowKeyspaces(t *testing.T) {
	s := Builtin(2, "dc1")
	want := []ring.Placement{{Strategy: ring.NetworkTopologyStrategy, Factors: map[string]int{"dc1": 2}}}
	if got := s.Placements(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}
