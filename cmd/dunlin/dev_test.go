package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPlanDev(t *testing.T) {
	dir := t.TempDir()
	plan, err := planDev(devOptions{nodes: 3, base: "127.0.0.1", dir: dir}, "linux")
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
	elsewhere, err := planDev(devOptions{nodes: 2, base: "127.0.0.1", dir: dir}, "darwin")
	if err != nil || elsewhere[1].host != "127.0.0.1" || elsewhere[1].http != 7490 || !slices.Contains(elsewhere[1].args(), "7490") {
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
	plan, err := planDev(devOptions{nodes: 3, base: "127.0.0.1", dir: dir}, "linux")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range plan {
		if slices.Contains(n.args(), "--bootstrap") {
			t.Errorf("%s would bootstrap", n.name)
		}
	}
	if wiped, _ := planDev(devOptions{nodes: 3, base: "127.0.0.1", dir: dir, wipe: true}, "linux"); !slices.Contains(wiped[0].args(), "--bootstrap") {
		t.Error("with --wipe the first node must bootstrap")
	}
}

func TestWipeTouchesOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"n1", "n12", "notes", "n1x"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := wipeDev([]devNode{{dir: filepath.Join(dir, "n1")}}); err != nil {
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
	for _, o := range []devOptions{{nodes: 0, base: "127.0.0.1"}, {nodes: 99, base: "127.0.0.1"}, {nodes: 1, base: "10.0.0.1"}, {nodes: 3, base: "127.0.0.253"}, {nodes: 1, base: "x"}} {
		if _, err := planDev(o, "linux"); err == nil {
			t.Errorf("accepted %+v", o)
		}
	}
}
