package storage

import (
	"math"
	"sync"
	"sync/atomic"
)

// gate lets calls into the stores until it is closed, because Pebble panics after
// its Close, and closing waits for those inside. It is no mutex: reads do I/O.
type gate struct {
	inside atomic.Int64  // plus gateClosed once it is closed
	idle   chan struct{} // closed when it is closed and empty
	once   sync.Once
}

const gateClosed = math.MinInt64 / 2

func newGate() *gate { return &gate{idle: make(chan struct{})} }

// enter reports whether the gate is open; then leave must follow.
func (g *gate) enter() bool {
	if g.inside.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.inside.Add(-1) == gateClosed {
		g.once.Do(func() { close(g.idle) })
	}
}

// close refuses further calls and waits for those inside. It is called once.
func (g *gate) close() {
	if g.inside.Add(gateClosed) == gateClosed {
		g.once.Do(func() { close(g.idle) })
	}
	<-g.idle
}
