package membership_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/internal/sim/network"
	"github.com/dunlindb/dunlin/membership"
)

const port = "7482"

var (
	cluster = uuid.MustParse("6f1c6a1e-0f0f-4a6b-9d43-2f1c9f0b7a11")
	key     = []byte("0123456789abcdef0123456789abcdef")
)

// node is one membership on a host of its own.
type node struct {
	id      uuid.UUID
	address netip.Addr
	host    *network.Host
	member  *membership.Membership
	reg     *prometheus.Registry
	logs    *lockedBuffer
	cancel  context.CancelFunc
	done    chan error

	mu      sync.Mutex
	facts   map[uuid.UUID]membership.Fact
	changes int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func hostAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}) }

func nodeID(i int) uuid.UUID { return uuid.NewSHA1(cluster, []byte{byte(i)}) }

// options alter a node from the ordinary one.
type options struct {
	cluster uuid.UUID
	key     []byte
}

func start(t *testing.T, n *network.Network, i int, o options) *node {
	t.Helper()
	if o.cluster == uuid.Nil {
		o.cluster = cluster
	}
	if o.key == nil {
		o.key = key
	}
	x := &node{
		id: nodeID(i), address: hostAddress(i), host: n.Boot(hostAddress(i)),
		reg: prometheus.NewRegistry(), logs: &lockedBuffer{}, done: make(chan error, 1),
		facts: make(map[uuid.UUID]membership.Fact),
	}
	cfg := membership.DefaultConfig()
	cfg.Listen = x.address.String() + ":" + port
	m, err := membership.New(cfg, membership.Env{
		Self: x.id, Cluster: o.cluster, Key: o.key, Network: x.host,
		OnChange: func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.changes++
		},
		OnFact: func(id uuid.UUID, f membership.Fact) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.facts[id] = f
		},
		Logger:     slog.New(slog.NewTextHandler(x.logs, nil)),
		Registerer: x.reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	x.member = m
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	go func() { x.done <- m.Run(ctx) }()
	return x
}

func (x *node) stop(t *testing.T) {
	t.Helper()
	x.cancel()
	if err := <-x.done; err != nil {
		t.Errorf("run: %v", err)
	}
}

// counter sums a metric over the series that have all the labels given.
func (x *node) counter(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := x.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && strings.Contains(strings.Join(values, " "), strings.Join(labels, " ")) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// gossip starts nodes 0..count-1 that have each other as peers.
func gossip(t *testing.T, n *network.Network, count int) []*node {
	t.Helper()
	var nodes []*node
	for i := range count {
		nodes = append(nodes, start(t, n, i, options{}))
	}
	for _, x := range nodes {
		x.member.SetPeers(peers(count))
	}
	return nodes
}

func peers(count int) []membership.Peer {
	var out []membership.Peer
	for i := range count {
		out = append(out, membership.Peer{ID: nodeID(i), Address: hostAddress(i).String() + ":" + port})
	}
	return out
}

// eventually waits, in virtual time, until a condition holds and returns how
// long that took.
func eventually(t *testing.T, most time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !holds() {
		if time.Since(begin) > most {
			t.Fatalf("after %s: not yet: %s", most, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(begin)
}

// see reports whether every node of some sees every node of others as alive, or
// as dead.
func see(some, others []*node, alive bool) func() bool {
	return func() bool {
		for _, x := range some {
			for _, y := range others {
				if x != y && x.member.Status(y.id).Alive != alive {
					return false
				}
			}
		}
		return true
	}
}

// bubble runs a test in virtual time, and lets memberlist's last goroutines,
// which Shutdown does not wait for, end.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(time.Minute)
	})
}

func stopAll(t *testing.T, nodes []*node) {
	t.Helper()
	var all sync.WaitGroup
	for _, x := range nodes {
		all.Go(func() { x.stop(t) })
	}
	all.Wait()
}

func TestKillIsDetectedAndReturnIsSeen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := network.New(1, network.LAN())
		nodes := gossip(t, n, 5)
		eventually(t, 10*time.Second, "all see all", see(nodes, nodes, true))

		nodes[4].host.PowerOff()
		nodes[4].stop(t)
		killed := time.Now()
		took := eventually(t, 15*time.Second, "the survivors see the dead", see(nodes[:4], nodes[4:], false))
		if took < 2*time.Second {
			t.Errorf("declared dead after %s: that is no failure detection but a farewell", took)
		}
		if since := nodes[0].member.Status(nodes[4].id).Since; since.Before(killed) {
			t.Errorf("dead since %s, before it died", since)
		}
		time.Sleep(2 * time.Minute) // memberlist has forgotten the dead node by now
		nodes[4] = start(t, n, 4, options{})
		nodes[4].member.SetPeers(peers(5))
		eventually(t, 15*time.Second, "all see it again", see(nodes, nodes, true))
		if got := nodes[0].counter(t, "dunlin_membership_alive_nodes"); got != 5 {
			t.Errorf("alive_nodes is %v, want 5", got)
		}
		stopAll(t, nodes)
	})
}

func TestLeaveIsSeenAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := network.New(2, network.LAN())
		nodes := gossip(t, n, 3)
		eventually(t, 10*time.Second, "all see all", see(nodes, nodes, true))
		begin := time.Now()
		nodes[2].stop(t)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("leaving took %s", took)
		}
		eventually(t, 1500*time.Millisecond, "the others see it leave", see(nodes[:2], nodes[2:], false))
		if nodes[2].member.Status(nodes[0].id).Alive != true {
			t.Error("the node that left takes the others for dead")
		}
		nodes[2].host.Kill()
		nodes[2] = start(t, n, 2, options{})
		nodes[2].member.SetPeers(peers(3))
		eventually(t, 10*time.Second, "it is back", see(nodes, nodes, true))
		stopAll(t, nodes)
	})
}

func TestPartitionAndHeal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := network.New(3, network.LAN())
		nodes := gossip(t, n, 5)
		eventually(t, 10*time.Second, "all see all", see(nodes, nodes, true))
		left, right := nodes[:2], nodes[2:]
		each := func(f func(from, to netip.Addr)) {
			for _, x := range left {
				for _, y := range right {
					f(x.address, y.address)
					f(y.address, x.address)
				}
			}
		}
		each(n.Block)
		// Without enough others to confirm a suspicion it lasts six times 4 s, after a
		// round of probes that an unwell node also slows down.
		eventually(t, time.Minute, "each side sees the other as dead", func() bool {
			return see(left, right, false)() && see(right, left, false)()
		})
		if !see(left, left, true)() || !see(right, right, true)() {
			t.Error("a side lost nodes of its own")
		}
		time.Sleep(10 * time.Minute) // long after memberlist has given up on the dead
		each(n.Unblock)
		took := eventually(t, 20*time.Second, "all see all again", see(nodes, nodes, true))
		t.Logf("healed after %s", took)
		stopAll(t, nodes)
	})
}

func TestLossyNetworkGivesNoFalseDeaths(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := network.New(4, network.Profile{MinDelay: time.Millisecond, MaxDelay: 60 * time.Millisecond, Loss: 0.1, Duplicate: 0.05})
		nodes := gossip(t, n, 5)
		eventually(t, 20*time.Second, "all see all", see(nodes, nodes, true))
		time.Sleep(10 * time.Minute)
		for _, x := range nodes {
			if dead := x.counter(t, "dunlin_membership_transitions_total", "dead"); dead != 0 {
				t.Errorf("%v false deaths", dead)
			}
		}
		stopAll(t, nodes)
	})
}

