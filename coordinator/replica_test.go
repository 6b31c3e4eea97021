package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/replica"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// replicas are real replicas on stores in memory, reached without a network.
type replicas struct {
	*cluster
	by map[ring.NodeID]*replica.Replica
}

func newReplicas(tb testing.TB, nodes, factor int) *replicas {
	tb.Helper()
	r := &replicas{by: map[ring.NodeID]*replica.Replica{}}
	r.cluster = newCluster(tb, nodes, factor, func(cfg *Config, env *Env) { env.Peers = r })
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	for _, n := range r.nodes {
		store := storage.DefaultConfig()
		store.Dir, store.Memory, store.Committers = "data", 8<<20, 2
		engine, err := storage.Open(store, storage.Env{
			FS: vfs.NewMem(), Logger: logger, Registerer: prometheus.NewRegistry(), Simulated: true, Fatal: func(err error) { panic(err) },
		})
		if err != nil {
			tb.Fatal(err)
		}
		r.by[n.id], err = replica.New(replica.DefaultConfig(), replica.Env{
			Engine: engine, Self: n.id, View: r.current, Logger: logger, Registerer: prometheus.NewRegistry(),
			CatchUp: func(ctx context.Context, _ ring.NodeID, _ uint64) error { return r.by[n.id].Adopt(ctx, r.current()) },
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			r.by[n.id].Close()
			if err := engine.Close(); err != nil {
				tb.Error(err)
			}
		})
	}
	return r
}

func (r *replicas) Apply(to ring.NodeID, g *transport.Group, deadline time.Time, sink transport.Sink, tag uint32) {
	r.by[to].Apply(r.nodes[0].id, *g, deadline, sink, tag)
}

func (r *replicas) Read(ctx context.Context, to ring.NodeID, q *transport.ReadRequest) (transport.ReadAnswer, error) {
	a := r.by[to].Read(ctx, r.nodes[0].id, q)
	return a, a.Verdict.Err()
}

func (r *replicas) Scan(ctx context.Context, to ring.NodeID, q *transport.ScanRequest) (transport.ScanAnswer, error) {
	a := r.by[to].Scan(ctx, r.nodes[0].id, q)
	return a, a.Verdict.Err()
}

// TestWithReplicas: what is written under load through every node is read back
// through every node, and the replicas' digests are the coordinator's.
func TestWithReplicas(t *testing.T) {
	r := newReplicas(t, 3, 3)
	const writers, writes, each = 8, 20, 10
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range writes {
				res, err := r.nodes[i%3].write(t, WriteOptions{Level: All}, func(w *Write) {
					for k := range each {
						put(t, w, fmt.Sprint("p", (i+k)%5), (i*writes+j)*each+k, "v")
					}
				})
				if err = errors.Join(err, resErr(res)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, n := range r.nodes {
		rows := 0
		for p := range 5 {
			got, err := n.read(t, All, fmt.Sprint("p", p))
			if err != nil {
				t.Fatal(err)
			}
			rows += len(got)
		}
		if rows != writers*writes*each {
			t.Errorf("%d rows, want %d", rows, writers*writes*each)
		}
		if got := testutil.ToFloat64(n.coordinator.metrics.mismatches); got != 0 {
			t.Errorf("%v digest mismatches between equal replicas", got)
		}
		scan, err := n.coordinator.Scan(t.Context(), &ScanRequest{Table: r.current().Table(testTable), PartitionsOnly: true})
		if err != nil || len(scan.Partitions) != 5 {
			t.Errorf("scan: %v, %v", scan, err)
		}
	}
}

// TestWithReplicasDeletion: a partition is deleted and written again; a replica
// that missed both is merged away.
func TestWithReplicasDeletion(t *testing.T) {
	r := newReplicas(t, 3, 3)
	n := r.nodes[0]
	table := r.current().Table(testTable)
	write := func(change func(w *Write)) {
		t.Helper()
		res, err := n.write(t, WriteOptions{}, change)
		if err = errors.Join(err, resErr(res)); err != nil {
			t.Fatal(err)
		}
	}
	write(func(w *Write) {
		for i := range 100 {
			put(t, w, "p", i, "old")
		}
	})
	n.coordinator.env.Liveness.(*cluster).nodes[2].behave(func(n *node) { n.dead = true })
	write(func(w *Write) {
		tok := token.Of([]byte("p"))
		head := record.Head{Deletion: record.Deletion{Timestamp: int64(w.Timestamp()), Seconds: w.Born().Seconds()}}
		if _, err := w.Add(table, tok, table.Shape.AppendHeadKey(nil, tok, []byte("p")), head.Append(nil)); err != nil {
			t.Fatal(err)
		}
	})
	write(func(w *Write) {
		for i := 50; i < 60; i++ {
			put(t, w, "p", i, "new")
		}
	})
	r.nodes[2].behave(func(n *node) { n.dead = false })
	for _, reader := range r.nodes {
		got, err := reader.read(t, All, "p")
		if err != nil || len(got) != 10 || got[50] != "new" {
			t.Errorf("read %v, %v", got, err)
		}
	}
}

// TestWithReplicasNewerCatalog: replicas adopt a version that changed every range;
// a coordinator that is behind learns it from them and the write succeeds.
func TestWithReplicasNewerCatalog(t *testing.T) {
	r := newReplicas(t, 3, 3)
	old, next := r.current(), testView(t, 3, 3, 2)
	for _, rep := range r.by {
		if err := rep.Adopt(t.Context(), next); err != nil {
			t.Fatal(err)
		}
	}
	view := old
	c := r.nodes[0].coordinator
	c.env.View = func() *schema.View { return view }
	c.env.CatchUp = func(context.Context, ring.NodeID, uint64) error { view = next; return nil }
	res, err := r.nodes[0].write(t, WriteOptions{Level: All}, func(w *Write) { put(t, w, "p", 1, "v") })
	if err = errors.Join(err, resErr(res)); err != nil {
		t.Fatal(err)
	}
	view = old
	if got, err := r.nodes[0].read(t, All, "p"); err != nil || got[1] != "v" {
		t.Errorf("read %v, %v", got, err)
	}
}
