package transport

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/keep"
	"github.com/dunlindb/dunlin/transport/slot"
	"github.com/dunlindb/dunlin/transport/wire"
)

// owner is who hears how a request ended: a Sink with its tag, or a waiting call.
type owner struct {
	sink Sink
	call *call
	tag  uint32
	// entries is the copy that a group on the local short cut lives in.
	entries *[]byte
}

// call is a Read or Scan that waits for its answer.
type call struct {
	done    chan struct{} // closed when verdict and answer are set
	verdict Verdict
	payload []byte // of an answer item; belongs to the call
}

// outcome is an answered request and who is to hear of it: nobody, if it was
// overdue.
type outcome struct {
	owner
	verdict Verdict
	payload []byte
	kind    wire.Kind
	latency int64 // ns
}

// tell passes the outcome on. It is called without any lock.
func (o owner) tell(v Verdict, payload []byte) {
	switch {
	case o.call != nil:
		o.call.verdict, o.call.payload = v, payload
		close(o.call.done)
	case o.sink != nil:
		o.sink.Done(o.tag, v)
	}
}

// The verdicts that are given without asking anybody.
var (
	verdictNotConnected = Verdict{Code: Unreachable, Detail: "not connected"}
	verdictClosing      = Verdict{Code: Unreachable, Detail: "this node is stopping"}
	verdictFull         = Verdict{Code: Overloaded, Detail: "too many requests to this node are unanswered"}
	verdictTooLate      = Verdict{Code: Expired, Detail: "no time was left to send it"}
)

// peer is one node as the target of requests: its table of unanswered requests
// and, unless it is this node, the frames that wait to be sent.
type peer struct {
	ID    ring.NodeID
	t     *Transport
	local bool
	// recorded is the address that SetPeers gave; guarded by t.mu.
	recorded string
	wake     chan struct{} // the queue has become non-empty
	back     chan struct{} // the peer has dialled us: it can be dialled again at once
	stop     context.CancelFunc
	calls    keep.One[*connection] // of ControlTo

	mu         sync.Mutex // guards places, slots, queue, up, closing, requestMax
	places     []string   // where it may be; it is dialled at the first
	slots      slot.Table[owner]
	queue      wire.Queue
	up         bool // connected, and both ends admitted
	closing    bool // nothing new is accepted
	requestMax int

	// Written under mu or by the one receiver; read by anybody.
	connected     atomic.Bool
	oldest        atomic.Int64 // start of the oldest unanswered request, ns; 0: none
	latency       atomic.Int64 // ns
	readLatency   atomic.Int64 // ns
	clockOffset   atomic.Int64 // ns
	clockIsSkewed atomic.Bool
	attempts      atomic.Uint64 // ended attempts to connect
	problem       atomic.Pointer[error]
	quiet         quiet
	hello         atomic.Pointer[Hello]
}

func newPeer(t *Transport, p Peer) *peer {
	return &peer{
		ID: p.ID, places: []string{p.Address}, recorded: p.Address, t: t, local: p.ID == t.env.Self,
		wake:       make(chan struct{}, 1),
		back:       make(chan struct{}, 1),
		slots:      slot.New[owner](t.cfg.Slots, t.cfg.QueueBytes),
		queue:      wire.Queue{Pool: t.pool, Target: t.cfg.FrameBytes},
		requestMax: t.cfg.RequestBytes,
	}
}

// enter takes a slot for a request of size encoded bytes, and with a non-nil
// encode puts it into the current frame. It neither blocks nor tells the owner.
func (p *peer) enter(kind wire.Kind, size int, deadline time.Time, o owner, encode func([]byte) []byte) (id uint32, refused Verdict) {
	now := p.t.now()
	end := p.t.at(deadline)
	if end <= now {
		return 0, verdictTooLate
	}
	p.mu.Lock()
	v := p.refusal(size)
	if v.Code != OK {
		p.mu.Unlock()
		return 0, v
	}
	id, ok := p.slots.Add(now, end, wire.ItemSize+size, uint8(kind), o)
	if !ok {
		p.mu.Unlock()
		p.t.metrics.overloads.Inc()
		return 0, verdictFull
	}
	wakeSweeper := p.slots.Open() == 1
	wakeSender := false
	if encode != nil {
		wakeSender = p.queue.Empty()
		f := p.queue.Room(now, size)
		b := wire.AppendItem(*f.Buf, kind, id, budget(end-f.Opened), size)
		*f.Buf = encode(b)
	}
	if p.slots.Used() == 1 {
		p.oldest.Store(now)
	}
	p.mu.Unlock()
	if wakeSender {
		poke(p.wake)
	}
	if wakeSweeper {
		poke(p.t.sweep)
	}
	return id, Verdict{}
}

// refusal says why a request cannot even be queued. The caller holds mu.
func (p *peer) refusal(size int) Verdict {
	switch {
	case p.closing:
		return verdictClosing
	case !p.up && !p.local:
		return verdictNotConnected
	case size > p.requestMax:
		return tooLarge(size, p.requestMax)
	}
	return Verdict{}
}

