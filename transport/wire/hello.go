package wire

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
)

const (
	// Protocol changes when frames do in a way that a feature bit cannot tell.
	Protocol = 1
	// Features of this version of the code: none beyond the protocol's own.
	Features = 0
	// HelloMax bounds an encoded hello.
	HelloMax = 4 << 10
)

// Limits are a node's bounds on what others may send it.
type Limits struct {
	Slots        uint32 `json:"slots"`         // open requests per stream
	RequestBytes uint32 `json:"request_bytes"` // one request, encoded
	AnswerBytes  uint32 `json:"answer_bytes"`  // one answer, encoded
}

// Hello is the first thing that both ends say on a stream, and comes with every
// control call. Before a node belongs to a cluster, Cluster is the zero UUID.
type Hello struct {
	Cluster     uuid.UUID     `json:"cluster"`
	ClusterName string        `json:"cluster_name"`
	Generation  uint64        `json:"generation"`
	Node        uuid.UUID     `json:"node"`
	Store       uuid.UUID     `json:"store"`
	Boot        uint64        `json:"boot"`
	Start       uuid.UUID     `json:"start"`   // random, of this start
	Ceiling     hlc.Timestamp `json:"ceiling"` // as found on disk at the start
	// Addresses are where the node is reached; empty in what older versions say.
	Addresses ring.Addresses `json:"addresses,omitzero"`

	// Set by transport; what Env.Hello puts there is overwritten.
	Version  uint64 `json:"version"` // of the catalog
	Protocol uint32 `json:"protocol"`
	Features uint64 `json:"features"` // bits; both ends use what both have
	Limits   Limits `json:"limits"`
	// Wanted is the node that a stream is for: any other one only says hello.
	Wanted uuid.UUID `json:"wanted,omitzero"`
}

// Encode writes JSON: a hello is said once per connection, later versions may add
// fields, and people read it in captures.
func (h Hello) Encode() ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode hello: %w", err)
	}
	if len(b) > HelloMax {
		return nil, fmt.Errorf("this node's hello has %d bytes, at most %d", len(b), HelloMax)
	}
	return b, nil
}

// DecodeHello checks size, form and protocol.
func DecodeHello(b []byte) (Hello, error) {
	var h Hello
	if len(b) > HelloMax {
		return h, fmt.Errorf("hello has %d bytes, at most %d", len(b), HelloMax)
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("hello cannot be read: %w", err)
	}
	if h.Protocol != Protocol {
		return h, fmt.Errorf("protocol version %d is spoken there, %d here", h.Protocol, Protocol)
	}
	if h.Node == (uuid.UUID{}) {
		return h, errors.New("hello names no node")
	}
	return h, nil
}

// SameCluster refuses another cluster's node; a node without a cluster passes,
// since it may want to join.
func (h Hello) SameCluster(theirs Hello) error {
	if h.Cluster == (uuid.UUID{}) || theirs.Cluster == (uuid.UUID{}) || h.Cluster == theirs.Cluster {
		return nil
	}
	return fmt.Errorf("node %s belongs to cluster %q (%s), this one to %q (%s)",
		theirs.Node, theirs.ClusterName, theirs.Cluster, h.ClusterName, h.Cluster)
}
