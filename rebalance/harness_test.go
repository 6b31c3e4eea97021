package rebalance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

func nodeID(i int) ring.NodeID { return ring.NodeID{byte(i + 1)} }

func member(i int) ring.Member {
	address := func(port int) string { return fmt.Sprintf("10.0.0.%d:%d", i+1, port) }
	return ring.Member{
		ID: nodeID(i), Addresses: ring.Addresses{Internode: address(1), Gossip: address(2), HTTP: address(3), Admin: address(4)},
		Zone: "z1", Datacenter: "dc1", State: ring.Normal, Voter: true,
	}
}

// world is a cluster as one Driver sees it: layouts, and what the others answer.
type world struct {
	t       *testing.T
	d       *Driver
	schema  schema.Schema
	layout  ring.Layout
	version uint64
	view    *schema.View

	down     map[ring.NodeID]bool
	answers  map[ring.NodeID]State // by who was asked; absent: it is as far as it can be
	verified func(id token.RangeID, peer ring.NodeID) bool
	damaged  map[token.RangeID]bool // in quarantine at this member
	hurried  map[ring.NodeID]int
	advanced []ring.Phase
	aborted  int
	held     int64
	pace     float64
}

// newWorld is a cluster of so many members with three replicas, seen by member self.
func newWorld(t *testing.T, members, self int) *world {
	t.Helper()
	w := &world{
		t: t, schema: schema.Builtin(3, "dc1"), version: 2, down: map[ring.NodeID]bool{}, answers: map[ring.NodeID]State{}, hurried: map[ring.NodeID]int{}, pace: 1,
		verified: func(token.RangeID, ring.NodeID) bool { return false },
	}
	w.layout = ring.Bootstrap(member(0), 1)
	var joiners []ring.Member
	for i := 1; i < members; i++ {
		joiners = append(joiners, member(i))
	}
	var err error
	if w.layout, err = w.layout.Join(2, joiners, w.schema.Placements()); err != nil {
		t.Fatal(err)
	}
	w.show()
	store := storage.DefaultConfig()
	store.Dir, store.Memory, store.Committers, store.DiskReserve = "data", 8<<20, 1, 0
	registry := prometheus.NewRegistry()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	engine, err := storage.Open(store, storage.Env{FS: vfs.NewMem(), Logger: logger, Registerer: registry, Fatal: func(err error) { t.Error(err) }, Simulated: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	w.d, err = New(DefaultConfig(), Env{
		Self: nodeID(self), Replica: w, Store: w, Engine: engine, Meta: engine.Meta(), Clock: w, Catalog: w, Ask: w.ask,
		Alive:    func(id ring.NodeID) bool { return !w.down[id] },
		Verified: func(_ *schema.View, _ string, id token.RangeID, peer ring.NodeID) bool { return w.verified(id, peer) },
		Hurry:    func(ids []token.RangeID, peer ring.NodeID) { w.hurried[peer] += len(ids) },
		Held:     func() int64 { return w.held }, Pace: func() float64 { return w.pace }, Logger: logger, Registerer: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// next runs a function of the layout as the next version.
func (w *world) next(f func(l ring.Layout, version uint64) (ring.Layout, error)) {
	w.t.Helper()
	var err error
	if w.layout, err = f(w.layout, w.version+1); err != nil {
		w.t.Fatal(err)
	}
	w.version++
	w.show()
}

func (w *world) announce(p ring.Plan) {
	w.t.Helper()
	w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Announce(v, p) })
}

func (w *world) show() {
	w.t.Helper()
	var err error
	w.view, err = schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: w.version, Sealed: true}, &w.layout, &w.schema)
	if err != nil {
		w.t.Fatal(err)
	}
}

// step lets the driver do one step.
func (w *world) step() (idle bool) {
	w.t.Helper()
	idle, err := w.d.Step(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return idle
}

// whole is what a member answers that has done all it has to.
func (w *world) whole(id ring.NodeID) State {
	s := State{Version: w.version}
	me, _ := w.view.Ring.Index(id)
	all := transfers(w.view)
	for i := range all {
		s.Duties += len(all[i].duties(w.view, me))
	}
	s.Done = s.Duties
	return s
}

func (w *world) ask(_ context.Context, id ring.NodeID, kind string, _ []byte) ([]byte, error) {
	switch s, told := w.answers[id]; {
	case kind != Call:
		return nil, errors.New("no pages here")
	case w.down[id]:
		return nil, errors.New("down")
	case told:
		return json.Marshal(s)
	}
	return json.Marshal(w.whole(id))
}

func (w *world) View() *schema.View { return w.view }

func (w *world) FrozenFence(context.Context) (hlc.Timestamp, error) { return 7, nil }

func (w *world) CleanUp(context.Context, token.RangeID) (token.RangeID, bool, error) {
	return token.Ranges, false, nil
}

func (w *world) Advance(_ context.Context, change uint64, from ring.Phase, fence hlc.Timestamp) error {
	if c := w.layout.Change; c == nil || c.ID != change || c.Phase != from {
		return fmt.Errorf("advance %d from %s", change, from)
	}
	w.advanced = append(w.advanced, from)
	placements := w.schema.Placements()
	w.next(func(l ring.Layout, v uint64) (next ring.Layout, err error) {
		switch from {
		case ring.Announced:
			return l.Assign(v, fence, placements)
		case ring.Streaming:
			return l.Flip(v, placements)
		}
		next, _, err = l.Finish(v, placements)
		return next, err
	})
	return nil
}

func (w *world) Abort(context.Context, uint64) error {
	w.aborted++
	w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Abort(v, w.schema.Placements()) })
	return nil
}

func (w *world) Confirm(context.Context) error { return nil }

func (w *world) InQuarantine(id token.RangeID) bool { return w.damaged[id] }

func (w *world) Quarantine(token.RangeID, error) {}

func (w *world) Apply(ring.NodeID, transport.Group, time.Time, transport.Sink, uint32) {
	w.t.Error("something is applied")
}

func (w *world) Now() (hlc.Timestamp, error) { return 9, nil }

// waiting is what the driver's report says, in one text.
func (w *world) waiting() []string {
	w.t.Helper()
	r, err := w.d.Report(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Waiting
}

func (w *world) reached(phases ...ring.Phase) {
	w.t.Helper()
	if !slices.Equal(w.advanced, phases) {
		w.t.Fatalf("the phases that were left are %v, not %v", w.advanced, phases)
	}
}
