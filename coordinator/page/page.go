package page

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/transport"
)

// Row is one visible row of an answer.
type Row struct {
	Suffix []byte     // its clustering suffix (record.Shape.DecodeSuffix)
	Row    record.Row // without tombstones and what they hide
}

// Config says what page is wanted.
type Config struct {
	Need              int // sources that must cover a row before it is merged
	Sources           int // replicas that may be asked
	Reverse           bool
	MaxRows, MaxBytes int   // where the page ends; at least 1
	Now               int64 // Unix seconds, for what expires
	// Hidden says which suffixes are not to be shown; may be nil.
	Hidden func(suffix []byte) bool
	// AppendOnly: two values of one cell are a conflict.
	AppendOnly bool
}

// Page is one page on its way. Make it with New.
type Page struct {
	cfg Config

	head     record.Head // of all answers so far
	sources  []source
	position []byte // merged up to here, inclusive; nil: nothing is merged yet

	rows  []Row
	bytes int
	done  bool
	more  bool
	cells []record.Cell // a block that decoded rows share

	digester  record.Digester // of rows that are compared
	conflicts int
}

// source is what one replica has answered beyond the page's position.
type source struct {
	rows    []Row  // not merged yet
	end     []byte // covers up to here, inclusive, unless whole
	whole   bool   // covers everything that is left
	asked   int    // rows that it was last asked for
	started bool
	late    bool   // it was first asked after the page's beginning
	head    []byte // its partition head, when it was last asked
	lacks   []Lack
}

// New begins a page of nothing.
func New(cfg Config) *Page {
	return &Page{cfg: cfg, sources: make([]source, cfg.Sources)}
}

// Done reports that the page is complete.
func (p *Page) Done() bool { return p.done }

// Rows returns the visible rows so far, in walk order, and whether more may
// remain beyond a page that is done.
func (p *Page) Rows() (rows []Row, more bool) { return p.rows, p.more }

// compare orders suffixes in walk order.
func (p *Page) compare(a, b []byte) int {
	if p.cfg.Reverse {
		return bytes.Compare(b, a)
	}
	return bytes.Compare(a, b)
}

// ahead reports whether the source covers anything beyond the position.
func (p *Page) ahead(i int) bool {
	s := &p.sources[i]
	return s.started && (s.whole || p.position == nil || p.compare(s.end, p.position) > 0)
}

// Ahead returns how many sources cover more than is merged.
func (p *Page) Ahead() int {
	n := 0
	for i := range p.sources {
		if p.ahead(i) {
			n++
		}
	}
	return n
}

// Take accepts the answer of a replica. An answer that cannot be decoded is an
// error, and changes nothing.
func (p *Page) Take(i int, a *transport.ReadAnswer) error {
	var head record.Head
	if len(a.Head) > 0 {
		if err := record.DecodeHead(a.Head, &head); err != nil {
			return fmt.Errorf("page: a replica's partition head: %w", err)
		}
	}
	var rows []Row
	var last []byte
	for rest := a.Rows; len(rest) > 0; {
		suffix, fragment, next, err := record.NextEntry(rest)
		if err != nil {
			return fmt.Errorf("page: a replica's answer: %w", err)
		}
		if last != nil && p.compare(last, suffix) >= 0 {
			return errors.New("page: a replica's answer: rows are not in order")
		}
		if suffix == nil {
			suffix = []byte{} // nil means none here
		}
		row := Row{Suffix: suffix}
		if err := p.decode(fragment, &row.Row); err != nil {
			return fmt.Errorf("page: a replica's row: %w", err)
		}
		last, rest = suffix, next
		if p.position == nil || p.compare(suffix, p.position) > 0 {
			rows = append(rows, row)
		}
	}
	if a.More && last == nil {
		return errors.New("page: a replica's answer: more rows, but none to go on from")
	}
	record.MergeHead(&p.head, &head)
	s := &p.sources[i]
	s.head = a.Head
	if !p.ahead(i) {
		s.late = s.late || !s.started && p.position != nil
		s.rows, s.end, s.whole, s.started = rows, last, !a.More, true
	}
	return nil
}

// decode decodes a row with its cells in a block that many rows share.
func (p *Page) decode(fragment []byte, row *record.Row) error {
	const least, first, most = 8, 16, 512
	if cap(p.cells)-len(p.cells) < least {
		p.cells = make([]record.Cell, 0, min(max(first, 2*cap(p.cells)), most))
	}
	free := p.cells[len(p.cells):len(p.cells):cap(p.cells)]
	row.Cells = free
	if err := record.DecodeRow(fragment, row); err != nil {
		return err
	}
	if n := len(row.Cells); n <= cap(free) { // else append has moved them to an array of their own
		p.cells = p.cells[:len(p.cells)+n]
		row.Cells = row.Cells[:n:n]
	}
	return nil
}

