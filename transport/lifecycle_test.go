package transport

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/rpc"
)

func TestGracefulStopAnswersWhatItHas(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		hold := new(holder)
		b.handler.apply = hold.apply
		sink := newOutcomes(x.T)
		a.Apply(id(2), group("row"), in(10*time.Second), sink, 1)
		synctest.Wait()
		stopping := time.Now()
		b.cancel()
		b.stopped = true
		time.Sleep(time.Second)
		a.Apply(id(2), group("row"), in(10*time.Second), sink, 2)
		synctest.Wait()
		if h := sink.heard[2]; h.verdict.Code != Overloaded || !strings.Contains(h.verdict.Detail, "stopping") {
			x.Errorf("a new group during the drain heard %+v", h.verdict)
		}
		delete(sink.heard, 2)
		hold.take()[0].done(Verdict{})
		if err := <-b.ended; err != nil {
			x.Error(err)
		}
		sink.expect(1, OK, time.Second)
		if d := time.Since(stopping); d != time.Second {
			x.Errorf("stopped after %v", d)
		}
		x.expectConnected(a, 2, false)
	})
}

// TestStopIsBounded: work that never ends, at home and for a peer, and an open
// request to a peer that hangs, hold a stop up for the drain timeout only.
func TestStopIsBounded(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		here, there := new(holder), new(holder)
		a.handler.apply, b.handler.apply = here.apply, there.apply
		sink := newOutcomes(x.T)
		a.Apply(id(1), group("row"), in(time.Hour), sink, 1)
		a.Apply(id(2), group("row"), in(time.Hour), sink, 2)
		b.Apply(id(1), group("row"), in(time.Hour), newOutcomes(x.T), 3)
		synctest.Wait()
		began := time.Now()
		a.stop(x.T)
		if d := time.Since(began); d != x.cfg.DrainTimeout {
			x.Errorf("stopped after %v", d)
		}
		sink.expect(2, Unreachable, x.cfg.DrainTimeout)
		for _, s := range here.take() {
			s.done(Verdict{}) // too late for anybody
		}
		a.Apply(id(1), group("row"), in(time.Hour), sink, 1)
		a.Apply(id(2), group("row"), in(time.Hour), sink, 2)
		sink.expect(2, Unreachable, 0)
	})
}

func TestIdleStopIsImmediate(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		began := time.Now()
		a.stop(x.T)
		b.stop(x.T)
		if d := time.Since(began); d > 100*time.Millisecond {
			x.Errorf("stopping took %v", d)
		}
	})
}

func TestStopWhileCutOff(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		x.network.block()
		a.Apply(id(2), group("row"), in(time.Hour), newOutcomes(x.T), 1)
		began := time.Now()
		a.stop(x.T)
		b.stop(x.T)
		if d := time.Since(began); d > 2*x.cfg.DrainTimeout {
			x.Errorf("stopping took %v", d)
		}
	})
}

func TestRestartOfAPeer(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		hold := new(holder)
		b.handler.apply = hold.apply
		sink := newOutcomes(x.T)
		for i := range 10 {
			a.Apply(id(2), group("row"), in(time.Hour), sink, uint32(i))
		}
		synctest.Wait()
		b.stop(x.T) // does not answer them
		sink.expect(10, Unreachable, x.cfg.DrainTimeout)
		a.Apply(id(2), group("row"), in(time.Hour), sink, 1)
		sink.expect(1, Unreachable, 0)
		time.Sleep(time.Minute)
		x.expectConnected(a, 2, false)

		again := x.add(2)
		again.hello.Boot = 2
		x.run(again)
		time.Sleep(x.cfg.BackoffMax * 5 / 4)
		x.expectConnected(a, 2, true)
		if h := a.Status()[0].Hello; h.Boot != 2 || a.Status()[0].Err != nil {
			x.Errorf("status %+v", a.Status()[0])
		}
		sink.began = time.Now()
		a.Apply(id(2), group("row"), in(time.Hour), sink, 1)
		sink.expect(1, OK, 0)
		for _, s := range hold.take() {
			s.done(Verdict{}) // of the life before
		}
		sink.expect(0, OK, 0)
	})
}

