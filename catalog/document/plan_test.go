package document

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

func nodeID(i int) ring.NodeID { return ring.NodeID{byte(i + 1)} }

func member(i int, zone string) ring.Member {
	address := func(port int) string { return fmt.Sprintf("10.0.0.%d:%d", i+1, port) }
	return ring.Member{
		ID: nodeID(i), Addresses: ring.Addresses{Internode: address(1), Gossip: address(2), HTTP: address(3), Admin: address(4)},
		Zone: zone, Datacenter: "dc1", State: ring.Normal, Voter: true,
	}
}

// loaded is a sealed document with so many members in one zone, and replicas.
func loaded(t *testing.T, members, factor int) Document {
	t.Helper()
	d := Document{
		Format: Format, Cluster: uuid.UUID{1}, Name: "test", Version: 2, GossipKey: make([]byte, GossipKeyBytes), Schema: schema.Builtin(factor, "dc1"),
		Layout: ring.Bootstrap(member(0, "z1"), 1),
	}
	var joiners []ring.Member
	for i := 1; i < members; i++ {
		joiners = append(joiners, member(i, "z1"))
	}
	var err error
	if d.Layout, err = d.Layout.Join(2, joiners, d.Schema.Placements()); err != nil {
		t.Fatal(err)
	}
	d.Sealed = true
	return d
}

func alive(ids ...int) func(ring.NodeID) bool {
	return func(id ring.NodeID) bool {
		for _, i := range ids {
			if id == nodeID(i) {
				return true
			}
		}
		return false
	}
}

