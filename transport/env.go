package transport

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
)

// Handler is this node as a server.
type Handler interface {
	// Apply stores a group and tells sink. It is called from a receive loop and
	// must not block: it queues, or refuses by calling sink at once. g.Entries
	// are valid until sink has heard; they must not be changed.
	Apply(from ring.NodeID, g Group, deadline time.Time, sink Sink, tag uint32)
	// Read answers a slice of one partition. The request's slices are valid until
	// it returns. ctx ends at the deadline and when the asking peer is gone.
	Read(ctx context.Context, from ring.NodeID, r *ReadRequest) ReadAnswer
	// Scan answers part of a token range, under the rules of Read.
	Scan(ctx context.Context, from ring.NodeID, r *ScanRequest) ScanAnswer
	// Control answers a rare call. from has not passed Admit (a node that wants to
	// join is no member yet): the handler decides by kind.
	Control(ctx context.Context, from Hello, kind string, body []byte) ([]byte, error)
}

// Clock is what transport needs of the hybrid logical clock: *hlc.Clock.
type Clock interface {
	Last() hlc.Timestamp
	Observe(remote hlc.Timestamp) error
	Physical() time.Time
}

// Env is what a Transport uses of the node around it. Every field is needed
// unless said otherwise.
type Env struct {
	// Self is this node: requests to it take the local short cut.
	Self ring.NodeID
	// Listener accepts the peers' connections; Run closes it.
	Listener net.Listener
	// Dial connects to a peer; it honours ctx.
	Dial    func(ctx context.Context, address string) (net.Conn, error)
	Handler Handler
	// Admit decides whether a stream with this node is wanted: who it is,
	// whether it belongs here. It is asked at both ends and must not block.
	// Protocol, and equality of two set clusters, are checked before.
	Admit func(Hello) error
	// Hello describes this node; asked for each connection.
	Hello func() Hello
	Clock Clock
	// CatalogVersion of this node travels in every frame.
	CatalogVersion func() uint64
	// OnPeerVersion hears a peer's catalog version when it differs from the last
	// one on that stream. It is called from receive loops and must not block.
	// May be nil.
	OnPeerVersion func(from ring.NodeID, version uint64)
	// Rand spreads reconnects; Transport guards it, nobody else may use it.
	Rand       *rand.Rand
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// validate names the first missing field.
func (e *Env) validate() error {
	switch {
	case e.Self == ring.NodeID{}:
		return errors.New("transport: Env.Self is not set")
	case e.Listener == nil || e.Dial == nil:
		return errors.New("transport: Env.Listener and Env.Dial are needed")
	case e.Handler == nil || e.Admit == nil || e.Hello == nil:
		return errors.New("transport: Env.Handler, Env.Admit and Env.Hello are needed")
	case e.Clock == nil || e.CatalogVersion == nil || e.Rand == nil:
		return errors.New("transport: Env.Clock, Env.CatalogVersion and Env.Rand are needed")
	case e.Logger == nil || e.Registerer == nil:
		return errors.New("transport: Env.Logger and Env.Registerer are needed")
	}
	return nil
}

// Peer is a node to keep a connection to.
type Peer struct {
	ID      ring.NodeID
	Address string // host:port of its internode listener
}

// PeerState is what the coordinator asks for every replica of a request; it is
// read without a lock.
type PeerState struct {
	// Connected: the stream is open and both ends have admitted each other.
	Connected bool
	// OldestUnanswered is the age of the oldest request that is still owed an
	// answer, timed out or not; 0 if none is.
	OldestUnanswered time.Duration
	// Latency is a moving average over all answers, 0 before the first;
	// ReadLatency over answers to Read and Scan alone.
	Latency, ReadLatency time.Duration
}

// PeerStatus describes a connection for people and for readiness.
type PeerStatus struct {
	Peer
	Connected bool
	// Dialled: at least one attempt to connect has ended, well or not.
	Dialled bool
	// Err is why the last attempt or connection ended, nil while connected.
	Err error
	// Hello is what the peer last said; zero before.
	Hello Hello
	// Offset of its physical clock from ours, one-way delay included.
	Offset time.Duration
	// Skewed: its last frame's clock was too far ahead to be merged.
	Skewed bool
}
