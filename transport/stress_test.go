package transport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// tracked is the Sink of one request: it checks that the request hears once,
// and no later than its deadline allows.
type tracked struct {
	x        *fixture
	latest   time.Time
	mu       sync.Mutex // guards verdicts
	verdicts []Verdict
}

func (k *tracked) Done(_ uint32, v Verdict) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.verdicts = append(k.verdicts, v)
	if time.Now().After(k.latest) {
		k.x.Errorf("heard %v, %v too late", v, time.Since(k.latest))
	}
}

// TestEveryRequestHearsOnce: three nodes ask each other and themselves while
// handlers dawdle and forget, the network is cut and healed, and a node restarts.
func TestEveryRequestHearsOnce(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { cluster(t, func(x *fixture) { x.stress(seed) }) })
	}
}

func (x *fixture) stress(seed uint64) {
	x.cfg.Slots, x.cfg.QueueBytes, x.cfg.RequestBytes = 64, 64<<10, 32<<10
	var peers []Peer
	var nodes []*node
	for n := byte(1); n <= 3; n++ {
		peers = append(peers, Peer{id(n), address(n)})
		nodes = append(nodes, x.add(n))
		x.dawdle(nodes[n-1], seed+uint64(n))
	}
	for _, m := range nodes {
		x.run(m)
		m.SetPeers(peers)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex // guards nodes, all
	var all []*tracked
	var askers sync.WaitGroup
	for i := range 4 {
		askers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
				mu.Lock()
				m := nodes[rng.IntN(3)]
				mu.Unlock()
				for range 1 + rng.IntN(40) {
					budget := time.Duration(1+rng.IntN(2000)) * time.Millisecond
					k := &tracked{x: x, latest: in(budget + sweepInterval)}
					mu.Lock()
					all = append(all, k)
					mu.Unlock()
					g := &Group{Count: 1, Entries: make([]byte, 2+rng.IntN(1<<rng.IntN(16)))}
					m.Apply(id(byte(1+rng.IntN(3))), g, in(budget), k, rng.Uint32())
				}
				rctx, done := context.WithTimeout(ctx, time.Second)
				_, err := m.Read(rctx, id(byte(1+rng.IntN(3))), new(ReadRequest))
				done()
				var e *Error
				if err != nil && !errors.As(err, &e) && !errors.Is(err, context.Canceled) {
					x.Errorf("read: %v", err)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 99))
	for range 6 {
		time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
		heal := x.network.block()
		time.Sleep(time.Duration(rng.IntN(25000)) * time.Millisecond)
		heal()
		time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
		k := rng.IntN(3)
		mu.Lock()
		old := nodes[k]
		mu.Unlock()
		old.stop(x.T)
		again := x.add(byte(k + 1))
		x.dawdle(again, seed+rng.Uint64())
		x.run(again)
		again.SetPeers(peers)
		mu.Lock()
		nodes[k] = again
		mu.Unlock()
	}
	cancel()
	askers.Wait()
	time.Sleep(time.Minute)
	synctest.Wait()
	count := map[Code]int{}
	for _, k := range all {
		if len(k.verdicts) != 1 {
			x.Fatalf("a request heard %v", k.verdicts)
		}
		count[k.verdicts[0].Code]++
	}
	for _, code := range []Code{OK, Failed, Timeout, Unreachable, Overloaded} {
		if count[code] == 0 {
			x.Errorf("no request ended as %v; %v", code, count)
		}
	}
	for _, m := range nodes {
		for _, p := range m.Status() {
			if !p.Connected {
				x.Errorf("after healing, %s is not connected: %v", p.ID, p.Err)
			}
		}
	}
}

// dawdle makes a node's handler answer at once, later, twice, or never.
func (x *fixture) dawdle(m *node, seed uint64) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 7))
	m.handler.apply = func(s served) {
		mu.Lock()
		kind, wait := rng.IntN(20), time.Duration(1+rng.IntN(3000))*time.Millisecond
		mu.Unlock()
		switch {
		case kind < 10:
			s.done(Verdict{})
		case kind == 10:
			s.done(Verdict{Code: Failed, Detail: "as planned"})
			s.done(Verdict{})
		case kind < 19:
			time.AfterFunc(wait, func() { s.done(Verdict{}) })
		}
	}
	m.handler.read = func(ctx context.Context, _ ring.NodeID, _ *ReadRequest) ReadAnswer {
		mu.Lock()
		wait := time.Duration(1+rng.IntN(300)) * time.Millisecond
		mu.Unlock()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		return ReadAnswer{Rows: make([]byte, 100)}
	}
}
