//go:build linux

package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/client"
)

var (
	chaosTime = flag.Duration("chaos", 0, "how long TestChaos kills, stops and restarts nodes; 0: it is skipped")
	chaosSeed = flag.Uint64("chaos-seed", 0, "of the faults of TestChaos; 0: drawn")
)

const (
	chaosClients  = 8
	chaosStreams  = 64
	chaosPace     = 8 * time.Millisecond // between two writes of a client
	chaosDownMost = 2
	chaosPause    = 2 * time.Second // at most between two faults
	settleTime    = 5 * time.Minute
)

// impatient makes a client that soon leaves a node that hangs.
func impatient(t *testing.T, seed uint64, nodes ...*node) *client.Client {
	t.Helper()
	cfg := client.DefaultConfig()
	cfg.Nodes, cfg.Attempts, cfg.Timeout = nil, 3, 2*time.Second
	for _, n := range nodes {
		cfg.Nodes = append(cfg.Nodes, n.url())
	}
	cfg.Rand = rand.New(rand.NewPCG(seed, 11))
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// write appends events at quorum until ctx ends, and reads every eighth back.
func write(ctx context.Context, c *client.Client, j *journal, who int) {
	pace := time.NewTicker(chaosPace)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		stream := fmt.Sprintf("chaos/%02d", (who*31+n)%chaosStreams)
		data := fmt.Sprintf(`{"client":%d,"n":%d}`, who, n)
		id, err := j.append(ctx, c, stream, data, "quorum")
		if err == nil && n%8 == 0 {
			j.readBack(ctx, c, stream, id, data)
		}
	}
}

// condition is what became of a node.
type condition int

const (
	up       condition = iota
	starting           // and not ready yet
	stopped            // by SIGSTOP
	down
)

// chaos does harm to nodes and undoes it.
type chaos struct {
	t      *testing.T
	rng    *rand.Rand
	nodes  []*node
	state  []condition
	faults map[string]int
	rows   map[string]float64 // counters of processes that have ended
}

func newChaos(t *testing.T, seed uint64, nodes []*node) *chaos {
	return &chaos{
		t: t, rng: rand.New(rand.NewPCG(seed, 13)), nodes: nodes, state: make([]condition, len(nodes)),
		faults: map[string]int{}, rows: map[string]float64{},
	}
}

// step does one thing to one node.
func (c *chaos) step() {
	c.t.Helper()
	c.look()
	healthy, bad := c.in(up), c.in(starting, stopped, down)
	if len(bad) == 0 || len(bad) < chaosDownMost && c.rng.IntN(2) == 0 {
		c.harm(healthy[c.rng.IntN(len(healthy))])
		return
	}
	switch i := bad[c.rng.IntN(len(bad))]; {
	case c.state[i] != starting:
		c.relieve(i)
	case c.rng.IntN(4) == 0:
		c.kill(i, "kill -9 of a starting node")
	}
}

// look finds who is ready by now. Nobody may have ended without our doing.
func (c *chaos) look() {
	c.t.Helper()
	for i, n := range c.nodes {
		if c.state[i] == down {
			continue
		}
		select {
		case <-n.done:
			c.t.Fatalf("%s ended:\n%s", n.host, n.log)
		default:
		}
		if c.state[i] == starting {
			if status, _ := get(n.admin() + "/readyz"); status == http.StatusOK {
				c.state[i] = up
			}
		}
	}
}

// in returns the nodes in any of some conditions.
func (c *chaos) in(wanted ...condition) (found []int) {
	for i, s := range c.state {
		if slices.Contains(wanted, s) {
			found = append(found, i)
		}
	}
	return found
}

func (c *chaos) harm(i int) {
	n := c.nodes[i]
	switch c.rng.IntN(5) {
	case 0, 1:
		c.kill(i, "kill -9")
	case 2, 3:
		c.faults["SIGSTOP"]++
		n.signal(syscall.SIGSTOP)
		c.state[i] = stopped
	default:
		c.faults["SIGTERM"]++
		c.keep(n)
		n.signal(syscall.SIGTERM)
		n.awaitEnd(readyDeadline)
		c.state[i] = down
	}
}

func (c *chaos) kill(i int, what string) {
	c.faults[what]++
	c.keep(c.nodes[i])
	c.nodes[i].kill()
	c.state[i] = down
}

func (c *chaos) relieve(i int) {
	if c.state[i] == stopped {
		c.nodes[i].signal(syscall.SIGCONT)
		c.state[i] = up
		return
	}
	c.nodes[i].start()
	c.state[i] = starting
}

// keep adds up the counters of a node that is about to lose them.
func (c *chaos) keep(n *node) {
	for _, name := range []string{hintedRows, pulledRows, readRepairedRows} {
		c.rows[name] += metric(n, name)
	}
}

