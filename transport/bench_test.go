package transport

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
)

// cpu is the process's CPU time so far: both ends run in it.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// quietHandler answers at once.
type quietHandler struct{}

func (quietHandler) Apply(_ ring.NodeID, _ Group, _ time.Time, s Sink, tag uint32) {
	s.Done(tag, Verdict{})
}

func (quietHandler) Read(context.Context, ring.NodeID, *ReadRequest) ReadAnswer {
	return ReadAnswer{Rows: make([]byte, 256)}
}

func (quietHandler) Scan(context.Context, ring.NodeID, *ScanRequest) ScanAnswer { return ScanAnswer{} }

func (quietHandler) Control(context.Context, Hello, string, []byte) ([]byte, error) { return nil, nil }

// benchNode runs a node on a loopback socket.
func benchNode(b *testing.B, n byte) (*Transport, string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var d net.Dialer
	t, err := New(DefaultConfig(), Env{
		Self: id(n), Listener: l, Handler: quietHandler{},
		Dial:  func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) },
		Admit: func(Hello) error { return nil }, Hello: func() Hello { return Hello{} },
		Clock: hlc.New(time.Now, 0, 5*time.Second), CatalogVersion: func() uint64 { return 1 },
		Rand:   rand.New(rand.NewPCG(1, uint64(n))),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- t.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return t, l.Addr().String()
}

// benchPair connects node 1 to node 2.
func benchPair(b *testing.B) *Transport {
	b.Helper()
	t, _ := benchNode(b, 1)
	_, address := benchNode(b, 2)
	t.SetPeers([]Peer{{id(2), address}})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !t.Peer(id(2)).Connected {
		<-tick.C
	}
	return t
}

// waiter is one caller's Sink.
type waiter chan Verdict

func (w waiter) Done(_ uint32, v Verdict) { w <- v }

// share runs b.N operations on a number of callers and reports the CPU of all.
func share(b *testing.B, callers int, op func(caller int) error) {
	var next atomic.Int64
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	began := cpu()
	for caller := range callers {
		all.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := op(caller); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "us-cpu/op")
}

// BenchmarkApply is a replicated mutation of one row, 24 bytes of key and 256 of
// value, from a closed loop of callers to one peer and back.
func BenchmarkApply(b *testing.B) {
	for _, callers := range []int{1, 16, 128, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			t := benchPair(b)
			g := &Group{Version: 1, Born: 1, Count: 1, Entries: make([]byte, 24+256)}
			waiters := make([]waiter, callers)
			for i := range waiters {
				waiters[i] = make(waiter, 1)
			}
			share(b, callers, func(caller int) error {
				t.Apply(id(2), g, time.Now().Add(5*time.Second), waiters[caller], 0)
				return (<-waiters[caller]).Err()
			})
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, callers := range []int{1, 128} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			t := benchPair(b)
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			q := &ReadRequest{Partition: []byte("stream"), MaxRows: 1, MaxBytes: 1 << 20}
			share(b, callers, func(int) error {
				_, err := t.Read(ctx, id(2), q)
				return err
			})
		})
	}
}

// BenchmarkApplyHere is the local short cut.
func BenchmarkApplyHere(b *testing.B) {
	t, _ := benchNode(b, 1)
	g := &Group{Version: 1, Born: 1, Count: 1, Entries: make([]byte, 24+256)}
	w := make(waiter, 1)
	share(b, 1, func(int) error {
		t.Apply(id(1), g, time.Now().Add(5*time.Second), w, 0)
		return (<-w).Err()
	})
}

func BenchmarkPeerState(b *testing.B) {
	t, _ := benchNode(b, 1)
	for b.Loop() {
		if !t.Peer(id(1)).Connected {
			b.Fatal("not connected to itself")
		}
	}
}
