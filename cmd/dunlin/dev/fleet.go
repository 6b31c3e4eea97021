package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// fleet is the child processes of a development cluster. It owns one
// goroutine a child, which ends when the child does.
type fleet struct {
	opts   Options
	binary string
	out    io.Writer
	kids   []*child
	deaths chan *child
}

// child is one running `dunlin serve`.
type child struct {
	node node
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when the process has ended
	err  error         // how it ended; valid after done
}

// stopPatience is how long a node may take to stop before it is killed.
const stopPatience = 20 * time.Second

func newFleet(o Options, binary string, out io.Writer) *fleet {
	return &fleet{opts: o, binary: binary, out: out, deaths: make(chan *child, 64)}
}

func (f *fleet) startAll(plan []node) error {
	for _, n := range plan {
		c, err := f.start(n)
		if err != nil {
			return fmt.Errorf("dev: start %s: %w", n.name, err)
		}
		f.kids = append(f.kids, c)
		f.describe(c)
	}
	return nil
}

func (f *fleet) start(n node) (*child, error) {
	if err := os.MkdirAll(filepath.Dir(n.dir), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(n.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(f.binary, n.args()...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	c := &child{node: n, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		c.err = errors.Join(cmd.Wait(), log.Close())
		close(c.done)
		f.deaths <- c
	}()
	return c, nil
}

// describe prints a node's addresses, its PID, and the command that starts it by hand.
func (f *fleet) describe(c *child) {
	fmt.Fprintf(f.out, "%-4s pid %-7d http %s  admin %s  log %s.log\n     start it by hand: %s %s\n",
		c.node.name, c.cmd.Process.Pid, c.node.httpURL(), c.node.adminURL(), c.node.dir,
		f.binary, strings.Join(c.node.args(), " "))
}

// waitReady polls the nodes' /readyz until all answer 200, and returns how many do. A
// node that ends without a fault is no member any more; watch tells of it.
func (f *fleet) waitReady(ctx context.Context) (ready int, err error) {
	client := &http.Client{Timeout: time.Second}
	for _, c := range f.kids {
		ok, err := c.waitReady(ctx, client)
		if err != nil {
			return ready, err
		}
		if ok {
			ready++
		}
	}
	return ready, nil
}

// waitReady reports false for a node that ended without a fault.
func (c *child) waitReady(ctx context.Context, client *http.Client) (bool, error) {
	for !isReady(ctx, client, c.node.adminURL()) {
		select {
		case <-c.done:
			if c.err == nil {
				return false, nil
			}
			return false, fmt.Errorf("%s ended before it was ready (%v); the end of its log:\n%s", c.node.name, c.err, tail(c.node.dir+".log", 8))
		case <-ctx.Done():
			return false, fmt.Errorf("%s was not ready in time; the end of its log:\n%s", c.node.name, tail(c.node.dir+".log", 8))
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true, nil
}

func isReady(ctx context.Context, client *http.Client, admin string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// watch says when a node ends, and leaves it so, until ctx ends or none is left. A
// node that ends by itself without a fault has left the cluster, or was told to stop.
func (f *fleet) watch(ctx context.Context) error {
	died := 0
	for living := len(f.kids); living > 0; living-- {
		select {
		case <-ctx.Done():
			fmt.Fprintln(f.out, "\nstopping …")
			return nil
		case c := <-f.deaths:
			if c.err == nil {
				fmt.Fprintf(f.out, "%s (pid %d) has ended by itself: %s\n", c.node.name, c.cmd.Process.Pid, tail(c.node.dir+".log", 1))
				f.bury(ctx, c.node)
				continue
			}
			died++
			fmt.Fprintf(f.out, "%s (pid %d) died: %v. It stays dead; to start it again:\n     %s %s\n",
				c.node.name, c.cmd.Process.Pid, c.err, f.binary, strings.Join(c.node.args(), " "))
		}
	}
	if died == 0 {
		fmt.Fprintln(f.out, "no node is left")
		return nil
	}
	return errors.New("all nodes are dead; see their logs")
}

// bury sets the data of a node aside that has left the cluster, whoever took it out.
func (f *fleet) bury(ctx context.Context, n node) {
	_, _, s, err := f.opts.running(ctx, n.number)
	if err != nil || n.member(s.Members) != nil {
		return // nobody can tell, or it was only stopped
	}
	if err := n.setAside(ctx, f.out); err != nil {
		fmt.Fprintln(f.out, err)
	}
}

// stop ends all nodes gracefully, and by force when one takes too long.
func (f *fleet) stop() {
	for _, c := range f.kids {
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended already
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	for _, c := range f.kids {
		select {
		case <-c.done:
		case <-patience.C:
			for _, late := range f.kids {
				_ = late.cmd.Process.Kill()
			}
			<-c.done
		}
	}
}

// tail is the last lines of a log file.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
