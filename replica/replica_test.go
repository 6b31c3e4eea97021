package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// The tables of the tests: rows (p text, c int, v text), and days, which is
// windowed by day.
const (
	tableRows uint32 = 3
	tableDays uint32 = 4
	column    uint16 = 3
)

var (
	self = ring.NodeID{1}
	peer = ring.NodeID{2}
)

// catalog describes a version of the catalog for tests.
type catalog struct {
	version uint64
	changed map[token.RangeID]uint64 // others: version 1
	floor   uint32                   // of tableDays
	drop    bool                     // tableRows is gone
}

func (c catalog) view(tb testing.TB) *schema.View {
	tb.Helper()
	s := schema.Builtin(1, "dc1")
	columns := func(clustering record.Kind) []schema.Column {
		return []schema.Column{
			{ID: 1, Name: "p", Kind: record.Text, Role: schema.Partition},
			{ID: 2, Name: "c", Kind: clustering, Role: schema.Clustering},
			{ID: column, Name: "v", Kind: record.Text, Role: schema.Regular},
		}
	}
	if !c.drop {
		s.Tables = append(s.Tables, schema.Table{
			ID: tableRows, Keyspace: schema.BuiltinKeyspace, Name: "rows", NextColumn: 4, Columns: columns(record.Int),
		})
	}
	s.Tables = append(s.Tables, schema.Table{
		ID: tableDays, Keyspace: schema.BuiltinKeyspace, Name: "days", NextColumn: 4, Columns: columns(record.Timestamp),
		Window: schema.Seconds(24 * time.Hour), Retention: schema.Seconds(24 * time.Hour), Floor: c.floor,
	})
	s.NextTable = tableDays + 1
	address := "10.0.0.1:7481"
	layout := ring.Bootstrap(ring.Member{
		ID: self, Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
		Zone: "z1", Datacenter: "dc1", State: ring.Normal, Voter: true,
	}, 1)
	for id, version := range c.changed {
		layout.ChangedAt[id] = version
	}
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: c.version, Sealed: true}, &layout, &s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// fixture is a replica over an engine in memory.
type fixture struct {
	*Replica
	engine  *storage.Engine
	catchUp func(ctx context.Context, from ring.NodeID, version uint64) error
}

func newFixture(tb testing.TB, fs vfs.FS, committers int, change func(*Config, *storage.Config)) *fixture {
	tb.Helper()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	store := storage.DefaultConfig()
	store.Dir, store.Memory, store.Committers = "data", 8<<20, committers
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg, &store)
	}
	engine, err := storage.Open(store, storage.Env{
		FS: fs, Logger: logger, Registerer: prometheus.NewRegistry(), Simulated: true,
		Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	f := &fixture{engine: engine}
	first := catalog{version: 1}.view(tb)
	f.Replica, err = New(cfg, Env{
		Engine: engine, Self: self, View: func() *schema.View { return first },
		CatchUp: func(ctx context.Context, from ring.NodeID, version uint64) error {
			return f.catchUp(ctx, from, version)
		},
		Logger: logger, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	f.catchUp = func(context.Context, ring.NodeID, uint64) error { return errors.New("not expected") }
	return f
}

// start is newFixture that is closed at the end of the test.
func start(tb testing.TB, committers int, change func(*Config, *storage.Config)) *fixture {
	tb.Helper()
	f := newFixture(tb, vfs.NewMem(), committers, change)
	tb.Cleanup(func() { f.stop(tb) })
	return f
}

func (f *fixture) stop(tb testing.TB) {
	f.Close()
	if err := f.engine.Close(); err != nil {
		tb.Error(err)
	}
}

// sink keeps the verdict of one group.
type sink struct {
	calls   atomic.Int32
	verdict chan transport.Verdict
}

func newSink() *sink { return &sink{verdict: make(chan transport.Verdict, 2)} }

func (s *sink) Done(tag uint32, v transport.Verdict) {
	s.calls.Add(1)
	s.verdict <- v
}

// group makes a mutation group of version 1.
func group(entries ...[]byte) transport.Group {
	return transport.Group{Version: 1, Count: len(entries), Entries: bytes.Join(entries, nil)}
}

func rowKey(tb testing.TB, partition string, number int) []byte {
	tb.Helper()
	shape := record.Shape{Table: tableRows, Clustering: []record.Component{{Kind: record.Int}}}
	suffix, err := shape.AppendSuffix(nil, binary.BigEndian.AppendUint32(nil, uint32(number)))
	if err != nil {
		tb.Fatal(err)
	}
	key, err := shape.AppendRowKey(nil, token.Of([]byte(partition)), []byte(partition), suffix)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

var daysShape = record.Shape{Table: tableDays, Window: 24 * time.Hour, Clustering: []record.Component{{Kind: record.Timestamp}}}

// day is the start of a day of 2020.
func day(n int) time.Time { return time.Date(2020, 1, n, 0, 0, 0, 0, time.UTC) }

func dayEntry(tb testing.TB, partition string, n int) []byte {
	tb.Helper()
	suffix, err := daysShape.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(day(n).UnixMilli())))
	if err != nil {
		tb.Fatal(err)
	}
	key, err := daysShape.AppendRowKey(nil, token.Of([]byte(partition)), []byte(partition), suffix)
	if err != nil {
		tb.Fatal(err)
	}
	return record.AppendEntry(nil, key, fragment("v"))
}

func fragment(value string) []byte {
	r := record.Row{
		Liveness: record.Liveness{Timestamp: 10},
		Cells:    []record.Cell{{Column: column, Timestamp: 10, Value: []byte(value)}},
	}
	return r.Append(nil)
}

func entry(tb testing.TB, partition string, number int) []byte {
	return record.AppendEntry(nil, rowKey(tb, partition, number), fragment("v"))
}

// apply applies a group and waits for its verdict.
func (f *fixture) apply(tb testing.TB, g transport.Group) transport.Verdict {
	tb.Helper()
	s := newSink()
	f.Apply(peer, g, time.Time{}, s, 7)
	v := <-s.verdict
	if n := s.calls.Load(); n != 1 {
		tb.Errorf("the sink has heard %d times", n)
	}
	return v
}

func (f *fixture) mustApply(tb testing.TB, g transport.Group) {
	tb.Helper()
	if v := f.apply(tb, g); v.Code != transport.OK {
		tb.Fatalf("apply: %v", v.Err())
	}
}

// count reads a partition and counts its rows.
func (f *fixture) count(tb testing.TB, table uint32, partition string) int {
	tb.Helper()
	a := f.Read(tb.Context(), peer, &transport.ReadRequest{Version: f.View().Version, Table: table, Partition: []byte(partition)})
	if a.Verdict.Code != transport.OK {
		tb.Fatalf("read: %v", a.Verdict.Err())
	}
	return a.Live
}

// partitionIn returns a partition name whose token is in a range that matches.
func partitionIn(match func(token.RangeID) bool) string {
	for i := 0; ; i++ {
		name := fmt.Sprint("p", i)
		if match(token.Of([]byte(name)).Range()) {
			return name
		}
	}
}
