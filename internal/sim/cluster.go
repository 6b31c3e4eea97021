package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/internal/sim/disk"
	"github.com/dunlindb/dunlin/internal/sim/network"
)

// Ports that nodes listen on.
const (
	httpPort      = 7480
	internodePort = 7481
	adminPort     = 7483
)

// Env is what one boot of a node gets of its simulated machine.
type Env struct {
	Index     int
	Host      *network.Host // its sockets; the node listens on Host.Address and the usual ports
	FS        vfs.FS
	Clock     func() time.Time
	Rand      *rand.Rand
	Logger    *slog.Logger
	Registry  *prometheus.Registry
	Fatal     func(error) // the node cannot go on; it is crashed and restarted
	Bootstrap bool
	Join      []netip.Addr
	MaxSkew   time.Duration
}

// Node is one boot of a node.
type Node interface {
	// Run serves until ctx ends, then stops gracefully. It must return within
	// bounded virtual time also when its machine has crashed: then its sockets
	// are dead, and nothing that it does to its disk counts.
	Run(ctx context.Context) error
}

// Launch opens a node on a machine, without serving yet.
type Launch func(Env) (Node, error)

// Cluster is machines with nodes on them. Methods that start and stop nodes may
// wait in virtual time.
type Cluster struct {
	net     *network.Network
	launch  Launch
	seed    uint64
	maxSkew time.Duration
	begin   time.Time
	log     slog.Handler

	machines []*machine
	others   []netip.Addr   // hosts of clients
	boots    sync.WaitGroup // every boot's Run, crashed ones included

	founded atomic.Bool // the first node must not found another cluster

	mu       sync.Mutex // guards the fields below
	problems []string
	fatals   int
}

// machine is a host with a disk and a clock; they outlive the boots.
type machine struct {
	index   int
	address netip.Addr
	absent  atomic.Bool // it has no node: none yet, or it was taken out of the cluster
	disk    *disk.Disk
	clock   *Clock
	// turn is held while a boot begins or ends. It is a channel, since these
	// wait in virtual time.
	turn  chan struct{}
	boots int
	boot  *boot // nil while down; guarded by turn
}

// boot is one life of a node.
type boot struct {
	host   *network.Host
	node   Node
	cancel context.CancelFunc
	done   chan struct{}
}

// NewCluster makes machines without starting nodes. It must be called in a
// synctest bubble. A nil log discards the nodes' logs.
func NewCluster(seed uint64, nodes int, maxSkew time.Duration, launch Launch, log io.Writer) *Cluster {
	c := &Cluster{
		net: network.New(seed, network.LAN()), launch: launch, seed: seed, maxSkew: maxSkew,
		begin: time.Now(), log: slog.DiscardHandler,
	}
	if log != nil {
		c.log = slog.NewTextHandler(log, nil)
	}
	draw := rand.New(rand.NewPCG(seed, 0xc10c))
	for i := range nodes {
		offset := time.Duration(draw.Int64N(int64(maxSkew/2))) - maxSkew/4
		drift := (draw.Float64() - 0.5) * 100e-6
		c.machines = append(c.machines, &machine{
			index: i, address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}),
			disk: disk.New(seed<<8 + uint64(i)), clock: NewClock(offset, drift), turn: make(chan struct{}, 1),
		})
	}
	return c
}

// Elapsed is virtual time since the cluster was made.
func (c *Cluster) Elapsed() time.Duration { return time.Since(c.begin) }

// Problems are what went wrong apart from violations: nodes that did not start,
// or ended by themselves.
func (c *Cluster) Problems() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.problems)
}

func (c *Cluster) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, c.Elapsed().String()+": "+fmt.Sprintf(format, args...))
}

// client makes a host for a client.
func (c *Cluster) client(i int) *network.Host {
	address := netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 1)})
	c.others = append(c.others, address)
	return c.net.Boot(address)
}

// addresses are the machines' IP addresses.
func (c *Cluster) addresses() []netip.Addr {
	var out []netip.Addr
	for _, m := range c.machines {
		out = append(out, m.address)
	}
	return out
}

