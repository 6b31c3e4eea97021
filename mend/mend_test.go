package mend

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// view is of some nodes, each of which is a replica of everything.
func view(t *testing.T, nodes int) *schema.View {
	t.Helper()
	return viewOf(t, nodes, nodes, func(l ring.Layout, _ []ring.Placement) (ring.Layout, error) { return l, nil })
}

func member(i int) ring.Member {
	address := fmt.Sprintf("10.0.0.%d:7481", i+1)
	return ring.Member{
		ID: ring.NodeID{byte(i + 1)}, Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
		Zone: fmt.Sprint("z", i), Datacenter: "dc1", State: ring.Normal, Voter: true,
	}
}

func viewOf(t *testing.T, nodes, factor int, change func(ring.Layout, []ring.Placement) (ring.Layout, error)) *schema.View {
	t.Helper()
	s := schema.Builtin(factor, "dc1")
	layout := ring.Bootstrap(member(0), 1)
	for i := 1; i < nodes; i++ {
		layout.Members = append(layout.Members, member(i))
	}
	for i := range layout.Owners {
		layout.Owners[i] = uint16(i % nodes)
	}
	layout, err := change(layout, s.Placements())
	if err != nil {
		t.Fatal(err)
	}
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: 1, Sealed: true}, &layout, &s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fake is a replica with one range in quarantine, and what was done with it.
type fake struct {
	view  *schema.View
	bad   []Range
	wiped []token.RangeID
}

func (f *fake) View() *schema.View   { return f.view }
func (f *fake) Quarantined() []Range { return slices.Clone(f.bad) }

func (f *fake) Wipe(_ context.Context, id token.RangeID, now hlc.Timestamp) error {
	f.bad[0].Wiped = now
	f.wiped = append(f.wiped, id)
	return nil
}

func (f *fake) Release(token.RangeID) error {
	f.bad = nil
	return nil
}

