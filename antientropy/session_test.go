package antientropy

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// bubble runs a test of two nodes in virtual time.
func bubble(t *testing.T, change func(*Config), test func(t *testing.T, c *cluster, a, b *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, change)
		test(t, c, c.nodes[0], c.nodes[1])
	})
}

// alone steps one node for some time.
func (n *node) alone(tb testing.TB, d time.Duration) {
	tb.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		n.steps(tb, 10_000)
	}
}

func (n *node) outcomes(name string) int {
	return n.counter(n.ae.metrics.sessions.WithLabelValues(name))
}

func rangeOf(partition string) token.RangeID { return token.Of([]byte(partition)).Range() }

// TestOneSessionIsEnough: sessions that one node begins make both equal, by
// pulling both ways, each row that differs once.
func TestOneSessionIsEnough(t *testing.T) {
	for _, size := range []int{3, 100, 3000} { // listed at once; after descent; in several lists
		bubble(t, func(cfg *Config) { cfg.PieceRows, cfg.AnswerBytes = 700, 4<<10 }, func(t *testing.T, c *cluster, a, b *node) {
			differ := 0
			for i := range size {
				e := put(t, "p", i, 5, "same")
				switch {
				case i%3 == 0:
					a.apply(t, e)
					differ++
				case i%5 == 0:
					b.apply(t, e)
					differ++
				case i%7 == 0: // each has something that the other lacks
					a.apply(t, e)
					b.apply(t, put(t, "p", i, 6, "newer"))
					differ += 2
				default:
					a.apply(t, e)
					b.apply(t, e)
				}
			}
			a.apply(t, put(t, "only here", 1, 1, "a"))
			b.apply(t, put(t, "only there", 1, 1, "b"))
			a.alone(t, 6*time.Minute)
			c.checkEqual(t)
			// The pulled merge is what the peer lacks of a row that both have.
			if got := c.rows; got < differ || got > differ+2 {
				t.Errorf("%d rows travelled for %d differences", got, differ+2)
			}
			if a.ae.Verified(schema.BuiltinKeyspace, rangeOf("p"), nodeID(1)) == 0 {
				t.Error("the range is not verified")
			}
			if b.ae.Verified(schema.BuiltinKeyspace, rangeOf("p"), nodeID(0)) != 0 {
				t.Error("a node that began no session has verified something")
			}
			rows := a.counter(a.ae.metrics.rowsPulled) + b.counter(b.ae.metrics.rowsPulled)
			if rows != c.rows {
				t.Errorf("%d rows are counted as pulled", rows)
			}
		})
	}
}

// TestUnevenWalks: where the peer has far more rows than this node, its lists end
// sooner, and none of its rows is passed over.
func TestUnevenWalks(t *testing.T) {
	long(t)
	for seed := range uint64(5) {
		bubble(t, func(cfg *Config) { cfg.PieceRows = 100 }, func(t *testing.T, c *cluster, a, b *node) {
			rng := rand.New(rand.NewPCG(seed, 17))
			const rows = 2000
			for from := 0; from < rows; from += 100 {
				for _, n := range c.nodes {
					var some [][]byte
					for i := from; i < from+100; i++ {
						if few := 1 + 9*n.number; rng.IntN(10) < few {
							some = append(some, put(t, "p", i, 1, "v"))
						}
					}
					n.apply(t, some...)
				}
			}
			before := len(a.content(t)) + len(b.content(t))
			a.alone(t, 6*time.Minute)
			c.checkEqual(t)
			if want := 2*len(a.content(t)) - before; c.rows != want {
				t.Errorf("%d rows travelled, %d were missing", c.rows, want)
			}
		})
	}
}

