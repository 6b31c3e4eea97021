package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/wire"
)

// Apply sends a group to a node, copying it, and never blocks. The sink hears
// once: from inside this call if the group is refused here (and possibly so if
// the node is this one). A timeout counts from the deadline; the answer of a
// group that was sent may still come later, and is only counted.
func (t *Transport) Apply(to ring.NodeID, g *Group, deadline time.Time, sink Sink, tag uint32) {
	p := t.peer(to)
	if p == nil {
		sink.Done(tag, notPeer(to))
		return
	}
	o := owner{sink: sink, tag: tag}
	if p.local {
		p.applyHere(g, deadline, o)
		return
	}
	_, refused := p.enter(wire.KindApply, wire.GroupSize(g), deadline, o, func(b []byte) []byte { return wire.AppendGroup(b, g) })
	if refused.Code != OK {
		sink.Done(tag, refused)
	}
}

// Read asks a node for a slice of one partition. The error is nil exactly if
// the answer's verdict is OK, and an *Error otherwise, unless ctx was cancelled.
// ctx should have a deadline; without one Config.CallTimeout is used. The
// answer's slices belong to the caller.
func (t *Transport) Read(ctx context.Context, to ring.NodeID, r *ReadRequest) (ReadAnswer, error) {
	p := t.peer(to)
	if p == nil {
		v := notPeer(to)
		return ReadAnswer{Verdict: v}, v.Err()
	}
	ctx, cancel := t.withDeadline(ctx)
	defer cancel()
	if p.local {
		a := t.env.Handler.Read(ctx, t.env.Self, r)
		return a, a.Verdict.Err()
	}
	size := wire.ReadRequestSize(r)
	verdict, payload, err := p.ask(ctx, wire.KindRead, size, func(b []byte) []byte { return wire.AppendReadRequest(b, r) })
	if err != nil {
		return ReadAnswer{Verdict: verdict}, err
	}
	var a ReadAnswer
	if err := wire.DecodeReadAnswer(payload, &a); err != nil {
		v := Verdict{Code: Failed, Detail: err.Error()}
		return ReadAnswer{Verdict: v}, v.Err()
	}
	return a, nil
}

// Scan asks a node for part of a token range, under the rules of Read.
func (t *Transport) Scan(ctx context.Context, to ring.NodeID, r *ScanRequest) (ScanAnswer, error) {
	p := t.peer(to)
	if p == nil {
		v := notPeer(to)
		return ScanAnswer{Verdict: v}, v.Err()
	}
	ctx, cancel := t.withDeadline(ctx)
	defer cancel()
	if p.local {
		a := t.env.Handler.Scan(ctx, t.env.Self, r)
		return a, a.Verdict.Err()
	}
	size := wire.ScanRequestSize(r)
	verdict, payload, err := p.ask(ctx, wire.KindScan, size, func(b []byte) []byte { return wire.AppendScanRequest(b, r) })
	if err != nil {
		return ScanAnswer{Verdict: verdict}, err
	}
	var a ScanAnswer
	if err := wire.DecodeScanAnswer(payload, &a); err != nil {
		v := Verdict{Code: Failed, Detail: err.Error()}
		return ScanAnswer{Verdict: v}, v.Err()
	}
	return a, nil
}

// ask sends a query and waits for its answer, at most until ctx ends.
func (p *peer) ask(ctx context.Context, kind wire.Kind, size int, encode func([]byte) []byte) (Verdict, []byte, error) {
	deadline, _ := ctx.Deadline()
	c := &call{done: make(chan struct{})}
	id, refused := p.enter(kind, size, deadline, owner{call: c}, encode)
	if refused.Code != OK {
		return refused, nil, refused.Err()
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if p.abandon(id, c) {
			if ctx.Err() == context.DeadlineExceeded {
				return Verdict{Code: Timeout}, nil, Verdict{Code: Timeout}.Err()
			}
			return Verdict{Code: Failed, Detail: "given up"}, nil, ctx.Err()
		}
	}
	return c.verdict, c.payload, c.verdict.Err()
}

// applyHere gives a group to this node's own handler, with a private copy of
// its entries. It takes a slot like any other, so bounds, deadline and metrics
// are the same.
func (p *peer) applyHere(g *Group, deadline time.Time, o owner) {
	o.entries = p.t.pool.Get(len(g.Entries))
	copy(*o.entries, g.Entries)
	own := *g
	own.Entries = *o.entries
	id, refused := p.enter(wire.KindApply, wire.GroupSize(g), deadline, o, nil)
	if refused.Code != OK {
		p.t.pool.Put(o.entries)
		o.sink.Done(o.tag, refused)
		return
	}
	p.t.env.Handler.Apply(p.ID, own, deadline, (*here)(p), id)
}

// here is this node's own peer as the Sink of the groups that it was given; the
// tag is the slot's id.
type here peer

// Done frees the slot, and tells the owner unless it has timed out.
func (h *here) Done(tag uint32, v Verdict) {
	p := (*peer)(h)
	ids := [1]uint32{tag}
	var space [1]outcome
	outcomes, _ := p.answered(ids[:], wire.KindApply, v, nil, space[:0])
	for i := range outcomes {
		if entries := outcomes[i].entries; entries != nil {
			p.t.pool.Put(entries)
		}
	}
	p.conclude(outcomes)
}

func notPeer(id ring.NodeID) Verdict {
	return Verdict{Code: Unreachable, Detail: fmt.Sprintf("node %s is not a peer", id)}
}

func tooLarge(size, limit int) Verdict {
	return Verdict{Code: Failed, Detail: fmt.Sprintf("the request has %d bytes, at most %d", size, limit)}
}
