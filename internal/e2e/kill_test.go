//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/dunlindb/dunlin/client"
)

// load appends events from several clients until stopped, and remembers which
// were acknowledged.
type load struct {
	stop   context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex        // guards the fields below
	acked  map[string]string // id → data
	failed []error
}

func startLoad(t *testing.T, nodes []*node, clients int) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, acked: map[string]string{}}
	for i := range clients {
		c := connect(t, uint64(i), nodes...)
		l.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				data := fmt.Sprintf(`{"client":%d,"n":%d}`, i, n)
				a, err := c.Append(ctx, "load", client.Event{Data: json.RawMessage(data)}, "quorum")
				l.note(ctx, a.ID, data, err)
				if err != nil || n%8 != 0 {
					continue
				}
				ev, err := c.Event(ctx, "load", a.ID, "quorum") // what was acknowledged is read at once
				if err == nil && string(ev.Data) != data {
					err = fmt.Errorf("event %s reads as %s, written as %s", a.ID, ev.Data, data)
				}
				l.note(ctx, a.ID, data, err)
			}
		})
	}
	return l
}

func (l *load) note(ctx context.Context, id, data string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.acked[id] = data
	case ctx.Err() == nil:
		l.failed = append(l.failed, err)
	}
}

// errors returns what clients have seen so far.
func (l *load) errors() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failed)
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

// check reads the stream at r=all and wants every acknowledged event in it.
func (l *load) check(t *testing.T, nodes []*node) {
	t.Helper()
	found := map[string]string{}
	for ev, err := range connect(t, 99, nodes...).Events(t.Context(), "load", client.ReadOptions{Level: "all"}) {
		if err != nil {
			t.Fatal(err)
		}
		found[ev.ID] = string(ev.Data)
	}
	lost := 0
	for id, data := range l.acked {
		if found[id] != data {
			lost++
		}
	}
	if lost > 0 || len(l.acked) == 0 {
		t.Errorf("%d of %d acknowledged events are lost", lost, len(l.acked))
	}
}

// awaitGrowth waits until so many more events were acknowledged.
func (l *load) awaitGrowth(t *testing.T, more int) {
	t.Helper()
	from := l.count()
	await(t, 20*time.Second, "writes to go on", func() bool { return l.count() >= from+more })
}

// TestKillOneOfThree under load at quorum: writes go on, clients that try another
// node see no error, and after the restart nothing acknowledged is missing.
func TestKillOneOfThree(t *testing.T) {
	nodes := startNodes(t, 1, 3)
	l := startLoad(t, nodes, 4)
	l.awaitGrowth(t, 100)
	nodes[2].kill()
	l.awaitGrowth(t, 300)
	nodes[2].start()
	nodes[2].awaitReady()
	l.awaitGrowth(t, 100)
	l.end()
	if seen := l.errors(); len(seen) > 0 {
		t.Errorf("clients saw %d errors, the first: %v", len(seen), seen[0])
	}
	l.check(t, nodes)
}

// answer is a raw answer of the HTTP API, as a program without our client sees it.
type answer struct {
	status      int
	contentType string
	body        struct {
		Type, Title, Detail       string
		Status, Need, Alive, Acks int
	}
}

