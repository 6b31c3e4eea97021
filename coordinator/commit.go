package coordinator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/coordinator/quorum"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// group is one mutation group on its way: the quorum object, and the sink that
// its replicas' verdicts come to.
type group struct {
	w       *Write
	wire    transport.Group
	members []uint16 // its replicas, indexes into the ring
	table   uint32   // of its first row
	token   token.Token

	placement int
	now       int      // if its range changes: how many of the members are replicas of now
	target    []uint16 // and who is one of the target; else nil
	holders   []uint16 // by replica: the member that holds the group for it, or nobody; nil: none does

	mu      sync.Mutex // guards the fields below once the group is sent
	tracker quorum.Joint
	codes   []int16 // by replica: its verdict's code, or one of the below
	detail  string
	newer   uint64 // the newest catalog version that a replica told of
	from    ring.NodeID
}

// What codes says of replicas without a verdict.
const (
	codePending int16 = -1
	codeDead    int16 = -2
	codeHolding int16 = -3 // a node was asked to hold the group for it
	codeHinted  int16 = -4 // a node holds the group for it, durably
)

// fill makes a group of the rows order[first:next], encoded in entries.
func (g *group) fill(w *Write, first, next int, entries []byte) {
	r := &w.rows[w.order[first]]
	g.w, g.table, g.token, g.placement = w, r.table, r.token, r.placement
	g.members = w.view.Ring.Writers(r.placement, r.token.Range())
	if w.view.Ring.Changes(r.placement, r.token.Range()) {
		g.now, g.target = len(w.view.Ring.Now(r.placement, r.token.Range())), w.view.Ring.Target(r.placement, r.token.Range())
	}
	g.wire = transport.Group{Version: w.view.Version, Born: w.born, Count: next - first, Entries: entries}
	start := len(w.codes)
	for range g.members {
		w.codes = append(w.codes, codeDead)
	}
	g.codes = w.codes[start:len(w.codes):len(w.codes)]
}

// sides says among which replicas one counts.
func (g *group) sides(tag uint32) (of quorum.Sides) {
	if g.target == nil {
		return quorum.Now
	}
	if int(tag) < g.now {
		of = quorum.Now
	}
	if slices.Contains(g.target, g.members[tag]) {
		of |= quorum.Then
	}
	return of
}

// Done hears the verdict of a replica, or of the node that holds the group for it.
func (g *group) Done(tag uint32, v transport.Verdict) {
	w := g.w
	if v.Code != transport.OK && g.handOff(tag, v.Code) {
		return // and hears of it again
	}
	g.mu.Lock()
	before := g.tracker.Outcome()
	after := g.tracker.Add(v.Code, g.sides(tag))
	if g.codes[tag] == codeHolding && v.Code == transport.OK {
		g.codes[tag] = codeHinted
	} else {
		g.codes[tag] = int16(v.Code)
	}
	if v.Detail != "" {
		g.detail = v.Detail
	}
	if v.Code == transport.StaleCatalog && v.Version > g.newer {
		g.newer, g.from = v.Version, w.view.Ring.Member(g.members[tag]).ID
	}
	g.mu.Unlock()
	if before == quorum.Open && after != quorum.Open {
		w.decide()
	}
	w.forget()
}

// decide notes that one more group is decided, and wakes Commit after the last.
func (w *Write) decide() {
	if w.undecided.Add(-1) == 0 {
		w.wake <- struct{}{}
	}
}

// forget ends the wait for one acknowledgement.
func (w *Write) forget() {
	if w.pending.Add(-1) == 0 {
		w.c.admission.EndWrite(int64(len(w.added)))
		w.Release()
	}
}

