//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
)

// network is a cluster of namespaces, each with one cable to a switch of two
// bridges. Pulling cables over to the second bridge is a partition: packets of the
// others vanish without a word.
type network struct {
	t      *testing.T
	prefix string // of names of namespaces
}

const (
	theSwitch    = 0 // its namespace; the nodes' are 1 and up
	mainBridge   = "br0"
	secondBridge = "br1"
)

func (w *network) space(i int) string { return fmt.Sprintf("%s-%d", w.prefix, i) }
func (w *network) cable(i int) string { return fmt.Sprintf("port%d", i) }
func (w *network) host(i int) string  { return fmt.Sprintf("10.77.0.%d", i) }

// ip runs the program of that name.
func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// newNetwork lays cables for some nodes. Where that is not allowed the test is
// skipped.
func newNetwork(t *testing.T, nodes int) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	w := &network{t: t, prefix: fmt.Sprintf("dunlin-%d", os.Getpid())}
	for i := range nodes + 1 {
		if err := ip("netns", "add", w.space(i)); err != nil {
			t.Skipf("no network namespaces here: %v", err)
		}
		t.Cleanup(func() {
			if err := ip("netns", "del", w.space(i)); err != nil {
				t.Error(err)
			}
		})
	}
	commands := [][]string{}
	for _, bridge := range []string{mainBridge, secondBridge} {
		commands = append(commands, []string{"-n", w.space(theSwitch), "link", "add", bridge, "up", "type", "bridge"})
	}
	for i := 1; i <= nodes; i++ {
		commands = append(commands,
			[]string{"link", "add", w.cable(i), "netns", w.space(theSwitch), "type", "veth", "peer", "name", "eth0", "netns", w.space(i)},
			[]string{"-n", w.space(theSwitch), "link", "set", w.cable(i), "up", "master", mainBridge},
			[]string{"-n", w.space(i), "addr", "add", w.host(i) + "/24", "dev", "eth0"},
			[]string{"-n", w.space(i), "link", "set", "eth0", "up"},
			[]string{"-n", w.space(i), "link", "set", "lo", "up"})
	}
	for _, args := range commands {
		if err := ip(args...); err != nil {
			t.Skipf("no bridges and cables here: %v", err)
		}
	}
	return w
}

// plug connects nodes to a bridge.
func (w *network) plug(bridge string, nodes ...int) {
	w.t.Helper()
	for _, i := range nodes {
		if err := ip("-n", w.space(theSwitch), "link", "set", w.cable(i), "master", bridge); err != nil {
			w.t.Fatal(err)
		}
	}
}

// inside runs f on a thread that is in a namespace. Processes and sockets that f
// itself makes belong there for good.
func (w *network) inside(i int, f func()) error {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open(filepath.Join("/run/netns", w.space(i)))
	if err != nil {
		return err
	}
	defer there.Close()
	runtime.LockOSThread()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", there.Name(), err)
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err == nil {
			runtime.UnlockOSThread() // else the thread ends with its goroutine
		}
	}()
	f()
	return nil
}

// http makes a client that dials from within a node's namespace, so that it is
// always on the node's side.
func (w *network) http(i int) *http.Client {
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		dialer := &net.Dialer{Timeout: time.Second}
		if enter := w.inside(i, func() { conn, err = dialer.DialContext(ctx, network, address) }); enter != nil {
			return nil, enter
		}
		return conn, err
	}
	h := &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 10 * time.Second}
	w.t.Cleanup(h.CloseIdleConnections)
	return h
}

// apart is one node in its namespace, and a client beside it.
type apart struct {
	*node
	i      int
	http   *http.Client
	beside *client.Client
}

// start founds or joins the cluster, in the node's namespace.
func (w *network) start(i int) *apart {
	w.t.Helper()
	n := &node{t: w.t, host: w.host(i), dir: filepath.Join(w.t.TempDir(), "data")}
	n.args = []string{"serve", "--listen-host", n.host, "--data-dir", n.dir, "--insecure", "--zone", fmt.Sprintf("z%d", (i-1)%3+1)}
	if i == 1 {
		n.args = append(n.args, "--bootstrap", "--replication-factor", "3")
	} else {
		n.args = append(n.args, "--join", w.host(1))
	}
	a := &apart{node: n, i: i, http: w.http(i)}
	if err := w.inside(i, n.start); err != nil {
		w.t.Fatal(err)
	}
	cfg := client.DefaultConfig()
	cfg.Nodes, cfg.HTTP, cfg.Attempts = []string{n.url()}, a.http, 1
	cfg.Rand = rand.New(rand.NewPCG(uint64(i), 17))
	var err error
	if a.beside, err = client.New(cfg); err != nil {
		w.t.Fatal(err)
	}
	return a
}

