package transport

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// moved is a node that says where it is.
func (x *fixture) moved(n byte) *node {
	m := x.add(n)
	m.hello.Addresses.Internode = address(n)
	m.handler.control = func(context.Context, Hello, string, []byte) ([]byte, error) { return []byte{n}, nil }
	x.run(m)
	return m
}

// expectAt checks where a peer is dialled, and who answers control calls there.
func (x *fixture) expectAt(m *node, peer byte, want string) {
	x.Helper()
	if got := m.Where(Peer{id(peer), "recorded"}); got != want {
		x.Errorf("node %d is sought at %s, not %s", peer, got, want)
	}
	if answer, err := m.ControlTo(within(x.T, time.Second), id(peer), "who", nil); err != nil || answer[0] != peer {
		x.Errorf("node %d is asked, %v answers: %v", peer, answer, err)
	}
}

// TestSwappedPeers: two peers have each other's recorded address. Each is found by who
// answers in place of the other, and stays connected when that is recorded.
func TestSwappedPeers(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b, c := x.moved(1), x.moved(2), x.moved(3)
		a.SetPeers([]Peer{{id(2), address(3)}, {id(3), address(2)}})
		time.Sleep(x.cfg.BackoffMax)
		for n := byte(2); n <= 3; n++ { // who was found first need not have been looked for elsewhere
			if _, err := a.Probe(within(x.T, time.Second), address(n)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(x.cfg.BackoffMax)
		for n, peer := range map[byte]*node{2: b, 3: c} {
			x.expectConnected(a, n, true)
			x.expectAt(a, n, address(n))
			peer.handler.apply = new(holder).apply
		}
		sink := newOutcomes(x.T)
		a.Apply(id(2), group("row"), in(time.Hour), sink, 1)
		a.SetPeers([]Peer{{id(2), address(2)}, {id(3), address(2)}, {id(4), address(3)}}) // one may be recorded twice
		time.Sleep(time.Minute)
		x.expectConnected(a, 2, true)
		x.expectConnected(a, 3, true)
		x.expectConnected(a, 4, false)
		if n := a.value(t, "reconnects_total"); n > 2*60 {
			t.Errorf("%v reconnects in a minute", n)
		}
		sink.expect(0, OK, 0)
		if got := a.Where(Peer{id(9), "recorded"}); got != "recorded" {
			t.Errorf("a stranger is sought at %s", got)
		}
	})
}

// TestPeerThatDialsIsFound: nobody is where the peer was, but the peer says where it is.
func TestPeerThatDialsIsFound(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.moved(1), x.moved(2)
		a.SetPeers([]Peer{{id(2), address(8)}})
		time.Sleep(time.Minute)
		x.expectConnected(a, 2, false)
		if _, err := b.Probe(within(x.T, time.Second), address(1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		x.expectConnected(a, 2, true)
		x.expectAt(a, 2, address(2))
		a.SetPeers(nil)
		a.SetPeers([]Peer{{id(2), address(8)}})
		if got := a.Where(Peer{ID: id(2)}); got != address(8) {
			t.Errorf("what a peer said before it was none is remembered: %s", got)
		}
	})
}

// TestWrongWord: what others tell is tried, costs no connection, and gives way to the record.
func TestWrongWord(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.moved(1), x.moved(2)
		b.handler.apply = new(holder).apply
		a.SetPeers([]Peer{{id(2), address(2)}})
		synctest.Wait()
		sink := newOutcomes(x.T)
		a.Apply(id(2), group("row"), in(time.Hour), sink, 1)
		a.Heard(id(2), address(7))
		a.Heard(id(1), address(7))
		a.Heard(id(9), address(7))
		a.Heard(id(2), "")
		synctest.Wait()
		x.expectConnected(a, 2, true)
		sink.expect(0, OK, 0)

		c := x.moved(3)
		a.SetPeers([]Peer{{id(3), address(8)}})
		a.Heard(id(3), address(7))
		time.Sleep(time.Minute)
		x.expectConnected(a, 3, false)
		a.SetPeers([]Peer{{id(3), address(3)}})
		time.Sleep(2 * x.cfg.BackoffMax)
		x.expectConnected(a, 3, true)
		c.stop(t)
	})
}

// TestPretender: a node that is not admitted under a peer's identity, such as an older
// copy of it, is not believed to be where it says.
func TestPretender(t *testing.T) {
	cluster(t, func(x *fixture) {
		a := x.add(1)
		var refused atomic.Int64
		a.env.Admit = func(h Hello) error {
			if h.Boot < 2 {
				refused.Add(1)
				return errors.New("an older copy")
			}
			return nil
		}
		a.hello.Boot = 2
		x.run(a)
		a.SetPeers([]Peer{{id(2), address(8)}})
		b := x.moved(2)
		if _, err := b.Probe(within(x.T, time.Second), address(1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		x.expectConnected(a, 2, false)
		if got := a.Where(Peer{ID: id(2)}); got != address(8) || refused.Load() == 0 {
			t.Errorf("it is sought at %s, refused %d times", got, refused.Load())
		}
	})
}
