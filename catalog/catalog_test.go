package catalog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// within is a context for one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestBootstrapJoinSealRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 1)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		c := nodes[1].catalog
		d := c.Document()
		if d.Version != 3 || len(d.Layout.Members) != 3 || len(d.Layout.Voters()) != 3 || d.Sealed || len(d.GossipKey) != 32 {
			t.Fatalf("version %d with %d members, %d voters, sealed %v", d.Version, len(d.Layout.Members), len(d.Layout.Voters()), d.Sealed)
		}
		if err := c.Seal(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		if v := c.View(); !v.Sealed || v.Version != 4 || v.Cluster != d.Cluster || v.TableNamed("dunlin", "events") == nil {
			t.Fatalf("the view after sealing: %+v", v.Identity)
		}
		if err := c.Seal(within(t, time.Minute)); err != nil || c.Version() != 4 {
			t.Fatalf("sealing again: version %d, %v", c.Version(), err)
		}
		f.settle(nodes)
		self, before := c.Self(), c.Fact()
		for _, n := range nodes {
			n.crash()
		}
		for _, n := range nodes {
			n.start()
		}
		if c := nodes[1].catalog; c.Self() != self || c.Fact() != before || !c.View().Sealed {
			t.Fatalf("after a restart node %s has %+v, before %s had %+v", c.Self(), c.Fact(), self, before)
		}
		if err := nodes[1].catalog.Join(within(t, time.Minute), []string{nodes[0].address}); err != nil {
			t.Errorf("a member that is told to join: %v", err)
		}
		if err := nodes[1].catalog.Bootstrap(within(t, time.Minute)); err != nil || nodes[1].catalog.Document().Cluster != d.Cluster {
			t.Errorf("a member that is told to bootstrap: %v", err)
		}
	})
}

func TestManyJoinAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 2)
		f.loss = 0.1
		first := f.node(1).start()
		all := []*node{first}
		defer func() { stopAll(all) }()
		var wg sync.WaitGroup
		for i := range 4 {
			n := f.node(i + 2).start()
			// Seeds of all kinds: the first node, one that is joining itself, one
			// that does not exist.
			seeds := [][]string{{first.address}, {"10.0.0.2:7481", first.address}, {"10.0.0.99:7481", first.address}}[i%3]
			all = append(all, n)
			wg.Go(func() {
				if err := n.catalog.Join(within(t, 10*time.Minute), seeds); err != nil {
					t.Errorf("node at %s: %v", n.address, err)
				}
			})
		}
		// Joiners that come before the cluster exists wait for it.
		time.Sleep(5 * time.Second)
		if err := first.catalog.Bootstrap(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		f.heal()
		f.settle(all)
		d := first.catalog.Document()
		if len(d.Layout.Members) != 5 || len(d.Layout.Voters()) != 5 || d.Version != 5 {
			t.Fatalf("version %d has %d members, %d voters", d.Version, len(d.Layout.Members), len(d.Layout.Voters()))
		}
		owned := map[uint16]int{}
		for _, o := range d.Layout.Owners {
			owned[o]++
		}
		if len(owned) != 5 {
			t.Fatalf("%d of 5 members own ranges", len(owned))
		}
	})
}

// TestConcurrentProposers: everybody changes the catalog at once on a bad network;
// nothing that succeeded is lost.
func TestConcurrentProposers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 3)
		nodes := f.cluster(5)
		defer func() { stopAll(nodes) }()
		f.set(func() { f.loss, f.delay = 0.1, 50*time.Millisecond })
		var wg sync.WaitGroup
		for i, n := range nodes {
			name := "k" + string(rune('a'+i))
			wg.Go(func() {
				if err := n.catalog.Seal(within(t, 10*time.Minute)); err != nil {
					t.Errorf("seal: %v", err)
				}
				if err := n.catalog.Propose(within(t, 10*time.Minute), withKeyspace(name)); err != nil {
					t.Errorf("propose %s: %v", name, err)
				}
			})
		}
		wg.Wait()
		f.heal()
		f.settle(nodes)
		d := nodes[0].catalog.Document()
		if len(d.Schema.Keyspaces) != 6 || !d.Sealed || d.Version != 5+1+5 {
			t.Fatalf("version %d has %d keyspaces, sealed %v", d.Version, len(d.Schema.Keyspaces), d.Sealed)
		}
	})
}