// status is what the node knows of the cluster; false if it does not answer.
func (a *apart) status() (s admin.Status, ok bool) {
	resp, err := a.http.Get(a.admin() + "/v1/status")
	if err != nil {
		return s, false
	}
	defer resp.Body.Close()
	return s, resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(&s) == nil
}

// sees reports whether the node is ready, and how many members it takes for alive.
func (a *apart) sees(alive int) bool {
	s, ok := a.status()
	for _, m := range s.Members {
		if m.Alive {
			alive--
		}
	}
	return ok && s.Ready && alive == 0
}

// awaitSight waits until each node takes so many for alive.
func awaitSight(t *testing.T, alive int, nodes ...*apart) {
	t.Helper()
	for _, a := range nodes {
		await(t, readyDeadline, fmt.Sprintf("%s to see %d nodes", a.host, alive), func() bool { return a.sees(alive) })
	}
}

// writeApart appends so many events at w=one beside each node, and a key that
// everybody overwrites. Ranges whose replicas are all on the other side refuse.
func writeApart(t *testing.T, j *journal, each int, nodes ...*apart) {
	t.Helper()
	var wg sync.WaitGroup
	for _, a := range nodes {
		wg.Go(func() {
			for n, acked := 0, 0; acked < each && n < 20*each; n++ {
				stream := fmt.Sprintf("split/%02d", n%64)
				if _, err := j.append(t.Context(), a.beside, stream, fmt.Sprintf(`{"node":%d,"n":%d}`, a.i, n), "one"); err == nil {
					acked++
				}
				_ = a.beside.Put(t.Context(), "split", fmt.Sprint(n%64), client.Value{Data: []byte(a.host)}, 0, "one") // refused as events are
			}
		})
	}
	wg.Wait()
}

// sameKeys reports whether every node's answer for every key is the same.
func sameKeys(ctx context.Context, nodes []*apart) error {
	for k := range 64 {
		var first client.Value
		for i, a := range nodes {
			v, err := a.beside.Get(ctx, "split", fmt.Sprint(k), "one")
			if err != nil {
				return fmt.Errorf("key %d through %s: %w", k, a.host, err)
			}
			if i == 0 {
				first = v
			}
			if v.Timestamp != first.Timestamp || string(v.Data) != string(first.Data) {
				return fmt.Errorf("key %d is %s at %s and %s at %s", k, first.Data, nodes[0].host, v.Data, a.host)
			}
		}
	}
	return nil
}

// TestPartitionInNamespaces: five nodes are split three to two, both sides take
// writes, and soon after the cables are back every copy is the same.
func TestPartitionInNamespaces(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	w := newNetwork(t, 5)
	var nodes []*apart
	for i := 1; i <= 5; i++ {
		nodes = append(nodes, w.start(i))
	}
	awaitSight(t, 5, nodes...)
	j := newJournal()
	writeApart(t, j, 40, nodes...)
	w.plug(secondBridge, 4, 5)
	writeApart(t, j, 10, nodes[0], nodes[4]) // nobody has noticed yet
	awaitSight(t, 3, nodes[:3]...)
	awaitSight(t, 2, nodes[3:]...)
	for _, side := range [][]*apart{nodes[:3], nodes[3:]} {
		before, _ := j.counts()
		writeApart(t, j, 100, side...)
		if after, _ := j.counts(); after-before < 100*len(side) {
			t.Errorf("%d nodes on their own took %d writes, wanted %d", len(side), after-before, 100*len(side))
		}
	}
	w.plug(mainBridge, 4, 5)
	healed := time.Now()
	last := "nothing was read"
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("at the end: %s", last)
		}
	})
	await(t, healDeadline, "every copy to be whole and the same", func() bool {
		for _, a := range nodes {
			lack, err := j.lackAll(t.Context(), a.beside, "one")
			if last = fmt.Sprintf("%s at r=one lacks %d: %v", a.host, lack, err); lack > 0 || err != nil {
				return false
			}
		}
		err := sameKeys(t.Context(), nodes)
		last = fmt.Sprint("keys: ", err)
		return err == nil
	})
	acked, failed := j.counts()
	t.Logf("equal %s after the cables were back; %d events acknowledged, %d refused", time.Since(healed).Round(time.Millisecond), acked, failed)
	for _, a := range nodes {
		j.check(t, a.beside, a.host, "all", j.names()...)
	}
}
