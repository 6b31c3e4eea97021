package route

import (
	"slices"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Parcel is what of a hint goes to one node.
type Parcel struct {
	To      ring.NodeID
	Entries []byte
	Rows    int
}

// Routed says where the rows of a hint go.
type Routed struct {
	Lost    int         // rows that go nowhere: plain, and their range has moved
	Marks   *form.Marks // of them
	Dropped int         // rows whose table is gone
	Early   bool        // a table is not known, and the view is older than the hint
	Corrupt bool        // the entries cannot be read; they have no parcels
}

// Router routes a queue's hints by one view. It is reused for one hint after the other.
type Router struct {
	view    *schema.View
	target  ring.NodeID
	all     bool // rows that the target does not hold go to all that hold them
	index   uint16
	member  bool // the target is one
	gone    bool // nobody waits for it
	sets    []setID
	entries [][]byte // by sets: the rows that go there
	rows    []int
}

// setID names a replica set of a view, or the target itself.
type setID struct {
	own       bool
	placement int
	set       uint16
}

// New routes hints for a target. With all, rows whose range it does not hold go to
// every replica of the range; without, to nobody.
func New(v *schema.View, target ring.NodeID, all bool) *Router {
	r := &Router{view: v, target: target, all: all}
	r.index, r.member = v.Ring.Index(target)
	r.gone = Gone(v, target)
	return r
}

// Gone reports whether nobody waits for a node any more: it is no member, or a change
// that cannot be aborted goes on without it.
func Gone(v *schema.View, id ring.NodeID) bool {
	i, member := v.Ring.Index(id)
	c := v.Ring.Change()
	return !member || c != nil && c.Phase == ring.Flipped && !c.WaitsFor(v.Ring.Member(i))
}

// Route finds out who gets a hint's rows, and appends what they get to parcels. A
// hint that goes to its target as a whole is passed on as it is.
func (r *Router) Route(h *form.Hint, parcels []Parcel) ([]Parcel, Routed) {
	if r.whole(h) {
		return append(parcels, Parcel{r.target, h.Entries, h.Count}), Routed{}
	}
	var out Routed
	r.sets, r.entries, r.rows = r.sets[:0], nil, r.rows[:0]
	for rest := h.Entries; len(rest) > 0; {
		key, value, next, err := record.NextEntry(rest)
		if err != nil {
			return parcels, Routed{Corrupt: true}
		}
		rest = next
		table, id, ok := r.locate(key)
		switch {
		case !ok:
			return parcels, Routed{Corrupt: true}
		case table == nil:
			out.Dropped++
			out.Early = out.Early || r.view.Version < h.Version
		case r.holds(table, id, h.Version):
			r.add(setID{own: true}, key, value)
		case !r.all:
			if out.Marks == nil {
				out.Marks = &form.Marks{}
			}
			out.Lost++
			out.Marks.AddKey(key)
		default:
			r.add(setID{placement: table.Placement, set: r.view.Ring.SetOf(table.Placement, id)}, key, value)
		}
	}
	for i, set := range r.sets {
		if set.own {
			parcels = append(parcels, Parcel{r.target, r.entries[i], r.rows[i]})
			continue
		}
		for _, id := range r.holders(set) {
			parcels = append(parcels, Parcel{id, r.entries[i], r.rows[i]})
		}
	}
	return parcels, out
}

// holders are those of a set that are waited for. Where none is, a row is for all of
// them: it must not go nowhere.
func (r *Router) holders(set setID) []ring.NodeID {
	var all, left []ring.NodeID
	for _, m := range r.view.Ring.SetMembers(set.placement, set.set) {
		id := r.view.Ring.Member(m).ID
		if all = append(all, id); !Gone(r.view, id) {
			left = append(left, id)
		}
	}
	if len(left) == 0 {
		return all
	}
	return left
}

// whole reports whether the target can be given all rows.
func (r *Router) whole(h *form.Hint) bool {
	if !r.member {
		return false
	}
	for rest := h.Entries; len(rest) > 0; {
		key, _, next, err := record.NextEntry(rest)
		if err != nil {
			return false
		}
		table, id, ok := r.locate(key)
		if !ok || table == nil || !r.holds(table, id, h.Version) {
			return false
		}
		rest = next
	}
	return true
}

// locate finds a row's table, nil if the view has none, and range.
func (r *Router) locate(key []byte) (table *schema.TableView, id token.RangeID, ok bool) {
	number, _ := record.KeyTable(key)
	t, ok := record.KeyToken(key)
	return r.view.Table(number), t.Range(), ok
}

// holds reports whether the target can be given a row alone that was hinted by a
// version of the catalog. While the range of a counted one moves away from it, that may
// be after its content was taken over; and one that is given up may be lost. A plain one holds nothing back from being purged
// where its range was since: it goes no further than the group itself would, which
// replicas refuse once the range has changed.
func (r *Router) holds(table *schema.TableView, id token.RangeID, version uint64) bool {
	if !r.member || !r.view.Ring.Holds(table.Placement, id, r.index) {
		return false
	}
	if r.all {
		return !r.gone && !r.view.Ring.Outgoing(table.Placement, id, r.index)
	}
	return version >= r.view.Ring.ChangedAt(id)
}

// add puts a row to those that go to a set.
func (r *Router) add(set setID, key, value []byte) {
	at := slices.Index(r.sets, set)
	if at < 0 {
		at = len(r.sets)
		r.sets, r.entries, r.rows = append(r.sets, set), append(r.entries, nil), append(r.rows, 0)
	}
	r.entries[at] = record.AppendEntry(r.entries[at], key, value)
	r.rows[at]++
}
