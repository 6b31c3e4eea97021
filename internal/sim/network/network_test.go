package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	addrA = netip.MustParseAddr("10.0.0.1")
	addrB = netip.MustParseAddr("10.0.0.2")
)

// fixed is a link without chance.
func fixed(delay time.Duration) Profile { return Profile{MinDelay: delay, MaxDelay: delay} }

func pair(t *testing.T, p Profile) (n *Network, a, b *Host) {
	t.Helper()
	n = New(1, p)
	return n, n.Boot(addrA), n.Boot(addrB)
}

// connected returns both ends of a stream from a to b.
func connected(t *testing.T, a, b *Host) (client, server net.Conn) {
	t.Helper()
	l, err := b.Listen("10.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err = a.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func within(d time.Duration) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(d, cancel)
	return ctx
}

func TestStreamDelaysAndDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, fixed(10*time.Millisecond))
		begin := time.Now()
		client, server := connected(t, a, b)
		if took := time.Since(begin); took != 20*time.Millisecond {
			t.Errorf("dial took %s, want one round trip, 20ms", took)
		}
		begin = time.Now()
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("a write within the window took %s", took)
		}
		buf := make([]byte, 10)
		n, err := server.Read(buf)
		if took := time.Since(begin); err != nil || string(buf[:n]) != "hello" || took != 10*time.Millisecond {
			t.Errorf("read %q, %v after %s", buf[:n], err, took)
		}
		_ = client.Close()
		if n, err := server.Read(buf); n != 0 || err != io.EOF {
			t.Errorf("after close: read %d, %v; want EOF", n, err)
		}
		if _, err := server.Write(buf); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a closed peer: %v; want EPIPE", err)
		}
		if _, err := client.Read(buf); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of a closed end: %v", err)
		}
	})
}

// TestStreamKeepsOrderUnderFaults copies a few megabytes in random pieces over
// a link that loses, delays, and is blocked now and then.
func TestStreamKeepsOrderUnderFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, Profile{MinDelay: time.Millisecond, MaxDelay: 80 * time.Millisecond, Loss: 0.2, BytesPerSecond: 1 << 20})
		client, server := connected(t, a, b)
		sent := make([]byte, 3<<20)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := 0; i < len(sent); i += 8 {
			binary.LittleEndian.PutUint64(sent[i:], rng.Uint64())
		}
		go func() {
			for rest := sent; len(rest) > 0; {
				k := min(len(rest), 1+rng.IntN(100_000))
				if _, err := client.Write(rest[:k]); err != nil {
					t.Errorf("write: %v", err)
				}
				rest = rest[k:]
			}
			_ = client.Close()
		}()
		done := make(chan struct{})
		go func() {
			defer close(done)
			got, err := io.ReadAll(server)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("read %d bytes, %v; want %d equal ones", len(got), err, len(sent))
			}
		}()
		for range 5 {
			time.Sleep(300 * time.Millisecond)
			n.Block(addrA, addrB)
			time.Sleep(700 * time.Millisecond)
			n.Unblock(addrA, addrB)
		}
		<-done
	})
}

func TestWindowStopsTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, fixed(time.Millisecond))
		client, server := connected(t, a, b)
		_ = client.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := client.Write(make([]byte, 1<<20))
		if n != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("wrote %d, %v; want the window, %d, and a deadline", n, err, window)
		}
		_ = client.SetWriteDeadline(time.Time{})
		go func() { _, _ = io.CopyN(io.Discard, server, 1<<20) }()
		if n, err := client.Write(make([]byte, 1<<20)); n != 1<<20 || err != nil {
			t.Fatalf("with a reader: wrote %d, %v", n, err)
		}
	})
}

func TestDeadlineWakesAPendingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, fixed(time.Millisecond))
		client, _ := connected(t, a, b)
		begin := time.Now()
		time.AfterFunc(time.Second, func() { _ = client.SetReadDeadline(time.Now()) })
		_, err := client.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(begin) != time.Second {
			t.Fatalf("read: %v after %s", err, time.Since(begin))
		}
	})
}

func TestOneWayBlockStallsOneDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, fixed(10*time.Millisecond))
		client, server := connected(t, a, b)
		n.Block(addrA, addrB)
		if _, err := client.Write([]byte("there")); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Write([]byte("back")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		if k, err := client.Read(buf); err != nil || string(buf[:k]) != "back" {
			t.Fatalf("open direction: %q, %v", buf[:k], err)
		}
		_ = server.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := server.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("blocked direction: %v", err)
		}
		_ = server.SetReadDeadline(time.Time{})
		n.Unblock(addrA, addrB)
		begin := time.Now()
		if k, err := server.Read(buf); err != nil || string(buf[:k]) != "there" {
			t.Fatalf("after healing: %q, %v", buf[:k], err)
		}
		if took := time.Since(begin); took < 10*time.Millisecond || took > 300*time.Millisecond {
			t.Errorf("arrived %s after healing", took)
		}
		if err := dialError(a, "10.0.0.2:1", time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to a port without listener: %v", err)
		}
	})
}

func dialError(h *Host, address string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := h.Dial(ctx, address)
	return err
}

func TestDialWaitsForThePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, fixed(time.Millisecond))
		if _, err := b.Listen("10.0.0.2:80"); err != nil {
			t.Fatal(err)
		}
		n.Block(addrB, addrA) // the answers are lost
		begin := time.Now()
		if err := dialError(a, "10.0.0.2:80", 3*time.Second); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Fatalf("%v after %s", err, time.Since(begin))
		}
		time.AfterFunc(time.Second, func() { n.Unblock(addrB, addrA) })
		if err := dialError(a, "10.0.0.2:80", 3*time.Second); err != nil {
			t.Fatalf("healed in time: %v", err)
		}
		if err := dialError(a, "10.0.0.99:80", time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial to nobody: %v", err)
		}
	})
}

func TestKillResetsPeersAndSocketsStayDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, fixed(time.Millisecond))
		client, server := connected(t, a, b)
		accepting, _ := b.Listen("10.0.0.2:90")
		socket, _ := b.ListenPacket("10.0.0.2:90")
		time.AfterFunc(time.Second, b.Kill)
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("peer's read: %v", err)
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the dead host's write: %v", err)
		}
		if _, err := accepting.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the dead host's accept: %v", err)
		}
		if _, _, err := socket.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the dead host's socket: %v", err)
		}
		if _, err := b.Dial(t.Context(), "10.0.0.1:1"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the dead host's dial: %v", err)
		}
		if err := dialError(a, "10.0.0.2:90", time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to a killed process: %v", err)
		}
		again := n.Boot(addrB)
		if _, err := again.Listen("10.0.0.2:90"); err != nil {
			t.Errorf("listen after the restart: %v", err)
		}
		if err := dialError(a, "10.0.0.2:90", time.Second); err != nil {
			t.Errorf("dial after the restart: %v", err)
		}
	})
}

func TestPowerOffIsSilentUntilTheRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, fixed(time.Millisecond))
		client, _ := connected(t, a, b)
		b.PowerOff()
		_ = client.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read: %v; want silence", err)
		}
		_ = client.SetReadDeadline(time.Time{})
		if _, err := client.Write([]byte("anyone?")); err != nil {
			t.Fatalf("write into silence: %v", err)
		}
		if err := dialError(a, "10.0.0.2:90", time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial: %v; want silence", err)
		}
		time.AfterFunc(time.Second, func() { n.Boot(addrB) })
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after the restart: %v; want a reset", err)
		}
	})
}

func TestDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, Profile{MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond, Loss: 0.2, Duplicate: 0.1})
		from, _ := a.ListenPacket("10.0.0.1:7")
		to, _ := b.ListenPacket("10.0.0.2:7")
		const sent = 2000
		go func() {
			for i := range sent {
				var msg [4]byte
				binary.BigEndian.PutUint32(msg[:], uint32(i))
				if _, err := from.WriteTo(msg[:], to.LocalAddr()); err != nil {
					t.Errorf("write: %v", err)
				}
				time.Sleep(time.Millisecond)
			}
		}()
		seen := map[uint32]int{}
		overtaken, last := 0, uint32(0)
		_ = to.SetReadDeadline(time.Now().Add(time.Minute))
		for {
			var buf [16]byte
			k, peer, err := to.ReadFrom(buf[:])
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil || k != 4 || peer.String() != "10.0.0.1:7" {
				t.Fatalf("read %d from %v: %v", k, peer, err)
			}
			i := binary.BigEndian.Uint32(buf[:])
			seen[i]++
			if i < last {
				overtaken++
			}
			last = max(last, i)
		}
		twice := 0
		for _, k := range seen {
			if k == 2 {
				twice++
			}
		}
		if lost := sent - len(seen); lost < 300 || lost > 500 || twice < 100 || twice > 220 || overtaken < 100 {
			t.Errorf("lost %d, doubled %d, overtaken %d", lost, twice, overtaken)
		}
		n.Block(addrA, addrB)
		_, _ = from.WriteTo([]byte("x"), to.LocalAddr())
		_ = to.SetReadDeadline(time.Now().Add(time.Minute))
		if _, _, err := to.ReadFrom(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("over a blocked link: %v", err)
		}
	})
}

// TestLinksDrawIndependently shows that traffic on one link leaves another's
// draws alone, and that the seed decides them.
func TestLinksDrawIndependently(t *testing.T) {
	fates := func(seed uint64, noise int) (out []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			n := New(seed, LAN())
			a, b := n.Boot(addrA), n.Boot(addrB)
			from, _ := a.ListenPacket("10.0.0.1:7")
			to, _ := b.ListenPacket("10.0.0.2:7")
			for range noise {
				_, _ = to.WriteTo([]byte("noise"), from.LocalAddr())
			}
			for range 20 {
				begin := time.Now()
				_, _ = from.WriteTo([]byte("x"), to.LocalAddr())
				_, _, _ = to.ReadFrom(make([]byte, 1))
				out = append(out, time.Since(begin))
			}
		})
		return out
	}
	equal := func(a, b []time.Duration) bool {
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	quiet := fates(1, 0)
	if !equal(quiet, fates(1, 50)) {
		t.Error("traffic in the other direction changed a link's draws")
	}
	if equal(quiet, fates(2, 0)) {
		t.Error("the seed changes nothing")
	}
}

func TestHTTPRunsOverIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, LAN())
		l, err := b.Listen("10.0.0.2:80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		})}
		go func() { _ = server.Serve(l) }()
		transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return a.Dial(ctx, address) }}
		client := http.Client{Transport: transport, Timeout: time.Minute}
		body := bytes.Repeat([]byte("dunlin "), 100_000)
		answer, err := client.Post("http://10.0.0.2:80/", "text/plain", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("echoed %d of %d bytes: %v", len(got), len(body), err)
		}
		_ = answer.Body.Close()
		transport.CloseIdleConnections()
		if err := server.Shutdown(within(time.Minute)); err != nil {
			t.Error(err)
		}
	})
}

func TestAddressesAreChecked(t *testing.T) {
	n := New(1, LAN())
	a := n.Boot(addrA)
	if _, err := a.Listen("10.0.0.2:80"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("another host's address: %v", err)
	}
	if _, err := a.Listen("nonsense"); err == nil {
		t.Error("listened on nonsense")
	}
	l, err := a.Listen("10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Listen("10.0.0.1:80"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken port: %v", err)
	}
	_ = l.Close()
	if _, err := a.Listen("10.0.0.1:80"); err != nil {
		t.Errorf("a port freed again: %v", err)
	}
}
