package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// Meta is the durable store of small values: *storage.Meta. Set returns after the
// value is synced.
type Meta interface {
	Get(key string) ([]byte, bool, error)
	Set(key string, value []byte) error
}

// Caller makes control calls by the node's transport.
type Caller interface {
	Control(ctx context.Context, address, kind string, body []byte) ([]byte, error)
	Probe(ctx context.Context, address string) (transport.Hello, error)
	// Where is the address of a member: where it was met last, or else its recorded one.
	Where(m ring.Member) string
}

// Env is what a Catalog uses of the node around it. Every field is needed.
type Env struct {
	Meta   Meta
	Caller Caller
	// Store, Boot and Ceiling are what storage found and made at this start.
	Store   uuid.UUID
	Boot    uint64
	Ceiling hlc.Timestamp
	// Entropy makes UUIDs and keys: crypto/rand.Reader, or the simulator's.
	Entropy io.Reader
	// Rand spreads retries; Catalog guards it, nobody else may use it.
	Rand *rand.Rand
	// OnAdopt makes the rest of the node serve by a new document, which is durable
	// by then and becomes visible in View when OnAdopt returns. Calls come one at
	// a time, in rising order. It is not called for the document found on disk by
	// Open: the node begins with View. When it fails the document is adopted
	// again at the next occasion.
	OnAdopt func(*schema.View) error
	// OnGone hears, once, that this node is no member any more, with a *GoneError. It
	// must not wait for the catalog. It may be nil.
	OnGone     func(error)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (e *Env) validate() error {
	switch {
	case e.Meta == nil || e.Caller == nil || e.OnAdopt == nil:
		return errors.New("catalog: Env.Meta, Env.Caller and Env.OnAdopt are needed")
	case e.Store == uuid.Nil || e.Boot == 0:
		return errors.New("catalog: Env.Store and Env.Boot are needed")
	case e.Entropy == nil || e.Rand == nil || e.Logger == nil || e.Registerer == nil:
		return errors.New("catalog: Env.Entropy, Env.Rand, Env.Logger and Env.Registerer are needed")
	}
	return nil
}

// Keys in Meta.
const (
	nodeKey     = "catalog/node"      // this node's UUID, as text
	documentKey = "catalog/document"  // the adopted document, as decided
	acceptorKey = "catalog/acceptor"  // acceptorRecord
	abortedKey  = "catalog/aborted"   // its presence: the joining of this node was once aborted
	goneKey     = "catalog/gone"      // how this node left the cluster
	peerPrefix  = "catalog/identity/" // + UUID: Identity last heard of a peer
)

// slot is a lock that may be held over I/O: a mutex may not (see doc.go).
type slot chan struct{}

func newSlot() slot { return make(slot, 1) }

func (s slot) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slot) release() { <-s }

// Catalog is this node's copy of the document, and its part in deciding the next.
type Catalog struct {
	cfg     Config
	env     Env
	self    ring.NodeID
	startID uuid.UUID // random, told to others beside the boot number
	log     *slog.Logger
	metrics *metrics

	current atomic.Pointer[edition] // what the node serves by
	durable atomic.Pointer[edition] // what is on disk: current, or the one that OnAdopt is at
	// was is by what this node was joining when it stopped: a member has to confirm it
	// before it counts. It does not change after Open.
	was *edition
	// entered is closed once this node is a member.
	entered chan struct{}
	// previous is the edition before; its members hear of the current one too.
	previous atomic.Pointer[edition]
	gone     atomic.Bool

	proposing  slot // one proposal of this node at a time
	adopting   slot // guards the move from one edition to the next
	voting     slot // guards acceptor and its copy on disk
	pulling    slot // one catch-up at a time
	recovering slot // guards the decision on a recovery
	acceptor   acceptorRecord

	peers    *peers
	hints    chan hint     // newer documents that were heard of
	announce chan struct{} // a document was decided here: tell the others
	adopted  chan struct{} // the current edition has changed
	quiet    *quieter

	randMu sync.Mutex // guards rand
	rand   *rand.Rand
}

