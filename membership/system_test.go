package membership_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/membership"
)

// systemNetwork is the network of the operating system.
type systemNetwork struct{}

func (systemNetwork) Listen(address string) (net.Listener, error) { return net.Listen("tcp", address) }

func (systemNetwork) ListenPacket(address string) (net.PacketConn, error) {
	return net.ListenPacket("udp", address)
}

func (systemNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

func addr(a netip.AddrPort) net.Addr { return net.UDPAddrFromAddrPort(a) }

// freeAddress finds a port of 127.0.0.1 that is free for TCP and UDP.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		p, err := net.ListenPacket("udp", address)
		_ = l.Close()
		if err == nil {
			_ = p.Close()
			return address
		}
	}
	t.Fatal("no port is free for both TCP and UDP")
	return ""
}

// TestRealSockets runs two nodes on loopback; the second is found by host name.
func TestRealSockets(t *testing.T) {
	addresses := []string{freeAddress(t), freeAddress(t)}
	_, secondPort, _ := net.SplitHostPort(addresses[1])
	met := make(chan int, 16)
	var stop []func()
	for i, address := range addresses {
		cfg := membership.DefaultConfig()
		cfg.Listen = address
		heard := membership.Fact{Version: uint64(10 + i)}
		m, err := membership.New(cfg, membership.Env{
			Self: nodeID(i), Cluster: cluster, Key: key, Network: systemNetwork{},
			OnFact:     func(_ uuid.UUID, f membership.Fact) { met <- int(f.Version) },
			Logger:     slog.New(slog.DiscardHandler),
			Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		m.SetFact(heard)
		m.SetPeers([]membership.Peer{{ID: nodeID(0), Address: addresses[0]}, {ID: nodeID(1), Address: "localhost:" + secondPort}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		stop = append(stop, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	seen := map[int]bool{}
	deadline := time.After(20 * time.Second)
	for !seen[10] || !seen[11] {
		select {
		case v := <-met:
			seen[v] = true
		case <-deadline:
			t.Fatalf("the nodes did not meet: %v", seen)
		}
	}
	for _, f := range stop {
		f()
	}
}