// TestSilentNetwork: a cut that nobody reports is noticed by keepalive; until
// then requests time out, afterwards they fail at once; then it heals.
func TestSilentNetwork(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, _ := x.pair()
		sink := newOutcomes(x.T)
		heal := x.network.block()
		a.Apply(id(2), group("row"), in(time.Second), sink, 1)
		time.Sleep(time.Second)
		sink.expect(1, Timeout, time.Second)
		time.Sleep(rpc.KeepaliveInterval + rpc.KeepaliveTimeout)
		x.expectConnected(a, 2, false)
		sink.began = time.Now()
		a.Apply(id(2), group("row"), in(time.Second), sink, 1)
		sink.expect(1, Unreachable, 0)
		time.Sleep(time.Minute)
		heal()
		time.Sleep(x.cfg.DialTimeout + 2*x.cfg.BackoffMax)
		x.expectConnected(a, 2, true)
		sink.began = time.Now()
		a.Apply(id(2), group("row"), in(time.Second), sink, 1)
		sink.expect(1, OK, 0)
		if n := a.value(t, "reconnects_total"); n < 2 || n > 30 {
			x.Errorf("%v reconnects in a minute and a half", n)
		}
	})
}

func TestHellosThatAreRefused(t *testing.T) {
	no := errors.New("not on the list")
	cases := map[string]struct {
		change func(a, b *node)
		want   string // in a's status
	}{
		"another cluster": {func(a, b *node) { b.hello.Cluster, b.hello.ClusterName = uuid.UUID{9}, "other" }, `belongs to cluster "test"`},
		"another node":    {func(a, b *node) { b.env.Self = id(3) }, "answers at " + address(2)},
		"refused there":   {func(a, b *node) { b.env.Admit = func(Hello) error { return no } }, "not admitted there: not on the list"},
		"refused here":    {func(a, b *node) { a.env.Admit = func(Hello) error { return no } }, "not admitted here: not on the list"},
		"itself":          {func(a, b *node) { b.env.Self = id(1) }, "is this node"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cluster(t, func(x *fixture) {
				a, b := x.add(1), x.add(2)
				c.change(a, b)
				x.run(a)
				x.run(b)
				a.SetPeers([]Peer{{id(2), address(2)}})
				time.Sleep(10 * time.Second)
				x.expectConnected(a, 2, false)
				s := a.Status()[0]
				if s.Err == nil || !strings.Contains(s.Err.Error(), c.want) || !s.Dialled {
					x.Errorf("status %+v, want an error with %q", s, c.want)
				}
				sink := newOutcomes(x.T)
				a.Apply(id(2), group("row"), in(time.Second), sink, 1)
				sink.expect(1, Unreachable, 0)
				if a.value(t, "refused_hellos_total")+b.value(t, "refused_hellos_total") == 0 {
					x.Error("nothing was counted")
				}
			})
		})
	}
}

func TestAdmissionHeals(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.add(1), x.add(2)
		var known atomic.Bool
		b.env.Admit = func(h Hello) error {
			if !known.Load() || h.Node != id(1) || h.Boot != 1 || h.Version != 1 {
				return errors.New("unknown member")
			}
			return nil
		}
		x.run(a)
		x.run(b)
		a.SetPeers([]Peer{{id(2), address(2)}})
		time.Sleep(time.Minute)
		x.expectConnected(a, 2, false)
		known.Store(true)
		time.Sleep(x.cfg.BackoffMax * 5 / 4)
		x.expectConnected(a, 2, true)
	})
}

