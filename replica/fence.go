package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// fence refuses a request on a range whose sender does not know the last version
// that changed it.
func fence(v *schema.View, id token.RangeID, version uint64) transport.Verdict {
	if changed := v.Ring.ChangedAt(id); version < changed {
		return transport.Verdict{
			Code:    transport.StaleCatalog,
			Detail:  fmt.Sprintf("range %d changed in catalog version %d, the request was made by version %d", id, changed, version),
			Version: v.Version,
		}
	}
	return transport.Verdict{}
}

// startLater starts a group in a goroutine of its own, when this node's catalog
// has reached the sender's version.
func (r *Replica) startLater(a *apply) {
	select {
	case r.catchUps <- struct{}{}:
	default:
		a.end(transport.Verdict{Code: transport.Overloaded, Detail: "too many groups wait for a newer catalog"})
		return
	}
	if !r.mayWait() {
		<-r.catchUps
		a.end(transport.Verdict{Code: transport.Failed, Detail: "the node is stopping"})
		return
	}
	go func() {
		defer r.waiting.Done()
		defer func() { <-r.catchUps }()
		deadline := a.deadline
		if deadline.IsZero() {
			deadline = time.Now().Add(r.cfg.CatchUpTimeout)
		}
		ctx, cancel := context.WithDeadline(r.ctx, deadline)
		defer cancel()
		v, verdict := r.catchUp(ctx, a.from, a.group.Version)
		if verdict.Code != transport.OK {
			a.end(verdict)
			return
		}
		a.start(v)
	}()
}

// mayWait counts one more waiting goroutine, unless the replica is closed.
func (r *Replica) mayWait() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.waiting.Add(1)
	return true
}

// catchUp returns a view of at least version, learnt from a node that has it.
func (r *Replica) catchUp(ctx context.Context, from ring.NodeID, version uint64) (*schema.View, transport.Verdict) {
	r.metrics.catchUps.Inc()
	err := r.env.CatchUp(ctx, from, version)
	if v := r.adopted.Load(); v != nil && v.Version >= version {
		return v, transport.Verdict{}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
		return nil, transport.Verdict{Code: transport.Expired, Detail: fmt.Sprintf("the deadline passed while waiting for catalog version %d", version)}
	case err != nil:
		return nil, transport.Verdict{Code: transport.Failed, Detail: fmt.Sprintf("catalog version %d cannot be had: %v", version, err)}
	}
	return nil, transport.Verdict{Code: transport.Failed, Detail: fmt.Sprintf("catalog version %d was not adopted", version)}
}

// admit finds the table for a read or scan, after catching up with a newer sender.
func (r *Replica) admit(ctx context.Context, from ring.NodeID, version uint64, table uint32, id token.RangeID) (*schema.TableView, transport.Verdict) {
	v := r.adopted.Load()
	if v == nil || version > v.Version {
		var verdict transport.Verdict
		if v, verdict = r.catchUp(ctx, from, version); verdict.Code != transport.OK {
			return nil, verdict
		}
	}
	if verdict := fence(v, id, version); verdict.Code != transport.OK {
		return nil, verdict
	}
	t := v.Table(table)
	if t == nil {
		return nil, transport.Verdict{Code: transport.UnknownTable, Version: v.Version}
	}
	if r.quarantine.has(id) {
		return nil, transport.Verdict{Code: transport.Failed, Detail: fmt.Sprintf("range %d is in quarantine on this replica: something of it cannot be read", id)}
	}
	return t, transport.Verdict{}
}
