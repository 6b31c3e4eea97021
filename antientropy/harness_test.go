package antientropy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/replica"
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
	rowsShape = record.Shape{Table: tableRows, Clustering: []record.Component{{Kind: record.Int}}}
	daysShape = record.Shape{Table: tableDays, Window: 24 * time.Hour, Clustering: []record.Component{{Kind: record.Timestamp}}}
)

// catalog describes a version of the catalog.
type catalog struct {
	version uint64
	nodes   int
	factor  int
	floor   uint32 // of tableDays
}

func (c catalog) view(tb testing.TB) *schema.View {
	tb.Helper()
	s := schema.Builtin(c.factor, "dc1")
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
		Window: schema.Seconds(24 * time.Hour), Retention: schema.Seconds(24 * time.Hour), Floor: c.floor,
	})
	s.NextTable = tableDays + 1
	member := func(i int) ring.Member {
		address := fmt.Sprintf("10.0.0.%d:7481", i+1)
		return ring.Member{
			ID: nodeID(i), Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
			Zone: fmt.Sprint("z", i), Datacenter: "dc1", State: ring.Normal, Voter: true,
		}
	}
	layout := ring.Bootstrap(member(0), 1)
	for i := 1; i < c.nodes; i++ {
		layout.Members = append(layout.Members, member(i))
	}
	for i := range layout.Owners {
		layout.Owners[i] = uint16(i % c.nodes)
	}
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: c.version, Sealed: true}, &layout, &s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// everything is no limit.
var everything = tree.Limits{Rows: 1 << 30, Time: time.Hour}

func nodeID(i int) ring.NodeID { return ring.NodeID{byte(i + 1)} }

// cluster is some replicas with anti-entropy, wired by calls.
type cluster struct {
	nodes []*node
	cfg   Config
	// intercept, if set, sees each call before its handler; an error ends it.
	intercept func(from, to int, kind string, body []byte) error

	mu    sync.Mutex // guards the fields below
	rows  int        // that travelled
	calls map[string]int
	bytes map[string]int // of questions and answers, by kind
}

// node is one of them.
type node struct {
	*replica.Replica
	ae     *AntiEntropy
	engine *storage.Engine
	fs     vfs.FS
	number int
	view   *schema.View
	hints  fakeHints

	registry *prometheus.Registry
}

func newCluster(tb testing.TB, nodes int, change func(*Config)) *cluster {
	tb.Helper()
	c := &cluster{cfg: DefaultConfig(), calls: map[string]int{}, bytes: map[string]int{}}
	c.cfg.Share, c.cfg.HurryShare = 1, 1
	if change != nil {
		change(&c.cfg)
	}
	v := catalog{version: 1, nodes: nodes, factor: nodes}.view(tb)
	for i := range nodes {
		n := &node{number: i, fs: vfs.NewCrashableMem(), view: v}
		c.nodes = append(c.nodes, n)
		c.open(tb, n)
	}
	tb.Cleanup(func() {
		for _, n := range c.nodes {
			n.close(tb)
		}
	})
	return c
}

