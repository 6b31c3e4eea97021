//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/bench"
	"github.com/dunlindb/dunlin/client"
)

const (
	growClients  = 4
	growStreams  = 64
	growPreload  = 4000 // events
	growFiller   = 2000 // bytes of each of them
	growDeadline = 5 * time.Minute
	growRate     = 60 // operations a second of `dunlin bench`
)

// statusOf is what a node says of itself and its cluster.
func statusOf(n *node) (s admin.Status, ok bool) {
	code, body := get(n.admin() + "/v1/status")
	return s, code == http.StatusOK && json.Unmarshal([]byte(body), &s) == nil
}

// appendBatch writes events of filler under ids of their own, all to be acknowledged.
func (j *journal) appendBatch(ctx context.Context, c *client.Client, stream string, count, filler int) error {
	var events []client.Event
	j.mu.Lock()
	if j.streams[stream] == nil {
		j.streams[stream] = map[string]*entry{}
	}
	for i := range count {
		id := c.NewID(time.Now()).String()
		data := fmt.Sprintf(`{"batch":%d,"filler":%q}`, i, strings.Repeat(fmt.Sprint(i*7919, "."), filler)[:filler])
		j.streams[stream][id] = &entry{data: data}
		events = append(events, client.Event{Stream: stream, ID: id, Data: json.RawMessage(data)})
	}
	j.mu.Unlock()
	if _, err := c.AppendBatch(ctx, events, "quorum"); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range events {
		j.streams[stream][events[i].ID].acked = true
	}
	j.acked += count
	return nil
}

// refuse notes what nothing allows.
func (j *journal) refuse(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.wrong = append(j.wrong, err)
}

// growing is a cluster under load whose layout changes.
type growing struct {
	t     *testing.T
	nodes []*node // those that run, or will again
	j     *journal
	stop  func()
}

// grow starts a cluster, fills it, and keeps it under load from clients that know all
// addresses that will ever be.
func grow(t *testing.T, nodes []*node, known []*node) *growing {
	t.Helper()
	g := &growing{t: t, nodes: nodes, j: newJournal()}
	for _, n := range nodes {
		n.start()
	}
	for _, n := range nodes {
		n.awaitReady()
	}
	preload := connect(t, 99, nodes...)
	for i := range growStreams {
		if err := g.j.appendBatch(t.Context(), preload, fmt.Sprintf("grow/%02d", i), growPreload/growStreams, growFiller); err != nil {
			t.Fatalf("preload: %v", err)
		}
	}
	done := make(chan struct{})
	var clients sync.WaitGroup
	for i := range growClients {
		c := connect(t, uint64(i), known...)
		clients.Go(func() { g.load(done, c, i) })
	}
	g.stop = sync.OnceFunc(func() {
		close(done)
		clients.Wait()
	})
	t.Cleanup(g.stop)
	return g
}

// load appends events at quorum and reads every fourth back until done. Whatever fails
// although the client has tried other nodes is wrong.
func (g *growing) load(done <-chan struct{}, c *client.Client, who int) {
	pace := time.NewTicker(chaosPace)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		case <-pace.C:
		}
		stream, data := fmt.Sprintf("grow/%02d", (who*31+n)%growStreams), fmt.Sprintf(`{"client":%d,"n":%d}`, who, n)
		id, err := g.j.append(g.t.Context(), c, stream, data, "quorum")
		if err != nil {
			g.j.refuse(fmt.Errorf("%s: append: %w", time.Now().Format(time.TimeOnly), err))
			continue
		}
		if n%4 > 0 {
			continue
		}
		ev, err := c.Event(g.t.Context(), stream, id, "quorum")
		if err == nil && string(ev.Data) != data {
			err = fmt.Errorf("it reads as %s, written as %s", ev.Data, data)
		}
		if err != nil {
			g.j.refuse(fmt.Errorf("%s: read event %s of %s back: %w", time.Now().Format(time.TimeOnly), id, stream, err))
		}
	}
}

