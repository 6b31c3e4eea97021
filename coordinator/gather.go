package coordinator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/coordinator/latency"
	"github.com/dunlindb/dunlin/coordinator/quorum"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// candidate is a live replica that a read may ask.
type candidate struct {
	id ring.NodeID
	distance
	used    bool      // was chosen to be asked
	asked   time.Time // its last question
	pending int       // questions without an answer
	heard   bool
	failed  bool
	code    transport.Code // of its last answer
}

// distance orders replicas: this node, its zone, the others; within these by
// latency, in steps of a quarter, so that equally near ones share the load.
type distance struct{ rank, step int }

// nearest returns the live ones of some members, nearest first.
func (c *Coordinator) nearest(view *schema.View, members []uint16) []candidate {
	now := time.Now()
	zone := ""
	if i, ok := view.Ring.Index(c.env.Self); ok {
		zone = view.Ring.Member(i).Zone
	}
	near := make([]candidate, 0, len(members))
	for _, i := range members {
		m := view.Ring.Member(i)
		if !c.alive(m.ID) {
			continue
		}
		d := distance{rank: 2}
		switch {
		case m.ID == c.env.Self:
			d.rank = 0
		case m.Zone == zone:
			d.rank = 1
		}
		if average := c.latencies.Replica(m.ID, now); average > 0 && d.rank > 0 {
			d.step = latency.Step(average)
		}
		near = append(near, candidate{id: m.ID, distance: d})
	}
	c.shuffle(near)
	slices.SortStableFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.step, b.step))
	})
	return near
}

// shuffle spreads reads over equally near replicas.
func (c *Coordinator) shuffle(near []candidate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.env.Rand.Shuffle(len(near), func(i, j int) { near[i], near[j] = near[j], near[i] })
}

// gather asks candidates, nearest first, and collects what they answer: the I/O
// of reads and scans. It belongs to the goroutine of the request; one more
// goroutine for each question ends with the answer or with ctx.
type gather[A any] struct {
	c      *Coordinator
	ctx    context.Context
	cancel context.CancelFunc
	of     latency.Kind

	candidates []candidate
	replies    chan reply[A]
	timer      *time.Timer // when to hedge
	delay      time.Duration

	failures quorum.Tracker // counts failed candidates; acks is set when the error is made
	detail   string
	newest   uint64 // the newest catalog version that a replica told of
	from     ring.NodeID
}

// reply is what one candidate answered to one question.
type reply[A any] struct {
	candidate int
	digest    bool
	answer    A
	err       error
	took      time.Duration
}

// event is why a wait has ended.
type event uint8

const (
	answered event = iota
	failed         // a candidate failed, but there are enough others
	slow           // no answer within the hedge delay
)

var eventNames = [...]string{failed: "failed", slow: "slow"}

// questions is how many questions at a time a candidate may be asked.
const questions = 2

func newGather[A any](ctx context.Context, c *Coordinator, of latency.Kind, need int, candidates []candidate) *gather[A] {
	g := &gather[A]{
		c: c, of: of, candidates: candidates,
		replies:  make(chan reply[A], questions*len(candidates)),
		delay:    c.latencies.Hedge(of),
		failures: quorum.NewTracker(need, len(candidates)),
	}
	g.ctx, g.cancel = context.WithCancel(ctx)
	g.timer = time.NewTimer(g.delay)
	return g
}

// stop ends the questions that nobody waits for any more.
func (g *gather[A]) stop() {
	g.timer.Stop()
	g.cancel()
	now := time.Now()
	for i := range g.candidates {
		if c := &g.candidates[i]; c.pending > 0 {
			g.c.latencies.Lost(c.id, g.of, now.Sub(c.asked), g.delay, now)
		}
	}
}

// ask puts a question to a candidate.
func (g *gather[A]) ask(i int, digest bool, question func(context.Context, ring.NodeID) (A, error)) {
	c := &g.candidates[i]
	c.used = true
	c.pending++
	c.asked = time.Now()
	start, id := c.asked, c.id
	g.c.admission.BeginTask()
	go func() {
		defer g.c.admission.EndTask()
		a, err := question(g.ctx, id)
		g.replies <- reply[A]{candidate: i, digest: digest, answer: a, err: err, took: time.Since(start)}
	}()
}

// spare returns the nearest candidate that was not chosen yet, for a reason to count.
func (g *gather[A]) spare(why event) (i int, ok bool) {
	for i := range g.candidates {
		if !g.candidates[i].used {
			g.hedged(why)
			return i, true
		}
	}
	return 0, false
}

// hedged counts that one more candidate is asked than the level needs.
func (g *gather[A]) hedged(why event) {
	g.c.metrics.hedges.WithLabelValues(opNames[g.of.Op], eventNames[why]).Inc()
}

// wait returns the next thing that happens. The error is that too few candidates
// are left, or no time; got is how many have answered, for the error.
func (g *gather[A]) wait(got int) (reply[A], event, error) {
	select {
	case r := <-g.replies:
		return g.hear(r, got)
	case <-g.timer.C:
		g.timer.Reset(g.delay)
		return reply[A]{}, slow, nil
	case <-g.ctx.Done():
		return reply[A]{}, failed, &TimeoutError{Need: int(g.failures.Need), Got: got}
	}
}

// hear takes note of a reply.
func (g *gather[A]) hear(r reply[A], got int) (reply[A], event, error) {
	c := &g.candidates[r.candidate]
	c.pending--
	c.heard, c.code = true, transport.OK
	g.c.latencies.Observe(c.id, g.of, r.took, time.Now())
	if r.err == nil {
		return r, answered, nil
	}
	if g.ctx.Err() != nil {
		return r, failed, &TimeoutError{Need: int(g.failures.Need), Got: got}
	}
	return r, failed, g.fail(r.candidate, r.err, got)
}

// fail counts a candidate out. The error is that the level cannot be reached.
func (g *gather[A]) fail(i int, err error, got int) error {
	c := &g.candidates[i]
	if c.failed {
		return nil
	}
	v := verdictOf(err)
	c.failed, c.code, g.detail = true, v.Code, v.Detail
	if v.Code == transport.StaleCatalog && v.Version > g.newest {
		g.newest, g.from = v.Version, c.id
	}
	if what := g.failures.Add(v.Code); what == quorum.Open {
		return nil
	}
	told := g.failures
	told.Acks = uint8(got)
	return told.Err(false, g.of.Table, g.detail)
}

// verdictOf returns the verdict behind an error of Peers.
func verdictOf(err error) transport.Verdict {
	var e *transport.Error
	switch {
	case errors.As(err, &e):
		return e.Verdict
	case errors.Is(err, context.DeadlineExceeded):
		return transport.Verdict{Code: transport.Timeout}
	}
	return transport.Verdict{Code: transport.Failed, Detail: err.Error()}
}

// receipt says what the candidates had answered by now.
func (g *gather[A]) receipt(version uint64, start time.Time) *Receipt {
	r := &Receipt{Version: version, Latency: time.Since(start)}
	for i := range g.candidates {
		c := &g.candidates[i]
		outcome := "not asked"
		switch {
		case c.heard:
			outcome = c.code.String()
		case c.pending > 0:
			outcome = "pending"
		}
		r.Replicas = append(r.Replicas, ReplicaReceipt{Node: c.id, Outcome: outcome})
	}
	return r
}
