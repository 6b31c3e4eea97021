package dev

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dunlindb/dunlin/admin"
)

// TestNodesThatEnd: a node that ends by itself without a fault is no failure, one
// that dies is.
func TestNodesThatEnd(t *testing.T) {
	for _, c := range []struct {
		program string
		fails   bool
		want    string
	}{
		{"true", false, "n1 (pid PID) has ended by itself: it was taken out\nno node is left\n"},
		{"false", true, "n1 (pid PID) died: exit status 1. It stays dead"},
	} {
		binary, err := exec.LookPath(c.program)
		if err != nil {
			t.Skipf("there is no %s here: %v", c.program, err)
		}
		o := Options{Nodes: 1, Base: "127.0.79.254", Dir: t.TempDir(), Ports: Ports{HTTP: 27480, Internode: 27481, Gossip: 27482, Admin: 27483}}
		plan, err := o.plan("linux")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(plan[0].dir+".log", []byte("started\nit was taken out\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		f := newFleet(o, binary, &out)
		if err := f.startAll(plan); err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if err := f.watch(t.Context()); (err != nil) != c.fails {
			t.Errorf("%s: %v", c.program, err)
		}
		f.stop()
		want := strings.ReplaceAll(c.want, "PID", strconv.Itoa(f.kids[0].cmd.Process.Pid))
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: %q, want %q", c.program, out.String(), want)
		}
	}
}

// TestFree: the next node takes no number of a member, none that has data, and none
// whose ports are in use.
func TestFree(t *testing.T) {
	o := Options{Nodes: 3, Base: "127.0.79.1", Dir: t.TempDir(), Ports: Ports{HTTP: 27480, Internode: 27481, Gossip: 27482, Admin: 27483}}
	if err := os.MkdirAll(filepath.Join(o.Dir, "n2"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "n4.left"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.79.3:27482")
	if err != nil {
		t.Skipf("no loopback address of its own: %v", err)
	}
	defer l.Close()
	n, err := o.free([]admin.Member{{ID: "a", HTTP: "127.0.79.1:27480"}}, "linux")
	if err != nil || n.name != "n4" || n.host != "127.0.79.4" {
		t.Errorf("%+v %v", n, err)
	}
	o.Base = "127.0.79.253"
	if n, err := o.free([]admin.Member{{HTTP: "127.0.79.253:27480"}, {HTTP: "127.0.79.254:27480"}}, "linux"); err == nil {
		t.Errorf("beyond the last address: %+v", n)
	}
}

func TestLeaver(t *testing.T) {
	o := Options{Nodes: 3, Base: "127.0.0.1", Dir: "d", Ports: usual}
	n3 := o.node(3, "linux") // with ports of its own elsewhere
	n3.host, n3.ports = "127.0.0.3", usual
	members := []admin.Member{
		{ID: "aa11", HTTP: o.node(1, "linux").address(7480)}, {ID: "ab22", HTTP: "10.0.0.9:7480"}, {ID: "3c33", HTTP: n3.address(7480)},
	}
	for _, c := range []struct {
		which, id, name string
	}{
		{"1", "aa11", "n1"}, {"n1", "aa11", "n1"}, {"aa", "aa11", "n1"}, {"ab22", "ab22", ""}, {"2", "", ""}, {"a", "", ""}, {"x", "", ""}, {"51", "", ""},
	} {
		id, n, err := o.leaver(admin.Status{Members: members}, c.which, parseNumber(c.which))
		name := ""
		if n != nil {
			name = n.name
		}
		if id != c.id || name != c.name || (err == nil) != (c.id != "") {
			t.Errorf("%s: %s %s %v", c.which, id, name, err)
		}
	}
}

// TestSetAside: the data of a node that has left moves over that of an earlier one.
func TestSetAside(t *testing.T) {
	o := Options{Nodes: 1, Base: "127.0.79.9", Dir: t.TempDir(), Ports: Ports{HTTP: 27480, Internode: 27481, Gossip: 27482, Admin: 27483}}
	n := o.node(1, "linux")
	for _, dir := range []string{n.dir, filepath.Join(n.left(), "old")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if n.hasLeft(admin.Status{}) {
		t.Error("a node that has data counts as one that has left")
	}
	var out bytes.Buffer
	if err := n.setAside(t.Context(), &out); err != nil || !strings.Contains(out.String(), n.left()) {
		t.Errorf("%s %v", out.String(), err)
	}
	if exists(n.dir) || !exists(n.left()) || exists(filepath.Join(n.left(), "old")) {
		t.Error("the data was not set aside")
	}
	if !n.hasLeft(admin.Status{}) || n.hasLeft(admin.Status{Members: []admin.Member{{HTTP: n.address(n.ports.HTTP)}}}) {
		t.Error("it has left unless a member has its address")
	}
	if err := n.setAside(t.Context(), &out); err != nil {
		t.Errorf("data elsewhere: %v", err)
	}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", n.address(n.ports.Gossip))
	if err != nil {
		t.Skipf("no loopback address of its own: %v", err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.setAside(ctx, &out); err == nil || !exists(n.dir) {
		t.Errorf("the data of a node that runs was moved: %v", err)
	}
}