// withKeyspace adds a keyspace unless it is there: a change that two proposers can
// both make.
func withKeyspace(name string) func(Document) (Document, error) {
	return func(d Document) (Document, error) {
		if d.Schema.Keyspace(name) != nil {
			return d, ErrUnchanged
		}
		d.Schema.Keyspaces = append(d.Schema.Keyspaces, schema.Keyspace{
			Name:        name,
			Replication: ring.Placement{Strategy: ring.SimpleStrategy, Factors: map[string]int{"": 1}},
		})
		return d, nil
	}
}

func TestMinorityCannotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 4)
		nodes := f.cluster(5)
		defer func() { stopAll(nodes) }()
		f.cut(nodes[:2], nodes[2:])
		err := nodes[0].catalog.Propose(within(t, 20*time.Second), withKeyspace("minority"))
		var none *NoMajorityError
		if !errors.As(err, &none) || none.Need != 3 || none.Alive != 2 {
			t.Fatalf("in the minority: %v", err)
		}
		if v := nodes[0].catalog.View(); v == nil || v.Version != 5 {
			t.Fatal("the minority no longer serves by what it has")
		}
		if err := nodes[3].catalog.Propose(within(t, 20*time.Second), withKeyspace("majority")); err != nil {
			t.Fatalf("in the majority: %v", err)
		}
		f.heal()
		// The minority's change was not decided; proposing it again is another version.
		if err := nodes[0].catalog.Propose(within(t, time.Minute), withKeyspace("minority")); err != nil {
			t.Fatal(err)
		}
		f.settle(nodes)
		if d := nodes[4].catalog.Document(); d.Version != 7 || d.Schema.Keyspace("minority") == nil || d.Schema.Keyspace("majority") == nil {
			t.Fatalf("version %d with keyspaces %v", d.Version, d.Schema.Keyspaces)
		}
	})
}

// TestCrashBetweenPromiseAndAccept: a proposer dies after one voter accepted its
// document. Whoever proposes next with that voter must complete it first, also when
// the voter was restarted in between.
func TestCrashBetweenPromiseAndAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 5)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		a, b, c := nodes[0], nodes[1], nodes[2]
		f.set(func() {
			f.drop = func(from, to, kind string) bool {
				return kind == callAccept && from == a.address && to != b.address || // reaches b only
					kind == callAccept && from == b.address || // and a never hears of it
					kind == callLearn
			}
		})
		// a's own vote is not counted either: it cannot be stored.
		a.meta.breaks(acceptorKey, errors.New("the disk is full"))
		if err := a.catalog.Propose(within(t, 3*time.Second), withKeyspace("orphan")); err == nil {
			t.Fatal("a proposal without a majority succeeded")
		}
		a.crash()
		a.meta.breaks(acceptorKey, nil)
		raw, _, _ := b.meta.Get(acceptorKey)
		if strings.Contains(string(raw), `"value":null`) {
			t.Fatalf("node b accepted nothing: %s", raw)
		}
		b.crash()
		f.heal()
		b.start()
		if err := c.catalog.Propose(within(t, time.Minute), withKeyspace("next")); err != nil {
			t.Fatal(err)
		}
		a.start()
		f.settle(nodes)
		d := a.catalog.Document()
		if d.Schema.Keyspace("orphan") == nil || d.Schema.Keyspace("next") == nil || d.Version != 5 {
			t.Fatalf("version %d with keyspaces %v", d.Version, d.Schema.Keyspaces)
		}
	})
}