// Ask reports whether a source must be asked (again), after which suffix (nil:
// from the beginning), and for how many rows; the caller does so. Each time more
// rows are asked for, so that many deleted rows take few requests.
func (p *Page) Ask(i, most int) (after []byte, rows int, yes bool) {
	if p.done || p.ahead(i) {
		return nil, 0, false
	}
	s := &p.sources[i]
	rows = p.cfg.MaxRows - len(p.rows)
	if s.asked > 0 {
		rows = max(rows, 2*s.asked)
	}
	s.asked = min(rows, most)
	return p.position, s.asked, true
}

// Merge moves on as far as Need sources cover the slice.
func (p *Page) Merge() { p.mergeAs(p.cfg.Need) }

// MergeAgreed moves on as far as any source covers the slice: for the first
// answers, when all sources are known to have answered the same.
func (p *Page) MergeAgreed() { p.mergeAs(1) }

func (p *Page) mergeAs(need int) {
	for !p.done {
		end, whole, ok := p.covered(need)
		if !ok {
			return
		}
		p.mergeTo(end, whole)
		switch {
		case p.done:
		case whole:
			p.done = true
		case p.full():
			p.done, p.more = true, true
		}
		p.position = end
	}
}

// covered returns how far need sources cover the slice.
func (p *Page) covered(need int) (end []byte, whole, ok bool) {
	// The need-th farthest end; the number of sources is the replication factor,
	// so a selection by counting is as good as a sort.
	for i := range p.sources {
		if !p.ahead(i) {
			continue
		}
		far := 0
		for j := range p.sources {
			if p.ahead(j) && p.reaches(j, i) {
				far++
			}
		}
		if far < need {
			continue
		}
		s := &p.sources[i]
		if s.whole {
			return nil, true, true
		}
		if !ok || p.compare(s.end, end) > 0 {
			end, ok = s.end, true
		}
	}
	return end, false, ok
}

// reaches reports whether source j covers at least what source i covers.
func (p *Page) reaches(j, i int) bool {
	a, b := &p.sources[j], &p.sources[i]
	return a.whole || !b.whole && p.compare(a.end, b.end) >= 0
}

// mergeTo merges the rows up to end, or all, and ends the page when it is full.
func (p *Page) mergeTo(end []byte, whole bool) {
	for {
		suffix := p.next()
		if suffix == nil || !whole && p.compare(suffix, end) > 0 {
			return
		}
		if p.full() {
			p.done, p.more = true, true
			return
		}
		row, ok := p.pop(suffix)
		if ok {
			p.rows = append(p.rows, row)
			p.bytes += sizeOf(&row)
		}
	}
}

func (p *Page) full() bool { return len(p.rows) >= p.cfg.MaxRows || p.bytes >= p.cfg.MaxBytes }

// next returns the first suffix of any source, or nil.
func (p *Page) next() []byte {
	var first []byte
	for i := range p.sources {
		if rows := p.sources[i].rows; len(rows) > 0 && (first == nil || p.compare(rows[0].Suffix, first) < 0) {
			first = rows[0].Suffix
		}
	}
	return first
}

// pop merges all sources' rows with that suffix, and reports whether anything of
// them is visible. What a source lacks of the merged row is noted.
func (p *Page) pop(suffix []byte) (Row, bool) {
	var found []*record.Row // by source; nil: it has no such row
	var merged Row
	for i := range p.sources {
		s := &p.sources[i]
		if len(s.rows) == 0 || !bytes.Equal(s.rows[0].Suffix, suffix) {
			continue
		}
		if p.compares() {
			if found == nil {
				found = make([]*record.Row, len(p.sources))
			}
			own := s.rows[0].Row.Without(record.NoShadow)
			found[i] = &own
		}
		if merged.Suffix == nil {
			merged = s.rows[0]
		} else {
			record.MergeRow(&merged.Row, &s.rows[0].Row)
		}
		s.rows = s.rows[1:]
	}
	if p.cfg.Hidden != nil && p.cfg.Hidden(suffix) {
		return Row{}, false
	}
	if found != nil {
		p.note(suffix, &merged.Row, found)
	}
	return merged, merged.Row.Visible(p.head.ShadowAt(suffix), p.cfg.Now)
}

// sizeOf is roughly what a row takes in an answer.
func sizeOf(r *Row) int {
	n := len(r.Suffix) + 16
	for i := range r.Row.Cells {
		n += 16 + len(r.Row.Cells[i].Path) + len(r.Row.Cells[i].Value)
	}
	return n
}
