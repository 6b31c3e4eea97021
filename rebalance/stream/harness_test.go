package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/replica"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// The tables of the tests: rows (p text, c int, v text), days, which is windowed by
// day, and one of another keyspace.
const (
	tableRows  uint32 = 3
	tableDays  uint32 = 4
	tableOther uint32 = 5
	column     uint16 = 3

	otherKeyspace = "other"
)

var (
	rowsShape  = record.Shape{Table: tableRows, Clustering: []record.Component{{Kind: record.Int}}}
	otherShape = record.Shape{Table: tableOther, Clustering: []record.Component{{Kind: record.Int}}}
	daysShape  = record.Shape{Table: tableDays, Window: 24 * time.Hour, Clustering: []record.Component{{Kind: record.Timestamp}}}
)

// testView is of a cluster of one that another node is joining.
func testView(tb testing.TB, version uint64, floor uint32) *schema.View {
	tb.Helper()
	s := schema.Builtin(1, "dc1")
	s.Keyspaces = append(s.Keyspaces, schema.Keyspace{Name: otherKeyspace, Replication: s.Keyspaces[0].Replication})
	columns := func(clustering record.Kind) []schema.Column {
		return []schema.Column{
			{ID: 1, Name: "p", Kind: record.Text, Role: schema.Partition},
			{ID: 2, Name: "c", Kind: clustering, Role: schema.Clustering},
			{ID: column, Name: "v", Kind: record.Text, Role: schema.Regular},
		}
	}
	s.Tables = append(s.Tables, schema.Table{
		ID: tableRows, Keyspace: schema.BuiltinKeyspace, Name: "rows", NextColumn: 4, Columns: columns(record.Int),
	}, schema.Table{
		ID: tableDays, Keyspace: schema.BuiltinKeyspace, Name: "days", NextColumn: 4, Columns: columns(record.Timestamp),
		Window: schema.Seconds(24 * time.Hour), Retention: schema.Seconds(24 * time.Hour), Floor: floor,
	}, schema.Table{
		ID: tableOther, Keyspace: otherKeyspace, Name: "rows", NextColumn: 4, Columns: columns(record.Int),
	})
	s.NextTable = tableOther + 1
	member := func(i int) ring.Member {
		address := fmt.Sprintf("10.0.0.%d:7481", i+1)
		return ring.Member{
			ID: nodeID(i), Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
			Zone: fmt.Sprint("z", i), Datacenter: "dc1", State: ring.Normal, Voter: true,
		}
	}
	layout, err := ring.Bootstrap(member(0), 1).Announce(2, ring.Plan{Kind: "join", Join: []ring.Member{member(1)}})
	if err == nil {
		layout, err = layout.Assign(3, 0, s.Placements())
	}
	if err != nil {
		tb.Fatal(err)
	}
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: version, Sealed: true}, &layout, &s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func nodeID(i int) ring.NodeID { return ring.NodeID{byte(i + 1)} }

// node is a replica with both sides of filling.
type node struct {
	*replica.Replica
	engine *storage.Engine
	fs     *vfs.MemFS
	number int
	source *Source
	sink   *Sink
	view   *schema.View
}

// pair is a source and a node that is to have some of its ranges.
type pair struct {
	cfg    Config
	memory int64 // of each store
	nodes  [2]*node
	// change, if set, sees each answer before its sink, and may put another in place.
	change func(q *Request, answer []byte, err error) ([]byte, error)

	mu    sync.Mutex // guards asked
	asked []Request
}

func newPair(tb testing.TB, change func(*Config)) *pair {
	tb.Helper()
	p := &pair{cfg: DefaultConfig(), memory: 8 << 20}
	p.cfg.PersistPages = 2
	p.cfg.PauseMin = time.Millisecond
	if change != nil {
		change(&p.cfg)
	}
	v := testView(tb, 3, 0)
	for i := range p.nodes {
		p.nodes[i] = &node{number: i, fs: vfs.NewCrashableMem(), view: v}
		p.open(tb, p.nodes[i])
	}
	tb.Cleanup(func() {
		for _, n := range p.nodes {
			n.close(tb)
		}
	})
	return p
}