// TestAddressesOfOthers: a node is started where another was. That is recorded only if
// the node itself answers there; then it is, although the other one is recorded there too.
func TestAddressesOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 8)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		a, b := nodes[1], nodes[2]
		recorded := func(of *node) string {
			m, _ := nodes[0].catalog.Document().Member(of.catalog.Self())
			return m.Internode
		}
		b.crash()
		b.config = func(c *Config) { c.Addresses.Internode = a.address } // by mistake
		b.start()
		time.Sleep(time.Minute)
		if got := recorded(b); got != "10.0.0.3:7481" {
			t.Errorf("a node is recorded at %s, where another one answers", got)
		}
		a.crash()
		b.crash()
		b.config, b.address = nil, a.address
		f.set(func() { f.nodes = map[string]*node{nodes[0].address: nodes[0], b.address: b} })
		b.start()
		time.Sleep(time.Minute)
		if got := recorded(b); got != b.address {
			t.Errorf("a node is recorded at %s, and answers at %s", got, b.address)
		}
		a.address = "10.0.0.3:7481"
		f.set(func() { f.nodes[a.address] = a })
		a.start()
		time.Sleep(time.Minute)
		f.settle(nodes)
		if recorded(a) != a.address || recorded(b) != b.address {
			t.Errorf("recorded at %s and %s", recorded(a), recorded(b))
		}
	})
}

// TestVotersElsewhere: no voter is where it is recorded, but their transports have found them.
// They agree on where they are.
func TestVotersElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 9)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		met, addresses, found := map[ring.NodeID]string{}, map[string]*node{}, []string{}
		for i, n := range nodes {
			found = append(found, nodes[(i+1)%3].address)
			met[n.catalog.Self()] = found[i]
			addresses[found[i]] = n
			n.crash()
		}
		f.set(func() { f.nodes = addresses })
		for i, n := range nodes {
			n.address, n.met = found[i], met
		}
		for _, n := range nodes {
			n.start()
		}
		time.Sleep(time.Minute)
		f.settle(nodes)
		for _, m := range nodes[0].catalog.Document().Layout.Members {
			if m.Internode != met[m.ID] {
				t.Errorf("a node is recorded at %s, and is at %s", m.Internode, met[m.ID])
			}
		}
	})
}

func TestJoinIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 6)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()

		thief := f.node(9)
		thief.address = "10.0.0.8:7481" // the fabric knows it under another address
		f.set(func() { f.nodes[thief.address] = thief })
		thief.config = func(c *Config) { c.Addresses.Internode = nodes[1].address }
		thief.start()
		err := thief.catalog.Join(within(t, time.Minute), []string{nodes[0].address})
		if err == nil || !permanent(err) || !strings.Contains(err.Error(), "advertised address") {
			t.Errorf("a joiner that advertises another node's address: %v", err)
		}
		thief.crash()

		far := f.node(7)
		far.config = func(c *Config) { c.Addresses.Internode = "10.9.9.9:7481" }
		far.start()
		err = far.catalog.Join(within(t, 20*time.Second), []string{nodes[0].address})
		if err == nil || permanent(err) || !strings.Contains(err.Error(), "cannot be reached") {
			t.Errorf("a joiner that cannot be reached: %v", err)
		}
		far.crash()

		double, copied := f.node(11).start(), newFabric(t, 7).node(12)
		copied.meta = double.meta.copy()
		copied.start()
		f.set(func() { f.nodes[copied.address] = copied })
		if err := copied.catalog.Bootstrap(t.Context()); err != nil {
			t.Fatal(err)
		}
		double.crash()
		double.config = func(c *Config) { c.Addresses.Internode = copied.address }
		double.start()
		err = double.catalog.Join(within(t, time.Minute), []string{nodes[0].address})
		if err == nil || !permanent(err) || !strings.Contains(err.Error(), "belongs to cluster") {
			t.Errorf("a joiner that is of another cluster where it can be reached: %v", err)
		}
		double.crash()
		copied.crash()

		if err := nodes[0].catalog.Seal(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		late := f.node(10).start()
		if err := late.catalog.Join(within(t, time.Minute), []string{nodes[2].address}); err != nil {
			t.Errorf("a joiner after the first write: %v", err)
		}
		if m, _ := late.catalog.Document().Member(late.catalog.Self()); m.State != ring.Joining || m.Voter {
			t.Errorf("it is %+v", m)
		}
		late.crash()
	})
}

func TestSealNeedsMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 7)
		nodes := f.cluster(2)
		defer func() { stopAll(nodes) }()
		var few *TooFewMembersError
		err := nodes[0].catalog.Seal(within(t, time.Minute))
		if !errors.As(err, &few) || few.Members != 2 || few.Factor != 3 || !strings.Contains(err.Error(), "--replication-factor 2") {
			t.Fatalf("two members, three replicas: %v", err)
		}
		if nodes[0].catalog.Version() != 2 {
			t.Error("the refused seal changed the document")
		}
	})
}

// TestRestartWithOtherAddresses: the others learn where the node is now.
func TestRestartWithOtherAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 8)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		n := nodes[2]
		n.crash()
		n.address = "10.7.7.7:7481"
		f.set(func() { f.nodes[n.address] = n; delete(f.nodes, "10.0.0.3:7481") })
		n.start()
		time.Sleep(time.Minute)
		f.settle(nodes)
		if m, _ := nodes[0].catalog.Document().Member(n.catalog.Self()); m.Internode != n.address || m.HTTP != "10.7.7.7:7480" {
			t.Errorf("the others have %+v", m.Addresses)
		}
	})
}

func TestLearnAndCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 9)
		nodes := f.cluster(4)
		defer func() { stopAll(nodes) }()
		behind := nodes[3]
		f.cut(nodes[:3])
		if err := nodes[0].catalog.Seal(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		f.heal()
		if v := behind.catalog.Version(); v != 4 {
			t.Fatalf("the node that was cut off has version %d", v)
		}
		if err := behind.catalog.CatchUp(within(t, time.Minute), nodes[1].catalog.Self(), 5); err != nil || !behind.catalog.View().Sealed {
			t.Fatalf("catching up: %v", err)
		}
		if err := behind.catalog.CatchUp(within(t, time.Minute), nodes[1].catalog.Self(), 6); err == nil {
			t.Fatal("caught up with a version that nobody has")
		}

		f.cut(nodes[:3])
		if err := nodes[0].catalog.SetTable(within(t, time.Minute), "dunlin.events", keepFor(30*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		f.heal()
		behind.catalog.LearnFact(nodes[2].catalog.Self(), nodes[2].catalog.Fact())
		time.Sleep(100 * time.Millisecond)
		if v := behind.catalog.Version(); v != 6 {
			t.Fatalf("after word of version 6: version %d", v)
		}

		other := nodes[2].catalog.Fact()
		other.Hash[0]++
		behind.catalog.LearnFact(nodes[2].catalog.Self(), other)
		if n := testutil.ToFloat64(behind.catalog.metrics.conflicts); n != 1 {
			t.Errorf("%v conflicts counted", n)
		}
	})
}

// keepFor is a change of a table's retention.
func keepFor(d time.Duration) schema.Settings { return schema.Settings{Retention: &d} }

func TestRetentionAndFloors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 10)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		c := nodes[1].catalog
		for _, table := range []string{"events", "dunlin.", "dunlin.nothing"} {
			if err := c.SetTable(within(t, time.Minute), table, keepFor(time.Hour)); err == nil {
				t.Errorf("retention of table %q was set", table)
			}
		}
		month := 30 * 24 * time.Hour
		if err := c.SetTable(within(t, time.Minute), "dunlin.events", keepFor(month)); err != nil {
			t.Fatal(err)
		}
		now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
		if err := c.AdvanceFloors(within(t, time.Minute), now); err != nil {
			t.Fatal(err)
		}
		floor := c.View().Table(schema.EventsTable).Floor
		if floor == 0 {
			t.Fatal("no floor")
		}
		version := c.Version()
		if err := c.AdvanceFloors(within(t, time.Minute), now.Add(time.Minute)); err != nil || c.Version() != version {
			t.Errorf("a minute later: version %d, %v", c.Version(), err)
		}
		if err := c.SetTable(within(t, time.Minute), "dunlin.events", keepFor(0)); err != nil {
			t.Fatal(err)
		}
		if got := c.View().Table(schema.EventsTable).Floor; got != floor {
			t.Errorf("raising the retention moved the floor from %d to %d", floor, got)
		}
	})
}