// Commit sends the rows to their replicas and waits until each group is decided,
// the deadline has passed, or ctx has ended. The error is for the whole write,
// when nothing was sent: ErrStopping or *OverloadedError with Local, after which it
// may be called again. What became of each row is in the result.
func (w *Write) Commit(ctx context.Context) (*Result, error) {
	w.result.rows = w.rows
	if len(w.rows) == 0 {
		w.result.Clock = max(w.c.Clock(), w.timestamp)
		return &w.result, nil
	}
	if err := w.c.admission.BeginWrite(int64(len(w.added))); err != nil {
		return nil, w.c.metrics.failed(opWrite, err)
	}
	w.holders.Add(1)
	w.pending.Store(1)
	w.place()
	w.send()
	w.wait(ctx)
	w.report()
	w.c.admission.AnswerWrite(int64(len(w.added)))
	w.forget()
	if !w.retried {
		w.retry(ctx)
		w.observe()
	}
	w.result.Clock = max(w.c.Clock(), w.timestamp)
	return &w.result, nil
}

// send hands every group whose level can be reached to its live replicas, and
// what the others miss to hints.
func (w *Write) send() {
	n := w.view.Ring.Members()
	w.members = slices.Grow(w.members[:0], n)[:n]
	clear(w.members)
	w.undecided.Store(int32(len(w.groups)) + 1)
	for i := range w.groups {
		g := &w.groups[i]
		asked, err := w.prepare(g)
		w.result.groups = append(w.result.groups, GroupResult{Err: err, Replicas: len(g.members)})
		if err != nil {
			w.undecided.Add(-1)
			continue
		}
		w.pending.Add(int32(asked))
		for tag, member := range g.members {
			id := w.view.Ring.Member(member).ID
			switch {
			case w.members[member] > 0:
				w.c.env.Peers.Apply(id, &g.wire, w.replicaDeadline(), g, uint32(tag))
			case g.holders != nil && g.holders[tag] != nobody:
				g.hold(uint32(tag), w.view.Ring.Member(g.holders[tag]).ID)
			default:
				w.c.keep(id, &g.wire)
			}
		}
	}
	w.decide()
}

// prepare counts a group's live replicas and sets up its quorum; asked is how many
// nodes will be asked. The error is that its level cannot be reached now.
func (w *Write) prepare(g *group) (asked int, err error) {
	need, err := w.opts.Level.Need(w.view.Ring.Factor(g.placement))
	if err != nil {
		return 0, err
	}
	needThen := 0
	if g.target != nil {
		if needThen, err = w.opts.Level.Need(w.view.Ring.FactorThen(g.placement)); err != nil {
			return 0, err
		}
	}
	alive, then := 0, 0
	for tag, member := range g.members {
		if w.alive(member) {
			asked++
			g.count(uint32(tag), &alive, &then)
		}
	}
	if alive < need || then < needThen {
		asked += w.findHolders(g, need-alive, needThen-then)
		for tag := range g.holders {
			if g.holders[tag] != nobody {
				g.count(uint32(tag), &alive, &then)
			}
		}
	}
	switch {
	case alive < need:
		return 0, &UnavailableError{Need: need, Alive: alive}
	case then < needThen:
		return 0, &UnavailableError{Need: needThen, Alive: then, Detail: "among the replicas that the range is being moved to"}
	}
	g.tracker = quorum.NewJoint(need, alive)
	if g.target != nil {
		g.tracker.Changing(needThen, then)
	}
	for tag, member := range g.members {
		if w.members[member] > 0 {
			g.codes[tag] = codePending
			continue
		}
		w.c.metrics.missedDead(g.wire.Count)
		if g.holders != nil && g.holders[tag] != nobody {
			g.codes[tag] = codeHolding
		}
	}
	return asked, nil
}

// count adds a replica to those that can be reached, among which it counts.
func (g *group) count(tag uint32, now, then *int) {
	of := g.sides(tag)
	if of&quorum.Now != 0 {
		*now++
	}
	if of&quorum.Then != 0 {
		*then++
	}
}

// alive reports whether a member may be asked; the write asks once.
func (w *Write) alive(member uint16) bool {
	if w.members[member] == 0 {
		w.members[member] = -1
		if w.c.alive(w.view.Ring.Member(member).ID) {
			w.members[member] = 1
		}
	}
	return w.members[member] > 0
}

