package page

import (
	"github.com/dunlindb/dunlin/record"
)

// Lack is a merged row that a source does not have as it is.
type Lack struct {
	Suffix   []byte
	Fragment []byte // the row, encoded
}

// compares reports whether the sources' rows are compared: more than one has
// answered with rows of its own.
func (p *Page) compares() bool {
	n := 0
	for i := range p.sources {
		if p.sources[i].started {
			n++
		}
	}
	return n > 1
}

// Lacks returns the rows up to the page's end that a source must be given to be
// equal to what was merged, in walk order, and the encoded head, if its own is
// another. A source that was not asked for rows lacks nothing that is known.
func (p *Page) Lacks(i int) (rows []Lack, head []byte) {
	s := &p.sources[i]
	if !s.started || !p.compares() {
		return nil, nil
	}
	if p.head.IsZero() {
		return s.lacks, nil
	}
	merged := p.head.Append(nil)
	if p.headDigest(merged) == p.headDigest(s.head) {
		return s.lacks, nil
	}
	return s.lacks, merged
}

// Complete reports whether a source has answered with rows from the page's beginning.
func (p *Page) Complete(i int) bool { return p.sources[i].started && !p.sources[i].late }

// Conflicts returns how many rows of a table that is only appended to have two
// values for one cell.
func (p *Page) Conflicts() int { return p.conflicts }

// note compares each source's row with the merged one, which is not reduced to
// what is visible yet.
func (p *Page) note(suffix []byte, merged *record.Row, found []*record.Row) {
	shadow := p.head.ShadowAt(suffix)
	whole := merged.Without(shadow)
	if whole.IsZero() {
		return
	}
	want := p.rowDigest(suffix, &whole)
	var fragment []byte
	conflict := false
	for i := range p.sources {
		s := &p.sources[i]
		if !s.started || !s.whole && p.compare(s.end, suffix) < 0 {
			continue
		}
		if own := found[i]; own != nil {
			conflict = conflict || p.cfg.AppendOnly && own.Conflicts(&whole)
			shown := own.Without(shadow)
			if p.rowDigest(suffix, &shown) == want {
				continue
			}
		}
		if fragment == nil {
			fragment = whole.Append(nil)
		}
		s.lacks = append(s.lacks, Lack{Suffix: suffix, Fragment: fragment})
	}
	if conflict {
		p.conflicts++
	}
}

// rowDigest is the digest of one row; a row that cannot be digested equals none.
func (p *Page) rowDigest(suffix []byte, r *record.Row) record.Digest {
	p.digester.Reset()
	if p.digester.AddHead(nil) != nil || p.digester.AddRow(suffix, r.Append(nil)) != nil {
		return record.Digest{}
	}
	return p.digester.Sum()
}

// headDigest is the digest of an encoded head, which may be empty.
func (p *Page) headDigest(head []byte) record.Digest {
	p.digester.Reset()
	if p.digester.AddHead(head) != nil {
		return record.Digest{}
	}
	return p.digester.Sum()
}
