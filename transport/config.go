package transport

import (
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/transport/slot"
)

// Config bounds the transport. The zero value is not valid: use DefaultConfig.
type Config struct {
	// Slots is the number of unanswered requests per peer; at most 65,536.
	Slots int
	// QueueBytes bounds the encoded bytes of unanswered requests per peer.
	QueueBytes int
	// FrameBytes is the size at which a frame is closed; a larger request goes
	// alone.
	FrameBytes int
	// RequestBytes and AnswerBytes bound one encoded request and answer; a
	// request over the smaller of the two ends' bounds is refused before it is
	// queued.
	RequestBytes, AnswerBytes int
	// ControlBytes bounds the body of a control call and of its answer.
	ControlBytes int
	// ControlCalls bounds the control calls served at once.
	ControlCalls int
	// Readers bounds the reads and scans executed at once for peers, ReadQueue
	// those that wait for a reader.
	Readers, ReadQueue int
	// Connections bounds accepted connections, Unprefaced those of them that have
	// not yet sent the HTTP/2 preface.
	Connections, Unprefaced int

	// PrefaceTimeout bounds the wait for the HTTP/2 preface.
	PrefaceTimeout time.Duration
	// DialTimeout bounds an attempt to connect, hello included; HelloTimeout
	// bounds how long an accepted stream may take to say hello.
	DialTimeout, HelloTimeout time.Duration
	// BackoffMin and BackoffMax bound the pause between attempts to connect.
	BackoffMin, BackoffMax time.Duration
	// CallTimeout is the deadline of Read, Scan and Control whose context has none.
	CallTimeout time.Duration
	// DrainTimeout bounds the wait for open requests when Run's context ends.
	DrainTimeout time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Slots:          8192,
		QueueBytes:     4 << 20,
		FrameBytes:     64 << 10,
		RequestBytes:   2 << 20,
		AnswerBytes:    8 << 20,
		ControlBytes:   8 << 20,
		ControlCalls:   64,
		Readers:        32,
		ReadQueue:      1024,
		Connections:    1024,
		Unprefaced:     64,
		PrefaceTimeout: 2 * time.Second,
		DialTimeout:    5 * time.Second,
		HelloTimeout:   5 * time.Second,
		BackoffMin:     50 * time.Millisecond,
		BackoffMax:     time.Second,
		CallTimeout:    10 * time.Second,
		DrainTimeout:   2 * time.Second,
	}
}

// Validate reports the first value out of its range.
func (c Config) Validate() error {
	counts := []struct {
		name          string
		value, lo, hi int
	}{
		{"Slots", c.Slots, 1, 1 << slot.IndexBits},
		{"FrameBytes", c.FrameBytes, 1 << 10, 1 << 20},
		{"RequestBytes", c.RequestBytes, 1 << 10, 64 << 20},
		{"AnswerBytes", c.AnswerBytes, 1 << 10, 64 << 20},
		{"QueueBytes", c.QueueBytes, c.RequestBytes, 1 << 30},
		{"ControlBytes", c.ControlBytes, 1 << 10, 64 << 20},
		{"ControlCalls", c.ControlCalls, 1, 1 << 16},
		{"Readers", c.Readers, 1, 1 << 16},
		{"ReadQueue", c.ReadQueue, 0, 1 << 20},
		{"Connections", c.Connections, 1, 1 << 20},
		{"Unprefaced", c.Unprefaced, 1, c.Connections},
	}
	for _, n := range counts {
		if n.value < n.lo || n.value > n.hi {
			return fmt.Errorf("transport: %s is %d, must be %d to %d", n.name, n.value, n.lo, n.hi)
		}
	}
	durations := []struct {
		name  string
		value time.Duration
	}{
		{"PrefaceTimeout", c.PrefaceTimeout}, {"DialTimeout", c.DialTimeout}, {"HelloTimeout", c.HelloTimeout},
		{"BackoffMin", c.BackoffMin}, {"CallTimeout", c.CallTimeout}, {"DrainTimeout", c.DrainTimeout},
	}
	for _, d := range durations {
		if d.value <= 0 || d.value > maxBudget {
			return fmt.Errorf("transport: %s is %v, must be above 0 and at most %v", d.name, d.value, maxBudget)
		}
	}
	if c.BackoffMax < c.BackoffMin {
		return fmt.Errorf("transport: BackoffMax is %v, below BackoffMin %v", c.BackoffMax, c.BackoffMin)
	}
	return nil
}

// limits are what this node's hello says.
func (c Config) limits() Limits {
	return Limits{Slots: uint32(c.Slots), RequestBytes: uint32(c.RequestBytes), AnswerBytes: uint32(c.AnswerBytes)}
}
