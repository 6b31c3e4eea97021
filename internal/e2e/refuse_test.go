//go:build linux

package e2e

import (
	"context"
	crand "crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/client"
)

// TestRefusals: one clear line at the end, and an exit code that scripts can use.
func TestRefusals(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	member := startNodes(t, 51, 1)[0]
	foreign := startNodes(t, 52, 1)[0]
	foreign.signal(syscall.SIGTERM)
	foreign.awaitEnd(15 * time.Second)
	empty := t.TempDir()
	serve := func(args ...string) []string {
		return append([]string{"serve", "--listen-host", "127.0.77.60"}, args...)
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"directory in use", serve("--data-dir", member.dir), 1, "in use"},
		{"no cluster", serve("--data-dir", filepath.Join(empty, "a")), 1, "--bootstrap"},
		{"directory of another cluster", serve("--data-dir", foreign.dir, "--join", member.host), 1, "whose data is in its directory"},
		{"not loopback", []string{"serve", "--data-dir", filepath.Join(empty, "c"), "--listen-host", "0.0.0.0"}, 2, "--insecure"},
		{"unknown flag", serve("--zoen", "a"), 2, "--zoen"},
		{"unknown setting", serve("--config", writeFile(t, "zoen: a"), "--data-dir", filepath.Join(empty, "d")), 2, "zoen"},
		{"bad setting", serve("--clock-max-skew", "soon", "--data-dir", filepath.Join(empty, "d")), 2, "max"},
		{"unknown command", []string{"sevre"}, 2, "sevre"},
		{"bad level", []string{"event", "read", "s", "--r", "most", "--http", member.url()}, 1, "most"},
		{"bad line", []string{"event", "append", "s", writeFile(t, `{"data":}`), "--http", member.url()}, 1, "line 1"},
	} {
		checkRefusal(t, tc.name, exec.Command(binary, tc.args...), tc.code, tc.want)
	}
	env := exec.Command(binary, serve("--data-dir", filepath.Join(empty, "e"))...)
	env.Env = append(os.Environ(), "DUNLIN_ZOEN=a")
	checkRefusal(t, "unknown variable", env, 2, "DUNLIN_ZOEN")
	if status, _ := get(member.admin() + "/readyz"); status != 200 {
		t.Errorf("the node that all this was tried on answers %d", status)
	}
}

// checkRefusal runs a command that must fail, and say why in one line of its own.
func checkRefusal(t *testing.T, name string, cmd *exec.Cmd, code int, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	bounded := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	bounded.Env = cmd.Env
	out, _ := bounded.CombinedOutput() // the exit code tells
	if got := bounded.ProcessState.ExitCode(); got != code {
		t.Errorf("%s: exit code %d, want %d:\n%s", name, got, code, out)
	}
	var said []string
	for line := range strings.SplitSeq(string(out), "\n") {
		if strings.HasPrefix(line, "dunlin: ") || strings.HasPrefix(line, "line ") {
			said = append(said, line)
		}
	}
	if !strings.Contains(strings.Join(said, "\n"), want) || strings.Contains(string(out), "goroutine ") {
		t.Errorf("%s: want a line with %q:\n%s", name, want, out)
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOlderCopyIsRefused: a node whose directory is put back to a copy from before
// its last start has forgotten what it acknowledged since: the others let it in no
// more, count it in no quorum, and both sides log what to do.
func TestOlderCopyIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	nodes := startNodes(t, 61, 3)
	last := nodes[2]
	stop := func() {
		last.signal(syscall.SIGTERM)
		last.awaitEnd(15 * time.Second)
	}
	stop()
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(last.dir)); err != nil {
		t.Fatal(err)
	}
	last.start()
	last.awaitReady()
	c := connect(t, 1, nodes...)
	if _, err := c.Append(t.Context(), "s", client.Event{Data: []byte(`1`)}, "all"); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := os.RemoveAll(last.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, last.dir); err != nil {
		t.Fatal(err)
	}
	last.start()
	for _, n := range nodes[:2] {
		await(t, 20*time.Second, n.host+" to refuse the older copy", func() bool {
			return metric(n, `dunlin_catalog_refusals_total{reason="boot"}`) > 0
		})
		if !strings.Contains(n.log.String(), "older copy of its directory") {
			t.Errorf("%s does not log why:\n%s", n.host, n.log)
		}
	}
	await(t, 10*time.Second, "the older copy to say why it is alone", func() bool {
		return strings.Contains(last.log.String(), "wipe the directory and replace the node")
	})
	await(t, 10*time.Second, "the older copy to be unready", func() bool {
		status, body := get(last.admin() + "/readyz")
		return status == 503 && strings.Contains(body, "refuse this node")
	})
	if a := post(t, last, "w=one&timeout=2s"); a.status != 503 {
		t.Errorf("the older copy takes writes: %+v", a)
	}
	if _, err := c.Append(t.Context(), "s", client.Event{Data: []byte(`2`)}, "two"); err != nil {
		t.Errorf("the other two: %v", err)
	}
	if a := post(t, nodes[0], "w=all&timeout=2s"); a.status/100 != 5 {
		t.Errorf("w=all counts the older copy: %+v", a)
	}
}

// metric sums a node's samples whose line begins with prefix.
func metric(n *node, prefix string) (sum float64) {
	_, body := get(n.admin() + "/metrics")
	for line := range strings.SplitSeq(body, "\n") {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		fields := strings.Fields(line)
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			n.t.Fatalf("%s: %v", line, err)
		}
		sum += value
	}
	return sum
}

// TestGarbage on the ports between nodes: refused and counted; the node serves on
// and its memory stays.
func TestGarbage(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	nodes := startNodes(t, 71, 1)
	before := memory(t, nodes[0])
	junk := make([]byte, 256<<10)
	_, _ = crand.Read(junk) // never fails
	for _, first := range [][]byte{junk, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), junk...), {0xff, 0xff, 0xff, 0xff, 0xff}} {
		for _, port := range []string{":7481", ":7482"} {
			for range 20 {
				conn, err := net.DialTimeout("tcp", nodes[0].host+port, time.Second)
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
				_, _ = conn.Write(first) // the node may hang up first
				_ = conn.Close()
			}
		}
		udp, err := net.Dial("udp", nodes[0].host+":7482")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			_, _ = udp.Write(first[:min(len(first), 1+i*7)])
		}
		_ = udp.Close()
	}
	if status, body := get(nodes[0].admin() + "/readyz"); status != 200 {
		t.Errorf("not ready: %d %s\n%s", status, body, nodes[0].log)
	}
	if after := memory(t, nodes[0]); after > before+20<<20 {
		t.Errorf("memory went from %d to %d bytes", before, after)
	}
	for _, counter := range []string{"dunlin_transport_refused_connections_total", `dunlin_membership_refused_total{kind="stream"`, `dunlin_membership_refused_total{kind="packet"`} {
		await(t, 10*time.Second, counter+" to rise", func() bool { return metric(nodes[0], counter) >= 20 })
	}
	if lines := strings.Count(nodes[0].log.String(), "\n"); lines > 200 {
		t.Errorf("%d log lines: the rate is not bounded", lines)
	}
}

// memory is a process's resident set in bytes.
func memory(t *testing.T, n *node) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(n.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