// Open loads what an earlier run left in Meta. The first start gives the node its
// UUID. It refuses a document that this version cannot read, and a zone or
// datacenter other than the one the node joined with.
func Open(cfg Config, env Env) (*Catalog, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	c := &Catalog{
		cfg: cfg, env: env, log: env.Logger, rand: env.Rand,
		proposing: newSlot(), adopting: newSlot(), voting: newSlot(), pulling: newSlot(), recovering: newSlot(),
		hints: make(chan hint, hintsMax), announce: make(chan struct{}, 1), adopted: make(chan struct{}, 1),
		quiet: newQuieter(env.Logger), entered: make(chan struct{}),
	}
	for _, load := range []func() error{c.loadNode, c.loadDocument, c.loadAcceptor, c.loadPeers} {
		if err := load(); err != nil {
			return nil, err
		}
	}
	c.metrics = newMetrics(env.Registerer)
	if e := c.current.Load(); e != nil {
		c.metrics.serve(e)
	}
	return c, nil
}

func (c *Catalog) loadNode() (err error) {
	if c.startID, err = uuid.NewRandomFromReader(c.env.Entropy); err != nil {
		return fmt.Errorf("catalog: make this start's id: %w", err)
	}
	text, ok, err := c.env.Meta.Get(nodeKey)
	if err != nil {
		return fmt.Errorf("catalog: read this node's id: %w", err)
	}
	if ok {
		if c.self, err = uuid.ParseBytes(text); err != nil {
			return fmt.Errorf("catalog: this node's id on disk is no UUID: %w", err)
		}
		return nil
	}
	if c.self, err = uuid.NewRandomFromReader(c.env.Entropy); err != nil {
		return fmt.Errorf("catalog: make this node's id: %w", err)
	}
	if err := c.env.Meta.Set(nodeKey, []byte(c.self.String())); err != nil {
		return fmt.Errorf("catalog: store this node's id: %w", err)
	}
	return nil
}

func (c *Catalog) loadDocument() error {
	raw, ok, err := c.env.Meta.Get(documentKey)
	if err != nil {
		return fmt.Errorf("catalog: read the document: %w", err)
	}
	if !ok {
		return nil
	}
	e, err := decode(raw)
	if err != nil {
		return fmt.Errorf("catalog: the document on disk: %w", err)
	}
	me, ok := e.doc.Member(c.self)
	if r, removed := e.doc.WasRemoved(c.self); !ok && removed {
		return &GoneError{Kind: r.Kind, Version: r.Version}
	}
	if kind, gone, err := c.env.Meta.Get(goneKey); err == nil && gone {
		return &GoneError{Kind: string(kind), Version: e.doc.Version}
	}
	if _, aborted, err := c.env.Meta.Get(abortedKey); !ok && err == nil && aborted {
		c.log.Info("this node's joining was aborted: it may join again", "cluster", e.doc.Name, "version", e.doc.Version)
		return nil
	}
	if !ok {
		return fmt.Errorf("catalog: the document on disk, of cluster %s, does not have this node %s as a member", e.doc.Cluster, c.self)
	}
	if zone := zoneOf(e.doc, me); zone != c.cfg.Zone || me.Datacenter != c.cfg.Datacenter {
		return fmt.Errorf("catalog: this node is configured for zone %q in datacenter %q but is a member in zone %q of %q: "+
			"set zone and datacenter to that, or change the zone with: dunlin node zone %s %s", c.cfg.Zone, c.cfg.Datacenter, zone, me.Datacenter, c.self, c.cfg.Zone)
	}
	if e.doc.OnlyJoins(c.self) {
		c.was = e
		return nil
	}
	c.durable.Store(e)
	c.current.Store(e)
	close(c.entered)
	return nil
}

// Rejoining reports whether this node was joining a cluster when it stopped, and has not
// been confirmed yet: Join does that, without seeds too.
func (c *Catalog) Rejoining() bool { return c.was != nil && c.current.Load() == nil }

// belongs is the last document of the cluster that this node belongs to; nil: to none.
func (c *Catalog) belongs() *Document {
	if e := c.current.Load(); e != nil {
		return e.doc
	}
	if c.was != nil {
		return c.was.doc
	}
	return nil
}

// zoneOf is the zone that a member is in or on its way to.
func zoneOf(d *Document, m ring.Member) string {
	if c := d.Layout.Change; c != nil && c.Zones[m.ID] != "" {
		return c.Zones[m.ID]
	}
	return m.Zone
}

