package main

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/schema"
)

// fakeCluster is the node behind an admin port: three members, of which the third is
// dead. A change is done at once.
type fakeCluster struct {
	admin.Healing // not asked
	members       []admin.Member
	progress      *admin.ChangeProgress
	aborts        bool // changes are dropped as soon as they begin
	err           error
	asked         []admin.ChangeRequest // of Change
	recovered     []admin.RecoverRequest
	prepared      bool // a replace of the third is
	done          bool // all that is asked for
	survivors     []string
}

func newFakeCluster() *fakeCluster {
	member := func(id, host string) admin.Member {
		return admin.Member{ID: id, HTTP: host + ":7480", Internode: host + ":7481", Zone: "z1", Datacenter: "dc1", State: "normal", Alive: true, RangesOwned: 341, ReplicasHeld: 1024}
	}
	c := &fakeCluster{members: []admin.Member{
		member("0f125b0b-9d1e-4000-8000-000000000001", "10.0.0.1"), member("0f12ffff-9d1e-4000-8000-000000000002", "10.0.0.2"),
		member("461eee54-9d1e-4000-8000-000000000003", "10.0.0.3"),
	}}
	c.members[0].Self = true
	c.members[2].Alive, c.members[2].Detail = false, "no connection"
	return c
}

func (c *fakeCluster) Unready() []string                                       { return nil }
func (c *fakeCluster) SetTable(context.Context, string, schema.Settings) error { return nil }
func (c *fakeCluster) Progress(context.Context) (*admin.ChangeProgress, error) {
	return c.progress, nil
}
func (c *fakeCluster) Abort(context.Context) (a admin.Aborted, err error) {
	switch {
	case c.progress != nil:
		a = admin.Aborted{Aborted: true, Kind: c.progress.Kind, Change: c.progress.ID}
	case c.prepared:
		a = admin.Aborted{Aborted: true, Kind: admin.KindReplace}
	}
	return a, c.err
}
func (c *fakeCluster) Plan(_ context.Context, r admin.ChangeRequest) (admin.LayoutPlan, error) {
	return c.plan(r), c.err
}

func (c *fakeCluster) Status() (admin.Status, error) {
	s := admin.Status{
		Cluster: "flock", ClusterID: "c1", Generation: 2, CatalogVersion: 9, Sealed: true, Node: c.members[0].ID, Version: "v1", Boot: 1, Ready: true,
		Members: c.members, Removed: []admin.Removed{{ID: "7abcdef0-9d1e-4000-8000-000000000004", Kind: admin.KindReplace, CatalogVersion: 8}},
	}
	if c.prepared {
		s.Replacing = c.members[2].ID
		s.Recoveries = []admin.Recovery{{Generation: 2, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), By: c.members[0].ID, Reason: "fire", Survivors: c.survivors}}
	}
	return s, nil
}

func (c *fakeCluster) Layout() *admin.Layout {
	return &admin.Layout{Keyspaces: []admin.KeyspaceLayout{{Keyspace: "dunlin", Strategy: "NetworkTopologyStrategy"}, {Keyspace: "plain", Strategy: "SimpleStrategy"}}}
}

func (c *fakeCluster) plan(r admin.ChangeRequest) admin.LayoutPlan {
	return admin.LayoutPlan{
		Kind: r.Kind, Ranges: 12, BytesEstimate: 3 << 20,
		Nodes: []admin.NodePlan{{ID: c.members[1].ID, Zone: "z1", ReplicasBefore: 1012, ReplicasAfter: 1024, Gains: 12, BytesIn: 3 << 20}},
	}
}

func (c *fakeCluster) Change(_ context.Context, r admin.ChangeRequest) (admin.LayoutPlan, error) {
	c.asked = append(c.asked, r)
	plan := c.plan(r)
	if c.done {
		return admin.LayoutPlan{Kind: r.Kind, Done: true}, nil
	}
	if plan.Started = true; r.Kind != admin.KindReplace {
		plan.Change = 17
	}
	if !c.aborts && c.err == nil && r.Kind != admin.KindReplace {
		c.members = c.members[:2]
	}
	return plan, c.err
}

func (c *fakeCluster) Recover(_ context.Context, r admin.RecoverRequest) error {
	if !r.DryRun {
		c.recovered = append(c.recovered, r)
	}
	return c.err
}