// TestNotVerifiedUnlessBothPulled: without the peer's pull, or while it is
// missing rows, nothing is verified; later it is.
func TestNotVerifiedUnlessBothPulled(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, a, b *node) {
		a.apply(t, put(t, "p", 1, 1, "lacking there"))
		b.apply(t, put(t, "p", 2, 1, "lacking here"))
		c.intercept = func(_, _ int, kind string, _ []byte) error {
			if kind == message.Pull {
				return errors.New("the line is cut")
			}
			return nil
		}
		a.alone(t, 7*time.Minute)
		if at := a.ae.Verified(schema.BuiltinKeyspace, rangeOf("p"), nodeID(1)); at != 0 {
			t.Errorf("verified at %s although the peer pulled nothing", at.Time())
		}
		if a.outcomes(reasonFailed) == 0 {
			t.Error("no session has failed")
		}
		c.intercept = nil
		a.alone(t, 7*time.Minute)
		c.checkEqual(t)
		if a.ae.Verified(schema.BuiltinKeyspace, rangeOf("p"), nodeID(1)) == 0 {
			t.Error("not verified in the end")
		}
	})
}

// TestVerifiedIsTheBeginning: a verification counts from when its session began.
func TestVerifiedIsTheBeginning(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, a, b *node) {
		a.apply(t, put(t, "p", 1, 1, "v"))
		asked := time.Time{}
		c.intercept = func(_, _ int, kind string, _ []byte) error {
			if kind == message.Leaves {
				asked = time.Now()
			}
			time.Sleep(3 * time.Second)
			return nil
		}
		for a.ae.Verified(schema.BuiltinKeyspace, rangeOf("p"), nodeID(1)) == 0 {
			a.alone(t, time.Second)
			if testing.Verbose() && time.Since(asked) > time.Hour && !asked.IsZero() {
				t.Fatal("not verified within an hour")
			}
		}
		if at := a.ae.Verified(schema.BuiltinKeyspace, rangeOf("p"), nodeID(1)).Time(); at.After(asked) {
			t.Errorf("verified at %s, the leaves were asked for at %s", at, asked)
		}
	})
}

// TestOrderOfArrivalMakesNoDifference: replicas that got the same fragments in any
// order, merged in any parts, have equal roots: no session is needed.
func TestOrderOfArrivalMakesNoDifference(t *testing.T) {
	for seed := range uint64(6) {
		bubble(t, nil, func(t *testing.T, c *cluster, a, b *node) {
			rng := rand.New(rand.NewPCG(seed, 3))
			var all [][]byte
			for range 300 {
				all = append(all, anything(t, rng))
			}
			for _, n := range c.nodes {
				rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				for _, e := range all {
					n.apply(t, e)
				}
			}
			c.run(t, 2*time.Minute)
			if c.calls[message.Leaves] > 0 || c.calls[message.Roots] == 0 {
				t.Errorf("seed %d: calls %v", seed, c.calls)
			}
			if a.ae.Status().Tables[0].Never > 0 {
				t.Error("ranges are not verified")
			}
			a.checkClean(t)
			c.checkEqual(t)
		})
	}
}

// TestHotLeafIsComparedInTheEnd: a leaf that never settles is put off for some
// rounds, and compared then; what was written before the session is on both sides.
func TestHotLeafIsComparedInTheEnd(t *testing.T) {
	change := func(cfg *Config) { cfg.Deferrals = 5 }
	bubble(t, change, func(t *testing.T, c *cluster, a, b *node) {
		a.apply(t, put(t, "p", 1, 1, "lost there"))
		b.apply(t, put(t, "p", 2, 1, "lost here"))
		before := len(a.content(t))
		for i := range 400 { // 200 s
			e := put(t, "p", 100+i, 1, "always")
			a.apply(t, e)
			b.apply(t, e)
			c.run(t, 500*time.Millisecond)
			if i == 60 && (c.calls[message.Leaves] > 0 || len(a.content(t)) <= before) {
				t.Errorf("after %d s: %v", i/2, c.calls)
			}
		}
		c.checkEqual(t)
		if c.calls[message.Leaves] == 0 || a.ae.Verified(schema.BuiltinKeyspace, rangeOf("p"), nodeID(1)) == 0 {
			t.Error("a hot leaf was never compared")
		}
	})
}