func (c *Catalog) loadAcceptor() error {
	text, ok, err := c.env.Meta.Get(acceptorKey)
	if err != nil {
		return fmt.Errorf("catalog: read the acceptor: %w", err)
	}
	if !ok {
		return nil
	}
	if err := json.Unmarshal(text, &c.acceptor); err != nil {
		return fmt.Errorf("catalog: the acceptor on disk cannot be read: %w", err)
	}
	return nil
}

// Self is this node's UUID. It never changes.
func (c *Catalog) Self() ring.NodeID { return c.self }

// View is what to serve by; nil before the node is a member.
func (c *Catalog) View() *schema.View {
	if e := c.current.Load(); e != nil {
		return e.view
	}
	return nil
}

// Document is the adopted document, nil before the node is a member. It is shared
// and must not be changed.
func (c *Catalog) Document() *Document {
	if e := c.current.Load(); e != nil {
		return e.doc
	}
	return nil
}

// Version is the adopted document's version; 0 before the node is a member.
func (c *Catalog) Version() uint64 {
	if e := c.current.Load(); e != nil {
		return e.doc.Version
	}
	return 0
}

// Fact is which document a node has, in few bytes, for gossip. It converts to
// membership.Fact.
type Fact struct {
	Version    uint64
	Generation uint64
	Hash       [32]byte
}

// Fact is which document this node has on disk: during OnAdopt it is the new one.
func (c *Catalog) Fact() Fact {
	e := c.durable.Load()
	if e == nil {
		return Fact{}
	}
	return Fact{Version: e.doc.Version, Generation: e.doc.Generation, Hash: e.hash}
}

// Hello is what this node says of itself to others.
func (c *Catalog) Hello() transport.Hello {
	h := transport.Hello{
		Node: c.self, Store: c.env.Store, Boot: c.env.Boot, Start: c.startID, Ceiling: c.env.Ceiling, Addresses: c.cfg.Addresses,
	}
	if d := c.belongs(); d != nil {
		h.Cluster, h.ClusterName, h.Generation = d.Cluster, d.Name, d.Generation
	}
	return h
}

func (c *Catalog) identity() Identity {
	return Identity{Node: c.self, Store: c.env.Store, Boot: c.env.Boot, Start: c.startID, Ceiling: c.env.Ceiling}
}

// member is this node as it wants to be a member.
func (c *Catalog) member() ring.Member {
	return ring.Member{
		ID: c.self, Addresses: c.cfg.Addresses, Zone: c.cfg.Zone, Datacenter: c.cfg.Datacenter,
		State: ring.Normal, Voter: true,
	}
}

// Run learns newer documents, tells others of those decided here, keeps this node's
// addresses up to date, and takes back that it is to be replaced, until ctx ends. It returns when its goroutines have.
func (c *Catalog) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, loop := range []func(context.Context){c.runLearner, c.runAnnouncer, c.runAddresses, c.runReplaced} {
		wg.Go(func() { loop(ctx) })
	}
	wg.Wait()
	return nil
}

// Handle answers a control call of another node; from is unchecked.
func (c *Catalog) Handle(ctx context.Context, from transport.Hello, kind string, body []byte) ([]byte, error) {
	answer, err := c.handle(ctx, from, kind, body)
	return answer, crossing(err)
}

func (c *Catalog) handle(ctx context.Context, from transport.Hello, kind string, body []byte) ([]byte, error) {
	switch kind {
	case callPrepare, callAccept:
		return c.handleBallot(ctx, from, kind, body)
	case callPull:
		return c.handlePull(from, body)
	case callLearn:
		return nil, c.handleLearn(ctx, from, body)
	case callJoin:
		return c.handleJoin(ctx, from, body)
	case callRecover:
		return nil, c.handleRecover(ctx, from, body)
	}
	return nil, document.Invalidf("there is no call %q", kind)
}

// bounded gives a context a deadline unless it has one.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

// backoff makes random pauses that grow.
type backoff struct{ upper time.Duration }

// pause waits for a random while; false: ctx ended first.
func (c *Catalog) pause(ctx context.Context, b *backoff) bool {
	b.upper = min(max(2*b.upper, 2*c.cfg.BackoffMin), c.cfg.BackoffMax)
	c.randMu.Lock()
	wait := c.cfg.BackoffMin + time.Duration(c.rand.Int64N(int64(b.upper)))
	c.randMu.Unlock()
	return sleep(ctx, wait)
}

func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// signal wakes who waits on a channel of one place.
func signal(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default: // it is awake, or about to be
	}
}
