package gate

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

// tally records refusals.
type tally struct {
	mu      sync.Mutex // guards reasons
	reasons []Reason
}

func (y *tally) refused(_ net.Addr, r Reason, _ error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.reasons = append(y.reasons, r)
}

func (y *tally) expect(t *testing.T, want ...Reason) {
	t.Helper()
	synctest.Wait()
	y.mu.Lock()
	defer y.mu.Unlock()
	if !slices.Equal(y.reasons, want) {
		t.Fatalf("refused for %v, want %v", y.reasons, want)
	}
	y.reasons = nil
}

// inGate runs a test with a gate over an in-memory listener, in virtual time.
func inGate(t *testing.T, limits Limits, f func(t *testing.T, l *bufconn.Listener, g *Gate, y *tally)) {
	synctest.Test(t, func(t *testing.T) {
		l, y := bufconn.Listen(1<<10), new(tally)
		g := New(l, limits, y.refused)
		f(t, l, g, y)
		g.Close()
		g.Wait()
	})
}

func dial(t *testing.T, l *bufconn.Listener) net.Conn {
	t.Helper()
	c, err := l.Dial()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// expectClosed checks that the other side has closed a connection.
func expectClosed(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatalf("%d bytes came from a connection that should be closed", n)
	}
}

var usual = Limits{Connections: 8, Unprefaced: 4, Timeout: 2 * time.Second}

func TestPrefaceIsReplayed(t *testing.T) {
	inGate(t, usual, func(t *testing.T, l *bufconn.Listener, g *Gate, y *tally) {
		c := dial(t, l)
		go func() {
			for _, b := range []byte(preface) { // byte for byte, slowly
				time.Sleep(50 * time.Millisecond)
				c.Write([]byte{b})
			}
			c.Write([]byte("frames"))
		}()
		s, err := g.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(preface)+6)
		if _, err := io.ReadFull(s, got); err != nil || string(got) != preface+"frames" {
			t.Fatalf("read %q, error %v", got, err)
		}
		// The deadline was for the preface only.
		go func() {
			time.Sleep(time.Hour)
			c.Write([]byte("x"))
		}()
		if _, err := s.Read(got[:1]); err != nil {
			t.Fatalf("after an hour: %v", err)
		}
		s.Close()
		c.Close()
		y.expect(t)
	})
}

func TestGarbageIsRefusedAtItsFirstByte(t *testing.T) {
	inGate(t, usual, func(t *testing.T, l *bufconn.Listener, g *Gate, y *tally) {
		for _, garbage := range []string{"GET / HTTP/1.1\r\n", "\x16\x03\x01", "PRI * HTTP/1", "P\x00"} {
			c := dial(t, l)
			began := time.Now()
			c.Write([]byte(garbage))
			expectClosed(t, c)
			if d := time.Since(began); d != 0 {
				t.Errorf("%q was refused after %v", garbage, d)
			}
			y.expect(t, Garbage)
		}
	})
}

func TestSilenceIsRefusedAtTheDeadline(t *testing.T) {
	inGate(t, usual, func(t *testing.T, l *bufconn.Listener, g *Gate, y *tally) {
		c := dial(t, l)
		c.Write([]byte("PRI"))
		began := time.Now()
		expectClosed(t, c)
		if d := time.Since(began); d != usual.Timeout {
			t.Fatalf("closed after %v, want %v", d, usual.Timeout)
		}
		y.expect(t, Slow)
		hung := dial(t, l)
		hung.Close()
		y.expect(t, Broken)
	})
}

func TestBounds(t *testing.T) {
	inGate(t, Limits{Connections: 3, Unprefaced: 2, Timeout: time.Second}, func(t *testing.T, l *bufconn.Listener, g *Gate, y *tally) {
		a, b := dial(t, l), dial(t, l)
		synctest.Wait()
		expectClosed(t, dial(t, l))
		y.expect(t, Unprefaced)
		var served []net.Conn
		for _, c := range []net.Conn{a, b} {
			c.Write([]byte(preface))
			s, err := g.Accept()
			if err != nil {
				t.Fatal(err)
			}
			served = append(served, s)
		}
		dial(t, l).Write([]byte(preface))
		third, err := g.Accept()
		if err != nil {
			t.Fatal(err)
		}
		expectClosed(t, dial(t, l))
		y.expect(t, Connections)
		served[0].Close()
		served[0].Close() // twice gives one place back
		dial(t, l).Write([]byte(preface))
		fourth, err := g.Accept()
		if err != nil {
			t.Fatal(err)
		}
		expectClosed(t, dial(t, l))
		y.expect(t, Connections)
		for _, c := range []net.Conn{served[1], third, fourth} {
			c.Close()
		}
	})
}

func TestCloseEndsWaitingConnections(t *testing.T) {
	inGate(t, usual, func(t *testing.T, l *bufconn.Listener, g *Gate, y *tally) {
		silent, ready := dial(t, l), dial(t, l)
		ready.Write([]byte(preface)) // through the gate, but nobody accepts
		synctest.Wait()
		g.Close()
		g.Wait()
		expectClosed(t, silent)
		expectClosed(t, ready)
		if _, err := g.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Accept after Close: %v", err)
		}
	})
}

// failing is a listener whose Accept fails a few times.
type failing struct {
	net.Listener
	mu   sync.Mutex // guards left
	left int
}

func (f *failing) Accept() (net.Conn, error) {
	f.mu.Lock()
	fail := f.left > 0
	f.left--
	f.mu.Unlock()
	if fail {
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

func TestPassingErrorsOfAcceptAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, y := bufconn.Listen(1<<10), new(tally)
		began := time.Now()
		g := New(&failing{Listener: l, left: 3}, usual, y.refused)
		c := dial(t, l)
		c.Write([]byte(preface))
		s, err := g.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d != 35*time.Millisecond {
			t.Errorf("accepted after %v, want 5+10+20 ms", d)
		}
		y.expect(t, Accept, Accept, Accept)
		s.Close()
		g.Close()
		g.Wait()
	})
}