// announced has a plan begun.
func announced(t *testing.T, d Document, p ring.Plan, err error) Document {
	t.Helper()
	if err == nil {
		d, err = d.Announce(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.Version++
	return d
}

// carried takes the change on its way to its end, or up to a phase.
func carried(t *testing.T, d Document, to ring.Phase) Document {
	t.Helper()
	var err error
	for d.Layout.Change != nil && d.Layout.Change.Phase != to && err == nil {
		placements := d.Schema.Placements()
		switch d.Layout.Change.Phase {
		case ring.Announced:
			d.Layout, err = d.Layout.Assign(d.Version+1, 0, placements)
		case ring.Streaming:
			d.Layout, err = d.Layout.Flip(d.Version+1, placements)
		default:
			err = d.Finish()
		}
		d.Version++
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRefusals: what makes no sense in a cluster's state is a conflict, with the reason.
func TestRefusals(t *testing.T) {
	four, single, few := loaded(t, 4, 3), loaded(t, 4, 1), loaded(t, 3, 3)
	changing := announced(t, four, ring.Plan{Kind: KindDecommission, Leave: []ring.NodeID{nodeID(3)}}, nil)
	remove := func(d Document, up []int, ids ...int) error {
		var all []ring.NodeID
		for _, i := range ids {
			all = append(all, nodeID(i))
		}
		_, err := d.Remove(all, alive(up...))
		return err
	}
	decommission := func(d Document, i int) error {
		_, err := d.Decommission(nodeID(i))
		return err
	}
	replicate := func(d Document, factor int) error {
		_, err := d.Replicate(schema.BuiltinKeyspace, map[string]int{"dc1": factor})
		return err
	}
	fresh := four
	fresh.Sealed = false
	_, unsealed := fresh.Announce(ring.Plan{Kind: KindDecommission, Leave: []ring.NodeID{nodeID(3)}})
	ordered, dead := four, nodeID(2)
	ordered.Replacing = &dead
	shrunk := carried(t, changing, "")
	two := loaded(t, 4, 2)
	more, err := two.Replicate(schema.BuiltinKeyspace, map[string]int{"dc1": 3})
	denser := announced(t, two, more, err)
	moving := announced(t, four, ring.Plan{Kind: KindZone, Zones: map[ring.NodeID]string{nodeID(3): "z2"}}, nil)
	back, err := moving.MoveZone(nodeID(3), "z1")
	if err == nil {
		_, err = moving.Announce(back)
	}
	zoneBack := err
	back, err = denser.Replicate(schema.BuiltinKeyspace, map[string]int{"dc1": 2})
	if err == nil {
		_, err = denser.Announce(back)
	}
	factorBack := err
	many, err := four.Replicate(schema.BuiltinKeyspace, map[string]int{"dc1": 4})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"removing a live node", remove(four, []int{0, 3}, 3), "is alive"},
		{"removing one of two that is alive", remove(loaded(t, 6, 3), []int{4}, 3, 4), "is alive"},
		{"removing below the replicas", remove(few, []int{0, 1}, 2), "too few"},
		{"removing the last replica", remove(single, nil, 3), "last replicas of"},
		{"removing all three of some ranges", remove(loaded(t, 7, 3), []int{0, 1, 2, 3}, 4, 5, 6), "last replicas of"},
		{"removing a stranger", remove(four, nil, 9), "not a member"},
		{"removing during a change", remove(changing, nil, 2), "another change"},
		{"decommission below the replicas", decommission(few, 2), "too few"},
		{"a second decommission", decommission(changing, 2), "another change"},
		{"replacing a live node", four.CheckReplace(nodeID(3), alive(3)), "is alive"},
		{"replacing the last replica", single.CheckReplace(nodeID(3), alive(0)), "last replicas of"},
		{"replacing during a change", changing.CheckReplace(nodeID(2), alive()), "another change"},
		{"replacing before another is replaced", ordered.CheckReplace(nodeID(3), alive()), "is to be replaced first"},
		{"replacing one that has left", shrunk.CheckReplace(nodeID(3), alive()), "taken out already (decommission)"},
		{"replacing before there is data", fresh.CheckReplace(nodeID(3), alive()), "no data yet"},
		{"back to the old zone before the move is done", zoneBack, "another change"},
		{"back to the old factor before the change is done", factorBack, "another change"},
		{"more replicas than nodes", replicate(four, 5), "wants 5 replicas"},
		{"a change before there is data", unsealed, "no data yet"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("%s: %v, not %q", tc.name, tc.err, tc.want)
		}
		var conflict interface{ Conflict() bool }
		if tc.err != nil && (!errors.As(tc.err, &conflict) || !conflict.Conflict()) {
			t.Errorf("%s: not a conflict: %v", tc.name, tc.err)
		}
	}
	if many.Placements[0].Factors["dc1"] != 4 {
		t.Errorf("four replicas are planned as %v", many.Placements)
	}
	if _, err := single.Announce(ring.Plan{Kind: KindReplication, Placements: four.Schema.Placements()}); err == nil || !strings.Contains(err.Error(), "smaller steps") {
		t.Errorf("from one replica to three at once: %v", err)
	}
}

// TestRepeated: what is on its way, or done, may be asked for again.
func TestRepeated(t *testing.T) {
	d := loaded(t, 6, 3)
	both := []ring.NodeID{nodeID(4), nodeID(5)}
	plan, err := d.Remove(both, alive())
	d = announced(t, d, plan, err)
	if _, err := d.Remove(both, alive()); !errors.Is(err, ErrUnderway) {
		t.Errorf("on its way: %v", err)
	}
	d = carried(t, d, "")
	done := func(err error) bool { return errors.Is(err, ErrUnchanged) && !errors.Is(err, ErrUnderway) }
	if _, err := d.Remove(both, alive()); !done(err) {
		t.Errorf("done: %v", err)
	}
	plan, err = d.Decommission(nodeID(3))
	d = announced(t, d, plan, err)
	if _, err := d.Decommission(nodeID(3)); !errors.Is(err, ErrUnderway) {
		t.Errorf("leaving: %v", err)
	}
	if _, err := d.Remove(both, alive()); !done(err) {
		t.Errorf("done, while another change is on its way: %v", err)
	}
	if _, err := d.MoveZone(nodeID(0), "z1"); !done(err) {
		t.Errorf("in that zone already, while another change is on its way: %v", err)
	}
	if _, err := d.Replicate(schema.BuiltinKeyspace, map[string]int{"dc1": 3}); !done(err) {
		t.Errorf("so many replicas already, while another change is on its way: %v", err)
	}
	d = carried(t, d, "")
	if _, err := d.Decommission(nodeID(3)); !done(err) || len(d.Layout.Members) != 3 || len(d.Removed) != 3 {
		t.Errorf("left: %v; %d members, %d removed", err, len(d.Layout.Members), len(d.Removed))
	}
}

// TestGiveUp: a change that has flipped goes on without dead nodes, and no other does.
func TestGiveUp(t *testing.T) {
	d := loaded(t, 4, 3)
	d = announced(t, d, ring.Plan{Kind: KindDecommission, Leave: []ring.NodeID{nodeID(3)}}, nil)
	d = carried(t, d, ring.Streaming)
	if _, ok, _ := d.GiveUp([]ring.NodeID{nodeID(3)}, alive()); ok {
		t.Error("a change that can be aborted goes on without a node")
	}
	d = carried(t, d, ring.Flipped)
	if _, ok, err := d.GiveUp([]ring.NodeID{nodeID(3)}, alive(3)); !ok || err == nil || !strings.Contains(err.Error(), "is alive") {
		t.Errorf("a live node is given up: %v, %v", ok, err)
	}
	next, ok, err := d.GiveUp([]ring.NodeID{nodeID(3)}, alive())
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	placements := d.Schema.Placements()
	if err := ring.CheckStep(&d.Layout, &next.Layout, d.Version+1, placements, placements); err != nil {
		t.Error(err)
	}
	if _, ok, err := next.GiveUp([]ring.NodeID{nodeID(3)}, alive()); !ok || !errors.Is(err, ErrUnderway) {
		t.Errorf("given up twice: %v, %v", ok, err)
	}
	m, _ := next.Member(nodeID(3))
	if next.Layout.Change.WaitsFor(&m) || !d.Layout.Change.WaitsFor(&m) {
		t.Error("it is waited for all the same, or was not before")
	}
}

// TestReplaceTakesTheAddress: a new node may have that of the dead one that it replaces,
// and of nobody else.
func TestReplaceTakesTheAddress(t *testing.T) {
	d := loaded(t, 4, 3)
	joiner := member(9, "z1")
	joiner.Addresses = member(3, "z1").Addresses
	var refused *RefusedError
	if _, err := WithMember(d, joiner, 1); !errors.As(err, &refused) || refused.Reason != "address" {
		t.Errorf("the address of a member: %v", err)
	}
	dead := nodeID(3)
	d.Replacing = &dead
	other := joiner
	other.Zone = "z2"
	if _, err := WithMember(d, other, 1); err == nil || !strings.Contains(err.Error(), `"z1"`) {
		t.Errorf("a replacement in another zone: %v", err)
	}
	next, err := WithMember(d, joiner, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c := next.Layout.Change; c == nil || c.Kind != KindReplace || c.Replaces[joiner.ID] != dead || next.Replacing != nil {
		t.Errorf("%+v", c)
	}
	next.Version++
	if err := next.CheckReplace(dead, alive()); !errors.Is(err, ErrUnderway) {
		t.Errorf("on its way: %v", err)
	}
	next = carried(t, next, "")
	if err := next.CheckReplace(dead, alive()); !errors.Is(err, ErrUnchanged) || errors.Is(err, ErrUnderway) {
		t.Errorf("done: %v", err)
	}
}

// TestRemovedInsteadOfReplaced: the next node that joins takes a share of its own.
func TestRemovedInsteadOfReplaced(t *testing.T) {
	d, dead := loaded(t, 4, 3), nodeID(3)
	d.Replacing = &dead
	plan, err := d.Remove([]ring.NodeID{dead}, alive())
	d = carried(t, announced(t, d, plan, err), "")
	if d, err = WithMember(d, member(9, "z1"), 1); err != nil || d.Layout.Change.Kind != KindJoin {
		t.Errorf("%+v %v", d.Layout.Change, err)
	}
}

// TestRecovered: only what is lost is given up, and only once.
func TestRecovered(t *testing.T) {
	five := loaded(t, 5, 3)
	r := Recovery{By: nodeID(0), Survivors: []ring.NodeID{nodeID(0), nodeID(1)}, Reason: "fire"}
	for _, c := range []struct {
		recovery Recovery
		up       []int
		want     string
	}{
		{r, []int{0, 1, 4}, "is alive, and would be given up"},
		{Recovery{By: nodeID(2), Survivors: r.Survivors}, []int{0, 1}, "not among the survivors"},
		{Recovery{By: nodeID(0), Survivors: []ring.NodeID{nodeID(0), nodeID(9)}}, []int{0, 1}, "is alive"},
		{Recovery{By: nodeID(0), Survivors: []ring.NodeID{nodeID(0), nodeID(9)}}, []int{0}, "is no member"},
		{Recovery{By: nodeID(0), Survivors: []ring.NodeID{nodeID(0), nodeID(1), nodeID(2)}}, []int{0, 1, 2}, "which is a majority"},
	} {
		if _, err := five.Recovered(c.recovery, alive(c.up...)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, not %q", c.recovery.Survivors, err, c.want)
		}
	}
	d, err := five.Recovered(r, alive(0, 1))
	if err != nil || len(d.Recoveries) != 1 || d.Recoveries[0].Generation != five.Generation+1 || d.Recoveries[0].Reason != "fire" {
		t.Fatal(d.Recoveries, err)
	}
	d.Version, d.Generation = d.Version+1, d.Generation+1
	for _, after := range []Document{d, carried(t, d, "")} {
		if _, err := after.Recovered(r, alive(0, 1)); !errors.Is(err, ErrUnchanged) {
			t.Errorf("recovered twice: %v", err)
		}
	}
}

// TestFirstNodesOfAZone: a lone one that would hold everything is refused; enough of
// them may come together.
func TestFirstNodesOfAZone(t *testing.T) {
	d := loaded(t, 9, 3)
	var refused *RefusedError
	if _, err := WithMember(d, member(9, "z2"), 1); !errors.As(err, &refused) || refused.Reason != "zone" || !strings.Contains(err.Error(), "--join-count") {
		t.Fatalf("a lone node: %v", err)
	}
	var err error
	for i := range 3 {
		if d, err = WithMember(d, member(9+i, "z2"), 3); err != nil {
			t.Fatal(err)
		}
		if left := d.Layout.Expects(); left != 2-i {
			t.Errorf("%d are expected after %d", left, i+1)
		}
		d.Version++
	}
	d = carried(t, d, "")
	if len(d.Layout.Members) != 12 {
		t.Errorf("%d members", len(d.Layout.Members))
	}
}

// TestReplaceOrderIsOld: a node that was to be replaced is back when the next one joins, and
// has the only replica of some ranges by now: it is not given up.
func TestReplaceOrderIsOld(t *testing.T) {
	d := loaded(t, 4, 2)
	back := nodeID(3)
	if err := d.CheckReplace(back, alive(0, 1, 2)); err != nil {
		t.Fatal(err)
	}
	d.Replacing = &back
	plan, err := d.Replicate(schema.BuiltinKeyspace, map[string]int{"dc1": 1})
	d = carried(t, announced(t, d, plan, err), "")
	next, err := WithMember(d, member(9, "z1"), 1)
	if err == nil && next.Layout.Change.Replaces[nodeID(9)] == back {
		t.Error("the last replica of ranges is given up with a node that is back")
	}
}

// TestReplaceOrderOfARemovedNode: who was to be replaced is removed instead; others can
// join all the same.
func TestReplaceOrderOfARemovedNode(t *testing.T) {
	d := loaded(t, 5, 3)
	dead := nodeID(4)
	d.Replacing = &dead
	plan, err := d.Remove([]ring.NodeID{dead}, alive(0, 1, 2, 3))
	d = carried(t, announced(t, d, plan, err), "")
	if _, err := WithMember(d, member(9, "z1"), 1); err != nil {
		t.Errorf("nobody can join any more: %v", err)
	}
}
