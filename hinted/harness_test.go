package hinted

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// testTable is test.t (p text, c int, v text).
const testTable uint32 = 3

var testShape = record.Shape{Table: testTable, Clustering: []record.Component{{Kind: record.Int}}}

func node(i int) ring.NodeID { return ring.NodeID{byte(i)} }

// viewOf is a catalog version with some members, and the table unless dropped. Hints of
// any version are younger than its layout.
func viewOf(tb testing.TB, version uint64, factor int, dropped bool, members ...int) *schema.View {
	tb.Helper()
	return changedView(tb, version, factor, dropped, members)
}

// changedView is viewOf after steps of a change of the layout.
func changedView(tb testing.TB, version uint64, factor int, dropped bool, members []int, steps ...func(ring.Layout, []ring.Placement) (ring.Layout, error)) *schema.View {
	tb.Helper()
	s := schema.Builtin(factor, "dc1")
	if !dropped {
		s.Tables = append(s.Tables, schema.Table{
			ID: testTable, Keyspace: schema.BuiltinKeyspace, Name: "t", NextColumn: 4,
			Columns: []schema.Column{
				{ID: 1, Name: "p", Kind: record.Text, Role: schema.Partition},
				{ID: 2, Name: "c", Kind: record.Int, Role: schema.Clustering},
				{ID: 3, Name: "v", Kind: record.Text, Role: schema.Regular},
			},
		})
	}
	s.NextTable = testTable + 1
	var all []ring.Member
	for _, i := range members {
		address := fmt.Sprintf("10.0.0.%d:7481", i)
		all = append(all, ring.Member{
			ID: node(i), Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
			Zone: "z1", Datacenter: "dc1", State: ring.Normal, Voter: true,
		})
	}
	layout := ring.Bootstrap(all[0], 1)
	if len(all) > 1 {
		var err error
		if layout, err = layout.Join(1, all[1:], s.Placements()); err != nil {
			tb.Fatal(err)
		}
	}
	for _, step := range steps {
		var err error
		if layout, err = step(layout, s.Placements()); err != nil {
			tb.Fatal(err)
		}
	}
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: version, Sealed: true}, &layout, &s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// groupOf is a group with rows of the partitions of some numbers; the first number
// names the group.
func groupOf(tb testing.TB, born hlc.Timestamp, numbers ...int) *transport.Group {
	tb.Helper()
	g := &transport.Group{Version: 1, Born: born, Count: len(numbers)}
	for _, n := range numbers {
		partition := fmt.Appendf(nil, "p%d", n)
		suffix, err := testShape.AppendSuffix(nil, binary.BigEndian.AppendUint32(nil, uint32(n)))
		if err != nil {
			tb.Fatal(err)
		}
		key, err := testShape.AppendRowKey(nil, token.Of(partition), partition, suffix)
		if err != nil {
			tb.Fatal(err)
		}
		row := record.Row{Liveness: record.Liveness{Timestamp: int64(born)}, Cells: []record.Cell{
			{Column: 3, Timestamp: int64(born), Value: []byte(strings.Repeat("v", 100))},
		}}
		g.Entries = record.AppendEntry(g.Entries, key, row.Append(nil))
	}
	return g
}

// numbersIn is the inverse of groupOf.
func numbersIn(tb testing.TB, entries []byte) []int {
	tb.Helper()
	var numbers []int
	for rest := entries; len(rest) > 0; {
		key, _, next, err := record.NextEntry(rest)
		if err != nil {
			tb.Fatal(err)
		}
		k, err := record.ParseKey(key)
		if err != nil {
			tb.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscanf(string(k.Partition), "p%d", &n); err != nil {
			tb.Fatal(err)
		}
		numbers, rest = append(numbers, n), next
	}
	return numbers
}

func rangeOf(n int) token.RangeID { return token.Of(fmt.Appendf(nil, "p%d", n)).Range() }

// delivery is a group that a fake replica was sent, and its answer.
type delivery struct {
	to      ring.NodeID
	numbers []int
	group   transport.Group
	code    transport.Code
	at      time.Time
}

// loss is a call of OnDrop.
type loss struct {
	target ring.NodeID
	ranges []token.RangeID
	tables []uint32
}

// world is a Handoff over an engine in memory, with fake replicas around it.
type world struct {
	tb      testing.TB
	fs      vfs.FS
	cfg     Config
	engine  *storage.Engine
	h       *Handoff
	metrics *prometheus.Registry
	view    atomic.Pointer[schema.View]
	stop    func()
	log     io.Writer

	mu      sync.Mutex // guards the fields below
	dead    map[ring.NodeID]bool
	answer  func(to ring.NodeID, g *transport.Group) transport.Verdict // nil: OK
	latency time.Duration
	sent    []delivery
	losses  []loss
}

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.ReplayBytes = 4<<10, 1<<10
	return cfg
}

