package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport"
)

// skewEvery is how often this node compares its clock with its peers'.
const skewEvery = time.Second

// skewError says that this node's clock is off from most of its peers'.
type skewError struct {
	off, peers int
	max        time.Duration
}

func (e *skewError) Error() string {
	return fmt.Sprintf("this node's clock is off from %d of %d peers by more than %s; writes through it are refused until the clocks agree", e.off, e.peers, e.max)
}

// skewedFrom judges by the offsets of the peers' clocks: off from most, at least
// two, by more than the maximum; nil if not.
func skewedFrom(offsets []time.Duration, max time.Duration) *skewError {
	off := 0
	for _, o := range offsets {
		if o.Abs() > max {
			off++
		}
	}
	if off < 2 || 2*off <= len(offsets) {
		return nil
	}
	return &skewError{off: off, peers: len(offsets), max: max}
}

// checkSkew is a job. Offsets include the delay of the frame that they were
// measured by, so a suspicion counts only when fresh answers confirm it.
func (n *Node) checkSkew(ctx context.Context) (idle bool, err error) {
	n.checkJump(ctx)
	verdict := skewedFrom(n.offsets(), n.cfg.Clock.MaxSkew)
	if verdict != nil {
		n.measureOffsets(ctx)
		verdict = skewedFrom(n.offsets(), n.cfg.Clock.MaxSkew)
	}
	before := n.skew.Swap(verdict)
	switch {
	case verdict != nil && before == nil:
		n.log.Error("clock skew: this node coordinates no writes until the clocks agree", "off", verdict.off, "peers", verdict.peers, "max", verdict.max)
	case verdict == nil && before != nil:
		n.log.Info("clock skew is over: this node coordinates writes again")
	}
	n.metrics.setSkewed(verdict != nil)
	return true, nil
}

// bootWait bounds how long a node that starts waits for peers to compare its clock with.
const bootWait = time.Second

// bootClock compares the clock with the peers' before anything is served: one that was
// wrong when the node started has not jumped since. If it is off from most of them,
// at least two, the node goes on by their time until its own is set right.
func (n *Node) bootClock(ctx context.Context) {
	wanted := min(n.View().Ring.Members()-1, 2)
	if wanted < 2 {
		return
	}
	until := time.Now().Add(bootWait)
	for len(n.offsets()) < wanted && time.Now().Before(until) && wait(ctx, 20*time.Millisecond, nil) {
	}
	n.measureOffsets(ctx)
	offsets := n.offsets()
	if skewedFrom(offsets, n.cfg.Clock.MaxSkew) == nil {
		return
	}
	slices.Sort(offsets)
	off := offsets[len(offsets)/2]
	n.wall.Follow(off)
	n.log.Error("this node's clock is off from most of its peers'; it goes on by theirs until its own is set right", "by", -off, "peers", len(offsets))
}

// aloneBelieves is after how long a jump of the clock is believed if there is no
// peer to ask.
const aloneBelieves = 10 * time.Second

// confirmed judges a jump of this node's clock by the offsets of its peers' clocks
// from the time that is believed: most are nearer to where it has jumped.
func confirmed(jump time.Duration, offsets []time.Duration) bool {
	nearer := 0
	for _, o := range offsets {
		if (o - jump).Abs() < o.Abs() {
			nearer++
		}
	}
	return 2*nearer > len(offsets)
}

// checkJump believes a jump of this node's clock when its peers confirm it.
func (n *Node) checkJump(ctx context.Context) {
	jump := n.wall.Jump()
	n.metrics.clockJump.Set(jump.Seconds())
	if jump == 0 {
		n.jumped = time.Time{}
		return
	}
	if n.jumped.IsZero() {
		n.jumped = time.Now()
		n.log.Warn("this node's clock was set; it is not believed until its peers confirm it", "by", jump)
	}
	n.measureOffsets(ctx)
	offsets := n.offsets()
	if confirmed(jump, offsets) || len(offsets) == 0 && time.Since(n.jumped) > aloneBelieves {
		n.wall.Believe()
		n.log.Info("this node's clock is believed again", "by", jump, "peers", len(offsets))
	}
}

// offsets are those of the connected peers' clocks from this node's.
func (n *Node) offsets() []time.Duration {
	var all []time.Duration
	for _, p := range n.transport.Status() {
		if p.Connected {
			all = append(all, p.Offset)
		}
	}
	return all
}

// measureOffsets exchanges a frame with each connected peer: a read of no table,
// which costs nothing.
func (n *Node) measureOffsets(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, skewEvery)
	defer cancel()
	answered := make(chan struct{})
	asked := 0
	for _, p := range n.transport.Status() {
		if !p.Connected {
			continue
		}
		asked++
		go func(id ring.NodeID) {
			_, _ = n.transport.Read(ctx, id, &transport.ReadRequest{}) // refused; its frame has told the time
			answered <- struct{}{}
		}(p.ID)
	}
	for range asked {
		<-answered
	}
}

// refused says why most peers do not let this node in, such as that its directory
// is an older copy of itself; nil if they do.
func (n *Node) refused() error {
	peers := n.transport.Status()
	count := 0
	var reason *transport.RefusedError
	for _, p := range peers {
		if !p.Connected && p.Err != nil && errors.As(p.Err, &reason) {
			count++
		}
	}
	if 2*count <= len(peers) {
		return nil
	}
	return fmt.Errorf("%d of %d peers refuse this node: %w", count, len(peers), reason)
}

// unfit says why this node coordinates no writes; nil if it does.
func (n *Node) unfit() error {
	if err := n.skewed(); err != nil {
		return err
	}
	if p := n.outcast.Load(); p != nil {
		return *p
	}
	return nil
}

// checkRefused is a job that keeps what unfit says, since asking costs a lock a
// peer.
func (n *Node) checkRefused(context.Context) (idle bool, err error) {
	refused := n.refused()
	before := n.outcast.Load()
	switch {
	case refused == nil:
		n.outcast.Store(nil)
	default:
		n.outcast.Store(&refused)
		if before == nil {
			n.log.Error("this node takes no requests", "error", refused)
		}
	}
	return true, nil
}

// skewed says that this node's clock is off; nil if it is not.
func (n *Node) skewed() error {
	if e := n.skew.Load(); e != nil {
		return e
	}
	return nil
}