// open starts a node over what its file system has.
func (c *cluster) open(tb testing.TB, n *node) {
	tb.Helper()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	store := storage.DefaultConfig()
	store.Dir, store.Memory, store.Committers, store.DiskReserve = "data", 8<<20, 2, 0
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
	n.registry = prometheus.NewRegistry()
	clock := hlc.New(time.Now, 0, time.Hour)
	clock.Raise(hlc.FromTime(time.Now().Add(1e6 * time.Hour)))
	n.ae, err = New(c.cfg, Env{
		Self: nodeID(n.number), Replica: n.Replica, Marks: n.Replica, Purger: n.Replica, Hints: &n.hints, Engine: n.engine, Clock: clock,
		Call: func(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error) {
			return c.call(ctx, n.number, int(to[0])-1, kind, body)
		},
		Logger: logger, Registerer: n.registry,
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// fakeHints has a floor of its own, if it is not 0.
type fakeHints struct{ floor hlc.Timestamp }

func (h *fakeHints) Publish(limit hlc.Timestamp) (hlc.Timestamp, error) {
	if h.floor > 0 {
		return min(h.floor, limit), nil
	}
	return limit, nil
}

func (*fakeHints) Oldest(ring.NodeID) (hlc.Timestamp, bool) { return 0, false }

func (n *node) close(tb testing.TB) {
	n.Close()
	if err := n.engine.Close(); err != nil {
		tb.Error(err)
	}
}

func (c *cluster) call(ctx context.Context, from, to int, kind string, body []byte) ([]byte, error) {
	c.count(kind, len(body), 1, 0)
	if c.intercept != nil {
		if err := c.intercept(from, to, kind, body); err != nil {
			return nil, err
		}
	}
	answer, err := c.nodes[to].ae.Handle(ctx, nodeID(from), kind, body)
	rows := 0
	if kind == message.Rows && err == nil {
		if m, err := message.DecodeRowsAnswer(answer); err == nil {
			for rest := m.Rows; len(rest) > 0; rows++ {
				_, _, rest, _ = record.NextEntry(rest)
			}
		}
	}
	c.count(kind, len(answer), 0, rows)
	return answer, err
}

// count adds to what was said.
func (c *cluster) count(kind string, bytes, calls, rows int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes[kind] += bytes
	c.calls[kind] += calls
	c.rows += rows
}

// run steps all nodes in turn for some time.
func (c *cluster) run(tb testing.TB, d time.Duration) {
	tb.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for _, n := range c.nodes {
			n.steps(tb, 10_000)
		}
	}
}

// steps runs Step until it is idle.
func (n *node) steps(tb testing.TB, most int) {
	tb.Helper()
	for range most {
		idle, err := n.ae.Step(tb.Context())
		if err != nil {
			tb.Fatalf("node %d: %v", n.number, err)
		}
		if idle {
			return
		}
	}
	tb.Errorf("node %d is not idle after %d steps", n.number, most)
}

// apply writes fragments.
func (n *node) apply(tb testing.TB, entries ...[]byte) {
	tb.Helper()
	done := make(verdicts, 1)
	n.Apply(nodeID(0), transport.Group{Version: n.View().Version, Born: hlc.FromTime(time.Now()), Count: len(entries), Entries: bytes.Join(entries, nil)}, time.Time{}, done, 0)
	if v := <-done; v.Code != transport.OK {
		tb.Fatalf("apply: %v", v.Err())
	}
}

// content digests everything that a node holds, by key, in canonical form.
func (n *node) content(tb testing.TB) map[string]record.Digest {
	tb.Helper()
	all := map[string]record.Digest{}
	w := tree.NewWalker(n.engine)
	for id := range token.RangeID(token.Ranges) {
		leaves, err := n.Leaves(tb.Context(), id)
		if err != nil {
			tb.Fatal(err)
		}
		for _, l := range leaves {
			_, err := w.Walk(tree.Span{Leaf: l.Leaf}, tree.Form{}, everything, func(key, _ []byte, sum record.Digest, counts bool) bool {
				if counts {
					all[string(key)] = sum
				}
				return true
			})
			if err != nil {
				tb.Fatal(err)
			}
		}
	}
	return all
}

// checkClean hashes every leaf anew and compares it with the record of it.
func (n *node) checkClean(tb testing.TB) (clean int) {
	tb.Helper()
	w := tree.NewWalker(n.engine)
	for id := range token.RangeID(token.Ranges) {
		leaves, err := n.Leaves(tb.Context(), id)
		if err != nil {
			tb.Fatal(err)
		}
		for _, l := range leaves {
			var fresh record.LeafContent
			if _, err := w.Walk(tree.Span{Leaf: l.Leaf}, tree.Form{}, everything, func(_, _ []byte, sum record.Digest, counts bool) bool {
				if counts {
					fresh.Add(sum)
				}
				return true
			}); err != nil {
				tb.Fatal(err)
			}
			if l.Clean {
				clean++
				if !fresh.Equal(&l.LeafContent) {
					tb.Errorf("node %d: leaf %+v is called clean, with other content", n.number, l.Leaf)
				}
			}
		}
	}
	return clean
}

func (c *cluster) checkEqual(tb testing.TB) {
	tb.Helper()
	first := c.nodes[0].content(tb)
	for _, n := range c.nodes[1:] {
		if other := n.content(tb); !maps.Equal(first, other) {
			tb.Errorf("node 0 holds %d keys, node %d %d, or they differ", len(first), n.number, len(other))
		}
	}
}

func (n *node) counter(c prometheus.Collector) int { return int(testutil.ToFloat64(c)) }

func key(tb testing.TB, partition string, number int) []byte {
	tb.Helper()
	suffix, err := rowsShape.AppendSuffix(nil, binary.BigEndian.AppendUint32(nil, uint32(number)))
	if err != nil {
		tb.Fatal(err)
	}
	k, err := rowsShape.AppendRowKey(nil, token.Of([]byte(partition)), []byte(partition), suffix)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func dayKey(tb testing.TB, partition string, day int) []byte {
	tb.Helper()
	suffix := daySuffix(tb, day)
	k, err := daysShape.AppendRowKey(nil, token.Of([]byte(partition)), []byte(partition), suffix)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// eventKey is a row of dunlin.events.
func eventKey(tb testing.TB, stream string, number int) []byte {
	tb.Helper()
	shape := schema.Builtin(1, "dc1").Tables[0].Shape()
	id := uuid.UUID{0: 0x58, 1: 0xe0, 3: byte(number), 4: 0xc2, 5: 0x34, 6: 0x11, 7: 0xea, 8: 0x80}
	suffix, err := shape.AppendSuffix(nil, id[:])
	if err != nil {
		tb.Fatal(err)
	}
	k, err := shape.AppendRowKey(nil, token.Of([]byte(stream)), []byte(stream), suffix)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func daySuffix(tb testing.TB, day int) []byte {
	tb.Helper()
	at := time.Date(2020, 1, day, 0, 0, 0, 0, time.UTC).UnixMilli()
	suffix, err := daysShape.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(at)))
	if err != nil {
		tb.Fatal(err)
	}
	return suffix
}

func value(ts int64, text string) []byte {
	r := record.Row{
		Liveness: record.Liveness{Timestamp: ts},
		Cells:    []record.Cell{{Column: column, Timestamp: ts, Value: []byte(text)}},
	}
	return r.Append(nil)
}

func put(tb testing.TB, partition string, number int, ts int64, text string) []byte {
	return record.AppendEntry(nil, key(tb, partition, number), value(ts, text))
}

func head(shape *record.Shape, partition string, h record.Head) []byte {
	return record.AppendEntry(nil, shape.AppendHeadKey(nil, token.Of([]byte(partition)), []byte(partition)), h.Append(nil))
}
