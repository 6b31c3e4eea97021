package coordinator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

var _ Peers = (*transport.Transport)(nil)

// cluster is a set of nodes in memory. Each node's coordinator reaches all of
// them through it: it is their Peers and Liveness.
type cluster struct {
	nodes []*node

	mu   sync.Mutex // guards view
	view *schema.View
}

// node is one replica in memory: merged fragments by key, and how it behaves.
type node struct {
	id          ring.NodeID
	coordinator *Coordinator
	metrics     *prometheus.Registry

	mu       sync.Mutex // guards the fields below
	rows     map[string][]byte
	dead     bool          // not alive
	hangs    bool          // never answers
	delay    time.Duration // before it answers
	readOnly bool          // its disk is full
	refuses  *transport.Verdict
	applies  int                 // groups that arrived
	kept     map[ring.NodeID]int // by target: rows that its coordinator left to hints
	held     map[ring.NodeID]int // by owner: rows that it was asked to hold
	largest  int                 // bytes of the largest of them that had several rows
	reads    int                 // questions that arrived
}

// behave changes a node's behaviour.
func (n *node) behave(f func(n *node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

// newCluster starts nodes with coordinators in front of them.
func newCluster(tb testing.TB, nodes, factor int, change func(*Config, *Env)) *cluster {
	tb.Helper()
	cl := &cluster{view: testView(tb, nodes, factor, 1)}
	for i := range nodes {
		m := cl.view.Ring.Member(uint16(i))
		cl.nodes = append(cl.nodes, &node{id: m.ID, rows: map[string][]byte{}, metrics: prometheus.NewRegistry(),
			kept: map[ring.NodeID]int{}, held: map[ring.NodeID]int{}})
	}
	for _, n := range cl.nodes {
		clock := hlc.New(time.Now, 0, 5*time.Second)
		clock.Raise(hlc.FromTime(time.Now().Add(24 * time.Hour)))
		cfg := DefaultConfig()
		env := Env{
			Self: n.id, View: cl.current, Peers: cl, Liveness: cl, Clock: clock,
			Seal:    func(context.Context) error { return errors.New("not expected") },
			CatchUp: func(context.Context, ring.NodeID, uint64) error { return errors.New("not expected") },
			Hints:   n,
			Rand:    rand.New(rand.NewPCG(1, 2)),
			Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: n.metrics,
		}
		if change != nil {
			change(&cfg, &env)
		}
		var err error
		if n.coordinator, err = New(cfg, env); err != nil {
			tb.Fatal(err)
		}
	}
	return cl
}

func (cl *cluster) current() *schema.View {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.view
}

func (cl *cluster) adopt(v *schema.View) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.view = v
}

func (cl *cluster) node(id ring.NodeID) *node {
	for _, n := range cl.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// Alive implements Liveness.
func (cl *cluster) Alive(id ring.NodeID) bool {
	n := cl.node(id)
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.dead
}

// Apply implements Peers: the verdict comes from another goroutine.
func (cl *cluster) Apply(to ring.NodeID, g *transport.Group, deadline time.Time, sink transport.Sink, tag uint32) {
	n := cl.node(to)
	entries, owner, count := bytes.Clone(g.Entries), g.Owner, g.Count
	n.mu.Lock()
	n.applies++
	if owner != (ring.NodeID{}) {
		n.held[owner] += count
		n.mu.Unlock()
		time.AfterFunc(0, func() { sink.Done(tag, transport.Verdict{}) })
		return
	}
	if g.Count > 1 {
		n.largest = max(n.largest, len(g.Entries))
	}
	wait, hangs := n.delay, n.hangs
	n.mu.Unlock()
	if left := time.Until(deadline); hangs || wait > left {
		time.AfterFunc(left, func() { sink.Done(tag, transport.Verdict{Code: transport.Timeout}) })
		if hangs {
			return
		}
		time.AfterFunc(wait, func() { n.apply(entries) })
		return
	}
	time.AfterFunc(wait, func() { sink.Done(tag, n.apply(entries)) })
}

func (n *node) apply(entries []byte) transport.Verdict {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.readOnly {
		return transport.Verdict{Code: transport.Failed, Detail: "the disk is full"}
	}
	if n.refuses != nil {
		return *n.refuses
	}
	for rest := entries; len(rest) > 0; {
		key, value, next, err := record.NextEntry(rest)
		if err != nil {
			return transport.Verdict{Code: transport.Failed, Detail: err.Error()}
		}
		n.merge(key, value)
		rest = next
	}
	return transport.Verdict{}
}

// Keep implements Hints.
func (n *node) Keep(target ring.NodeID, g *transport.Group) {
	n.behave(func(n *node) { n.kept[target] += g.Count })
}

// merge stores a fragment; mu is held.
func (n *node) merge(key, value []byte) {
	space, _ := record.KeySpace(key)
	var m record.Merger
	m.Reset(space)
	if old, ok := n.rows[string(key)]; ok {
		m.Add(old)
	}
	m.Add(value)
	n.rows[string(key)] = m.Finish(nil)
}

// Read implements Peers.
func (cl *cluster) Read(ctx context.Context, to ring.NodeID, q *transport.ReadRequest) (transport.ReadAnswer, error) {
	n := cl.node(to)
	if err := n.arrive(ctx); err != nil {
		return transport.ReadAnswer{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.slice(cl.current().Table(q.Table), q)
	if q.Digest {
		a = transport.ReadAnswer{Digest: digestOf(&a), Live: a.Live, More: a.More}
	}
	return a, nil
}

// arrive counts a question, and waits or fails as the node behaves.
func (n *node) arrive(ctx context.Context) error {
	n.mu.Lock()
	n.reads++
	wait, hangs, refuses := n.delay, n.hangs, n.refuses
	n.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return (transport.Verdict{Code: transport.Timeout}).Err()
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return (transport.Verdict{Code: transport.Timeout}).Err()
		}
	}
	if refuses != nil {
		return refuses.Err()
	}
	return nil
}

// slice reads as storage does: rows in walk order with their tombstones, until
// enough are visible.
func (n *node) slice(t *schema.TableView, q *transport.ReadRequest) transport.ReadAnswer {
	var a transport.ReadAnswer
	var head record.Head
	var suffixes []string
	fragments := map[string][]byte{}
	for key, value := range n.rows {
		k, err := record.ParseKey([]byte(key))
		if err != nil || k.Table != t.ID || !bytes.Equal(k.Partition, q.Partition) {
			continue
		}
		if k.Space == record.SpaceHeads {
			a.Head = value
			if err := record.DecodeHead(value, &head); err != nil {
				panic(err)
			}
			continue
		}
		if q.Start != nil && bytes.Compare(k.Suffix, q.Start) < 0 || q.End != nil && bytes.Compare(k.Suffix, q.End) >= 0 {
			continue
		}
		suffixes = append(suffixes, string(k.Suffix))
		fragments[string(k.Suffix)] = value
	}
	slices.Sort(suffixes)
	if q.Reverse {
		slices.Reverse(suffixes)
	}
	for _, suffix := range suffixes {
		if a.Live >= q.MaxRows || len(a.Rows) >= q.MaxBytes {
			a.More = true
			break
		}
		var row record.Row
		if err := record.DecodeRow(fragments[suffix], &row); err != nil {
			panic(err)
		}
		if row.Visible(head.ShadowAt([]byte(suffix)), q.Now) {
			a.Live++
		}
		a.Rows = record.AppendEntry(a.Rows, []byte(suffix), fragments[suffix])
	}
	return a
}

// stored returns what the node holds.
func (n *node) stored() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	rows := map[string]string{}
	for key, value := range n.rows {
		rows[key] = string(value)
	}
	return rows
}

// Scan implements Peers.
func (cl *cluster) Scan(ctx context.Context, to ring.NodeID, q *transport.ScanRequest) (transport.ScanAnswer, error) {
	n := cl.node(to)
	if err := n.arrive(ctx); err != nil {
		return transport.ScanAnswer{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []record.Key
	seen := map[string]bool{}
	for key := range n.rows {
		k, _ := record.ParseKey([]byte(key))
		after := q.After == nil || k.Token > q.After.Token ||
			k.Token == q.After.Token && bytes.Compare(k.Partition, q.After.Partition) > 0
		if k.Table != q.Table || k.Token.Range() != q.Range || !after || seen[string(k.Partition)] {
			continue
		}
		seen[string(k.Partition)] = true
		live := n.slice(cl.current().Table(q.Table), &transport.ReadRequest{Partition: k.Partition, MaxRows: 1, MaxBytes: 1 << 20, Now: q.Now})
		if live.Live > 0 {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(x, y record.Key) int {
		if x.Token != y.Token {
			return int(min(1, max(-1, x.Token/2-y.Token/2)))
		}
		return bytes.Compare(x.Partition, y.Partition)
	})
	var a transport.ScanAnswer
	for i, k := range found {
		if i == q.MaxRows {
			a.More = true
			break
		}
		a.Partitions = record.AppendEntry(a.Partitions, k.Partition, nil)
		a.Next = &transport.Position{Token: k.Token, Partition: k.Partition}
	}
	return a, nil
}

// write writes rows of the test table through a node's coordinator.
func (n *node) write(tb testing.TB, opts WriteOptions, change func(w *Write)) (*Result, error) {
	tb.Helper()
	ctx := tb.Context()
	w, err := n.coordinator.NewWrite(ctx, opts)
	if err != nil {
		return nil, err
	}
	change(w)
	return w.Commit(ctx)
}

// put adds one row of the test table: a partition, a number, a value.
func put(tb testing.TB, w *Write, partition string, number int, value string) {
	tb.Helper()
	row := record.Row{
		Liveness: record.Liveness{Timestamp: int64(w.Timestamp())},
		Cells:    []record.Cell{{Column: testColumn, Timestamp: int64(w.Timestamp()), Value: []byte(value)}},
	}
	addRow(tb, w, partition, number, &row)
}

func addRow(tb testing.TB, w *Write, partition string, number int, row *record.Row) {
	tb.Helper()
	t := w.View().Table(testTable)
	tok := token.Of([]byte(partition))
	if _, err := w.Add(t, tok, rowKey(tb, t, partition, number), row.Append(nil)); err != nil {
		tb.Fatal(err)
	}
}

func rowKey(tb testing.TB, t *schema.TableView, partition string, number int) []byte {
	tb.Helper()
	key, err := t.Shape.AppendRowKey(nil, token.Of([]byte(partition)), []byte(partition), suffixOf(tb, t, number))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func suffixOf(tb testing.TB, t *schema.TableView, number int) []byte {
	tb.Helper()
	suffix, err := t.Shape.AppendSuffix(nil, binary.BigEndian.AppendUint32(nil, uint32(number)))
	if err != nil {
		tb.Fatal(err)
	}
	return suffix
}

// read reads a whole partition of the test table: values by number.
func (n *node) read(tb testing.TB, level Level, partition string) (map[int]string, error) {
	tb.Helper()
	t := n.coordinator.env.View().Table(testTable)
	result, err := n.coordinator.Read(tb.Context(), &ReadRequest{
		Table: t, Partition: []byte(partition), Options: ReadOptions{Level: level},
	})
	if err != nil {
		return nil, err
	}
	return numbers(tb, t, result.Rows), nil
}

func numbers(tb testing.TB, t *schema.TableView, rows []Row) map[int]string {
	tb.Helper()
	got := map[int]string{}
	for _, row := range rows {
		values, err := t.Shape.DecodeSuffix(row.Suffix)
		if err != nil {
			tb.Fatal(err)
		}
		cell := row.Row.Cell(testColumn)
		if cell == nil {
			tb.Fatalf("row %x has no value", row.Suffix)
		}
		got[int(int32(binary.BigEndian.Uint32(values[0])))] = string(cell.Value)
	}
	return got
}
