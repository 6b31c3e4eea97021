package coordinator

import (
	"context"
	"errors"
	"slices"

	"github.com/dunlindb/dunlin/coordinator/latency"
	"github.com/dunlindb/dunlin/coordinator/page"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// reader is one read under one catalog view: first data of the nearest replica
// and digests of others, then, if they differ, the rows of all.
type reader struct {
	*gather[transport.ReadAnswer]
	view *schema.View
	need int
	most int                   // rows in one answer
	wire transport.ReadRequest // what all questions of this read share
	page *page.Page

	token token.Token
	born  hlc.Timestamp // when it began

	// By candidate.
	first  []*transport.ReadAnswer // its answer in the first round
	data   []bool                  // that answer is data, not a digest
	active []bool                  // it takes part in the merge
	asking []bool                  // it has a question of the merge open

	repaired bool
}

// newReader finds the replicas; the error is that the level cannot be reached.
func (c *Coordinator) newReader(ctx context.Context, view *schema.View, req *ReadRequest) (*reader, error) {
	tok := token.Of(req.Partition)
	if req.Options.Level == Any {
		return nil, &LevelError{Level: Any.String(), Reason: "is for writes only: a hint cannot be read"}
	}
	need, err := req.Options.Level.Need(view.Ring.ReadFactor(req.Table.Placement))
	if err != nil {
		return nil, err
	}
	candidates, need := c.readers(view, req.Table.Placement, tok.Range(), need)
	n := len(candidates)
	if n < need {
		return nil, &UnavailableError{Need: need, Alive: n}
	}
	now := c.env.Clock.Physical().Unix()
	flags := make([]bool, 3*n)
	return &reader{
		gather: newGather[transport.ReadAnswer](ctx, c, latency.Kind{Table: req.Table.ID, Op: uint8(opRead)}, need, candidates),
		view:   view, need: need, most: c.cfg.PageRows, token: tok, born: c.born(),
		wire: transport.ReadRequest{
			Version: view.Version, Table: req.Table.ID, Partition: req.Partition, Start: req.Start, End: req.End,
			Reverse: req.Reverse, MaxRows: req.MaxRows, MaxBytes: req.MaxBytes, Now: now,
		},
		page: page.New(page.Config{
			Need: need, Sources: n, Reverse: req.Reverse, MaxRows: req.MaxRows, MaxBytes: req.MaxBytes,
			Now: now, Hidden: retiredIn(req.Table), AppendOnly: req.Table.AppendOnly,
		}),
		first: make([]*transport.ReadAnswer, n),
		data:  flags[:n], active: flags[n : 2*n], asking: flags[2*n:],
	}, nil
}

// readers finds whom a read may ask, and how many have to answer. Once flipped, they must
// overlap quorums of both sides: as many more as leave do, or only those that stay.
func (c *Coordinator) readers(view *schema.View, placement int, id token.RangeID, need int) ([]candidate, int) {
	members, leaving := view.Ring.Replicas(placement, id), view.Ring.Leaving(placement, id)
	if need == 1 || len(leaving) == 0 {
		return c.nearest(view, members), need
	}
	if all := c.nearest(view, slices.Concat(members, leaving)); len(all) >= need+len(leaving) {
		return all, need + len(leaving)
	}
	gained := func(m uint16) bool { return !slices.Contains(view.Ring.Now(placement, id), m) }
	return c.nearest(view, slices.DeleteFunc(slices.Clone(members), gained)), need
}

// retiredIn returns which rows of a table lie below its retention floor: replicas
// that are behind may still have some.
func retiredIn(t *schema.TableView) func(suffix []byte) bool {
	if t.Floor == 0 {
		return nil
	}
	return func(suffix []byte) bool {
		w, err := t.Shape.WindowOf(suffix)
		return err == nil && w < t.Floor
	}
}

// run fills the page, and repairs the replicas that were found behind.
func (r *reader) run(t *schema.TableView) error {
	defer r.stop()
	if err := r.fill(); err != nil {
		return err
	}
	if n := r.page.Conflicts(); n > 0 {
		r.c.reportConflicts(t, r.wire.Partition, n)
	}
	var err error
	r.repaired, err = r.repair(t)
	return err
}

// fill merges until the page is done.
func (r *reader) fill() error {
	if err := r.firstRound(); err != nil {
		return err
	}
	r.timer.Reset(r.delay)
	for {
		r.page.Merge()
		if r.page.Done() {
			return nil
		}
		if err := r.nextRound(); err != nil {
			return err
		}
	}
}

// firstRound asks until need candidates have answered, at least one of them with
// data. Spares are asked for data while there is none, so only need-1 candidates
// are ever asked for digests alone: when all others fail, the level is lost anyway.
func (r *reader) firstRound() error {
	for i := range r.need {
		r.askFirst(i, i == 0)
	}
	for {
		heard, hasData := r.heardFirst()
		if heard >= r.need && hasData {
			return r.compare()
		}
		reply, what, err := r.wait(heard)
		if err != nil {
			return err
		}
		if what != answered {
			if i, ok := r.spare(what); ok {
				r.askFirst(i, !hasData)
			}
		} else if i := reply.candidate; !r.data[i] {
			r.first[i], r.data[i] = &reply.answer, !reply.digest
		}
	}
}

// heardFirst counts the answers of the first round.
func (r *reader) heardFirst() (heard int, hasData bool) {
	for i, a := range r.first {
		if a != nil {
			heard++
		}
		hasData = hasData || r.data[i]
	}
	return heard, hasData
}

// askFirst asks a candidate for data or a digest from the beginning.
func (r *reader) askFirst(i int, data bool) {
	wire := r.wire
	wire.Digest = !data
	r.ask(i, !data, func(ctx context.Context, id ring.NodeID) (transport.ReadAnswer, error) {
		return r.c.env.Peers.Read(ctx, id, &wire)
	})
}

// compare gives the first round's data to the page: one replica's for all if the
// digests are equal, else each as its own.
func (r *reader) compare() error {
	equal, speaker := r.agree()
	if !equal {
		r.c.metrics.mismatches.Inc()
	}
	for i, a := range r.first {
		r.active[i] = a != nil
		if r.data[i] && (!equal || i == speaker) {
			if err := r.take(i, a); err != nil {
				return err
			}
		}
	}
	if equal {
		r.page.MergeAgreed()
	}
	return nil
}

// agree reports whether the answers of the first round are equal, and which of the
// candidates has data that speaks for all. Where a limit ended an answer is part of
// it: a replica that has no more rows does not speak for one that has.
func (r *reader) agree() (equal bool, speaker int) {
	var first *transport.ReadAnswer
	equal = true
	for i, a := range r.first {
		if a == nil {
			continue
		}
		if r.data[i] {
			speaker = i
			if r.need > 1 {
				a.Digest = digestOf(a)
			}
		}
		if first == nil {
			first = a
		}
		equal = equal && (r.need == 1 || a.Digest == first.Digest && a.More == first.More)
	}
	return equal, speaker
}

// digestOf is the digest of an answer with rows: what a replica that is asked for
// a digest answers.
func digestOf(a *transport.ReadAnswer) record.Digest {
	var d record.Digester
	d.Reset()
	err := d.AddHead(a.Head)
	var suffix, fragment []byte
	for rest := a.Rows; len(rest) > 0 && err == nil; {
		if suffix, fragment, rest, err = record.NextEntry(rest); err == nil {
			err = d.AddRow(suffix, fragment)
		}
	}
	if a.More {
		d.AddEnd(suffix)
	}
	if err != nil {
		return record.Digest{} // equal to none; the page refuses the rows
	}
	return d.Sum()
}

// nextRound asks the active candidates that the page needs more rows of, and
// waits for one thing to happen.
func (r *reader) nextRound() error {
	r.enlist(r.need)
	for i := range r.candidates {
		if !r.active[i] || r.asking[i] {
			continue
		}
		if after, rows, yes := r.page.Ask(i, r.most); yes {
			r.askNext(i, after, rows)
		}
	}
	reply, what, err := r.wait(r.page.Ahead())
	switch {
	case err != nil:
		return err
	case what == slow:
		if n := r.activeCount(); r.enlist(n + 1) {
			r.hedged(slow)
		}
	case what == failed:
		r.active[reply.candidate] = false
		r.hedged(failed)
	case !reply.digest: // a digest is a late answer of the first round
		r.asking[reply.candidate] = false
		return r.take(reply.candidate, &reply.answer)
	}
	return nil
}

// take gives a replica's rows to the page. If they make no sense, the replica has failed.
func (r *reader) take(i int, a *transport.ReadAnswer) error {
	if err := r.page.Take(i, a); err != nil {
		r.c.env.Logger.Error("a replica's answer is not readable", "replica", r.candidates[i].id, "table", r.of.Table, "error", err)
		r.active[i] = false
		return r.fail(i, errors.Join(err), r.page.Ahead())
	}
	r.active[i] = true
	return nil
}

// enlist activates candidates, nearest first, until there are n; false says that
// there are too few.
func (r *reader) enlist(n int) bool {
	have := r.activeCount()
	for i := range r.candidates {
		if c := &r.candidates[i]; have < n && !r.active[i] && !c.failed {
			r.active[i], c.used = true, true
			have++
		}
	}
	return have >= n
}

func (r *reader) activeCount() int {
	n := 0
	for _, yes := range r.active {
		if yes {
			n++
		}
	}
	return n
}

// askNext asks a candidate for rows after a suffix; nil is from the beginning.
func (r *reader) askNext(i int, after []byte, rows int) {
	r.asking[i] = true
	r.c.metrics.shortReads.Inc()
	wire := r.wire
	wire.MaxRows = rows
	switch {
	case after == nil:
	case wire.Reverse:
		wire.End = after
	default:
		wire.Start = append(append(make([]byte, 0, len(after)+1), after...), 0)
	}
	r.ask(i, false, func(ctx context.Context, id ring.NodeID) (transport.ReadAnswer, error) {
		return r.c.env.Peers.Read(ctx, id, &wire)
	})
}