// TestHurry: a range that somebody waits for is compared at once, however fresh.
func TestHurry(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, a, b *node) {
		c.run(t, 2*time.Minute)
		a.apply(t, put(t, "p", 1, 1, "v"))
		a.apply(t, put(t, "q", 1, 1, "v"))
		a.ae.Hurry(Scope{Table: tableRows, Ranges: []token.RangeID{rangeOf("p")}, Peer: nodeID(1)})
		select {
		case <-a.ae.Wake():
		default:
			t.Error("nobody is woken")
		}
		c.run(t, time.Second)
		if rows := b.content(t); len(rows) != 1 {
			t.Errorf("%d rows are there, one was urgent", len(rows))
		}
		if a.ae.plan.hurried(time.Now()) {
			t.Error("still urgent")
		}
		a.ae.Hurry(Scope{})
		c.run(t, time.Second)
		c.checkEqual(t)
	})
}

// TestConcurrentWrites: sessions among writes that reach one node or both, in
// their own time, end in equal replicas, and no clean leaf is stale.
func TestConcurrentWrites(t *testing.T) {
	long(t)
	for seed := range uint64(4) {
		change := func(cfg *Config) {
			cfg.Settle, cfg.Round, cfg.Deferrals, cfg.PieceRows = time.Second, time.Second, 1, 3
		}
		bubble(t, change, func(t *testing.T, c *cluster, a, b *node) {
			rng := rand.New(rand.NewPCG(seed, 11))
			c.intercept = func(from, to int, kind string, _ []byte) error {
				if rng.IntN(3) == 0 { // between question and answer
					c.nodes[rng.IntN(2)].apply(t, anything(t, rng))
				}
				if rng.IntN(40) == 0 {
					return errors.New("the line is cut")
				}
				return nil
			}
			for range 400 {
				e := anything(t, rng)
				for _, n := range c.nodes {
					if rng.IntN(3) > 0 {
						n.apply(t, e)
					}
				}
				for _, n := range c.nodes {
					for range rng.IntN(4) {
						if _, err := n.ae.Step(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
				time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
				if rng.IntN(20) == 0 {
					a.checkClean(t)
				}
			}
			if a.outcomes("verified") == 0 {
				t.Error("no session was verified among the writes")
			}
			c.intercept = nil
			c.run(t, 5*time.Minute)
			c.checkEqual(t)
			a.checkClean(t)
		})
	}
}

// TestNodesAtOnce: nodes that step in their own goroutines, in the same virtual
// time, do not wait for each other for ever, nor keep each other from sessions.
func TestNodesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, func(cfg *Config) { cfg.Settle, cfg.Round, cfg.Deferrals = time.Second, time.Second, 2 })
		c.intercept = func(int, int, string, []byte) error {
			time.Sleep(time.Millisecond)
			return nil
		}
		length := 2 * time.Minute
		if testing.Short() {
			length = 40 * time.Second
		}
		var running sync.WaitGroup
		for i, n := range c.nodes {
			running.Go(func() {
				rng := rand.New(rand.NewPCG(9, uint64(i)))
				for end := time.Now().Add(length); time.Now().Before(end); {
					if time.Until(end) > length/2 && rng.IntN(5) == 0 {
						n.apply(t, anything(t, rng))
					}
					idle, err := n.ae.Step(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if _ = n.ae.Status(); idle {
						time.Sleep(100 * time.Millisecond)
					}
				}
			})
		}
		running.Wait()
		c.checkEqual(t)
		for _, n := range c.nodes {
			n.checkClean(t)
			if s := n.ae.Status(); s.Tables[0].Never > 0 || s.Tables[0].OldestUnverified > time.Minute || s.Round == 0 {
				t.Errorf("node %d: %+v", n.number, s)
			}
		}
	})
}