// TestOnlyReplicaIsNotDropped: a node that is to take a range over has nothing of it that
// the one it takes it from could be filled from.
func TestOnlyReplicaIsNotDropped(t *testing.T) {
	v := viewOf(t, 1, 1, func(l ring.Layout, p []ring.Placement) (ring.Layout, error) {
		l, err := l.Announce(2, ring.Plan{Kind: "join", Join: []ring.Member{member(1)}})
		if err != nil {
			return l, err
		}
		return l.Assign(3, 0, p)
	})
	moves := v.Ring.Moves()
	f := &fake{view: v, bad: []Range{{ID: moves[0].Range, Reason: "bits"}}}
	r, err := NewRebuild(RebuildEnv{
		Self: ring.NodeID{1}, Replica: f, Hurry: func(token.RangeID) {}, Alive: func(ring.NodeID) bool { return true },
		Verified: func(string, token.RangeID, ring.NodeID) hlc.Timestamp { return 200 },
		Now:      func() (hlc.Timestamp, error) { return 100, nil }, Logger: quiet, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Step(t.Context()); err != nil || len(f.wiped) > 0 {
		t.Errorf("dropped are %v, %v", f.wiped, err)
	}
}

// TestRebuild: a range is dropped when all other replicas answer, and read again when
// each of them was verified since. One without others is only read again; one that
// cannot be decoded is left alone.
func TestRebuild(t *testing.T) {
	for name, c := range map[string]struct {
		nodes       int
		undecodable bool
		alive       int
		verified    hlc.Timestamp // of the last of the others; the first is at 200
		wiped, left bool
		lost        float64
	}{
		"alone":               {nodes: 1, lost: 1},
		"another is away":     {nodes: 3, alive: 1, left: true},
		"not filled yet":      {nodes: 3, alive: 2, verified: 100, wiped: true, left: true},
		"filled":              {nodes: 3, alive: 2, verified: 101, wiped: true},
		"it can't be decoded": {nodes: 3, alive: 2, verified: 200, undecodable: true, left: true},
	} {
		f := &fake{view: view(t, c.nodes), bad: []Range{{ID: 7, Undecodable: c.undecodable, Reason: "bits"}}}
		hurried := 0
		r, err := NewRebuild(RebuildEnv{
			Self: ring.NodeID{1}, Replica: f, Hurry: func(token.RangeID) { hurried++ },
			Verified: func(_ string, _ token.RangeID, peer ring.NodeID) hlc.Timestamp {
				if int(peer[0]) == c.nodes {
					return c.verified
				}
				return 200
			},
			Alive: func(id ring.NodeID) bool { return int(id[0]) <= c.alive+1 },
			Now:   func() (hlc.Timestamp, error) { return 100, nil }, Logger: quiet, Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, err := r.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if wiped := len(f.wiped) == 1; wiped != c.wiped || hurried != len(f.wiped) || (len(f.bad) > 0) != c.left || testutil.ToFloat64(r.metrics.lost) != c.lost {
			t.Errorf("%s: wiped %v, hurried %d times, left %v, lost %v", name, f.wiped, hurried, f.bad, testutil.ToFloat64(r.metrics.lost))
		}
	}
	if _, err := NewRebuild(RebuildEnv{}); err == nil {
		t.Error("an empty Env is accepted")
	}
}

func open(t *testing.T, fs vfs.FS) *storage.Engine {
	t.Helper()
	cfg := storage.DefaultConfig()
	cfg.Dir, cfg.Memory, cfg.Committers, cfg.DiskReserve = "data", 8<<20, 1, 0
	e, err := storage.Open(cfg, storage.Env{FS: fs, Logger: quiet, Registerer: prometheus.NewRegistry(), Simulated: true, Fatal: func(err error) { panic(err) }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// fill writes partitions, and the number of their bytes.
func fill(t *testing.T, e *storage.Engine, partitions int) (bytes int) {
	t.Helper()
	shape := record.Shape{Table: 3, Clustering: []record.Component{{Kind: record.Blob}}}
	row := record.Row{Cells: []record.Cell{{Column: 1, Timestamp: 1, Value: []byte(strings.Repeat("v", 500))}}}
	err := e.Rewrite(t.Context(), 0, func(b *storage.Batch) error {
		for i := range partitions {
			name := fmt.Append(nil, "p", i)
			suffix, err := shape.AppendSuffix(nil, []byte("c"))
			if err != nil {
				return err
			}
			key, err := shape.AppendRowKey(nil, token.Of(name), name, suffix)
			if err != nil {
				return err
			}
			value := row.Append(nil)
			b.Set(key, value)
			bytes += len(key) + len(value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestScrubReadsEverythingOnce in a pass, at its pace, goes on after a restart where
// it was, and begins the next pass no earlier than it should.
func TestScrubReadsEverythingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(t, vfs.NewMem())
		defer func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}()
		total := fill(t, e, 500)
		cfg := Config{Pass: time.Hour, LeastRate: 1, Piece: 4 << 10, Persist: time.Second}
		make := func() *Scrub {
			s, err := NewScrub(cfg, ScrubEnv{
				Engine: e, Report: func(id token.RangeID, err error) { t.Errorf("range %d: %v", id, err) },
				Bytes: func() uint64 { return uint64(total) }, Registerer: prometheus.NewRegistry(),
			})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		run := func(s *Scrub, d time.Duration) float64 {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(max(time.Second, s.Pause())) {
				if _, err := s.Step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			return testutil.ToFloat64(s.metrics.read)
		}
		first := run(make(), 30*time.Minute)
		if first < 0.4*float64(total) || first > 0.6*float64(total) {
			t.Errorf("%v of %d bytes were read in half the time", first, total)
		}
		s := make()
		rest := run(s, 29*time.Minute)
		if testutil.ToFloat64(s.metrics.passes) > 0 && s.Status().Passed.IsZero() {
			t.Error("a pass has no time")
		}
		again := run(s, 90*time.Minute)
		if first+rest > 1.1*float64(total) || first+again < float64(total) || first+again > 2.1*float64(total) {
			t.Errorf("%v, %v and %v bytes were read of %d", first, rest, again, total)
		}
	})
}

// TestConfigValidates names what makes no sense.
func TestConfigValidates(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("nothing is accepted")
	}
}
