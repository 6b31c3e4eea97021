//go:build linux

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDev: a cluster in one command, with sample events; Ctrl-C leaves no process
// and keeps the data for the next start.
func TestDev(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	dir := filepath.Join(t.TempDir(), "dev")
	for round := range 2 {
		var out buffer
		cmd := exec.Command(binary, "dev", "--nodes", "3", "--base", "127.0.78.1", "--dir", dir, "--sample")
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		dev := &node{t: t, host: "dunlin dev", cmd: cmd, log: &out, done: make(chan struct{})}
		go func() {
			_ = cmd.Wait() // the exit code is looked at below
			close(dev.done)
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
			<-dev.done
		})
		await(t, time.Minute, "the cluster and its sample", func() bool {
			select {
			case <-dev.done:
				t.Fatalf("round %d: dunlin dev ended:\n%s", round, out.String())
			default:
			}
			return strings.Contains(out.String(), "Try next")
		})
		if n := len(processes(t, dir)); n != 4 { // dev and its nodes
			t.Errorf("round %d: %d processes run on %s", round, n, dir)
		}
		if !strings.Contains(out.String(), "3 nodes are ready") ||
			!strings.Contains(out.String(), "24 sample events stored") || strings.Count(out.String(), "assist") != 8 {
			t.Errorf("round %d, the sample:\n%s", round, out.String())
		}
		dev.signal(syscall.SIGINT)
		dev.awaitEnd(30 * time.Second)
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("round %d: exit code %d:\n%s", round, code, out.String())
		}
		if left := processes(t, dir); len(left) > 0 {
			t.Errorf("round %d: processes are left: %v", round, left)
		}
	}
}

// processes lists the command lines that mention a directory.
func processes(t *testing.T, dir string) (found []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		t.Fatalf("no processes in /proc: %v", err)
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err == nil && bytes.Contains(line, []byte(dir)) { // an error: it has ended
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}