func TestSetPeers(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		c := x.add(3)
		x.run(c)
		b.handler.apply = new(holder).apply
		sink := newOutcomes(x.T)
		a.Apply(id(2), group("row"), in(time.Hour), sink, 1)
		a.SetPeers([]Peer{{id(1), "itself:1"}, {id(2), address(2)}, {id(3), address(3)}})
		synctest.Wait()
		x.expectConnected(a, 2, true)
		x.expectConnected(a, 3, true)
		sink.expect(0, OK, 0)
		if all := a.Status(); len(all) != 2 || all[0].ID != id(2) || all[1].ID != id(3) {
			x.Errorf("status %+v", all)
		}
		a.SetPeers([]Peer{{id(3), address(3)}})
		sink.expect(1, Unreachable, 0)
		if s := a.Peer(id(2)); s != (PeerState{}) {
			x.Errorf("a removed peer's state is %+v", s)
		}
		a.Apply(id(2), group("row"), in(time.Hour), sink, 1)
		sink.expect(1, Unreachable, 0)
		a.SetPeers([]Peer{{id(3), "10.0.0.9:7481"}}) // moved to where nobody is
		time.Sleep(time.Second)
		x.expectConnected(a, 3, false)
	})
}

// TestRemovedPeerIsHeardNoMore: a node that is a member no more, and does not know it, has
// a stream open to this one: nothing that comes on it is listened to any more.
func TestRemovedPeerIsHeardNoMore(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.add(1), x.add(2)
		var removed atomic.Bool
		b.env.Admit = func(Hello) error {
			if removed.Load() {
				return errors.New("it was removed")
			}
			return nil
		}
		x.run(a)
		x.run(b)
		a.SetPeers([]Peer{{id(2), address(2)}})
		b.SetPeers([]Peer{{id(1), address(1)}})
		synctest.Wait()
		sink := newOutcomes(x.T)
		a.Apply(id(2), group("row"), in(time.Second), sink, 1)
		sink.expect(1, OK, 0)
		removed.Store(true)
		b.SetPeers(nil)
		time.Sleep(time.Minute)
		a.Apply(id(2), group("row"), in(time.Second), sink, 2)
		synctest.Wait()
		if h := sink.heard[2]; h.verdict.Code == OK {
			x.Error("a group of a node that was removed a minute ago is applied")
		}
		if s := a.Status(); len(s) != 1 || s[0].Err == nil || !strings.Contains(s[0].Err.Error(), "it was removed") {
			x.Errorf("it is not told why: %+v", s)
		}
	})
}

// TestOtherPeersStay: that one node is no peer any more, or that one comes, ends nobody
// else's stream.
func TestOtherPeersStay(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		c := x.add(3)
		x.run(c)
		c.SetPeers([]Peer{{id(2), address(2)}})
		b.SetPeers([]Peer{{id(1), address(1)}, {id(3), address(3)}})
		synctest.Wait()
		x.expectConnected(c, 2, true)
		hold := new(holder)
		b.handler.apply = hold.apply
		sink := newOutcomes(x.T)
		a.Apply(id(2), group("row"), in(time.Hour), sink, 1)
		synctest.Wait()
		b.SetPeers([]Peer{{id(1), address(1)}})
		time.Sleep(time.Minute)
		for _, h := range hold.take() {
			h.done(Verdict{})
		}
		sink.expect(1, OK, time.Minute)
		if n := a.value(x.T, "dunlin_transport_reconnects_total"); n != 0 {
			x.Errorf("a peer has connected again %v times", n)
		}
		x.expectConnected(c, 2, true) // it is admitted still, though nobody connects to it
	})
}