func TestFactsSpread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := network.New(5, network.LAN())
		nodes := gossip(t, n, 5)
		nodes[0].member.SetFact(membership.Fact{Version: 1})
		eventually(t, 10*time.Second, "all see all", see(nodes, nodes, true))
		for version := uint64(2); version < 10; version++ {
			fact := membership.Fact{Generation: 1, Version: version, Hash: [32]byte{byte(version)}}
			nodes[1].member.SetFact(fact)
			eventually(t, 2*time.Minute, fmt.Sprintf("all heard version %d", version), func() bool { // who missed all packets hears of it in a full exchange
				for i, x := range nodes {
					x.mu.Lock()
					got := x.facts[nodes[1].id]
					x.mu.Unlock()
					if i != 1 && got != fact {
						return false
					}
				}
				return true
			})
		}
		nodes[1].mu.Lock()
		if _, own := nodes[1].facts[nodes[1].id]; own {
			t.Error("a node was told its own fact")
		}
		if nodes[1].changes == 0 {
			t.Error("OnChange was never called")
		}
		nodes[1].mu.Unlock()
		stopAll(t, nodes)
	})
}

func TestForeignNodesAreRefused(t *testing.T) {
	for name, o := range map[string]options{
		"wrong key":               {key: []byte("another key of 32 bytes, really.")},
		"wrong cluster":           {cluster: uuid.MustParse("00000000-0000-4000-8000-000000000001"), key: []byte("another key of 32 bytes, really.")},
		"wrong cluster, same key": {cluster: uuid.MustParse("00000000-0000-4000-8000-000000000001")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := network.New(6, network.LAN())
				nodes := gossip(t, n, 3)
				stranger := start(t, n, 3, o)
				stranger.member.SetPeers(peers(4))
				eventually(t, 10*time.Second, "the members see each other", see(nodes, nodes, true))
				time.Sleep(5 * time.Minute)
				if !see(nodes, []*node{stranger}, false)() || !see([]*node{stranger}, nodes, false)() {
					t.Error("a stranger was taken for a member")
				}
				if nodes[0].counter(t, "dunlin_membership_refused_total", "stream") == 0 {
					t.Error("no refusal was counted")
				}
				stopAll(t, append(nodes, stranger))
			})
		})
	}
}

