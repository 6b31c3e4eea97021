package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// fabric is a network of catalogs in one process. Calls take time, get lost on
// either way, and cannot cross cuts. It also checks, over the whole test, that no
// version is ever adopted with two contents.
type fabric struct {
	t *testing.T

	mu      sync.Mutex
	rand    *rand.Rand
	nodes   map[string]*node // by internode address
	loss    float64
	delay   time.Duration // each way, at most
	drop    func(from, to, kind string) bool
	history map[[2]uint64]Hash
}

func newFabric(t *testing.T, seed uint64) *fabric {
	return &fabric{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), nodes: map[string]*node{}, delay: 3 * time.Millisecond,
		history: map[[2]uint64]Hash{},
	}
}

// set changes the network under its lock.
func (f *fabric) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// cut separates groups of nodes; nodes in no group are alone.
func (f *fabric) cut(groups ...[]*node) {
	side := map[string]int{}
	for i, g := range groups {
		for _, n := range g {
			side[n.address] = i + 1
		}
	}
	f.set(func() {
		f.drop = func(from, to, _ string) bool { return side[from] == 0 || side[from] != side[to] }
	})
}

func (f *fabric) heal() { f.set(func() { f.drop, f.loss = nil, 0 }) }

// travel lets a message take its time; false: it is lost.
func (f *fabric) travel(ctx context.Context, from, to, kind string) bool {
	f.mu.Lock()
	wait := time.Duration(f.rand.Int64N(int64(f.delay) + 1))
	lost := f.rand.Float64() < f.loss || (f.drop != nil && f.drop(from, to, kind))
	f.mu.Unlock()
	return sleep(ctx, wait) && !lost
}

// adopted checks that history has one line: one content for each version, which
// names the one before.
func (f *fabric) adopted(generation, version uint64, previous, hash Hash) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.history[[2]uint64{generation, version}]; ok && known != hash {
		f.t.Errorf("version %d was adopted as %s and as %s", version, known, hash)
	}
	if before, ok := f.history[[2]uint64{generation, version - 1}]; ok && before != previous {
		f.t.Errorf("version %d follows %s, but version %d is %s", version, previous, version-1, before)
	}
	f.history[[2]uint64{generation, version}] = hash
}

// node is one node of a fabric: what survives its restarts, and its catalog while
// it runs.
type node struct {
	f       *fabric
	address string
	meta    *memory
	store   uuid.UUID
	boot    uint64
	ceiling hlc.Timestamp
	config  func(*Config)
	met     map[ring.NodeID]string // where its transport has met others
	stop    context.CancelFunc     // of Run; nil while down

	catalog *Catalog
	adopt   func(*schema.View) error
	done    chan struct{}
}

// node adds a node that is not started.
func (f *fabric) node(i int) *node {
	n := &node{f: f, address: fmt.Sprintf("10.0.0.%d:7481", i), meta: &memory{values: map[string][]byte{}}, store: uuid.UUID{1, byte(i)}}
	f.set(func() { f.nodes[n.address] = n })
	return n
}

func (n *node) open() (*Catalog, error) {
	cfg := DefaultConfig()
	host := n.address[:len(n.address)-5]
	cfg.Addresses = ring.Addresses{Internode: n.address, Gossip: host + ":7482", HTTP: host + ":7480", Admin: host + ":7483"}
	if n.config != nil {
		n.config(&cfg)
	}
	n.ceiling += 1000
	var seed uint64
	n.f.set(func() { n.boot++; seed = n.f.rand.Uint64() })
	entropy := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	run := &run{n, n.boot}
	return Open(cfg, Env{
		Meta: run, Caller: run, Store: n.store, Boot: n.boot, Ceiling: n.ceiling,
		Entropy: entropy, Rand: rand.New(rand.NewPCG(seed, 2)),
		OnAdopt: func(v *schema.View) error {
			if n.adopt != nil {
				if err := n.adopt(v); err != nil {
					return err
				}
			}
			raw, _, _ := n.meta.Get(documentKey)
			var d struct {
				Generation, Version uint64
				Previous            Hash
			}
			if err := json.Unmarshal(raw, &d); err != nil {
				return err
			}
			if d.Version != v.Version {
				n.f.t.Errorf("version %d is adopted but version %d is on disk", v.Version, d.Version)
			}
			n.f.adopted(d.Generation, d.Version, d.Previous, sha256.Sum256(raw))
			return nil
		},
		Logger:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Registerer: prometheus.NewRegistry(),
	})
}