// answered frees the slots of ids that were answered alike, and appends an
// outcome for each to dst. It fails if an answer is not of its request's kind:
// with want 0, any request's.
func (p *peer) answered(ids []uint32, want wire.Kind, v Verdict, payload []byte, dst []outcome) ([]outcome, error) {
	now := p.t.now()
	late, unknown := 0, 0
	var err error
	p.mu.Lock()
	for _, id := range ids {
		was, known := p.slots.Get(id)
		if !known {
			unknown++
			continue
		}
		if want != 0 && wire.Kind(was.Kind) != want {
			err = errAnswerKind
			break
		}
		if was.State == slot.Overdue {
			late++
		}
		dst = append(dst, outcome{owner: was.Owner, verdict: v, payload: payload, kind: wire.Kind(was.Kind), latency: now - was.Start})
		p.slots.Release(id)
	}
	p.oldest.Store(p.slots.OldestStart())
	drained := p.closing && p.slots.Open() == 0
	p.mu.Unlock()
	if late > 0 {
		p.t.metrics.lateAnswers.Add(float64(late))
	}
	if unknown > 0 {
		p.t.metrics.unknownAnswers.Add(float64(unknown))
	}
	if drained {
		poke(p.t.drained)
	}
	return dst, err
}

var errAnswerKind = errors.New("answer is not of its request's kind")

// conclude tells the owners of answered requests and keeps the statistics.
func (p *peer) conclude(outcomes []outcome) {
	for i := range outcomes {
		o := &outcomes[i]
		average(&p.latency, o.latency)
		if o.kind != wire.KindApply {
			average(&p.readLatency, o.latency)
		}
		p.t.metrics.answerSeconds(o.kind).Observe(float64(o.latency) / 1e9)
		o.tell(o.verdict, o.payload)
		*o = outcome{}
	}
}

// average moves a moving average by an eighth of the difference; never to 0,
// which means unknown.
func average(avg *atomic.Int64, sample int64) {
	if old := avg.Load(); old != 0 {
		sample = old + (sample-old)/8
	}
	avg.Store(max(sample, 1))
}

// expire tells the owners of requests whose deadline has come, using scratch;
// open says whether requests remain that have a deadline to watch.
func (p *peer) expire(now int64, scratch []owner) (_ []owner, open bool) {
	p.mu.Lock()
	scratch = p.slots.Expire(now, scratch[:0])
	open = p.slots.Open() > 0
	drained := p.closing && !open
	p.mu.Unlock()
	if len(scratch) > 0 {
		p.t.metrics.timeouts.Add(float64(len(scratch)))
	}
	tellAll(scratch, Verdict{Code: Timeout})
	if drained {
		poke(p.t.drained)
	}
	return scratch, open
}

// abandon gives up a waiting call. It reports false if the call's outcome has
// been decided already; then it waits for that.
func (p *peer) abandon(id uint32, c *call) bool {
	p.mu.Lock()
	e, known := p.slots.Get(id)
	waiting := known && e.Owner.call == c
	if waiting {
		p.slots.Abandon(id)
	}
	drained := p.closing && p.slots.Open() == 0
	p.mu.Unlock()
	if drained {
		poke(p.t.drained)
	}
	if !waiting {
		<-c.done
	}
	return waiting
}

// admitted opens the peer for requests on a new stream.
func (p *peer) admitted(h Hello) {
	limit := min(p.t.cfg.Slots, int(h.Limits.Slots))
	p.mu.Lock()
	if p.slots.Size() > limit {
		p.slots = slot.New[owner](limit, p.t.cfg.QueueBytes)
	}
	p.slots.Limit = limit
	p.requestMax = min(p.t.cfg.RequestBytes, int(h.Limits.RequestBytes))
	p.up = true
	p.mu.Unlock()
	p.hello.Store(&h)
	p.problem.Store(nil)
	p.connected.Store(true)
}

// disconnected fails every unanswered request and drops what was not sent.
func (p *peer) disconnected(reason error) {
	p.connected.Store(false)
	p.mu.Lock()
	p.up = false
	p.queue.Clear()
	owners := p.slots.Clear(nil)
	p.oldest.Store(0)
	p.mu.Unlock()
	tellAll(owners, Verdict{Code: Unreachable, Detail: reason.Error()})
	poke(p.t.drained)
}

// close refuses new requests; open reports whether some are still waited for.
func (p *peer) close() (open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	return p.slots.Open() > 0
}

// state is the peer as the coordinator sees it.
func (p *peer) state(now int64) PeerState {
	s := PeerState{
		Connected:   p.local || p.connected.Load(),
		Latency:     time.Duration(p.latency.Load()),
		ReadLatency: time.Duration(p.readLatency.Load()),
	}
	if start := p.oldest.Load(); start != 0 {
		s.OldestUnanswered = time.Duration(max(now-start, 0))
	}
	return s
}

// status is the peer as people see it.
func (p *peer) status() PeerStatus {
	s := PeerStatus{
		Peer: Peer{p.ID, p.place()}, Connected: p.connected.Load(), Dialled: p.connected.Load() || p.attempts.Load() > 0,
		Offset: p.offset(), Skewed: p.clockIsSkewed.Load(),
	}
	if err := p.problem.Load(); err != nil {
		s.Err = *err
	}
	if h := p.hello.Load(); h != nil {
		s.Hello = *h
	}
	return s
}

func (p *peer) offset() time.Duration { return time.Duration(p.clockOffset.Load()) }

// load returns the unanswered requests and their bytes.
func (p *peer) load() (used, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots.Used(), p.slots.Bytes()
}

// tellAll tells every owner the same and forgets them.
func tellAll(owners []owner, v Verdict) {
	for i, o := range owners {
		o.tell(v, nil)
		owners[i] = owner{}
	}
}

// poke sends to a channel of capacity one unless a token lies there already.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// budget converts a remaining time in ns to the wire's µs, rounded up.
func budget(ns int64) uint32 {
	return uint32(min(max((ns+999)/1000, 1), int64(maxBudget/time.Microsecond)))
}
