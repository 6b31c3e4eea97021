package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dunlindb/dunlin/internal/sim/network"
)

// Kind is a kind of fault.
type Kind uint8

// The kinds of faults.
const (
	Crash      Kind = iota // one node dies and loses unsynced data; it restarts after Hold
	CrashAll               // all nodes at once
	Restart                // one node is stopped gracefully and started again
	Pause                  // a node hears and says nothing for a while, as under SIGSTOP
	Partition              // Nodes and Peers cannot reach each other
	OneWay                 // what Nodes send does not reach Peers
	Degrade                // the links between Nodes and Peers are slow and lossy
	ClockJump              // a node's clock is off by Jump for a while
	DiskFull               // a node's disk has no room for a while
	DiskErrors             // a node's disk fails at random: tables are in vain, the first log ends the node
	kinds
)

// String names the kind.
func (k Kind) String() string {
	return [kinds]string{"crash", "crash all", "restart", "pause", "partition", "one-way block", "slow link", "clock jump", "full disk", "disk errors"}[k]
}

// Fault is one entry of a schedule.
type Fault struct {
	At    time.Duration // since the faults began
	Hold  time.Duration // how long it lasts
	Kind  Kind
	Nodes []int // who suffers it
	Peers []int // the other side of a network fault
	Power bool  // of a crash: the machine loses power, peers hear nothing
	Keep  int   // of a crash: percentage of unsynced data that survives
	Jump  time.Duration
	Link  network.Profile
}

// String describes the fault in one line.
func (f Fault) String() string {
	s := fmt.Sprintf("%10s for %8s  %s", f.At.Round(time.Millisecond), f.Hold.Round(time.Millisecond), f.Kind)
	switch f.Kind {
	case Crash, CrashAll:
		cause := "kill"
		if f.Power {
			cause = "power"
		}
		return fmt.Sprintf("%s of %v (%s, %d%% of unsynced data kept)", s, f.Nodes, cause, f.Keep)
	case Partition:
		return fmt.Sprintf("%s %v | %v", s, f.Nodes, f.Peers)
	case OneWay:
		return fmt.Sprintf("%s %v -> %v", s, f.Nodes, f.Peers)
	case Degrade:
		return fmt.Sprintf("%s %v <-> %v (%s to %s, %.0f%% lost)", s, f.Nodes, f.Peers, f.Link.MinDelay, f.Link.MaxDelay, 100*f.Link.Loss)
	case ClockJump:
		return fmt.Sprintf("%s of %v by %s", s, f.Nodes, f.Jump)
	}
	return fmt.Sprintf("%s of %v", s, f.Nodes)
}

// PlanOptions bound a schedule.
type PlanOptions struct {
	Nodes   int
	Length  time.Duration // of the fault phase; every fault has ended by then
	MaxSkew time.Duration // what the nodes tolerate; half of the clock jumps are beyond
}

// Plan draws a schedule of faults: a pure function of the seed and the options.
// A fault begins every 5 to 35 seconds and lasts 1 to 40, so that they overlap.
func Plan(seed uint64, o PlanOptions) []Fault {
	p := planner{PlanOptions: o, rand: rand.New(rand.NewPCG(seed, 0xfa017))}
	var faults []Fault
	at := p.between(5*time.Second, 20*time.Second)
	for {
		f := p.fault()
		f.At = at
		if f.At+f.Hold > o.Length {
			return faults
		}
		faults = append(faults, f)
		at += p.between(5*time.Second, 35*time.Second)
	}
}

// FormatPlan writes a schedule, one fault a line.
func FormatPlan(faults []Fault) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

type planner struct {
	PlanOptions
	rand *rand.Rand
}

func (p *planner) between(low, high time.Duration) time.Duration {
	return low + time.Duration(p.rand.Int64N(int64(high-low)))
}

// kind draws a kind, the common ones more often.
func (p *planner) kind() Kind {
	weights := [kinds]int{Crash: 24, CrashAll: 2, Restart: 6, Pause: 10, Partition: 18, OneWay: 12, Degrade: 16, ClockJump: 12, DiskFull: 6, DiskErrors: 8}
	sum := 0
	for _, w := range weights {
		sum += w
	}
	draw := p.rand.IntN(sum)
	for k, w := range weights {
		if draw < w {
			return Kind(k)
		}
		draw -= w
	}
	return Crash
}

func (p *planner) fault() Fault {
	f := Fault{Kind: p.kind(), Hold: p.between(time.Second, 40*time.Second)}
	switch f.Kind {
	case Crash, CrashAll:
		f.Nodes = p.some(1)
		if f.Kind == CrashAll {
			f.Nodes = p.some(p.PlanOptions.Nodes)
		}
		f.Power = p.rand.IntN(2) == 0
		f.Keep = p.rand.IntN(100)
		if p.rand.IntN(3) == 0 {
			f.Keep = 0
		}
	case Partition:
		f.Nodes, f.Peers = p.sides(1 + p.rand.IntN(max(1, p.PlanOptions.Nodes/2)))
	case OneWay, Degrade:
		f.Nodes, f.Peers = p.sides(1)
		if len(f.Peers) > 1 && p.rand.IntN(2) == 0 {
			i := p.rand.IntN(len(f.Peers))
			f.Peers = f.Peers[i : i+1]
		}
		if f.Kind == Degrade {
			f.Link = p.badLink()
		}
	case ClockJump:
		f.Nodes = p.some(1)
		f.Jump = p.jump()
	default:
		f.Nodes = p.some(1)
	}
	return f
}

// some draws nodes.
func (p *planner) some(n int) []int {
	nodes := p.rand.Perm(p.PlanOptions.Nodes)[:n]
	slices.Sort(nodes)
	return nodes
}

// sides draws n nodes and returns them and the others.
func (p *planner) sides(n int) (one, other []int) {
	perm := p.rand.Perm(p.PlanOptions.Nodes)
	one, other = perm[:n], perm[n:]
	slices.Sort(one)
	slices.Sort(other)
	return one, other
}

func (p *planner) badLink() network.Profile {
	least := p.between(time.Millisecond, 100*time.Millisecond)
	return network.Profile{
		MinDelay: least, MaxDelay: least + p.between(0, 300*time.Millisecond),
		Loss: p.rand.Float64() * 0.3, Duplicate: p.rand.Float64() * 0.2,
	}
}

// jump draws a clock's jump, forward or back: half of them stay within the
// skew that is tolerated, half go far beyond.
func (p *planner) jump() time.Duration {
	by := p.between(p.MaxSkew/20, p.MaxSkew/3)
	if p.rand.IntN(2) == 0 {
		by = p.between(2*p.MaxSkew, 50*p.MaxSkew)
	}
	if p.rand.IntN(2) == 0 {
		by = -by
	}
	return by.Round(time.Millisecond)
}