// TestCrashes: a node that crashes at any moment comes back with no clean leaf
// that is stale, hashes only what was dirty, and becomes equal again.
func TestCrashes(t *testing.T) {
	long(t)
	change := func(cfg *Config) { cfg.Settle, cfg.Round, cfg.Persist = time.Second, time.Second, time.Second }
	bubble(t, change, func(t *testing.T, c *cluster, a, b *node) {
		rng := rand.New(rand.NewPCG(5, 5))
		for range 15 {
			for range 40 {
				c.nodes[rng.IntN(2)].apply(t, anything(t, rng))
				if rng.IntN(2) == 0 {
					a.steps(t, 10_000)
				}
				time.Sleep(300 * time.Millisecond)
			}
			clone := a.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			a.close(t)
			a.fs = clone
			c.open(t, a)
			a.checkClean(t)
		}
		c.run(t, 5*time.Minute)
		c.checkEqual(t)
		verified := a.ae.Verified(schema.BuiltinKeyspace, rangeOf("p1"), nodeID(1))
		if verified == 0 || a.checkClean(t) == 0 {
			t.Fatalf("verified at %d, %d clean leaves", verified, a.checkClean(t))
		}
		a.close(t)
		c.open(t, a)
		a.steps(t, 10_000)
		if got := a.ae.Verified(schema.BuiltinKeyspace, rangeOf("p1"), nodeID(1)); got == 0 {
			t.Error("what was verified is forgotten")
		}
		c.checkQuiet(t)
	})
}

// TestCorruptLeavesDoNotSpread: a session about rows that cannot be read ends;
// other ranges go on.
func TestCorruptLeavesDoNotSpread(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, a, b *node) {
		a.apply(t, record.AppendEntry(nil, key(t, "bad", 1), []byte{77, 77}))
		a.apply(t, put(t, "bad", 2, 1, "v"), put(t, "good", 1, 1, "v"))
		b.apply(t, put(t, "bad", 3, 1, "v"))
		c.run(t, 20*time.Minute)
		if a.outcomes(reasonCorrupt) == 0 || b.outcomes(reasonCorrupt) == 0 || a.counter(a.ae.metrics.corrupt) == 0 {
			t.Error("no session ended because of corrupt rows")
		}
		for k := range b.content(t) {
			if k == string(key(t, "bad", 1)) {
				t.Error("a corrupt row has spread")
			}
		}
		if len(b.content(t)) != 2 || b.ae.Verified(schema.BuiltinKeyspace, rangeOf("good"), nodeID(0)) == 0 {
			t.Error("another range was not repaired")
		}
		if a.ae.Verified(schema.BuiltinKeyspace, rangeOf("bad"), nodeID(1)) != 0 {
			t.Error("a range with corrupt rows is verified")
		}
	})
}

// TestConflictsAreCounted: an append-only table's row that two replicas have with
// different payloads is counted where it is pulled; a deletion, or a row that was
// missed, is none.
func TestConflictsAreCounted(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, a, b *node) {
		event := func(number int, ts int64, data string) []byte {
			r := record.Row{Cells: []record.Cell{{Column: 4, Timestamp: ts, Value: []byte(data)}}}
			return record.AppendEntry(nil, eventKey(t, "p", number), r.Append(nil))
		}
		deletion := record.Row{Deletion: record.Deletion{Timestamp: 9, Seconds: time.Now().Unix()}}
		for i := range 3 {
			a.apply(t, event(i, 1, "one"))
		}
		b.apply(t, event(0, 2, "another"))
		b.apply(t, event(1, 2, "one"))
		b.apply(t, record.AppendEntry(nil, eventKey(t, "p", 2), deletion.Append(nil)))
		b.apply(t, event(3, 1, "missed"))
		c.run(t, 2*time.Minute)
		c.checkEqual(t)
		if n := a.counter(a.ae.metrics.conflicts) + b.counter(b.ae.metrics.conflicts); n < 1 || n > 2 { // one, seen from each side
			t.Errorf("%d conflicts were counted", n)
		}
	})
}