func post(t *testing.T, n *node, query string) (a answer) {
	t.Helper()
	resp, err := http.Post(n.url()+"/v1/streams/s/events?"+query, "application/json", strings.NewReader(`{"data":2}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a.status, a.contentType = resp.StatusCode, resp.Header.Get("Content-Type")
	if err := json.NewDecoder(resp.Body).Decode(&a.body); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestTwoOfThreeDown: one still writes, quorum says at once why it cannot.
func TestTwoOfThreeDown(t *testing.T) {
	nodes := startNodes(t, 11, 3)
	c := connect(t, 1, nodes[0])
	if _, err := c.Append(t.Context(), "s", client.Event{Data: json.RawMessage(`1`)}, "all"); err != nil {
		t.Fatal(err)
	}
	nodes[1].kill()
	nodes[2].kill()
	await(t, 10*time.Second, "the node to notice", func() bool {
		return post(t, nodes[0], "w=quorum&timeout=5s").status == http.StatusServiceUnavailable
	})
	start := time.Now()
	a := post(t, nodes[0], "w=quorum&timeout=5s")
	took := time.Since(start)
	if a.status != 503 || a.body.Status != 503 || a.body.Need != 2 || a.body.Alive != 1 {
		t.Errorf("w=quorum: %+v", a)
	}
	if a.contentType != "application/problem+json" || a.body.Type == "" || a.body.Title == "" || a.body.Detail == "" {
		t.Errorf("not a problem by RFC 9457: %+v", a)
	}
	if took > time.Second { // it takes milliseconds; the bound is far below the timeout
		t.Errorf("w=quorum took %s: it waited", took)
	}
	if a := post(t, nodes[0], "w=one"); a.status != 201 || a.body.Acks != 1 {
		t.Errorf("w=one: %+v", a)
	}
}

// TestKillAll: every node at once under load, twice; nothing acknowledged is lost.
func TestKillAll(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	nodes := startNodes(t, 21, 3)
	for range 2 {
		l := startLoad(t, nodes, 4)
		l.awaitGrowth(t, 200)
		l.stop()
		for _, n := range nodes {
			n.signal(syscall.SIGKILL)
		}
		l.wg.Wait()
		for _, n := range nodes {
			<-n.done
			n.start()
		}
		for _, n := range nodes {
			n.awaitReady()
		}
		l.check(t, nodes)
	}
}

// TestMissedWritesArrive: a node that was killed has, soon after it is back, every
// event that it missed in its own store, though nobody read or repaired anything.
func TestMissedWritesArrive(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	nodes := startNodes(t, 61, 3)
	away := nodes[2]
	away.kill()
	const events = 50
	c := connect(t, 1, nodes[:2]...)
	for i := range events {
		if _, err := c.Append(t.Context(), "missed", client.Event{Data: json.RawMessage(fmt.Sprint(i))}, "quorum"); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := cli(t, "hints", "--admin", nodes[0].admin()); code != 0 || !strings.Contains(out, "plain") {
		t.Errorf("hints while a node is away: %d\n%s", code, out)
	}
	away.start()
	away.awaitReady()
	// A node is its own nearest replica: at one it reads its own store.
	await(t, 30*time.Second, "all events on the node that was away", func() bool {
		status, body := get(away.url() + "/v1/streams/missed/events?r=one&limit=100")
		return status == http.StatusOK && strings.Count(body, `"id"`) == events
	})
	for _, n := range nodes[:2] {
		if code, out := cli(t, "hints", "drain", "--wait", "--admin", n.admin()); code != 0 || !strings.Contains(out, "0 hints left") {
			t.Errorf("drain: %d\n%s", code, out)
		}
	}
	if code, out := cli(t, "repair", "now", "--table", "dunlin.events", "--admin", away.admin()); code != 0 || !strings.Contains(out, "OLDEST UNVERIFIED") {
		t.Errorf("repair now: %d\n%s", code, out)
	}
	if code, out := cli(t, "repair", "status", "-o", "json", "--admin", away.admin()); code != 0 || !strings.Contains(out, `"enabled": true`) {
		t.Errorf("repair status: %d\n%s", code, out)
	}
	checkMetrics(t, away)
}

// checkMetrics holds a node's whole /metrics against Prometheus' conventions.
func checkMetrics(t *testing.T, n *node) {
	t.Helper()
	status, text := get(n.admin() + "/metrics")
	if status != http.StatusOK || !strings.Contains(text, "dunlin_node_") {
		t.Fatalf("metrics: status %d, %d bytes", status, len(text))
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("metric %s: %s", p.Metric, p.Text)
	}
}

// TestGracefulStop drains and exits with 0, and comes back with everything. After
// kill -9 it does so too.
func TestGracefulStop(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	nodes := startNodes(t, 31, 1)
	l := startLoad(t, nodes, 4)
	l.awaitGrowth(t, 100)
	checkMetrics(t, nodes[0])
	nodes[0].signal(syscall.SIGTERM)
	nodes[0].awaitEnd(15 * time.Second)
	l.end()
	if code := nodes[0].cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, nodes[0].log)
	}
	nodes[0].start()
	nodes[0].awaitReady()
	l.check(t, nodes)
	nodes[0].kill()
	start := time.Now()
	nodes[0].start()
	nodes[0].awaitReady()
	t.Logf("ready %s after a start with the data of a killed node", time.Since(start).Round(time.Millisecond))
	l.check(t, nodes)
}

// TestDeletedAndLoadedAgain: old event times do not hide under the delete.
func TestDeletedAndLoadedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	nodes := startNodes(t, 41, 1)
	const file, stream = "../../cmd/dunlin/sample/events.ndjson", "harbour/tugs"
	count := func() (n int) {
		for _, err := range connect(t, 1, nodes...).Events(t.Context(), stream, client.ReadOptions{Level: "all"}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	load := func() {
		if code, out := cli(t, "event", "load", "-f", file, "--key", "line", "--http", nodes[0].url()); code != 0 || !strings.Contains(out, "24 stored, 0 refused") {
			t.Errorf("load: %d %s", code, out)
		}
	}
	load()
	var wg sync.WaitGroup
	for range 2 { // a second and a concurrent load store nothing twice
		wg.Go(load)
	}
	wg.Wait()
	if n := count(); n != 8 {
		t.Errorf("%d events after three loads of 8", n)
	}
	if err := connect(t, 1, nodes...).DeleteStream(t.Context(), stream, "", "all"); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d events after the delete", n)
	}
	load()
	if n := count(); n != 8 {
		t.Errorf("%d of 8 events after the delete and another load", n)
	}
	var p *client.Problem
	if _, err := connect(t, 1, nodes...).Get(t.Context(), "no", "such", ""); !errors.As(err, &p) || p.Status != 404 {
		t.Errorf("a missing key: %v", err)
	}
}