// port serves the cluster's admin port until the test ends.
func (c *fakeCluster) port(t *testing.T) (url string) {
	t.Helper()
	server, err := admin.New(admin.Env{Node: c, Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	port := httptest.NewServer(server)
	t.Cleanup(port.Close)
	return port.URL
}

// command runs a command line against a cluster, and returns what it printed.
func (c *fakeCluster) command(t *testing.T, line string) (out, loud string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := newRootCommand()
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetArgs(append(strings.Fields(line), "--admin", c.port(t)))
	err = root.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

const planned = `12 ranges change replicas, about 3.0 MiB are copied

NODE      ZONE  REPLICAS  THEN  GAINS  LOSES  COPIES IN  
0f12ffff  z1    1012      1024  +12    0      3.0 MiB    

`

const onItsWay = `Change 17 is on its way. Follow it:  dunlin layout status --watch
Drop it, until reads ask the new replicas:  dunlin layout abort
`

func TestChangeCommands(t *testing.T) {
	const node = "461eee54-9d1e-4000-8000-000000000003"
	for _, c := range []struct {
		line string
		want string
		asks admin.ChangeRequest // none: nothing is changed
	}{
		{"node decommission 461", "decommission: " + planned + onItsWay, admin.ChangeRequest{Kind: "decommission", Node: node}},
		{"node decommission 461 --wait", "decommission: " + planned + onItsWay + "done\n", admin.ChangeRequest{Kind: "decommission", Node: node}},
		{"node decommission 461 --dry-run --wait", "decommission: " + planned + "Nothing was changed (--dry-run).\n", admin.ChangeRequest{}},
		{"node remove 461 --yes", "remove: " + planned + onItsWay, admin.ChangeRequest{Kind: "remove", Node: node}},
		{"node remove 461 --dry-run", "remove: " + planned + "Nothing was changed (--dry-run).\n", admin.ChangeRequest{}},
		{"node zone 461 z2", "zone: " + planned + onItsWay, admin.ChangeRequest{Kind: "zone", Node: node, Zone: "z2"}},
		{"node replace 461", "replace: " + planned + "The next node that joins takes its ranges. Start the new machine, with an empty data directory:\n" +
			"  dunlin serve --join 10.0.0.1:7481 --zone z1 --datacenter dc1\nTake it back:  dunlin layout abort\n", admin.ChangeRequest{Kind: "replace", Node: node}},
		{"layout plan --add z1 --remove 461", "join: " + planned + "Nothing was changed (--dry-run).\n", admin.ChangeRequest{}},
		{"keyspace replication dunlin 2", "replication: " + planned + onItsWay,
			admin.ChangeRequest{Kind: "replication", Keyspace: "dunlin", Factors: map[string]int{"dc1": 2}}},
		{"keyspace replication plain 2", "replication: " + planned + onItsWay,
			admin.ChangeRequest{Kind: "replication", Keyspace: "plain", Factors: map[string]int{"": 2}}},
	} {
		f := newFakeCluster()
		out, _, err := f.command(t, c.line)
		if err != nil || out != c.want {
			t.Errorf("%s: %v\n%s", c.line, err, out)
		}
		var asked admin.ChangeRequest
		if len(f.asked) > 0 {
			asked = f.asked[0]
		}
		if asked.Kind != c.asks.Kind || asked.Node != c.asks.Node || asked.Zone != c.asks.Zone || asked.Keyspace != c.asks.Keyspace || !maps.Equal(asked.Factors, c.asks.Factors) {
			t.Errorf("%s asked for %+v", c.line, asked)
		}
	}
}

// TestDoneAlready: a command that is repeated says so, and tells to do nothing.
func TestDoneAlready(t *testing.T) {
	for _, line := range []string{"node decommission 7ab", "node replace 7ab", "node zone 461 z1 --wait", "node remove 7ab --yes"} {
		f := newFakeCluster()
		f.done = true
		out, _, err := f.command(t, line)
		if err != nil || !strings.HasSuffix(out, "\nThere is nothing to do: it is done already.\n") || strings.Contains(out, "--join") {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

// TestPrepared: that a node is to be replaced is told until one joins, and a recovery
// for ever.
func TestPrepared(t *testing.T) {
	const replacing = "node 461eee54 is to be replaced: the next node that joins, in zone z1 of datacenter dc1, takes its ranges (take it back: dunlin layout abort)\n"
	for _, c := range []struct {
		line, want string
		alive      bool
	}{
		{"layout status", "no change of the layout is on its way\n" + replacing, false},
		{"status", replacing + "RECOVERED by force at 2026-01-02 03:04:05Z (generation 2, asked of 0f125b0b): fire\n\n", false},
		{"status", replacing + "WARNING: node 461eee54 is alive: no node can take its ranges", true},
		{"layout abort", "taken back: replace, which was prepared", false},
	} {
		f := newFakeCluster()
		f.prepared, f.members[2].Alive = true, c.alive
		if out, _, err := f.command(t, c.line); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v\n%s", c.line, err, out)
		}
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		line    string
		prepare func(*fakeCluster)
		want    string
		changes int
	}{
		{"node remove 461", nil, "confirm with --yes", 0},
		{"node decommission 0f12", nil, "give more of the id", 0},
		{"node decommission x", nil, `no member's id begins with "x"`, 0},
		{"node decommission 461", func(c *fakeCluster) { c.err = errors.New("too few would stay") }, "node decommission: too few would stay (400)", 1},
		{"node decommission 461 --wait", func(c *fakeCluster) { c.aborts = true }, "node decommission: the change was aborted", 1},
		{"layout plan", nil, "give --add ZONE", 0},
		{"layout abort", func(c *fakeCluster) { c.err = errors.New("it is flipped") }, "layout abort: it is flipped (400)", 0},
		{"layout abort --dry-run", func(c *fakeCluster) { c.progress = &admin.ChangeProgress{ID: 17, Phase: "flipped"} }, "cannot be aborted any more", 0},
		{"keyspace replication other 2", nil, "there is no keyspace other; there are dunlin, plain", 0},
		{"keyspace replication dunlin dc2=2", nil, `there is no datacenter "dc2"; there are dc1`, 0},
		{"recover --cluster flock --survivor 0f125 --reason fire", nil, "repeat it with --force", 0},
		{"recover --cluster flock --survivor 0f125 --reason fire", func(c *fakeCluster) { c.err = errors.New("a majority survives") }, "recover: a majority survives (400)", 0},
		{"recover --force --cluster rock --survivor 0f125 --reason fire", nil, `belongs to cluster "flock", not "rock"`, 0},
		{"recover --force --cluster flock --survivor 0f125", nil, "--reason TEXT", 0},
		{"recover --force --cluster flock --survivor 0f12 --reason fire", nil, "give more of the id", 0},
	} {
		f := newFakeCluster()
		if c.prepare != nil {
			c.prepare(f)
		}
		_, _, err := f.command(t, c.line)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(f.asked) != c.changes || len(f.recovered) > 0 {
			t.Errorf("%s: %v; asked for %v %v", c.line, err, f.asked, f.recovered)
		}
	}
}

func TestLayoutStatus(t *testing.T) {
	progress := &admin.ChangeProgress{
		ID: 17, Kind: "remove", Phase: "streaming", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Ranges: 10, Done: 5, BytesTotal: 10 << 20, BytesDone: 4 << 20,
		Waiting: []string{"node 0f12ffff does not answer: start it again"},
	}
	const line = "remove (change 17), streaming: 50%, 4.0 MiB of about 10.0 MiB\n"
	const waits = "WAITING: node 0f12ffff does not answer: start it again\n"
	for _, c := range []struct {
		line     string
		progress *admin.ChangeProgress
		want     string
	}{
		{"layout status", nil, "no change of the layout is on its way\n"},
		{"layout status --watch", nil, "no change of the layout is on its way\n"},
		{"layout status --watch -o json", nil, ""},
		{"layout status -o json", nil, "null\n"},
		{"layout status", progress, line + "5 replicas of 10 complete; since 2026-01-02 03:04:05Z\n" + waits},
		{"layout plan --add z1 -o json", nil, `{
  "bytes_estimate": 3145728,
  "done": false,
  "kind": "join",
  "nodes": [
    {
      "bytes_in": 3145728,
      "gains": 12,
      "id": "0f12ffff-9d1e-4000-8000-000000000002",
      "loses": 0,
      "replicas_after": 1024,
      "replicas_before": 1012,
      "zone": "z1"
    }
  ],
  "ranges": 12,
  "started": false
}
`},
		{"layout abort", progress, "aborted: remove (change 17); the layout is as it was before\n"},
		{"layout abort -o json", progress, "{\n  \"aborted\": true,\n  \"kind\": \"remove\",\n  \"change\": 17\n}\n"},
		{"layout abort --dry-run", progress, "this would be dropped: remove (change 17)\nNothing was changed (--dry-run).\n"},
		{"layout abort --dry-run -o json", progress, "{\n  \"aborted\": false,\n  \"kind\": \"remove\",\n  \"change\": 17\n}\n"},
		{"layout abort", nil, "no change of the layout is on its way: there is nothing to abort\n"},
		{"layout abort --dry-run", nil, "no change of the layout is on its way: there is nothing to abort\n"},
		{"layout abort -o json", nil, "{\n  \"aborted\": false\n}\n"},
		{"status", progress, `cluster flock (c1), catalog version 9, sealed: holds data
this node: 0f125b0b, version v1, boot 1, up 0s, 0 B on disk, about 0 rows
change of the layout: ` + line + waits + `
MEMBER    HTTP           ZONE  STATE   ALIVE            SINCE  RANGES OWNED  REPLICAS HELD  
0f125b0b  10.0.0.1:7480  z1    normal  yes (this node)  -      341           1024           
0f12ffff  10.0.0.2:7480  z1    normal  yes              -      341           1024           
461eee54  10.0.0.3:7480  z1    normal  NO               -      341           1024           no connection

TABLE  ON THIS DISK  WINDOWS  RETENTION
`},
	} {
		f := newFakeCluster()
		f.progress = c.progress
		if out, _, err := f.command(t, c.line); err != nil || out != c.want {
			t.Errorf("%s: %v\n%s", c.line, err, out)
		}
	}
}

func TestRecover(t *testing.T) {
	f := newFakeCluster()
	_, loud, err := f.command(t, "recover --force --cluster flock --survivor 0f125 --survivor 461 --reason fire")
	const want = `RECOVERY of cluster flock (c1), generation 2 becomes 3. This cannot be undone.
  0f125b0b  10.0.0.1:7480  survives
  0f12ffff  10.0.0.2:7480  LOST for good (BUT IT IS ALIVE as this node sees it: stop it first)
  461eee54  10.0.0.3:7480  survives (BUT IS NOT ALIVE as this node sees it)
RECOVERED. Wipe the lost nodes before any of them is started again. The survivors fill up what
the others held; follow it:  dunlin layout status --watch
`
	if err != nil || loud != want {
		t.Errorf("%v\n%s", err, loud)
	}
	if len(f.recovered) != 1 || f.recovered[0].ClusterName != "flock" || f.recovered[0].Reason != "fire" || len(f.recovered[0].Survivors) != 2 ||
		f.recovered[0].Survivors[1] != f.members[2].ID {
		t.Errorf("asked for %v", f.recovered)
	}
}

// TestRecoveredAlready: nothing is asked for twice.
func TestRecoveredAlready(t *testing.T) {
	f := newFakeCluster()
	f.prepared = true
	for _, m := range f.members[:2] {
		f.survivors = append(f.survivors, m.ID)
	}
	out, loud, err := f.command(t, "recover --force --cluster flock --survivor 0f12f --survivor 0f125 --reason fire -o json")
	if err != nil || len(f.recovered) > 0 || !strings.Contains(out, `"recovered": true`) || !strings.Contains(loud, "it was done already, at 2026-01-02") {
		t.Errorf("%v; asked for %v\n%s%s", err, f.recovered, out, loud)
	}
	f.members[2].Voter = true // has joined since
	if _, _, err := f.command(t, "recover --force --cluster flock --survivor 0f12f --survivor 0f125 --reason fire"); err != nil || len(f.recovered) != 1 {
		t.Errorf("%v; asked for %v", err, f.recovered)
	}
}

func TestParseFactors(t *testing.T) {
	for _, c := range []struct {
		argument    string
		datacenters []string
		want        map[string]int
	}{
		{"3", []string{"dc1"}, map[string]int{"dc1": 3}},
		{"3", []string{""}, map[string]int{"": 3}},
		{"a=3,b=2", []string{"a", "b"}, map[string]int{"a": 3, "b": 2}},
		{"3", []string{"a", "b"}, nil},
		{"0", []string{"a"}, nil},
		{"x", []string{"a"}, nil},
		{"a=", []string{"a"}, nil},
		{"a=3,a=2", []string{"a"}, nil},
		{"a=3,", []string{"a"}, nil},
		{"c=3", []string{"a"}, nil},
	} {
		got, err := parseFactors(c.argument, c.datacenters)
		if (err == nil) != (c.want != nil) || !maps.Equal(got, c.want) {
			t.Errorf("%s of %q: %v %v", c.argument, c.datacenters, got, err)
		}
	}
}
