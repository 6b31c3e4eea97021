package catalog

import (
	"encoding/json"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/paxos"
	"github.com/dunlindb/dunlin/ring"
)

// Kinds of the control calls that Handle answers. Bodies are JSON: they are rare,
// later versions may add fields, and people read them in captures.
const (
	callPrepare = "catalog.prepare" // ballotRequest → ballotAnswer
	callAccept  = "catalog.accept"  // ballotRequest → ballotAnswer
	callPull    = "catalog.pull"    // pullRequest → pullAnswer
	callLearn   = "catalog.learn"   // an encoded document → nothing
	callJoin    = "catalog.join"    // joinRequest → an encoded document
	callRecover = "catalog.recover" // an encoded document of a later generation → nothing; to the survivor with the smallest id
)

// Identity is a node and the state of its disk, as it shows them to others.
type Identity struct {
	Node    ring.NodeID   `json:"node"`
	Store   uuid.UUID     `json:"store"`
	Boot    uint64        `json:"boot"`
	Start   uuid.UUID     `json:"start"`   // random: two starts with one number are of a directory and its copy
	Ceiling hlc.Timestamp `json:"ceiling"` // of the clock, as found on disk at the start
}

// ballotRequest asks an acceptor about the document that follows Previous.
type ballotRequest struct {
	Generation uint64       `json:"generation"`
	Version    uint64       `json:"version"` // to be decided
	Previous   Hash         `json:"previous"`
	Ballot     paxos.Ballot `json:"ballot"`
	Value      []byte       `json:"value,omitempty"` // with accept: the encoded document
}

// ballotAnswer has one of Behind, Decided, Promise and Accepted.
type ballotAnswer struct {
	Self     Identity        `json:"self"`
	Behind   bool            `json:"behind,omitempty"`  // the acceptor lacks Previous: send it, then ask again
	Decided  []byte          `json:"decided,omitempty"` // the document asked about, or a later one
	Promise  *paxos.Promise  `json:"promise,omitempty"`
	Accepted *paxos.Accepted `json:"accepted,omitempty"`
}

// pullRequest asks for a document above what the asking node has.
type pullRequest struct {
	Generation uint64 `json:"generation"`
	Version    uint64 `json:"version"`
}

type pullAnswer struct {
	Self     Identity `json:"self"`
	Document []byte   `json:"document,omitempty"` // encoded; empty: none is newer
}

type joinRequest struct {
	Member   ring.Member `json:"member"`
	Together int         `json:"together,omitempty"` // so many nodes join in one step
	// Was is the document by which the node was joining when it stopped. It may have been
	// dropped since; with Only it does not want to join anew.
	Was  *pullRequest `json:"was,omitempty"`
	Only bool         `json:"only,omitempty"`
}

// parse reads a body from another node.
func parse(kind string, body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return document.Invalidf("%s: the message cannot be read: %v", kind, err)
	}
	return nil
}