// wait returns when every group is decided, at the deadline, or when ctx ends.
func (w *Write) wait(ctx context.Context) {
	select {
	case <-w.wake:
		return
	default:
	}
	left := time.Until(w.deadline)
	if w.timer == nil {
		w.timer = time.NewTimer(left)
	} else {
		w.timer.Reset(left)
	}
	select {
	case <-w.wake:
	case <-w.timer.C:
	case <-ctx.Done():
	}
	w.timer.Stop()
}

// report fills in the result from the groups as they are now.
func (w *Write) report() {
	for i := range w.groups {
		g, r := &w.groups[i], &w.result.groups[i]
		if r.Err == nil {
			g.mu.Lock()
			r.Acks = g.tracker.Acks()
			r.Err = g.tracker.Err(true, g.table, g.detail)
			g.mu.Unlock()
		}
		if w.opts.Receipt {
			r.Receipt = w.receipt(g)
		}
	}
}

func (w *Write) receipt(g *group) *Receipt {
	r := &Receipt{Version: w.view.Version, Timestamp: w.timestamp, Latency: time.Since(w.start)}
	g.mu.Lock()
	defer g.mu.Unlock()
	for tag, member := range g.members {
		outcome := "pending"
		switch code := g.codes[tag]; {
		case code == codeDead:
			outcome = "dead"
		case code == codeHinted:
			outcome, r.Hinted = "hinted", true
		case code >= 0:
			outcome = transport.Code(code).String()
		}
		r.Replicas = append(r.Replicas, ReplicaReceipt{Node: w.view.Ring.Member(member).ID, Outcome: outcome})
	}
	return r
}

// retry sends the groups that replicas found stale once more, placed by a newer
// catalog, within the same deadline.
func (w *Write) retry(ctx context.Context) {
	stale, version, from := w.stale()
	if len(stale) == 0 || time.Now().After(w.deadline) {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, w.deadline)
	defer cancel()
	view, ok := w.c.newer(ctx, w.view, from, version)
	if !ok {
		return
	}
	w.c.metrics.retries.WithLabelValues(opNames[opWrite]).Inc()
	again := w.c.takeWrite()
	defer again.Release()
	again.opts, again.view, again.timestamp, again.born = w.opts, view, w.timestamp, w.born
	again.start, again.deadline, again.retried = w.start, w.deadline, true
	var numbers []int
	for i := range w.rows {
		r := &w.rows[i]
		if t := view.Table(r.table); stale[r.group] && t != nil {
			start := len(again.added)
			again.added = append(again.added, w.added[r.start:r.end]...)
			again.addRow(r.table, t.Placement, r.token, start, w.added[r.key[0]:r.key[1]])
			numbers = append(numbers, i)
		}
	}
	result, err := again.Commit(ctx)
	if err != nil {
		return
	}
	base := int32(len(w.result.groups))
	for i := range stale {
		w.result.groups[i].Err = nil // unless a row is left in it
	}
	w.result.groups = append(w.result.groups, result.groups...)
	for j, i := range numbers {
		w.rows[i].group = base + result.rows[j].group
	}
	for i := range w.rows {
		if g := w.rows[i].group; stale[g] {
			w.result.groups[g].Err = &UnknownTableError{Table: w.rows[i].table}
		}
	}
}

// stale returns the groups for which a newer catalog may decide otherwise, and
// the newest version that was told, by whom.
func (w *Write) stale() (groups map[int32]bool, version uint64, from ring.NodeID) {
	for i := range w.groups {
		g := &w.groups[i]
		g.mu.Lock()
		if w.result.groups[i].Err != nil && g.tracker.Retry() {
			if groups == nil {
				groups = map[int32]bool{}
			}
			groups[int32(i)] = true
		}
		if g.newer > version {
			version, from = g.newer, g.from
		}
		g.mu.Unlock()
	}
	return groups, version, from
}

// observe counts the write and the errors of its groups.
func (w *Write) observe() {
	m := w.c.metrics
	m.observe(opWrite, w.opts.Level, time.Since(w.start))
	m.rowsWritten.Add(float64(len(w.rows)))
	for i := range w.result.groups {
		if err := w.result.groups[i].Err; err != nil {
			m.failed(opWrite, err)
		}
	}
}