// TestFailedAdoptionIsTriedAgain: a document that the node could not switch to is
// not shown, and comes again.
func TestFailedAdoptionIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 11)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		failures := 0
		nodes[1].adopt = func(*schema.View) error {
			if failures++; failures < 3 {
				return errors.New("committers are busy")
			}
			return nil
		}
		if err := nodes[0].catalog.Seal(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if nodes[1].catalog.View().Sealed {
			t.Fatal("a document is shown that the node did not switch to")
		}
		f.settle(nodes)
		if !nodes[1].catalog.View().Sealed || failures < 3 {
			t.Errorf("after %d tries sealed is %v", failures, nodes[1].catalog.View().Sealed)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 12)
		nodes := f.cluster(1)
		defer func() { stopAll(nodes) }()
		other := newFabric(t, 13)
		strangers := other.cluster(1)
		defer func() { stopAll(strangers) }()
		n := nodes[0]
		n.crash()
		raw, _, _ := n.meta.Get(documentKey)
		for _, tc := range []struct {
			name   string
			change func(*node)
			want   string
		}{
			{"newer format", func(n *node) {
				n.meta.values[documentKey] = []byte(strings.Replace(string(raw), `"format":2`, `"format":3,"layout2":{}`, 1))
			}, "start a newer version"},
			{"garbage", func(n *node) { n.meta.values[documentKey] = []byte("{") }, "cannot be read"},
			{"somebody else's document", func(n *node) {
				stolen, _, _ := strangers[0].meta.Get(documentKey)
				n.meta.values[documentKey] = stolen
			}, "does not have this node"},
			{"another zone", func(n *node) { n.config = func(c *Config) { c.Zone = "z9" } }, `is a member in zone "z1"`},
			{"no zone", func(n *node) { n.config = func(c *Config) { c.Zone = "" } }, "zone has 0 bytes"},
			{"garbage as acceptor", func(n *node) { n.meta.values[acceptorKey] = []byte("1") }, "acceptor on disk"},
			{"garbage as id", func(n *node) { n.meta.values[nodeKey] = []byte("n1") }, "no UUID"},
		} {
			broken := &node{f: f, address: n.address, meta: n.meta.copy(), store: n.store}
			tc.change(broken)
			if _, err := broken.open(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: more than one line: %v", tc.name, err)
			}
		}
		n.start()
		// A directory of one cluster, started towards another.
		f.set(func() { f.nodes["10.5.5.5:7481"] = strangers[0] })
		err := n.catalog.Join(within(t, time.Minute), []string{"10.5.5.5:7481"})
		var foreign *ForeignError
		if !errors.As(err, &foreign) {
			t.Errorf("seeds of another cluster: %v", err)
		}
	})
}

func TestMetricsFollowConventions(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := newMetrics(reg)
	m.proposals.WithLabelValues("decided").Inc()
	m.pulls.WithLabelValues("newer").Inc()
	m.refusals.WithLabelValues("boot").Inc()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestDocumentsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 14)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		c := nodes[0].catalog
		if err := c.Seal(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name   string
			change func(*Document)
		}{
			{"another cluster", func(d *Document) { d.Cluster[0]++ }},
			{"opened again", func(d *Document) { d.Sealed = false }},
			{"a member less", func(d *Document) { d.Layout.Members = d.Layout.Members[:2] }},
			{"a vote less", func(d *Document) { d.Layout.Members[1].Voter = false }},
			{"another zone", func(d *Document) { d.Layout.Members[1].Zone = "z2" }},
			{"another owner", func(d *Document) { d.Layout.Owners[7] = 2 - d.Layout.Owners[7]/2 }},
			{"a range touched", func(d *Document) { d.Layout.ChangedAt[7]++ }},
			{"a range of the future", func(d *Document) { d.Layout.ChangedAt[7] = 99 }},
			{"no gossip key", func(d *Document) { d.GossipKey = nil }},
			{"no table ids", func(d *Document) { d.Schema.NextTable = 0 }},
			{"no address", func(d *Document) { d.Layout.Members[0].HTTP = "" }},
		} {
			before := c.Fact()
			err := c.Propose(within(t, time.Minute), func(d Document) (Document, error) {
				tc.change(&d)
				return d, nil
			})
			if err == nil || c.Fact() != before {
				t.Errorf("%s: %v", tc.name, err)
			}
		}
	})
}