// bench has `dunlin bench` read and write at quorum through some nodes until it is told
// to end; then it says what it saw.
func (g *growing) bench(known []*node) (end func() bench.Result) {
	g.t.Helper()
	var urls []string
	for _, n := range known {
		urls = append(urls, n.url())
	}
	cmd := exec.Command(binary, "bench", "mixed", "--http", strings.Join(urls, ","), "--w", "quorum", "--r", "quorum", "--attempts", "8",
		"--clients", "4", "--rate", fmt.Sprint(growRate), "--duration", "1h", "-o", "json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, loud bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &loud
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	wait := sync.OnceValue(cmd.Wait)
	g.t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails only when it has ended
		_ = wait()
	})
	return func() (r bench.Result) {
		g.t.Helper()
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			g.t.Fatal(err)
		}
		if err := wait(); err != nil {
			g.t.Fatalf("bench: %v\n%s", err, &loud)
		}
		if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Writes == nil || r.Reads == nil {
			g.t.Fatalf("bench printed %s: %v", &out, err)
		}
		return r
	}
}

// await polls until a condition holds. Nobody who should run may end meanwhile.
func (g *growing) await(what string, holds func() bool) {
	g.t.Helper()
	await(g.t, growDeadline, what, func() bool {
		for _, n := range g.nodes {
			select {
			case <-n.done:
				g.t.Fatalf("%s ended while waiting for %s:\n%s", n.host, what, n.log)
			default:
			}
		}
		return holds()
	})
}

// streaming reports whether data is moved, as a node sees it, and more is to come.
func streaming(n *node) bool {
	s, ok := statusOf(n)
	return ok && s.Change != nil && s.Change.Phase == "streaming" && s.Change.Done < s.Change.Ranges
}

// awaitMembers waits until all nodes that are left serve by the same catalog, which
// has them as its only members and no change on its way.
func (g *growing) awaitMembers() {
	g.t.Helper()
	g.await(fmt.Sprintf("%d members to agree", len(g.nodes)), func() bool {
		seen := map[string]bool{}
		for _, n := range g.nodes {
			s, ok := statusOf(n)
			if !ok || !s.Ready || s.Change != nil || len(s.Members) != len(g.nodes) {
				return false
			}
			_, layout := get(n.admin() + "/v1/layout")
			text := fmt.Sprintln(s.ClusterID, s.Generation, s.CatalogVersion, layout)
			for _, m := range s.Members {
				if m.State != "normal" || !m.Voter || !m.Alive {
					return false
				}
				text += fmt.Sprintln(m.ID, m.HTTP, m.Zone)
			}
			seen[text] = true
		}
		return len(seen) == 1
	})
}

// again kills a node while data is moved, and starts it.
func (g *growing) again(n *node, what string) {
	g.t.Helper()
	witness := g.other(n)
	g.await("data to be moved", func() bool { return streaming(witness) })
	n.kill()
	g.t.Logf("killed %s, %s", n.host, what)
	n.start()
	n.awaitReady()
}

// join starts a node that comes in, harms one while it is filled, and waits until it
// is a member like others.
func (g *growing) join(n *node, harm func()) {
	g.t.Helper()
	from, acked := time.Now(), g.acked()
	n.start()
	g.nodes = append(g.nodes, n)
	harm()
	n.awaitReady()
	g.awaitMembers()
	g.t.Logf("%s joined within %s; %d events were acknowledged meanwhile", n.host, time.Since(from).Round(time.Millisecond), g.acked()-acked)
}

func (g *growing) acked() int {
	n, _ := g.j.counts()
	return n
}

// driver is the node that takes changes on: the voter with the smallest id that stays.
func (g *growing) driver() *node {
	g.t.Helper()
	ids := map[string]*node{}
	for _, n := range g.nodes {
		if s, ok := statusOf(n); ok && slices.ContainsFunc(s.Members, func(m admin.Member) bool { return m.Self && m.Voter }) {
			ids[s.Node] = n
		}
	}
	if len(ids) == 0 {
		g.t.Fatal("nobody votes")
	}
	return ids[slices.Min(slices.Collect(maps.Keys(ids)))]
}