// TestGarbageIsRefused throws at a node what another cluster, a port scanner or
// an attacker without the key may send.
func TestGarbageIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := network.New(7, network.LAN())
		nodes := gossip(t, n, 3)
		eventually(t, 10*time.Second, "all see all", see(nodes, nodes, true))
		attacker := n.Boot(hostAddress(9))
		target := nodes[0].address.String() + ":" + port
		streams, packets := garbage()

		socket, err := attacker.ListenPacket(hostAddress(9).String() + ":1")
		if err != nil {
			t.Fatal(err)
		}
		to, _ := netip.ParseAddrPort(target)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 200 {
			for _, p := range packets {
				if _, err := socket.WriteTo(p, addr(to)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		for _, s := range streams {
			conn, err := attacker.Dial(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(s)
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			if got, err := io.ReadAll(conn); len(got) > 0 || (err != nil && strings.Contains(err.Error(), "timeout")) {
				t.Errorf("a stream that begins %.20x was answered with %x, %v; want it closed", s, got, err)
			}
			_ = conn.Close()
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 30 {
			t.Errorf("garbage of a few kilobytes allocated %d MiB", got)
		}
		if got := nodes[0].counter(t, "dunlin_membership_refused_total", "packet"); got < float64(190*len(packets)) {
			t.Errorf("%v packets refused, want about %d", got, 200*len(packets))
		}
		if got := nodes[0].counter(t, "dunlin_membership_refused_total", "stream"); got != float64(len(streams)) {
			t.Errorf("%v streams refused, want %d", got, len(streams))
		}
		if lines := strings.Count(nodes[0].logs.String(), "refused a gossip"); lines == 0 || lines > 100 {
			t.Errorf("%d log lines about it; want some, at a bounded rate", lines)
		}
		if !see(nodes, nodes, true)() {
			t.Error("garbage made members look dead")
		}
		stopAll(t, nodes)
	})
}

func garbage() (streams, packets [][]byte) {
	label := append([]byte{244, 16}, cluster[:]...)
	claim := func(mark byte, size uint32) []byte {
		b := append(bytes.Clone(label), mark)
		return binary.BigEndian.AppendUint32(b, size)
	}
	streams = [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		{0},
		bytes.Repeat([]byte{0xff}, 5000),
		append([]byte{244, 16}, make([]byte, 30)...), // another cluster
		{244, 0},              // an empty label
		claim(10, 0xffffffff), // 4 GiB announced
		claim(10, 20<<20),     // what memberlist would still read
		claim(10, 1<<20),      // the most we read, never sent
		append(claim(10, 100), bytes.Repeat([]byte{1}, 100)...),   // not sealed with the key
		append(claim(6, 100), bytes.Repeat([]byte{0xdd}, 100)...), // push/pull in clear: a msgpack array of 3.7 G
		claim(10, 3),
	}
	packets = [][]byte{
		{},
		{1},
		bytes.Repeat([]byte{0x07}, 1400), // compound
		append(bytes.Clone(label), bytes.Repeat([]byte{9, 0xc6, 0xff, 0xff, 0xff, 0xff}, 20)...), // compressed
		append(bytes.Clone(label), bytes.Repeat([]byte{1}, 100)...),
		append([]byte{244, 16}, make([]byte, 80)...),
	}
	return streams, packets
}

// TestIdleStreamsAreBounded opens many streams and says nothing on them.
func TestIdleStreamsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := network.New(8, network.LAN())
		nodes := gossip(t, n, 2)
		eventually(t, 10*time.Second, "all see all", see(nodes, nodes, true))
		attacker := n.Boot(hostAddress(9))
		for range 200 {
			if _, err := attacker.Dial(t.Context(), nodes[0].address.String()+":"+port); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		if got := nodes[0].counter(t, "dunlin_membership_refused_total", "stream", "too_many"); got < 100 {
			t.Errorf("%v streams refused as too many, want most of 200", got)
		}
		if got := nodes[0].counter(t, "dunlin_membership_refused_total"); got < 200 {
			t.Errorf("%v streams refused in all, want 200: those admitted must time out", got)
		}
		if !see(nodes, nodes, true)() {
			t.Error("idle streams made members look dead")
		}
		stopAll(t, nodes)
	})
}

func TestNewRefusesBadInput(t *testing.T) {
	n := network.New(9, network.LAN())
	host := n.Boot(hostAddress(0))
	good := membership.Env{Self: nodeID(0), Cluster: cluster, Key: key, Network: host, Logger: slog.New(slog.DiscardHandler)}
	for name, alter := range map[string]func(*membership.Config, *membership.Env){
		"no key":            func(_ *membership.Config, e *membership.Env) { e.Key = nil },
		"key of 5 bytes":    func(_ *membership.Config, e *membership.Env) { e.Key = []byte("short") },
		"no cluster":        func(_ *membership.Config, e *membership.Env) { e.Cluster = uuid.Nil },
		"no node":           func(_ *membership.Config, e *membership.Env) { e.Self = uuid.Nil },
		"no port":           func(c *membership.Config, _ *membership.Env) { c.Listen = "10.0.0.1" },
		"no host":           func(c *membership.Config, _ *membership.Env) { c.Advertise = ":7482" },
		"someone's address": func(c *membership.Config, _ *membership.Env) { c.Listen = "10.0.0.7:7482" },
		"no pauses":         func(c *membership.Config, _ *membership.Env) { c.RejoinMin = 0 },
	} {
		cfg, env := membership.DefaultConfig(), good
		cfg.Listen = "10.0.0.1:7482"
		env.Registerer = prometheus.NewRegistry()
		alter(&cfg, &env)
		if _, err := membership.New(cfg, env); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