// TestUnreachablePeerIsLeftAlone: its calls become few; when it is back all goes on.
func TestUnreachablePeerIsLeftAlone(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, a, b *node) {
		c.intercept = func(int, int, string, []byte) error { return context.DeadlineExceeded }
		a.apply(t, put(t, "p", 1, 1, "v"))
		c.run(t, 10*time.Minute)
		if calls := c.calls[message.Roots]; calls < 4 || calls > 40 {
			t.Errorf("%d calls in 10 minutes", calls)
		}
		if s := a.ae.Status(); s.Tables[0].Never != token.Ranges || s.Tables[0].OldestUnverified < 10*time.Minute || s.Verified != 0 {
			t.Errorf("status %+v", s)
		}
		c.intercept = nil
		a.ae.Hurry(Scope{Peer: nodeID(1)})
		c.run(t, 2*time.Second)
		c.checkEqual(t)
	})
}

// TestCatalogsMustAgree: while one node serves by another version, nothing is
// compared; windows below the floor are not compared at all.
func TestCatalogsMustAgree(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, a, b *node) {
		for day := range 4 {
			a.apply(t, record.AppendEntry(nil, dayKey(t, "p", day+1), value(1, "v")))
		}
		leaf, _ := record.LeafOf(dayKey(t, "p", 3))
		next := catalog{version: 2, nodes: 2, factor: 2, floor: leaf.Window}.view(t)
		if err := b.Adopt(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		c.run(t, 2*time.Minute)
		if n := len(b.content(t)); n != 0 || b.counter(b.ae.metrics.refused.WithLabelValues(reasonStale)) == 0 {
			t.Errorf("%d rows have come by another catalog", n)
		}
		if err := a.Adopt(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		c.run(t, 3*time.Minute)
		c.checkEqual(t)
		if n := len(b.content(t)); n != 2 {
			t.Errorf("%d rows, two are not below the floor", n)
		}
		if a.ae.Status().Tables[0].Never > 0 {
			t.Error("ranges are not verified")
		}
	})
}

// TestRefusals: what a node answers to questions that it must not answer.
func TestRefusals(t *testing.T) {
	bubble(t, func(cfg *Config) { cfg.Serving = 1 }, func(t *testing.T, c *cluster, a, b *node) {
		leaf, _ := record.LeafOf(key(t, "p", 1))
		now := message.Epoch{Version: 1}
		at := message.Target{Placement: 0, ID: leaf.Range}
		head := message.LeafHead{Epoch: now, Target: at, Session: 1, Leaf: leaf}
		dropped := head
		dropped.Leaf.Table = 99
		stranger := ring.NodeID{77}
		buckets := func(h message.LeafHead) []byte {
			m := message.BucketsRequest{LeafHead: h}
			m.Chosen.Buckets = []uint32{0}
			return m.Encode()
		}
		stale := message.LeavesRequest{Epoch: message.Epoch{Version: 9}, Target: at}
		fine := message.LeavesRequest{Epoch: now, Target: at}
		for _, q := range []struct {
			name   string
			from   ring.NodeID
			kind   string
			body   []byte
			reason string
		}{
			{"another version", nodeID(1), message.Leaves, stale.Encode(), reasonStale},
			{"a stranger", stranger, message.Leaves, fine.Encode(), reasonMoved},
			{"a table that is gone", nodeID(1), message.Buckets, buckets(dropped), reasonMoved},
			{"no message", nodeID(1), message.Rows, []byte{1, 2, 3}, reasonMessage},
			{"no such kind", nodeID(1), "antientropy.other", nil, reasonMessage},
			{"a message of another version", nodeID(1), message.Roots, []byte{2}, reasonMessage},
		} {
			_, err := a.ae.Handle(t.Context(), q.from, q.kind, q.body)
			var control *transport.ControlError
			if !errors.As(err, &control) || control.Kind != q.reason {
				t.Errorf("%s: %v, want %s", q.name, err, q.reason)
			}
			if got := testutil.ToFloat64(a.ae.metrics.refused.WithLabelValues(q.reason)); got == 0 {
				t.Errorf("%s is not counted", q.name)
			}
		}
		// A pull while the range has a session of its own with the peer.
		pull := message.RowsRequest{SpanHead: message.SpanHead{LeafHead: head}, Hashes: []uint64{1}}
		if !a.ae.begin(pair{leaf.Range, nodeID(1)}) {
			t.Fatal("the range is busy")
		}
		if _, err := a.ae.Handle(t.Context(), nodeID(1), message.Pull, pull.Encode()); reasonOf(err) != reasonBusy {
			t.Errorf("a pull into a session: %v", err)
		}
		a.ae.end(pair{leaf.Range, nodeID(1)})
		if _, err := a.ae.Handle(t.Context(), nodeID(1), message.Pull, pull.Encode()); err != nil {
			t.Errorf("a pull: %v", err)
		}
		a.ae.serving <- struct{}{}
		if _, err := a.ae.Handle(t.Context(), nodeID(1), message.Buckets, buckets(head)); reasonOf(err) != reasonBusy {
			t.Errorf("one answer too many: %v", err)
		}
	})
}