// Start boots a machine's node, unless it is up.
func (c *Cluster) Start(i int) {
	m := c.machines[i]
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if m.boot != nil || m.absent.Load() {
		return
	}
	host := c.net.Boot(m.address)
	m.boots++
	number := m.boots
	env := Env{
		Index: i, Host: host, FS: m.disk.FS(), Clock: m.clock.Now, MaxSkew: c.maxSkew,
		Rand:     rand.New(rand.NewPCG(c.seed, uint64(i)<<32|uint64(number))),
		Logger:   slog.New(c.log).With("node", i, "boot", number),
		Registry: prometheus.NewRegistry(),
		Fatal:    func(err error) { c.fatal(i, number, err) },
	}
	if env.Bootstrap = i == 0 && !c.founded.Load(); !env.Bootstrap {
		env.Join = c.addresses()
	}
	launched := false
	defer func() {
		if !launched { // a fatal error ends this goroutine inside launch
			host.Kill()
		}
	}()
	node, err := c.launch(env)
	if err != nil && m.disk.Failing() {
		c.boots.Go(func() { c.restart(i) })
		return
	}
	if err != nil {
		c.problem("node %d does not start (boot %d): %v", i, number, err)
		return
	}
	launched = true
	ctx, cancel := context.WithCancel(context.Background())
	b := &boot{host: host, node: node, cancel: cancel, done: make(chan struct{})}
	m.boot = b
	c.boots.Go(func() {
		err := node.Run(ctx)
		gone := (*catalog.GoneError)(nil)
		h, ok := node.(holder)
		if errors.As(err, &gone) {
			c.leave(m, gone)
		} else if entering := ok && h.View() == nil && c.founded.Load(); entering && ctx.Err() == nil {
			m.absent.Store(true) // it was refused
		} else if ctx.Err() == nil {
			c.problem("node %d ended by itself (boot %d): %v", i, number, err)
		}
		host.Kill()
		close(b.done)
	})
}

// leave notes that a machine's node is no member any more. It can become one again,
// as another node if it was a member.
func (c *Cluster) leave(m *machine, why *catalog.GoneError) {
	m.absent.Store(true)
	if why.Kind != "" {
		m.disk.Wipe()
	}
}

// Absent leaves a machine without a node until Enter.
func (c *Cluster) Absent(i int) { c.machines[i].absent.Store(true) }

// present lists the machines with a node, up or down, and without those that have none.
func (c *Cluster) present() []int { return c.where(false) }

func (c *Cluster) without() []int { return c.where(true) }

func (c *Cluster) where(absent bool) (all []int) {
	for i, m := range c.machines {
		if m.absent.Load() == absent {
			all = append(all, i)
		}
	}
	return all
}

// Enter starts a node on a machine that had none.
func (c *Cluster) Enter(i int) {
	c.Stop(i)
	c.machines[i].absent.Store(false)
	c.Start(i)
}

// fatal crashes a node whose storage cannot go on, and boots it again after a
// while, as a supervisor does. It does not wait: its caller holds locks.
func (c *Cluster) fatal(i, number int, err error) {
	c.mu.Lock()
	c.fatals++
	c.mu.Unlock()
	c.boots.Go(func() {
		c.end(i, number, false, 0)
		c.restart(i)
	})
}

// restart boots a node again after a while.
func (c *Cluster) restart(i int) {
	time.Sleep(5 * time.Second)
	c.Start(i)
}

// failDisk lets the disk of a machine fail, unless its node is down, starting or
// ending. When a log cannot be
// written the node is cut off before that write returns, and then crashed: nothing
// that it believed to be on disk is ever acknowledged.
func (c *Cluster) failDisk(i int) {
	m := c.machines[i]
	select {
	case m.turn <- struct{}{}:
	default:
		return
	}
	defer func() { <-m.turn }()
	if m.boot == nil {
		return
	}
	number, host := m.boots, m.boot.host
	var once sync.Once
	m.disk.Fail(func() {
		once.Do(func() {
			host.Kill()
			c.fatal(i, number, disk.ErrDevice)
		})
	})
}

// Kill crashes a machine's node, if it is up: first its network is cut, so that
// no acknowledgement gets out any more, then its disk loses what was not synced
// but for keep percent. The crashed boot is left to end by itself.
func (c *Cluster) Kill(i int, power bool, keep int) { c.end(i, 0, power, keep) }

// end crashes a boot, if it is that number, or any for 0.
func (c *Cluster) end(i, number int, power bool, keep int) {
	m := c.machines[i]
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if m.boot == nil || (number != 0 && m.boots != number) {
		return
	}
	if power {
		m.boot.host.PowerOff()
	} else {
		m.boot.host.Kill()
	}
	m.disk.Crash(keep)
	m.boot.cancel()
	m.boot = nil
}

// Stop ends a node gracefully, if it is up, and waits for it.
func (c *Cluster) Stop(i int) {
	m := c.machines[i]
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if m.boot == nil {
		return
	}
	m.boot.cancel()
	<-m.boot.done
	m.boot = nil
	m.disk.Recover() // its failures are one boot's: the next one's would cut off the wrong host
}

// Close stops all nodes, waits for the boots that crashed too, and gives
// goroutines that nobody waits for the time to end.
func (c *Cluster) Close() {
	var all sync.WaitGroup
	for i := range c.machines { // also those whose nodes ended by themselves
		all.Go(func() { c.Stop(i) })
	}
	all.Wait()
	c.boots.Wait()
	time.Sleep(time.Minute)
}

// each runs f for every machine, side by side.
func (c *Cluster) each(f func(i int)) {
	var all sync.WaitGroup
	for i, m := range c.machines {
		if !m.absent.Load() {
			all.Go(func() { f(i) })
		}
	}
	all.Wait()
}