func TestVersionsAndClocksTravel(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.add(1), x.add(2)
		var version atomic.Uint64
		version.Store(1)
		b.env.CatalogVersion = version.Load
		b.env.Clock = hlc.New(func() time.Time { return time.Now().Add(3 * time.Second) }, 0, 5*time.Second)
		var seen []uint64
		a.env.OnPeerVersion = func(from ring.NodeID, v uint64) {
			if from != id(2) {
				x.Errorf("version %d of %v", v, from)
			}
			seen = append(seen, v)
		}
		x.run(a)
		x.run(b)
		a.SetPeers([]Peer{{id(2), address(2)}})
		synctest.Wait()
		sink := newOutcomes(x.T)
		say := func() {
			a.Apply(id(2), group("row"), in(time.Second), sink, 1)
			sink.expect(1, OK, 0)
		}
		say()
		say()
		version.Store(7)
		say()
		say()
		if len(seen) != 2 || seen[0] != 1 || seen[1] != 7 {
			x.Errorf("versions seen: %v", seen)
		}
		if ahead := time.Duration(a.env.Clock.Last()-hlc.FromTime(time.Now())) * time.Microsecond; ahead != 3*time.Second {
			x.Errorf("the clock was moved to %v ahead", ahead)
		}
		if s := a.Status()[0]; s.Offset != 3*time.Second || s.Skewed {
			x.Errorf("status %+v", s)
		}
		b.env.Clock.Observe(b.env.Clock.Last() + 4_900_000) // 7.9 s ahead of a
		say()
		if s := a.Status()[0]; !s.Skewed {
			x.Errorf("status %+v", s)
		}
		if ahead := time.Duration(a.env.Clock.Last()-hlc.FromTime(time.Now())) * time.Microsecond; ahead > 5*time.Second {
			x.Errorf("a skewed clock was merged: %v ahead", ahead)
		}
		x.expectValue(a, "skewed_frames_total", 1)
	})
}

// TestANewerStreamTakesOver: a node that connects again before its old stream
// was found dead is served on the new one.
func TestANewerStreamTakesOver(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, _ := x.pair()
		twin := x.add(1) // the same identity, elsewhere: a restart that b has not noticed
		twin.env.Listener = x.network.listen("10.0.0.7:7481")
		x.run(twin)
		twin.SetPeers([]Peer{{id(2), address(2)}})
		synctest.Wait()
		x.expectConnected(twin, 2, true)
		x.expectConnected(a, 2, false)
		a.stop(x.T)
		time.Sleep(time.Minute)
		x.expectConnected(twin, 2, true) // that the older one is gone does not concern it
	})
}

func TestNewRefusesBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{T: t, network: newNetwork(), cfg: DefaultConfig()}
		env := x.add(1).env
		for name, change := range map[string]func(*Config, *Env){
			"Slots":        func(c *Config, _ *Env) { c.Slots = 1<<16 + 1 },
			"QueueBytes":   func(c *Config, _ *Env) { c.QueueBytes = c.RequestBytes - 1 },
			"Unprefaced":   func(c *Config, _ *Env) { c.Unprefaced = c.Connections + 1 },
			"BackoffMax":   func(c *Config, _ *Env) { c.BackoffMax = c.BackoffMin - 1 },
			"DrainTimeout": func(c *Config, _ *Env) { c.DrainTimeout = 0 },
			"Env.Self":     func(_ *Config, e *Env) { e.Self = ring.NodeID{} },
			"Env.Listener": func(_ *Config, e *Env) { e.Listener = nil },
			"Env.Handler":  func(_ *Config, e *Env) { e.Handler = nil },
			"Env.Clock":    func(_ *Config, e *Env) { e.Clock = nil },
			"Env.Logger":   func(_ *Config, e *Env) { e.Logger = nil },
		} {
			cfg, env := DefaultConfig(), env
			change(&cfg, &env)
			if _, err := New(cfg, env); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: error %v does not name it", name, err)
			}
		}
		tr, err := New(x.cfg, env)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(x.cfg, env); err == nil {
			t.Error("metrics were registered twice")
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := tr.Run(ctx); err != nil {
			t.Error(err)
		}
		if err := tr.Run(ctx); err == nil {
			t.Error("Run ran twice")
		}
	})
}

func TestBackoffGrowsAndIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{T: t, network: newNetwork(), cfg: DefaultConfig()}
		tr, err := New(x.cfg, x.add(1).env)
		if err != nil {
			t.Fatal(err)
		}
		for failures := range 100 {
			middle := min(x.cfg.BackoffMax, x.cfg.BackoffMin<<min(failures, 10))
			if d := tr.backoff(failures); d < middle*3/4 || d > middle*5/4 {
				t.Errorf("after %d failures: %v", failures, d)
			}
		}
	})
}

func TestMetricsAreWellNamed(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, _ := x.pair()
		problems, err := testutil.GatherAndLint(prometheus.Gatherer(a.registry))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	})
}
