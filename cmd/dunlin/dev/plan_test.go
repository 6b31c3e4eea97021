package dev

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var usual = Ports{HTTP: 7480, Internode: 7481, Gossip: 7482, Admin: 7483}

func TestPlan(t *testing.T) {
	dir := t.TempDir()
	plan, err := Options{Nodes: 3, Base: "127.0.0.1", Dir: dir, Ports: usual}.plan("linux")
	if err != nil {
		t.Fatal(err)
	}
	if plan[0].httpURL() != "http://127.0.0.1:7480" || plan[2].adminURL() != "http://127.0.0.3:7483" {
		t.Errorf("addresses: %s, %s", plan[0].httpURL(), plan[2].adminURL())
	}
	if args := strings.Join(plan[0].args(), " "); !strings.Contains(args, "--bootstrap --replication-factor 3") {
		t.Errorf("the first node does not bootstrap: %s", args)
	}
	for _, n := range plan[1:] {
		if !slices.Contains(n.args(), "127.0.0.1:7481") || slices.Contains(n.args(), "--bootstrap") {
			t.Errorf("%s does not join the first node: %v", n.name, n.args())
		}
	}
	elsewhere, err := Options{Nodes: 2, Base: "127.0.0.1", Dir: dir, Ports: usual}.plan("darwin")
	if err != nil || elsewhere[1].host != "127.0.0.1" || elsewhere[1].ports.HTTP != 7490 || !slices.Contains(elsewhere[1].args(), "7490") {
		t.Errorf("without loopback addresses: %+v %v", elsewhere, err)
	}
}

// TestLostDataFoundsNoSecondCluster: when the first node's data is gone and
// another's is there, nobody bootstraps.
func TestLostDataFoundsNoSecondCluster(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "n2"), 0o755); err != nil {
		t.Fatal(err)
	}
	plan, err := Options{Nodes: 3, Base: "127.0.0.1", Dir: dir, Ports: usual}.plan("linux")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range plan {
		if slices.Contains(n.args(), "--bootstrap") {
			t.Errorf("%s would bootstrap", n.name)
		}
	}
	if wiped, err := (Options{Nodes: 3, Base: "127.0.0.1", Dir: dir, Wipe: true}).plan("linux"); err != nil || !slices.Contains(wiped[0].args(), "--bootstrap") {
		t.Error("with --wipe the first node must bootstrap")
	}
}

func TestWipeTouchesOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"n1", "n12", "n3.left", "notes", "n1x"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := wipe([]node{{dir: filepath.Join(dir, "n1")}}); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, []string{"n1x", "notes"}) {
		t.Errorf("left: %v", names)
	}
}

func TestBadDevOptions(t *testing.T) {
	for _, o := range []Options{{Nodes: 0, Base: "127.0.0.1"}, {Nodes: 99, Base: "127.0.0.1"}, {Nodes: 1, Base: "10.0.0.1"}, {Nodes: 3, Base: "127.0.0.253"}, {Nodes: 1, Base: "x"}} {
		if _, err := o.plan("linux"); err == nil {
			t.Errorf("accepted %+v", o)
		}
	}
}

// TestAgain: without a number of nodes those run that have data, and of the first
// three those that have not left.
func TestAgain(t *testing.T) {
	for _, c := range []struct {
		dirs []string
		wipe bool
		want string
	}{
		{nil, false, "n1 n2 n3"},
		{[]string{"n1", "n2", "n3", "n4"}, false, "n1 n2 n3 n4"},
		{[]string{"n1", "n2", "n3", "n4.left"}, false, "n1 n2 n3"},
		{[]string{"n1", "n2.left", "n3", "n4", "n5.left"}, false, "n1 n3 n4"},
		{[]string{"n1.left", "n2", "n3"}, false, "n2 n3"},
		{[]string{"n1", "n2.left", "n2"}, false, "n1 n2 n3"},
		{[]string{"n1", "n2.left", "n4"}, true, "n1 n2 n3"},
	} {
		dir := t.TempDir()
		for _, name := range c.dirs {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		plan, err := Options{Nodes: 3, Again: true, Base: "127.0.0.1", Dir: dir, Wipe: c.wipe, Ports: usual}.plan("linux")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, n := range plan {
			names = append(names, n.name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%v: %s, want %s", c.dirs, got, c.want)
		}
	}
}
