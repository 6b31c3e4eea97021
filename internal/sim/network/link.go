package network

import (
	"math/rand/v2"
	"time"
)

// Profile is the character of a link, one direction.
type Profile struct {
	// MinDelay and MaxDelay bound the delay of each segment and datagram, drawn
	// evenly.
	MinDelay, MaxDelay time.Duration
	// Loss is the probability that a datagram is lost; of a stream, that a
	// segment must be sent again.
	Loss float64
	// Duplicate is the probability that a datagram arrives twice.
	Duplicate float64
	// BytesPerSecond bounds the throughput; 0 means no bound.
	BytesPerSecond int
}

// LAN is a local network: half a millisecond to three, few losses.
func LAN() Profile {
	return Profile{MinDelay: 500 * time.Microsecond, MaxDelay: 3 * time.Millisecond, Loss: 0.0005, Duplicate: 0.0005}
}

// retransmission is how long a stream waits before it sends a lost segment
// again: TCP's smallest.
const retransmission = 200 * time.Millisecond

// link is one direction between two hosts. The network's mutex guards it.
type link struct {
	network *Network
	loop    bool // from a host to itself
	rand    *rand.Rand
	own     *Profile

	blocks       int
	blockedSince time.Time
	free         time.Time // when the link has sent what it was given
	halves       map[*half]struct{}
}

func (l *link) profile() *Profile {
	switch {
	case l.own != nil:
		return l.own
	case l.loop:
		return &l.network.local
	}
	return &l.network.profile
}

func (l *link) delay() time.Duration {
	p := l.profile()
	if p.MaxDelay <= p.MinDelay {
		return p.MinDelay
	}
	return p.MinDelay + time.Duration(l.rand.Int64N(int64(p.MaxDelay-p.MinDelay)+1))
}

// draw reports whether something with a probability happens.
func (l *link) draw(probability float64) bool {
	return probability > 0 && l.rand.Float64() < probability
}

// sent returns when so many bytes, given to the link now, have left it.
func (l *link) sent(now time.Time, size int) time.Time {
	rate := l.profile().BytesPerSecond
	if rate <= 0 {
		return now
	}
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(size) / float64(rate) * float64(time.Second)))
	return l.free
}

// segmentArrives returns when a segment of a stream, written now, arrives.
func (l *link) segmentArrives(now time.Time, size int) time.Time {
	at := l.sent(now, size).Add(l.delay())
	for l.draw(l.profile().Loss) {
		at = at.Add(retransmission)
	}
	return at
}

// passes reports whether something that arrives at a time is there now.
func (l *link) passes(arrives, now time.Time) bool {
	if arrives.After(now) {
		return false
	}
	return l.blocks == 0 || !arrives.After(l.blockedSince)
}

// retransmit sends again what a block held up.
func (l *link) retransmit(now time.Time) {
	resumed := now.Add(l.delay() + time.Duration(l.rand.Int64N(int64(retransmission))))
	for h := range l.halves {
		h.resume(l.blockedSince, resumed)
	}
}
