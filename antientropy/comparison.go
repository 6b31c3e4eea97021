package antientropy

import (
	"bytes"
	"context"
	"fmt"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// fewKeys is how many keys are listed without looking for the buckets that differ.
const fewKeys = 64

// stage is what a comparison does next.
type stage int

const (
	filled    stage = iota // read the leaf here into buckets
	descended              // compare buckets with the peer's
	listed                 // list keys of both sides
	pulling                // pull what is wanted
	offering               // let the peer pull what it lacks
	compared               // nothing is left
)

// comparison makes one leaf equal on two nodes, one question at a time.
type comparison struct {
	a    *AntiEntropy
	view *schema.View
	peer ring.NodeID
	born hlc.Timestamp
	head leafHead

	stage   stage
	filling filling
	chosen  chosen

	after, through  []byte // the part that was listed
	wanted, offered []uint64
	at              []byte // how far that part was pulled, or offered

	repaired, given pullAnswer // in all
}

// advance takes the comparison one bounded step on.
func (c *comparison) advance(ctx context.Context) (done bool, err error) {
	switch c.stage {
	case filled:
		err = c.fill()
	case descended:
		err = c.descend(ctx)
	case listed:
		err = c.list(ctx)
	case pulling:
		err = c.pull(ctx)
	case offering:
		err = c.offer(ctx)
	}
	return c.stage == compared, err
}

func (c *comparison) fill() error {
	if err := c.a.fill(&c.filling); err != nil || !c.filling.done {
		return err
	}
	c.chosen, c.stage = chosen{buckets: []uint32{0}}, descended
	if c.filling.buckets.keys <= fewKeys {
		c.listAll()
	}
	return nil
}

func (c *comparison) listAll() { c.chosen, c.stage = chosen{}, listed }

// descend compares the next level below the chosen buckets.
func (c *comparison) descend(ctx context.Context) error {
	m := bucketsRequest{c.head, c.chosen}
	body, err := c.a.call(ctx, c.peer, kindBuckets, m.encode())
	if err != nil {
		return fmt.Errorf("buckets of leaf %+v: %w", c.head.leaf, err)
	}
	theirs, err := decodeBucketsAnswer(body)
	if err != nil || theirs.reading {
		return err
	}
	if len(theirs.sums) != bucketFan*len(c.chosen.buckets) {
		return fmt.Errorf("%w: %d sums of %d buckets", errMessage, len(theirs.sums), len(c.chosen.buckets))
	}
	if theirs.keys <= fewKeys {
		c.listAll()
		return nil
	}
	next := chosen{level: c.chosen.level + 1}
	for i, b := range c.chosen.buckets {
		for j, ours := range c.filling.buckets.children(b, c.chosen.level) {
			if ours != theirs.sums[i*bucketFan+j] {
				next.buckets = append(next.buckets, b*bucketFan+uint32(j))
			}
		}
	}
	c.chosen = next
	switch {
	case len(next.buckets) == 0:
		c.stage = compared
	case deepEnough(max(theirs.keys, c.filling.buckets.keys), next.level):
		c.stage = listed
	}
	return nil
}

// list compares the next keys of the chosen buckets, as far as both sides come
// with their walks.
func (c *comparison) list(ctx context.Context) error {
	ours, err := c.a.list(span{c.head.leaf, c.after, nil}, &c.chosen)
	if err != nil {
		return err
	}
	m := keysRequest{spanHead{c.head, c.after, ours.through}, c.chosen}
	body, err := c.a.call(ctx, c.peer, kindKeys, m.encode())
	if err != nil {
		return fmt.Errorf("keys of leaf %+v: %w", c.head.leaf, err)
	}
	theirs, err := decodeKeysAnswer(body)
	if err != nil {
		return err
	}
	if theirs.through != nil {
		before := ours.through != nil && bytes.Compare(theirs.through, ours.through) > 0
		if leaf, ok := record.LeafOf(theirs.through); !ok || leaf != c.head.leaf || before || bytes.Compare(theirs.through, c.after) <= 0 {
			return fmt.Errorf("%w: keys beyond what was asked for", errMessage)
		}
		ours.upTo(theirs.through)
	}
	c.through = ours.through
	c.wanted, c.offered = differ(ours.keys, theirs.keys)
	c.at, c.stage = c.after, pulling
	c.settle()
	return nil
}

// settle passes the stages that have nothing to do.
func (c *comparison) settle() {
	if c.stage == pulling && len(c.wanted) == 0 {
		c.at, c.stage = c.after, offering
	}
	if c.stage == offering && len(c.offered) == 0 {
		c.after, c.stage = c.through, listed
		if c.through == nil {
			c.stage = compared
		}
	}
}

func (c *comparison) pull(ctx context.Context) error {
	got, err := c.a.pull(ctx, c.peer, c.view, c.born, &rowsRequest{spanHead{c.head, c.at, c.through}, c.wanted})
	if err != nil {
		return err
	}
	c.repaired.rows, c.repaired.bytes = c.repaired.rows+got.rows, c.repaired.bytes+got.bytes
	if c.at = got.through; c.at == nil {
		c.wanted = nil
		c.settle()
	}
	return nil
}

func (c *comparison) offer(ctx context.Context) error {
	m := rowsRequest{spanHead{c.head, c.at, c.through}, c.offered}
	body, err := c.a.call(ctx, c.peer, kindPull, m.encode())
	if err != nil {
		return fmt.Errorf("pull of leaf %+v by the peer: %w", c.head.leaf, err)
	}
	got, err := decodePullAnswer(body)
	if err != nil {
		return err
	}
	if got.through != nil && bytes.Compare(got.through, c.at) <= 0 {
		return fmt.Errorf("%w: it does not go on", errMessage)
	}
	c.given.rows, c.given.bytes = c.given.rows+got.rows, c.given.bytes+got.bytes
	if c.at = got.through; c.at == nil {
		c.offered = nil
		c.settle()
	}
	return nil
}