// start opens the catalog and runs its background work.
func (n *node) start() *node {
	n.f.t.Helper()
	c, err := n.open()
	if err != nil {
		n.f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.f.set(func() { n.catalog = c })
	n.stop, n.done = cancel, done
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	return n
}

// crash stops a node; its catalog's memory is lost.
func (n *node) crash() {
	n.f.set(func() { n.catalog = nil })
	n.stop()
	<-n.done
}

func (f *fabric) at(address string) *Catalog {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[address]; n != nil {
		return n.catalog
	}
	return nil
}

var errLost = errors.New("no answer")

// run is one start of a node: what a crashed one goes on to do reaches nobody, and no disk.
type run struct {
	*node
	number uint64
}

var errCrashed = errors.New("this start of the node has crashed")

func (r *run) over() bool {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.number != r.boot
}

// Get reads the node's disk.
func (r *run) Get(key string) ([]byte, bool, error) { return r.meta.Get(key) }

// Set writes it.
func (r *run) Set(key string, value []byte) error {
	time.Sleep(time.Millisecond) // a disk takes its time
	if r.over() {
		return errCrashed
	}
	return r.meta.Set(key, value)
}

// call carries a call to an address and its answer back.
func (r *run) call(ctx context.Context, address, kind string, serve func(*Catalog, transport.Hello) error) error {
	n := r.node
	if r.over() {
		return errCrashed
	}
	if !n.f.travel(ctx, n.address, address, kind) {
		<-ctx.Done()
		return errLost
	}
	to, from := n.f.at(address), n.f.at(n.address)
	if to == nil || from == nil {
		return errors.New("connection refused")
	}
	h := from.Hello()
	h.Version = from.Version()
	err := serve(to, h)
	if !n.f.travel(ctx, address, n.address, kind) || n.f.at(address) != to || r.over() {
		<-ctx.Done()
		return errLost
	}
	return err
}

// Control is the transport's.
func (r *run) Control(ctx context.Context, address, kind string, body []byte) (answer []byte, err error) {
	err = r.call(ctx, address, kind, func(to *Catalog, h transport.Hello) error {
		theirs := to.Hello().Cluster
		if h.Cluster != uuid.Nil && theirs != uuid.Nil && h.Cluster != theirs {
			return errors.New("another cluster")
		}
		answer, err = to.Handle(ctx, h, kind, append([]byte(nil), body...))
		return err
	})
	return answer, err
}

// Probe is the transport's.
func (r *run) Probe(ctx context.Context, address string) (h transport.Hello, err error) {
	err = r.call(ctx, address, "hello", func(to *Catalog, _ transport.Hello) error {
		h = to.Hello()
		h.Version = to.Version()
		return nil
	})
	return h, err
}

// Where is the transport's.
func (r *run) Where(m ring.Member) string {
	if at := r.met[m.ID]; at != "" {
		return at
	}
	return m.Internode
}

// memory is a Meta: every Set is durable.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
	fail   map[string]error // by key
	sets   int
}

func (m *memory) Get(key string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[key]
	return append([]byte(nil), v...), ok, nil
}

func (m *memory) Set(key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail[key]; err != nil {
		return err
	}
	m.values[key] = append([]byte(nil), value...)
	m.sets++
	return nil
}

// breaks makes writes of a key fail, or succeed again with nil.
func (m *memory) breaks(key string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = map[string]error{key: err}
}

func (m *memory) writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sets
}

func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{values: maps.Clone(m.values)}
}

// cluster starts nodes 1..n: the first bootstraps, the others join it one after
// another.
func (f *fabric) cluster(n int) []*node {
	f.t.Helper()
	nodes := make([]*node, n)
	for i := range nodes {
		nodes[i] = f.node(i + 1).start()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		var err error
		if i == 0 {
			err = nodes[i].catalog.Bootstrap(ctx)
		} else {
			err = nodes[i].catalog.Join(ctx, []string{nodes[0].address})
		}
		cancel()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	f.settle(nodes)
	return nodes
}

// settle waits until all nodes have the newest version that any has.
func (f *fabric) settle(nodes []*node) {
	f.t.Helper()
	var served map[uint64]Hash
	for range 200 {
		served = map[uint64]Hash{}
		for _, n := range nodes {
			if e := n.catalog.current.Load(); e != nil {
				served[e.doc.Version] = e.hash
			} else {
				served[0] = Hash{}
			}
		}
		if len(served) == 1 {
			return
		}
		time.Sleep(time.Second)
	}
	f.t.Fatalf("the nodes do not agree: %v", served)
}

// stopAll ends what runs, so that a bubble can end.
func stopAll(nodes []*node) {
	for _, n := range nodes {
		if n.catalog != nil {
			n.crash()
		}
	}
}
