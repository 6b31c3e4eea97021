package transport

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
)

// served is a group that a handler holds.
type served struct {
	from     ring.NodeID
	group    Group
	deadline time.Time
	sink     Sink
	tag      uint32
	at       time.Time
}

func (s *served) done(v Verdict) { s.sink.Done(s.tag, v) }

// handler is a node's Handler whose behaviour a test sets.
type handler struct {
	apply   func(served)
	read    func(context.Context, ring.NodeID, *ReadRequest) ReadAnswer
	scan    func(context.Context, ring.NodeID, *ScanRequest) ScanAnswer
	control func(context.Context, Hello, string, []byte) ([]byte, error)
}

func (h *handler) Apply(from ring.NodeID, g Group, deadline time.Time, sink Sink, tag uint32) {
	h.apply(served{from, g, deadline, sink, tag, time.Now()})
}

func (h *handler) Read(ctx context.Context, from ring.NodeID, r *ReadRequest) ReadAnswer {
	return h.read(ctx, from, r)
}

func (h *handler) Scan(ctx context.Context, from ring.NodeID, r *ScanRequest) ScanAnswer {
	return h.scan(ctx, from, r)
}

func (h *handler) Control(ctx context.Context, from Hello, kind string, body []byte) ([]byte, error) {
	return h.control(ctx, from, kind, body)
}

// holder keeps groups until the test answers them.
type holder struct {
	mu   sync.Mutex // guards held
	held []served
}

func (h *holder) apply(s served) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = append(h.held, s)
}

func (h *holder) take() []served {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.held
	h.held = nil
	return held
}

// node is a transport under test with everything around it.
type node struct {
	*Transport
	handler  *handler
	env      Env
	hello    Hello                 // set before run; afterwards through says
	says     atomic.Pointer[Hello] // instead of hello, if set
	registry *prometheus.Registry
	cancel   context.CancelFunc
	ended    chan error
	stopped  bool
}

// fixture is a set of nodes on one network.
type fixture struct {
	*testing.T
	network *network
	cfg     Config
	nodes   []*node
}

// cluster runs a test in virtual time and stops the nodes that it leaves running.
func cluster(t *testing.T, f func(*fixture)) {
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{T: t, network: newNetwork(), cfg: DefaultConfig()}
		defer func() {
			for _, n := range x.nodes {
				n.stop(t)
			}
		}()
		f(x)
	})
}

func id(n byte) ring.NodeID { return ring.NodeID{15: n} }

func address(n byte) string { return "10.0.0." + string('0'+n) + ":7481" }

var testCluster = uuid.UUID{1, 2, 3}

// add makes node n without running it. Its groups succeed at once unless the
// test changes that before run.
func (x *fixture) add(n byte) *node {
	h := &handler{apply: func(s served) { s.done(Verdict{}) }}
	m := &node{
		handler: h, registry: prometheus.NewRegistry(), ended: make(chan error, 1),
		hello: Hello{Cluster: testCluster, ClusterName: "test", Node: id(n), Boot: 1},
	}
	m.env = Env{
		Self: id(n), Listener: x.network.listen(address(n)), Dial: x.network.dial, Handler: h,
		Admit: func(Hello) error { return nil }, Hello: m.currentHello,
		Clock: hlc.New(time.Now, 0, 5*time.Second), CatalogVersion: func() uint64 { return 1 },
		Rand:   rand.New(rand.NewPCG(1, uint64(n))),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: m.registry,
	}
	x.nodes = append(x.nodes, m)
	return m
}

func (m *node) currentHello() Hello {
	if h := m.says.Load(); h != nil {
		return *h
	}
	return m.hello
}

// run starts a node.
func (x *fixture) run(m *node) {
	x.Helper()
	t, err := New(x.cfg, m.env)
	if err != nil {
		x.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.Transport, m.cancel = t, cancel
	go func() { m.ended <- t.Run(ctx) }()
}

// pair runs two nodes that know each other, connected.
func (x *fixture) pair() (a, b *node) {
	x.Helper()
	a, b = x.add(1), x.add(2)
	x.run(a)
	x.run(b)
	a.SetPeers([]Peer{{id(2), address(2)}})
	b.SetPeers([]Peer{{id(1), address(1)}})
	synctest.Wait()
	x.expectConnected(a, 2, true)
	x.expectConnected(b, 1, true)
	return a, b
}

// stop ends a node and waits for it.
func (m *node) stop(t *testing.T) {
	t.Helper()
	if m.stopped || m.Transport == nil {
		return
	}
	m.stopped = true
	m.cancel()
	if err := <-m.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func (x *fixture) expectConnected(m *node, peer byte, want bool) {
	x.Helper()
	if got := m.Peer(id(peer)).Connected; got != want {
		x.Fatalf("connected to %d: %v, want %v; status %+v", peer, got, want, m.Status())
	}
}

// value is the sum of a counter's or gauge's series, or a histogram's count.
func (m *node) value(t *testing.T, name string) float64 {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "dunlin_transport_"+name })
	if i < 0 {
		return 0
	}
	sum := 0.0
	for _, s := range families[i].Metric {
		sum += s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(s.GetHistogram().GetSampleCount())
	}
	return sum
}

func (x *fixture) expectValue(m *node, name string, want float64) {
	x.Helper()
	if got := m.value(x.T, name); got != want {
		x.Errorf("%s is %v, want %v", name, got, want)
	}
}

// outcomes is a Sink that records what it hears, and when.
type outcomes struct {
	t     *testing.T
	began time.Time
	mu    sync.Mutex // guards heard
	heard map[uint32]heard
}

type heard struct {
	verdict Verdict
	after   time.Duration
}

func newOutcomes(t *testing.T) *outcomes {
	return &outcomes{t: t, began: time.Now(), heard: map[uint32]heard{}}
}

func (o *outcomes) Done(tag uint32, v Verdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if was, twice := o.heard[tag]; twice {
		o.t.Errorf("request %d heard %v, after it heard %v", tag, v, was.verdict)
	}
	o.heard[tag] = heard{v, time.Since(o.began)}
}

// expect checks that exactly n requests have heard, all of them this and then.
// Time counts from the last expectation of any.
func (o *outcomes) expect(n int, code Code, after time.Duration) {
	o.t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.heard) != n {
		o.t.Fatalf("%d requests have heard, want %d", len(o.heard), n)
	}
	for tag, h := range o.heard {
		if h.verdict.Code != code || h.after != after {
			o.t.Fatalf("request %d heard %v after %v, want %v after %v", tag, h.verdict, h.after, code, after)
		}
	}
	if n > 0 {
		clear(o.heard)
		o.began = time.Now()
	}
}

func group(text string) *Group {
	return &Group{Version: 4, Born: 5, Count: 1, Entries: []byte(text)}
}

// in is the deadline after a while.
func in(d time.Duration) time.Time { return time.Now().Add(d) }
