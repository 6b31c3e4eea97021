package sim

import (
	"fmt"
	"sync"
	"time"
)

// OpKind is what a client asked for.
type OpKind uint8

// The operations. A register is a kv key; a stream is one of events.
const (
	Put    OpKind = iota // write a value to a register
	Delete               // delete a register
	Get                  // read a register
	Append               // add an event to a stream
	List                 // read a stream
	Clear                // delete a stream's events up to now
)

// String names the operation.
func (k OpKind) String() string {
	return [...]string{"put", "delete", "get", "append", "list", "clear"}[k]
}

// Result is what the client learned about a write, or whether a read was answered.
type Result uint8

// The results.
const (
	OK      Result = iota // acknowledged, or answered
	Refused               // surely without effect
	Unknown               // it may have happened, or may still happen
)

// String names the result.
func (r Result) String() string { return [...]string{"ok", "refused", "unknown"}[r] }

// Op is one operation as its client saw it.
type Op struct {
	Client, Node int
	Session      int // of the client; a new one begins when it forgets its clock
	Kind         OpKind
	Key          string // register or stream
	Value        string // written, or read; unique among writes
	Timestamp    int64  // of a write or of a value read, in microseconds; 0 when unknown
	Stamped      bool   // the server chose the write's timestamp
	Level        string
	Sloppy       bool          // of a write: other nodes may hold it
	TTL          time.Duration // of a put; 0: for ever
	Call, Return time.Duration // since the run began
	Result       Result
	Present      bool     // a read found a value
	Values       []string // a stream's events, in the order of the answer
	Problem      string   // the answer broke the contract
	// Final marks the reads of all replicas after everything has healed.
	Final  bool
	Detail string // the error, for people
}

// String describes the operation in one line.
func (o Op) String() string {
	s := fmt.Sprintf("%s..%s client %d node %d: %s %s", o.Call.Round(time.Millisecond), o.Return.Round(time.Millisecond), o.Client, o.Node, o.Kind, o.Key)
	if o.Level != "" {
		s += " at " + o.Level
	}
	if o.TTL > 0 {
		s += " for " + o.TTL.String()
	}
	switch o.Kind {
	case List:
		s += fmt.Sprintf(" = %d events", len(o.Values))
	default:
		s += fmt.Sprintf(" %q @%d", o.Value, o.Timestamp)
	}
	return s + " " + o.Result.String()
}

// History is the record of a run. It is safe for concurrent use.
type History struct {
	mu  sync.Mutex // guards the fields below
	ops []Op
}

// Add records an operation.
func (h *History) Add(o Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

// Ops returns what was recorded so far.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ops[:len(h.ops):len(h.ops)]
}

// Violation is a promise that a history breaks.
type Violation struct {
	Promise string
	Key     string
	Detail  string
}

// String says what was broken.
func (v Violation) String() string { return v.Promise + ": " + v.Key + ": " + v.Detail }