// TestShare: steps leave the core alone for as long as Share says.
func TestShare(t *testing.T) {
	bubble(t, func(cfg *Config) { cfg.Share = 0.1 }, func(t *testing.T, c *cluster, a, b *node) {
		c.intercept = func(int, int, string, []byte) error {
			time.Sleep(100 * time.Millisecond) // a step's time
			return nil
		}
		began := time.Now()
		for c.calls[message.Roots] < 10 {
			idle, err := a.ae.Step(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if idle {
				time.Sleep(time.Millisecond)
			}
			if c.calls[message.Roots] == 3 && c.calls[message.Leaves] == 0 {
				a.apply(t, put(t, "p", c.calls[message.Leaves], 1, "v"))
			}
		}
		busy := 0
		for _, n := range c.calls {
			busy += n
		}
		if share := float64(busy) * 0.1 / time.Since(began).Seconds(); share > 0.11 {
			t.Errorf("steps took %.2f of the time", share)
		}
	})
}

// TestShareOfACore: what is urgent has more than what is not, unless it is to rest, and
// never more than it may have at the best.
func TestShareOfACore(t *testing.T) {
	for _, c := range []struct {
		share, pace, want float64
	}{{0.03, 1, 0.25}, {0.03, 0.5, 0.125}, {0.03, 0.1, 0.06}, {0.03, 0, 0.03}, {0.2, 0.1, 0.25}, {0.4, 0.1, 0.4}} {
		cfg := DefaultConfig()
		cfg.Share = c.share
		if got := cfg.share(true, c.pace); got != c.want {
			t.Errorf("%+v: %g", c, got)
		}
		if got := cfg.share(false, c.pace); got != c.share {
			t.Errorf("%+v: %g of what is not urgent", c, got)
		}
	}
}

func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Config){
		"settle": func(c *Config) { c.Settle = 0 }, "share": func(c *Config) { c.Share = 2 },
		"deferrals": func(c *Config) { c.Deferrals = -1 }, "serving": func(c *Config) { c.Serving = 0 }, "sessions": func(c *Config) { c.Sessions = 0 },
		"answer": func(c *Config) { c.AnswerBytes = 1 << 30 }, "backoff": func(c *Config) { c.BackoffMax = 1 },
	} {
		cfg := DefaultConfig()
		if spoil(&cfg); cfg.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(DefaultConfig(), Env{}); err == nil {
		t.Error("an empty Env is accepted")
	}
}

// TestMetricsAreClean: names and help are as promlint wants them.
func TestMetricsAreClean(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, a, b *node) {
		a.ae.metrics.sessions.WithLabelValues("verified").Inc()
		problems, err := testutil.GatherAndLint(a.registry)
		if err != nil || len(problems) > 0 {
			t.Errorf("%v %v", problems, err)
		}
	})
}
