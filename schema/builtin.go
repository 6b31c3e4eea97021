package schema

import (
	"time"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
)

// BuiltinKeyspace is the name of the built-in keyspace.
const BuiltinKeyspace = "dunlin"

// The built-in tables.
const (
	EventsTable uint32 = 1 // dunlin.events (stream, id, type, data), windowed, append only
	KVTable     uint32 = 2 // dunlin.kv ((bucket, key), value, content_type)
)

// The columns of the built-in tables that rows have cells of.
const (
	EventsType    uint16 = 3
	EventsData    uint16 = 4
	KVValue       uint16 = 3
	KVContentType uint16 = 4
)

// EventsWindow is the width of the windows of dunlin.events.
const EventsWindow = 7 * 24 * time.Hour

// Builtin is the schema of a new cluster: the keyspace dunlin with its events
// and key-value tables, placed by zones in one datacenter.
func Builtin(replicationFactor int, datacenter string) Schema {
	return Schema{
		Keyspaces: []Keyspace{{
			Name:        BuiltinKeyspace,
			Replication: ring.Placement{Strategy: ring.NetworkTopologyStrategy, Factors: map[string]int{datacenter: replicationFactor}},
		}},
		Tables: []Table{
			{
				ID: EventsTable, Keyspace: BuiltinKeyspace, Name: "events", Window: Seconds(EventsWindow), AppendOnly: true, NextColumn: 5,
				Columns: []Column{
					{ID: 1, Name: "stream", Kind: record.Text, Role: Partition},
					{ID: 2, Name: "id", Kind: record.TimeUUID, Role: Clustering},
					{ID: EventsType, Name: "type", Kind: record.Text, Role: Regular},
					{ID: EventsData, Name: "data", Kind: record.Text, Role: Regular},
				},
			},
			{
				ID: KVTable, Keyspace: BuiltinKeyspace, Name: "kv", NextColumn: 5,
				Columns: []Column{
					{ID: 1, Name: "bucket", Kind: record.Text, Role: Partition, Position: 0},
					{ID: 2, Name: "key", Kind: record.Text, Role: Partition, Position: 1},
					{ID: KVValue, Name: "value", Kind: record.Blob, Role: Regular},
					{ID: KVContentType, Name: "content_type", Kind: record.Text, Role: Regular},
				},
			},
		},
		NextTable: 3,
	}
}
