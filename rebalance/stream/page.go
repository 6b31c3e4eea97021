package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
)

// pageReader reads one page. All its cursors are clones of one, and so of one moment.
type pageReader struct {
	source *Source
	view   *schema.View
	q      *Request
	limit  int // bytes of entries

	first  *storage.Cursor // open until the end, for the others
	canon  record.Canon
	left   []byte // of a fragment that was stripped
	last   []byte // the last key that was read
	seen   int    // rows and heads that were read
	sent   int    // and are in the page
	answer Answer
}

// read fills the answer.
func (p *pageReader) read(ctx context.Context) (err error) {
	all := leaves(p.view, p.q, p.source.env.Engine.Windows)
	p.last = append(p.last, p.q.After...)
	for i, l := range all {
		lower, upper := l.Bounds()
		if at, ok := record.LeafOf(p.q.After); i == 0 && ok && at == l {
			lower = append(bytes.Clone(p.q.After), 0)
		}
		full, failed := false, error(nil)
		if bytes.Compare(lower, upper) < 0 {
			full, failed = p.leaf(ctx, l, lower, upper)
		}
		if err = failed; err != nil {
			break
		}
		if full {
			p.answer.Next = bytes.Clone(p.last)
			break
		}
	}
	if p.first != nil {
		err = errors.Join(err, p.first.Close())
	}
	return err
}

// cursor makes one of the page's moment.
func (p *pageReader) cursor(lower, upper []byte) (c *storage.Cursor, err error) {
	if p.first == nil {
		if p.first, err = p.source.env.Engine.Cursor(lower, upper); err != nil {
			return nil, err
		}
	}
	return p.first.Clone(lower, upper)
}

// leaf adds a leaf's entries; full is true if the page ends before the leaf does.
func (p *pageReader) leaf(ctx context.Context, l record.Leaf, lower, upper []byte) (full bool, err error) {
	rows, err := p.cursor(lower, upper)
	if err != nil {
		return false, err
	}
	heads := &headFinder{table: l.Table}
	ok := rows.Seek(lower)
	if ok && l.Space != record.SpaceHeads {
		if heads.cursor, err = p.cursor(l.Heads().Bounds()); err != nil {
			return false, errors.Join(err, rows.Close())
		}
	}
	for ok && !full {
		if full, err = p.entry(ctx, l, rows, heads); err != nil {
			break
		}
		ok = rows.Next()
	}
	if err == nil && !full {
		err = rows.Err()
	}
	if heads.cursor != nil {
		err = errors.Join(err, heads.cursor.Close())
	}
	return full, errors.Join(err, rows.Close())
}

// entry adds what the rows' cursor stands on, unless the page is full.
func (p *pageReader) entry(ctx context.Context, l record.Leaf, rows *storage.Cursor, heads *headFinder) (full bool, err error) {
	if p.seen >= p.source.cfg.PageRows {
		return true, nil
	}
	if p.seen%256 == 0 && ctx.Err() != nil {
		return false, ctx.Err()
	}
	key := rows.Key()
	fragment, err := rows.Value()
	if err != nil {
		return false, err
	}
	if fragment, err = p.strip(l, key, fragment, heads); err != nil {
		return false, fmt.Errorf("stream: leaf %+v: %w", l, err)
	}
	if len(fragment) > 0 {
		if p.sent > 0 && len(p.answer.Entries)+len(key)+len(fragment) > p.limit {
			return true, nil
		}
		p.answer.Entries = record.AppendEntry(p.answer.Entries, key, fragment)
		p.sent++
	}
	p.seen++
	p.last = append(p.last[:0], key...)
	return false, nil
}

// strip decodes an entry, and leaves out what a deletion hides: that must not
// outlive it at the other node.
func (p *pageReader) strip(l record.Leaf, key, fragment []byte, heads *headFinder) ([]byte, error) {
	k, err := record.ParseKey(key)
	if err != nil {
		return nil, err
	}
	if l.Space == record.SpaceHeads {
		p.left, err = p.canon.PurgeHead(p.left[:0], fragment)
	} else {
		if err := heads.enter(&p.canon, record.PartitionOf(key, k.Suffix)); err != nil {
			return nil, err
		}
		p.left, err = p.canon.PurgeRow(p.left[:0], k.Suffix, fragment)
	}
	if err != nil || !p.canon.Loose {
		return fragment, err
	}
	return p.left, nil
}

// headFinder finds the heads of partitions that come in order: its cursor only moves
// on, and rests where there are none.
type headFinder struct {
	table     uint32
	cursor    *storage.Cursor // nil among heads
	at, done  bool            // it stands on a key; there are no more
	partition []byte          // that is at hand
	key       []byte
}

// enter shows the head of a row's partition to canon, when it is another's.
func (h *headFinder) enter(canon *record.Canon, partition []byte) error {
	if len(h.partition) > 0 && bytes.Equal(partition, h.partition) {
		return nil
	}
	h.partition = append(h.partition[:0], partition...)
	if !h.done && (!h.at || record.ComparePartition(h.cursor.Key(), partition) < 0) {
		h.key = record.AppendHeadOf(h.key[:0], h.table, partition)
		h.at = h.cursor.Seek(h.key)
		h.done = !h.at
		if err := h.cursor.Err(); err != nil {
			return err
		}
	}
	if h.done || record.ComparePartition(h.cursor.Key(), partition) != 0 {
		return canon.SetHead(nil)
	}
	value, err := h.cursor.Value()
	if err != nil {
		return err
	}
	return canon.SetHead(value)
}
