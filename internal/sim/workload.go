package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	registers    = 45 // keys that are written again and again
	streamSlots  = 9  // streams that are appended to at a time
	streamEvents = 60 // then a new stream takes the slot
	heldKeys     = 6  // keys that are written at levels that promise no overlap, and read in the end
	longestTTL   = 5 * time.Minute
)

func heldKey(i int) string { return fmt.Sprintf("h%d", i) }

// levels are pairs that overlap with three replicas: R+W > N.
var levels = [3]struct{ write, read string }{{"quorum", "quorum"}, {"all", "one"}, {"one", "all"}}

// workload is what the clients share.
type workload struct {
	cluster *Cluster
	seed    uint64
	think   time.Duration // mean pause of a client
	history History
	plain   bool // Options.Plain
	losses  bool // Options.Losses

	mu    sync.Mutex // guards the fields below
	slots [streamSlots]struct{ epoch, events int }
	used  []string // all streams so far
}

func newWorkload(c *Cluster, seed uint64, think time.Duration) *workload {
	w := &workload{cluster: c, seed: seed, think: think}
	for i := range streamSlots {
		w.used = append(w.used, streamName(i, 0))
	}
	return w
}

func streamName(slot, epoch int) string { return fmt.Sprintf("s%d-%d", slot, epoch) }

// registerKey names a register. Its number decides the levels that it is used
// at, and who stamps its writes.
func registerKey(i int) string { return fmt.Sprintf("k%d", i) }

// stream picks the stream of a slot, for reading or for one more event.
func (w *workload) stream(slot int, appending bool) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.slots[slot]
	if appending {
		if s.events++; s.events > streamEvents {
			s.epoch, s.events = s.epoch+1, 1
			w.used = append(w.used, streamName(slot, s.epoch))
		}
	}
	return streamName(slot, s.epoch)
}

// levels are those of a register or slot.
func (w *workload) levels(i int) (write, read string) {
	l := levels[i%3]
	if w.losses && l.write == "one" {
		l = levels[0] // one machine that burns must not be the only one that has it
	}
	return l.write, l.read
}

// streams lists all streams so far, with the read level of their slot.
func (w *workload) streams() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.used...)
}

// run is one client: it works until ctx ends, mostly with one node until that
// fails.
func (w *workload) run(ctx context.Context, number int, c *client) {
	draw := rand.New(rand.NewPCG(w.seed, 0xc11e47<<16|uint64(number)))
	node := draw.IntN(len(c.nodes))
	for serial := 0; ; serial++ {
		pause := time.Duration(draw.ExpFloat64() * float64(w.think))
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if draw.IntN(10) == 0 {
			node = draw.IntN(len(c.nodes))
		}
		o := w.draw(draw, c, fmt.Sprintf("c%d-%d", number, serial))
		o.Client, o.Session, o.Node = number, c.sessions, node
		w.perform(ctx, c, &o)
		if o.Result != OK {
			node = draw.IntN(len(c.nodes))
		}
	}
}

// draw picks an operation.
func (w *workload) draw(draw *rand.Rand, c *client, value string) Op {
	if !w.plain && draw.IntN(100) < 8 {
		return w.drawRich(draw, value)
	}
	kind := draw.IntN(100)
	if kind >= 70 { // streams
		slot := draw.IntN(streamSlots)
		write, read := w.levels(slot)
		if kind < 92 {
			return Op{Kind: Append, Stamped: true, Key: w.stream(slot, true), Value: value, Level: write}
		}
		return Op{Kind: List, Key: w.stream(slot, false), Level: read}
	}
	i := draw.IntN(registers)
	write, read := w.levels(i)
	o := Op{Key: registerKey(i), Level: write}
	switch {
	case kind < 34:
		o.Kind, o.Value = Put, value
	case kind < 38:
		o.Kind = Delete
	default:
		o.Kind, o.Level = Get, read
		return o
	}
	o.Timestamp, o.Stamped = stamp(i, c.session)
	return o
}

// drawRich picks an operation of those that plain workloads do without: a value that
// expires, a deletion of a stream, a write that other nodes may hold for its replicas.
func (w *workload) drawRich(draw *rand.Rand, value string) Op {
	kinds := 8
	if w.losses {
		kinds = 5 // without those that one machine may hold alone
	}
	switch kind := draw.IntN(kinds); kind {
	case 0:
		slot := draw.IntN(streamSlots)
		write, _ := w.levels(slot)
		return Op{Kind: Clear, Stamped: true, Key: w.stream(slot, false), Level: write}
	case 1, 2, 3, 4:
		i := draw.IntN(registers)
		ttl := time.Duration(1+draw.Int64N(int64(longestTTL/time.Second))) * time.Second
		write, _ := w.levels(i)
		return Op{Kind: Put, Stamped: true, Key: registerKey(i), Value: value, TTL: ttl, Level: write}
	default:
		o := Op{Kind: Put, Stamped: true, Key: heldKey(draw.IntN(heldKeys)), Value: value, Level: "any"}
		if kind == 5 {
			o.Level, o.Sloppy = "quorum", true
		}
		return o
	}
}

// stamp chooses a write's timestamp by the register's number: a third is
// stamped by the server; of the others some are coarse, so that timestamps tie
// and the merge order decides.
func stamp(register int, session int64) (timestamp int64, byServer bool) {
	now := max(time.Now().UnixMicro(), session+1)
	switch register % 4 {
	case 0, 1:
		return 0, true
	case 2:
		const coarse = int64(2 * time.Second / time.Microsecond)
		return now - now%coarse, false
	}
	return now, false
}

// perform runs an operation and records it.
func (w *workload) perform(ctx context.Context, c *client, o *Op) {
	o.Call = w.cluster.Elapsed()
	if o.Kind == Get || o.Kind == List {
		c.read(ctx, o)
	} else {
		c.write(ctx, o)
	}
	o.Return = w.cluster.Elapsed()
	if ctx.Err() == nil || o.Result == OK || (o.Kind != Get && o.Kind != List) {
		w.history.Add(*o)
	}
}

// finalPatience is how long a final read is tried again; the cluster is whole
// by then.
const finalPatience = time.Minute

// finish reads everything at all replicas, through every node (streams through
// two), and reports reads that stay unanswered.
func (w *workload) finish(ctx context.Context, number int, c *client) {
	keys := make([]string, 0, registers+heldKeys)
	for i := range registers {
		keys = append(keys, registerKey(i))
	}
	if !w.plain {
		time.Sleep(longestTTL + expirySkew) // what expires between two reads would look like a difference
		for i := range heldKeys {
			keys = append(keys, heldKey(i))
		}
	}
	nodes := w.cluster.present()
	for _, key := range keys {
		for _, node := range nodes {
			w.finalRead(ctx, c, Op{Client: number, Node: node, Kind: Get, Key: key, Level: "all", Final: true})
		}
	}
	for i, stream := range w.streams() {
		for k := range min(2, len(nodes)) {
			w.finalRead(ctx, c, Op{Client: number, Node: nodes[(i+k)%len(nodes)], Kind: List, Key: stream, Level: "all", Final: true})
		}
	}
}

func (w *workload) finalRead(ctx context.Context, c *client, o Op) {
	for began := time.Now(); ; time.Sleep(time.Second) {
		attempt := o
		w.perform(ctx, c, &attempt)
		if attempt.Result == OK || attempt.Problem != "" {
			return
		}
		if time.Since(began) > finalPatience {
			w.cluster.problem("after healing, still unanswered: %v: %s", attempt, attempt.Detail)
			return
		}
	}
}