func (p *pair) open(tb testing.TB, n *node) {
	tb.Helper()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	store := storage.DefaultConfig()
	store.Dir, store.Memory, store.Committers, store.DiskReserve = "data", p.memory, 2, 0
	var err error
	n.engine, err = storage.Open(store, storage.Env{
		FS: n.fs, Logger: logger, Registerer: prometheus.NewRegistry(), Simulated: true,
		Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	n.Replica, err = replica.New(replica.DefaultConfig(), replica.Env{
		Engine: n.engine, Self: nodeID(n.number), View: func() *schema.View { return n.view },
		CatchUp: func(context.Context, ring.NodeID, uint64) error { return errors.New("not expected") },
		Logger:  logger, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	n.source, err = NewSource(p.cfg, SourceEnv{Self: nodeID(n.number), Replica: n.Replica, Engine: n.engine, Registerer: registry})
	if err != nil {
		tb.Fatal(err)
	}
	clock := hlc.New(time.Now, 0, time.Hour)
	clock.Raise(hlc.FromTime(time.Now().Add(1e6 * time.Hour)))
	n.sink, err = NewSink(p.cfg, SinkEnv{
		Self: nodeID(n.number), Replica: n.Replica, Meta: n.engine.Meta(), Clock: clock, Logger: logger, Registerer: registry,
		Caller: caller{p, n.number}, Pace: func() float64 { return 1 },
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func (n *node) close(tb testing.TB) {
	n.Close()
	if err := n.engine.Close(); err != nil {
		tb.Error(err)
	}
}

// adopt lets both nodes, or one, serve by a view.
func adopt(tb testing.TB, v *schema.View, nodes ...*node) {
	tb.Helper()
	for _, n := range nodes {
		n.view = v
		if err := n.Adopt(tb.Context(), v); err != nil {
			tb.Fatal(err)
		}
	}
}

// caller calls from a node.
type caller struct {
	p    *pair
	from int
}

func (c caller) Call(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error) {
	q, err := DecodeRequest(body)
	if err != nil {
		return nil, err
	}
	q.After = bytes.Clone(q.After)
	c.p.mu.Lock()
	c.p.asked = append(c.p.asked, q)
	c.p.mu.Unlock()
	answer, err := c.p.nodes[int(to[0])-1].source.Handle(ctx, nodeID(c.from), kind, body)
	if c.p.change != nil {
		return c.p.change(&q, answer, err)
	}
	return answer, err
}

// questions are the requests since the last call.
func (p *pair) questions() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.asked
	p.asked = nil
	return all
}

// target is the first range that the second node is to have.
func (p *pair) target(tb testing.TB) Target {
	tb.Helper()
	for _, m := range p.nodes[0].View().Ring.Moves() {
		if slices.Contains(m.Gained, nodeID(1)) {
			return Target{Keyspace: schema.BuiltinKeyspace, Range: m.Range, Change: 2}
		}
	}
	tb.Fatal("nothing moves")
	return Target{}
}

// partitions finds keys of partitions of a range.
func partitions(id token.RangeID, n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprint("p", i); token.Of([]byte(key)).Range() == id {
			keys = append(keys, key)
		}
	}
	return keys
}

func (n *node) apply(tb testing.TB, entries ...[]byte) {
	tb.Helper()
	done := make(verdicts, 1)
	n.Apply(nodeID(0), transport.Group{Version: n.View().Version, Born: hlc.FromTime(time.Now()), Count: len(entries), Entries: bytes.Join(entries, nil)}, time.Time{}, done, 0)
	if v := <-done; v.Code != transport.OK {
		tb.Errorf("apply: %v", v.Err())
	}
}

// content digests what a node holds of a range in a keyspace, in canonical form.
func (n *node) content(tb testing.TB, t Target) map[string]record.Digest {
	tb.Helper()
	all := map[string]record.Digest{}
	var canon record.Canon
	states, err := n.Leaves(tb.Context(), t.Range)
	if err != nil {
		tb.Fatal(err)
	}
	for _, s := range states {
		if n.View().Table(s.Table).Keyspace != t.Keyspace {
			continue
		}
		for key, fragment := range n.entries(tb, s.Leaf) {
			k, err := record.ParseKey([]byte(key))
			if err != nil {
				tb.Fatal(err)
			}
			var sum record.Digest
			var counts bool
			if s.Space == record.SpaceHeads {
				sum, counts, err = canon.Head([]byte(key), fragment)
			} else {
				heads := n.entries(tb, s.Heads())
				head := record.AppendHeadOf(nil, s.Table, record.PartitionOf([]byte(key), k.Suffix))
				if err := canon.SetHead(heads[string(head)]); err != nil {
					tb.Fatal(err)
				}
				sum, counts, err = canon.Row([]byte(key), k.Suffix, fragment)
			}
			if err != nil {
				tb.Fatal(err)
			}
			if counts {
				all[key] = sum
			}
		}
	}
	return all
}

// entries reads a leaf.
func (n *node) entries(tb testing.TB, l record.Leaf) map[string][]byte {
	tb.Helper()
	all := map[string][]byte{}
	lower, upper := l.Bounds()
	c, err := n.engine.Cursor(lower, upper)
	if err != nil {
		tb.Fatal(err)
	}
	for ok := c.Seek(lower); ok; ok = c.Next() {
		value, err := c.Value()
		if err != nil {
			tb.Fatal(err)
		}
		all[string(c.Key())] = bytes.Clone(value)
	}
	if err := errors.Join(c.Err(), c.Close()); err != nil {
		tb.Fatal(err)
	}
	return all
}

func (p *pair) checkEqual(tb testing.TB, t Target) (keys int) {
	tb.Helper()
	a, b := p.nodes[0].content(tb, t), p.nodes[1].content(tb, t)
	if !maps.Equal(a, b) {
		tb.Errorf("the source holds %d keys, the sink %d, or they differ", len(a), len(b))
	}
	return len(a)
}

func suffix(tb testing.TB, shape *record.Shape, number int) []byte {
	tb.Helper()
	value := binary.BigEndian.AppendUint32(nil, uint32(number))
	if shape.Window > 0 {
		at := time.Date(2020, 1, 1+number, 0, 0, 0, 0, time.UTC).UnixMilli()
		value = binary.BigEndian.AppendUint64(nil, uint64(at))
	}
	s, err := shape.AppendSuffix(nil, value)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// key is a row of a partition; in days, number counts days.
func key(tb testing.TB, shape *record.Shape, partition string, number int) []byte {
	tb.Helper()
	k, err := shape.AppendRowKey(nil, token.Of([]byte(partition)), []byte(partition), suffix(tb, shape, number))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func value(ts int64, text string) []byte {
	r := record.Row{
		Liveness: record.Liveness{Timestamp: ts},
		Cells:    []record.Cell{{Column: column, Timestamp: ts, Value: []byte(text)}},
	}
	return r.Append(nil)
}

func put(tb testing.TB, shape *record.Shape, partition string, number int, ts int64, text string) []byte {
	return record.AppendEntry(nil, key(tb, shape, partition, number), value(ts, text))
}

func head(shape *record.Shape, partition string, h record.Head) []byte {
	return record.AppendEntry(nil, shape.AppendHeadKey(nil, token.Of([]byte(partition)), []byte(partition)), h.Append(nil))
}

// load writes rows of all kinds into a target, and some that are not of it.
func (p *pair) load(tb testing.TB, t Target) {
	tb.Helper()
	names := partitions(t.Range, 6)
	elsewhere := partitions((t.Range+1)%token.Ranges, 1)[0]
	for i, name := range names {
		var entries [][]byte
		for n := range 30 {
			entries = append(entries, put(tb, &rowsShape, name, n, int64(10+n), fmt.Sprint("row ", n)),
				put(tb, &daysShape, name, n, int64(10+n), fmt.Sprint("day ", n)))
		}
		entries = append(entries, put(tb, &otherShape, name, 1, 5, "not asked for"), put(tb, &rowsShape, elsewhere, i, 5, "not asked for"))
		switch i {
		case 1:
			entries = append(entries, head(&rowsShape, name, record.Head{Deletion: record.Deletion{Timestamp: 15, Seconds: 100}}))
		case 2:
			entries = append(entries, head(&daysShape, name, record.Head{
				Ranges: []record.RangeTombstone{{Start: suffix(tb, &daysShape, 3), End: suffix(tb, &daysShape, 9), Deletion: record.Deletion{Timestamp: 100, Seconds: 101}}},
				Static: record.Row{Cells: []record.Cell{{Column: 9, Timestamp: 7, Value: []byte("static")}}},
			}))
		}
		p.nodes[0].apply(tb, entries...)
	}
}