// openWorld opens the stores on fs and the hints in them; node 1 is this node.
func openWorld(tb testing.TB, fs vfs.FS, cfg Config) *world {
	tb.Helper()
	w := &world{tb: tb, fs: fs, cfg: cfg, dead: map[ring.NodeID]bool{}, log: io.Discard}
	w.view.Store(viewOf(tb, 1, 3, false, 1, 2, 3))
	w.open()
	return w
}

func (w *world) open() {
	w.tb.Helper()
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	store := storage.DefaultConfig()
	store.Dir, store.Memory, store.Committers = "data", 8<<20, 1
	var err error
	w.engine, err = storage.Open(store, storage.Env{
		FS: w.fs, Logger: logger, Registerer: prometheus.NewRegistry(), Simulated: true,
		Fatal: func(err error) { w.tb.Errorf("the store has failed: %v", err) },
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	w.metrics = prometheus.NewRegistry()
	w.h, err = New(w.cfg, Env{
		Hints: w.engine.Hints(), Self: node(1), View: w.view.Load,
		Alive: func(id ring.NodeID) bool { w.mu.Lock(); defer w.mu.Unlock(); return !w.dead[id] },
		Apply: w.apply,
		OnDrop: func(target ring.NodeID, ranges []token.RangeID, tables []uint32) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.losses = append(w.losses, loss{target, ranges, tables})
		},
		Logger: logger, Registerer: w.metrics,
	})
	if err != nil {
		w.tb.Fatal(err)
	}
}

// apply is the fake replicas.
func (w *world) apply(to ring.NodeID, g *transport.Group, deadline time.Time, sink transport.Sink, tag uint32) {
	w.mu.Lock()
	own := *g
	own.Entries = append([]byte{}, g.Entries...)
	v := transport.Verdict{}
	switch {
	case w.dead[to]:
		v.Code = transport.Unreachable
	case w.answer != nil:
		v = w.answer(to, &own)
	}
	w.sent = append(w.sent, delivery{to, numbersIn(w.tb, own.Entries), own, v.Code, time.Now()})
	latency := w.latency
	w.mu.Unlock()
	if time.Until(deadline) <= 0 {
		w.tb.Error("sent with a deadline in the past")
	}
	if latency == 0 {
		sink.Done(tag, v)
		return
	}
	time.AfterFunc(latency, func() { sink.Done(tag, v) })
}

// run starts Run; w.stop ends it.
func (w *world) run() {
	ctx, cancel := context.WithCancel(w.tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.h.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.tb.Error(err)
		}
		w.stop = func() {}
	}
}

func (w *world) close() {
	w.tb.Helper()
	if w.stop != nil {
		w.stop()
	}
	if err := w.engine.Close(); err != nil {
		w.tb.Error(err)
	}
}

// reopen ends the node in order, and starts it on the same disk.
func (w *world) reopen() {
	w.tb.Helper()
	w.close()
	w.open()
}

func (w *world) setDead(dead bool, nodes ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range nodes {
		w.dead[node(i)] = dead
	}
}

func (w *world) setAnswer(f func(to ring.NodeID, g *transport.Group) transport.Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// drain waits until nothing is kept.
func (w *world) drain() {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(w.tb.Context(), time.Hour)
	defer cancel()
	if err := w.h.Drain(ctx); err != nil {
		w.tb.Errorf("%v: %+v", err, w.h.Status())
	}
}

// delivered lists the groups' first numbers that a node has acknowledged, in order.
func (w *world) delivered(to ring.NodeID) []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var numbers []int
	for _, d := range w.sent {
		if d.to == to && d.code == transport.OK {
			numbers = append(numbers, d.numbers[0])
		}
	}
	return numbers
}

// hold holds a group and waits for the verdict.
func (w *world) hold(target ring.NodeID, g *transport.Group) transport.Verdict {
	a := make(answer, 1)
	w.h.Hold(target, g, a, 0)
	return <-a
}

// keys counts what the store has of hints and summaries.
func (w *world) keys() (hints, summaries int) {
	w.tb.Helper()
	count := func(from, to byte) (n int) {
		err := w.engine.Hints().Scan([]byte{from}, []byte{to}, func([]byte, []byte) bool { n++; return true })
		if err != nil {
			w.tb.Error(err)
		}
		return n
	}
	return count(1, 3), count(3, 4)
}

// value reads a metric, summed over the labels not given.
func (w *world) value(name string, labels ...string) float64 {
	w.tb.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.tb.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "dunlin_hinted_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := true
			for i := 0; i < len(labels); i += 2 {
				found := false
				for _, l := range m.GetLabel() {
					found = found || (l.GetName() == labels[i] && l.GetValue() == labels[i+1])
				}
				match = match && found
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, cfg Config, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := openWorld(t, vfs.NewMem(), cfg)
		f(t, w)
		w.close()
	})
}

func now() hlc.Timestamp { return hlc.FromTime(time.Now()) }