// heal undoes all harm and waits until every node is ready.
func (c *chaos) heal() {
	c.t.Helper()
	for _, i := range c.in(stopped, down) {
		c.relieve(i)
	}
	for i, n := range c.nodes {
		n.awaitReady()
		c.state[i] = up
	}
}

// report tells what was done and what repaired it.
func (c *chaos) report() {
	for _, n := range c.nodes {
		c.keep(n)
	}
	for _, what := range slices.Sorted(maps.Keys(c.faults)) {
		c.t.Logf("%s: %d times", what, c.faults[what])
	}
	c.t.Logf("rows replayed by hints %.0f, pulled by anti-entropy %.0f, repaired by reads %.0f",
		c.rows[hintedRows], c.rows[pulledRows], c.rows[readRepairedRows])
}

// run does harm under load for a time, heals, and ends the load.
func (c *chaos) run(j *journal, d time.Duration) {
	c.t.Helper()
	ctx, stop := context.WithCancel(c.t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	for i := range chaosClients {
		cl := impatient(c.t, uint64(i), c.nodes...)
		clients.Go(func() { write(ctx, cl, j, i) })
	}
	acknowledged := func(more int) {
		from, _ := j.counts()
		await(c.t, readyDeadline, "writes to go on", func() bool { n, _ := j.counts(); return n >= from+more })
	}
	acknowledged(500)
	for end := time.Now().Add(d); time.Now().Before(end); {
		c.step()
		select {
		case <-c.t.Context().Done():
			return
		case <-time.After(time.Duration(c.rng.Int64N(int64(chaosPause)))):
		}
	}
	c.heal()
	acknowledged(500)
}

// settle waits until nodes have nothing left to replay, and have seen every range
// equal with every peer since then.
func settle(t *testing.T, nodes []*node) {
	t.Helper()
	order := func(args ...string) {
		for _, n := range nodes {
			if code, out := cli(t, append(args, "--admin", n.admin())...); code != 0 {
				t.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), code, out)
			}
		}
	}
	order("hints", "drain")
	await(t, settleTime, "the hints to be replayed", func() bool { return drained(nodes...) })
	since := time.Now()
	order("repair", "now")
	await(t, settleTime, "every range to be seen equal", func() bool { return verified(since, nodes...) })
	if !drained(nodes...) {
		t.Error("hints were kept although nobody wrote and nobody was away")
	}
}

// explain logs what nodes say of themselves if the test has failed.
func explain(t *testing.T, nodes []*node) {
	if !t.Failed() {
		return
	}
	for _, n := range nodes {
		lines := strings.Split(strings.TrimSpace(n.log.String()), "\n")
		_, hints := get(n.admin() + "/v1/hints")
		_, repair := get(n.admin() + "/v1/repair")
		t.Logf("%s: hints %s\nrepair %s\n%s", n.host, hints, repair, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
}

// TestChaos: nodes are killed, stopped and restarted under load, two at once. When
// it is over, replicas become equal by themselves: each node's own copy has every
// acknowledged event, and so have reads of all replicas through two nodes each.
func TestChaos(t *testing.T) {
	if *chaosTime <= 0 {
		t.Skip("chaos takes minutes: make chaos, or go test ./internal/e2e -run TestChaos -v -args -chaos 2m")
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("faults are drawn by -chaos-seed %d; how long nodes take is up to them", seed)
	nodes := newNodes(t, 91, 5)
	for i, n := range nodes {
		n.args = append(n.args, "--zone", fmt.Sprintf("z%d", i%3+1))
		n.start()
	}
	for _, n := range nodes {
		n.awaitReady()
	}
	t.Cleanup(func() { explain(t, nodes) })
	j, c := newJournal(), newChaos(t, seed, nodes)
	c.run(j, *chaosTime)
	acked, failed := j.counts()
	t.Logf("%d events acknowledged, %d failed", acked, failed)
	for _, err := range j.wrong {
		t.Error(err)
	}
	from := time.Now()
	settle(t, nodes)
	t.Logf("settled %s after the load ended", time.Since(from).Round(time.Millisecond))
	c.report()
	names := j.names()
	for _, n := range nodes { // a node asks itself first, so this is every replica's own copy
		j.check(t, connect(t, 1, n), n.host, "one", names...)
	}
	for i, stream := range names {
		for _, n := range []*node{nodes[i%len(nodes)], nodes[(i+1+i/len(nodes)%(len(nodes)-1))%len(nodes)]} {
			j.check(t, connect(t, 2, n), n.host, "all", stream)
		}
	}
	t.Logf("checked %s after the load ended", time.Since(from).Round(time.Millisecond))
}
