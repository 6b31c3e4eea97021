package ring

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/token"
)

// NodeID identifies a node for its whole life. Addresses may change.
type NodeID = uuid.UUID

// Addresses are where a node is reached, each host:port.
type Addresses struct {
	Internode string `json:"internode"`
	Gossip    string `json:"gossip"`
	HTTP      string `json:"http"`
	Admin     string `json:"admin"`
}

// State is a member's part in the layout.
type State string

// Normal is the state of a member that serves its ranges.
const Normal State = "normal"

// Member is one node of the cluster.
type Member struct {
	ID NodeID `json:"id"`
	Addresses
	Zone       string `json:"zone"`
	Datacenter string `json:"datacenter"`
	State      State  `json:"state"`
	Voter      bool   `json:"voter"` // it decides the next catalog version
}

// Layout is the part of the catalog that says who holds what. Owners has, for
// each range, the index of its owner in Members; ChangedAt the last catalog
// version that touched the replicas which the range is read from or written to.
type Layout struct {
	Members   []Member `json:"members"`
	Owners    []uint16 `json:"owners"`
	ChangedAt []uint64 `json:"changed_at"`
	Change    *Change  `json:"change,omitempty"` // nil: none is on its way
}

// MembersMax bounds a cluster.
const MembersMax = 1000

// Bootstrap is the layout of a cluster of one.
func Bootstrap(first Member, version uint64) Layout {
	l := Layout{
		Members:   []Member{first},
		Owners:    make([]uint16, token.Ranges),
		ChangedAt: make([]uint64, token.Ranges),
	}
	for i := range l.ChangedAt {
		l.ChangedAt[i] = version
	}
	return l
}

// Clone copies a layout, so that a change cannot reach the original.
func (l Layout) Clone() Layout {
	return Layout{
		Members:   slices.Clone(l.Members),
		Owners:    slices.Clone(l.Owners),
		ChangedAt: slices.Clone(l.ChangedAt),
		Change:    l.Change.clone(),
	}
}

// Index finds a member.
func (l Layout) Index(id NodeID) (int, bool) {
	i := slices.IndexFunc(l.Members, func(m Member) bool { return m.ID == id })
	return i, i >= 0
}

// Voters returns the members that decide the next catalog version, sorted by id.
func (l Layout) Voters() []Member {
	var voters []Member
	for _, m := range l.Members {
		if m.Voter {
			voters = append(voters, m)
		}
	}
	slices.SortFunc(voters, func(a, b Member) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return voters
}

// Validate reports what makes a layout unusable.
func (l Layout) Validate() error {
	if len(l.Members) == 0 || len(l.Members) > MembersMax {
		return fmt.Errorf("ring: %d members: give 1 to %d", len(l.Members), MembersMax)
	}
	if len(l.Owners) != token.Ranges || len(l.ChangedAt) != token.Ranges {
		return fmt.Errorf("ring: owner table has %d ranges and %d versions, not %d", len(l.Owners), len(l.ChangedAt), token.Ranges)
	}
	seen := map[NodeID]bool{}
	voters := 0
	for _, m := range l.Members {
		if m.ID == uuid.Nil || seen[m.ID] {
			return fmt.Errorf("ring: member %s is listed twice or has no id", m.ID)
		}
		if m.Zone == "" || m.Datacenter == "" || m.Internode == "" {
			return fmt.Errorf("ring: member %s has no zone, datacenter or address", m.ID)
		}
		seen[m.ID] = true
		if m.Voter {
			voters++
		}
	}
	if voters == 0 {
		return errors.New("ring: no voters")
	}
	for rng, owner := range l.Owners {
		if int(owner) >= len(l.Members) || l.Members[owner].State == Joining {
			return fmt.Errorf("ring: range %d is owned by member %d of %d", rng, owner, len(l.Members))
		}
	}
	if l.Change != nil {
		return l.Change.validate(&l)
	}
	for _, m := range l.Members {
		if m.State == Joining || m.leaves() {
			return fmt.Errorf("ring: member %s is %s without a change", m.ID, m.State)
		}
	}
	return nil
}

// WithAddresses returns the layout with a member's addresses changed; zone and
// datacenter stay, since they decide placement.
func (l Layout) WithAddresses(id NodeID, a Addresses) (Layout, error) {
	i, ok := l.Index(id)
	if !ok {
		return l, fmt.Errorf("ring: %s is not a member", id)
	}
	l = l.Clone()
	l.Members[i].Addresses = a
	return l, nil
}

// Join returns the layout of catalog version `version` with new members, who
// become voters. Ranges move to the new members only, as few as even shares need;
// the shares are those of the first placement. The owners are the new ones at once,
// so the cluster must not hold data yet. Given the same input, it returns the same
// layout.
func (l Layout) Join(version uint64, joiners []Member, placements []Placement) (Layout, error) {
	next := l.Clone()
	for _, j := range joiners {
		if _, ok := next.Index(j.ID); ok {
			return l, fmt.Errorf("ring: %s is a member already", j.ID)
		}
		j.State, j.Voter = Normal, true
		next.Members = append(next.Members, j)
	}
	if err := next.Validate(); err != nil {
		return l, err
	}
	proposal, err := propose(next.Members)
	if err != nil {
		return l, err
	}
	placement := first(placements)
	next.Owners = refine(refinement{
		members: next.Members, old: len(l.Members), owners: l.Owners, proposal: proposal, placement: placement, seed: version,
		before: replicaSets(newWalker(l.Members, l.Owners, placement, l.holdsNow)),
	})
	return next, next.touch(l, version, placements)
}

// touch sets ChangedAt of every range whose replicas differ from those of old.
func (l Layout) touch(old Layout, version uint64, placements []Placement) error {
	return l.touchPlaced(old, version, placements, placements)
}

// touchPlaced is touch where the placements differ too.
func (l Layout) touchPlaced(old Layout, version uint64, placements, then []Placement) error {
	before, err := New(&old, version-1, placements)
	if err != nil {
		return err
	}
	after, err := New(&l, version, then)
	if err != nil {
		return err
	}
	for rng := range token.RangeID(token.Ranges) {
		if differs(before, after, rng) {
			l.ChangedAt[rng] = version
		}
	}
	return nil
}
