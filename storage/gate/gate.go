package gate

import (
	"math"
	"sync"
	"sync/atomic"
)

// Gate lets calls into the stores until it is closed, because Pebble panics after
// its Close, and closing waits for those inside. It is no mutex: reads do I/O.
type Gate struct {
	inside atomic.Int64  // plus closed once it is closed
	idle   chan struct{} // closed when it is closed and empty
	once   sync.Once
}

const closed = math.MinInt64 / 2

// New makes an open gate.
func New() *Gate { return &Gate{idle: make(chan struct{})} }

// Enter reports whether the gate is open; then Leave must follow.
func (g *Gate) Enter() bool {
	if g.inside.Add(1) > 0 {
		return true
	}
	g.Leave()
	return false
}

// Leave ends a call that Enter let in.
func (g *Gate) Leave() {
	if g.inside.Add(-1) == closed {
		g.once.Do(func() { close(g.idle) })
	}
}

// Close refuses further calls and waits for those inside. It is called once.
func (g *Gate) Close() {
	if g.inside.Add(closed) == closed {
		g.once.Do(func() { close(g.idle) })
	}
	<-g.idle
}