// other is a node that is not a given one.
func (g *growing) other(than *node) *node {
	return g.nodes[slices.IndexFunc(g.nodes, func(n *node) bool { return n != than })]
}

// decommission takes a node out, asking through another, harms one meanwhile, and
// waits for the end of its process. It does not start again.
func (g *growing) decommission(n, through *node, harm func()) {
	g.t.Helper()
	from, acked := time.Now(), g.acked()
	s, _ := statusOf(n)
	if code, out := cli(g.t, "node", "decommission", s.Node, "--admin", through.admin()); code != 0 {
		g.t.Fatalf("decommission: exit code %d: %s", code, out)
	}
	g.nodes = slices.DeleteFunc(slices.Clone(g.nodes), func(one *node) bool { return one == n })
	harm()
	n.awaitEnd(growDeadline)
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		g.t.Errorf("the decommissioned node's exit code is %d:\n%s", code, n.log)
	}
	g.awaitMembers()
	g.t.Logf("%s left within %s; %d events were acknowledged meanwhile", n.host, time.Since(from).Round(time.Millisecond), g.acked()-acked)
	n.start()
	n.awaitEnd(readyDeadline)
	if code := n.cmd.ProcessState.ExitCode(); code == 0 || !strings.Contains(n.log.String(), "taken out of the cluster (decommission") {
		g.t.Errorf("the decommissioned node started again, exit code %d:\n%s", code, n.log)
	}
}

// TestGrowUnderLoad: a loaded cluster of three grows to five and shrinks to four under
// load, that of `dunlin bench` among it, while the node that joins, one that hands
// ranges over, and the one that drives the change are killed and restarted. No request
// fails that is tried on other nodes too, and every acknowledged event is read through
// every node that is left.
func TestGrowUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	nodes := newNodes(t, 101, 3)
	known := slices.Clone(nodes)
	for i := range 2 {
		n := &node{t: t, host: fmt.Sprintf("127.0.77.%d", 104+i), dir: filepath.Join(t.TempDir(), "data")}
		n.args = []string{"serve", "--listen-host", n.host, "--data-dir", n.dir, "--join", nodes[i].host}
		known = append(known, n)
	}
	g := grow(t, nodes, known)
	endBench := g.bench(known)
	t.Cleanup(func() {
		for _, n := range g.nodes {
			lines := strings.Split(strings.TrimSpace(n.log.String()), "\n")
			if t.Failed() {
				t.Logf("%s:\n%s", n.host, strings.Join(lines[max(0, len(lines)-30):], "\n"))
			}
		}
	})
	g.join(known[3], func() { g.again(known[3], "which joins") })
	g.join(known[4], func() { g.again(g.other(g.driver()), "which hands ranges over") })
	driver := g.driver()
	g.decommission(g.other(driver), driver, func() { g.again(driver, "which drives") })
	r := endBench()
	t.Logf("bench: %d writes and %d reads within %.0f s, %d and %d failed", r.Writes.Operations, r.Reads.Operations, r.Seconds, r.Writes.Failed, r.Reads.Failed)
	if len(r.Errors) > 0 {
		t.Errorf("requests of bench failed: %v", r.Errors)
	}
	if done := r.Writes.Operations + r.Reads.Operations; float64(done) < r.Seconds*growRate/4 {
		t.Errorf("bench made only %d requests of %d a second", done, growRate)
	}
	g.stop()
	for _, err := range g.j.wrong {
		t.Error(err)
	}
	from := time.Now()
	for _, n := range g.nodes {
		g.j.check(t, connect(t, 1, n), n.host, "quorum", g.j.names()...)
	}
	t.Logf("%d events were read through each of %d nodes within %s", g.acked(), len(g.nodes), time.Since(from).Round(time.Millisecond))
}
