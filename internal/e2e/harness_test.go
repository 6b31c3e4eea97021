//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/client"
)

// binary is the program under test, built by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dunlin-e2e")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "dunlin")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/dunlin")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

const readyDeadline = 30 * time.Second

// buffer is what a process prints, readable while it runs.
type buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// node is one node, running or not.
type node struct {
	t    *testing.T
	host string
	dir  string
	args []string
	cmd  *exec.Cmd
	log  *buffer
	done chan struct{} // closed when the process has ended
}

// newNodes lays out a cluster on 127.0.77.first and the addresses after it.
func newNodes(t *testing.T, first, count int, extra ...string) []*node {
	t.Helper()
	var nodes []*node
	for i := range count {
		n := &node{t: t, host: fmt.Sprintf("127.0.77.%d", first+i), dir: filepath.Join(t.TempDir(), "data")}
		n.args = append([]string{"serve", "--listen-host", n.host, "--data-dir", n.dir}, extra...)
		if i == 0 {
			n.args = append(n.args, "--bootstrap", "--replication-factor", fmt.Sprint(min(count, 3)))
		} else {
			n.args = append(n.args, "--join", fmt.Sprintf("127.0.77.%d", first))
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// startNodes starts a cluster and waits until all nodes are ready.
func startNodes(t *testing.T, first, count int) []*node {
	t.Helper()
	nodes := newNodes(t, first, count)
	for _, n := range nodes {
		n.start()
	}
	for _, n := range nodes {
		n.awaitReady()
	}
	return nodes
}

func (n *node) start() {
	n.t.Helper()
	n.log = &buffer{}
	n.cmd = exec.Command(binary, n.args...)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	done, cmd := make(chan struct{}), n.cmd
	n.done = done
	go func() {
		_ = cmd.Wait() // the tests look at the exit code where it matters
		close(done)
	}()
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails only when it has ended
		<-done
	})
}

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// kill ends the process with kill -9 and waits for its end.
func (n *node) kill() {
	n.t.Helper()
	n.signal(syscall.SIGKILL)
	<-n.done
}

func (n *node) url() string   { return "http://" + n.host + ":7480" }
func (n *node) admin() string { return "http://" + n.host + ":7483" }

func (n *node) awaitReady() {
	n.t.Helper()
	await(n.t, readyDeadline, n.host+" to be ready", func() bool {
		select {
		case <-n.done:
			n.t.Fatalf("%s ended:\n%s", n.host, n.log)
		default:
		}
		status, _ := get(n.admin() + "/readyz")
		return status == http.StatusOK
	})
}

// awaitEnd waits for the process's own end.
func (n *node) awaitEnd(patience time.Duration) {
	n.t.Helper()
	select {
	case <-n.done:
	case <-time.After(patience):
		n.t.Fatalf("%s does not end within %s:\n%s", n.host, patience, n.log)
	}
}

// await polls until a condition holds.
func await(t *testing.T, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", patience, what)
		case <-ticker.C:
		}
	}
}

// get fetches a page; status 0 is no answer.
func get(url string) (status int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(resp.Body) // what has come is what there is
	return resp.StatusCode, b.String()
}

// connect makes a client of all nodes.
func connect(t *testing.T, seed uint64, nodes ...*node) *client.Client {
	t.Helper()
	cfg := client.DefaultConfig()
	cfg.Nodes = nil
	for _, n := range nodes {
		cfg.Nodes = append(cfg.Nodes, n.url())
	}
	cfg.Rand = rand.New(rand.NewPCG(seed, 7))
	cfg.HTTP = &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cli runs a command to its end.
func cli(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(string(b))
}
