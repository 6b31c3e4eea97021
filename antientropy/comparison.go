package antientropy

import (
	"bytes"
	"context"
	"fmt"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/tree"
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
	head message.LeafHead

	stage   stage
	filling filling
	chosen  tree.Chosen

	after, through  []byte // the part that was listed
	wanted, offered []uint64
	at              []byte // how far that part was pulled, or offered

	repaired, given message.PullAnswer // in all
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
	c.chosen, c.stage = tree.Chosen{Buckets: []uint32{0}}, descended
	if c.filling.buckets.Keys <= fewKeys {
		c.listAll()
	}
	return nil
}

func (c *comparison) listAll() { c.chosen, c.stage = tree.Chosen{}, listed }

// descend compares the next level below the chosen buckets.
func (c *comparison) descend(ctx context.Context) error {
	m := message.BucketsRequest{LeafHead: c.head, Chosen: c.chosen}
	body, err := c.a.ask(ctx, c.peer, message.Buckets, m.Encode())
	if err != nil {
		return fmt.Errorf("buckets of leaf %+v: %w", c.head.Leaf, err)
	}
	theirs, err := message.DecodeBucketsAnswer(body)
	if err != nil || theirs.Reading {
		return err
	}
	if len(theirs.Sums) != tree.Fan*len(c.chosen.Buckets) {
		return fmt.Errorf("%w: %d sums of %d buckets", message.ErrMessage, len(theirs.Sums), len(c.chosen.Buckets))
	}
	if theirs.Keys <= fewKeys {
		c.listAll()
		return nil
	}
	next := tree.Chosen{Level: c.chosen.Level + 1}
	for i, b := range c.chosen.Buckets {
		for j, ours := range c.filling.buckets.Children(b, c.chosen.Level) {
			if ours != theirs.Sums[i*tree.Fan+j] {
				next.Buckets = append(next.Buckets, b*tree.Fan+uint32(j))
			}
		}
	}
	c.chosen = next
	switch {
	case len(next.Buckets) == 0:
		c.stage = compared
	case tree.DeepEnough(max(theirs.Keys, c.filling.buckets.Keys), next.Level):
		c.stage = listed
	}
	return nil
}

// list compares the next keys of the chosen buckets, as far as both sides come
// with their walks.
func (c *comparison) list(ctx context.Context) error {
	ours, err := c.a.list(tree.Span{Leaf: c.head.Leaf, After: c.after}, c.head.Form(), &c.chosen)
	if err != nil {
		return err
	}
	m := message.KeysRequest{SpanHead: message.SpanHead{LeafHead: c.head, After: c.after, Through: ours.through}, Chosen: c.chosen}
	body, err := c.a.ask(ctx, c.peer, message.Keys, m.Encode())
	if err != nil {
		return fmt.Errorf("keys of leaf %+v: %w", c.head.Leaf, err)
	}
	theirs, err := message.DecodeKeysAnswer(body)
	if err != nil {
		return err
	}
	if theirs.Through != nil {
		before := ours.through != nil && bytes.Compare(theirs.Through, ours.through) > 0
		if leaf, ok := record.LeafOf(theirs.Through); !ok || leaf != c.head.Leaf || before || bytes.Compare(theirs.Through, c.after) <= 0 {
			return fmt.Errorf("%w: keys beyond what was asked for", message.ErrMessage)
		}
		ours.upTo(theirs.Through)
	}
	c.through = ours.through
	c.wanted, c.offered = message.Differ(ours.keys, theirs.Keys)
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

// rows asks for what is left of keys in the part that was listed.
func (c *comparison) rows(hashes []uint64) *message.RowsRequest {
	return &message.RowsRequest{SpanHead: message.SpanHead{LeafHead: c.head, After: c.at, Through: c.through}, Hashes: hashes}
}

func (c *comparison) pull(ctx context.Context) error {
	got, err := c.a.pull(ctx, c.a.ask, c.peer, c.view, c.born, c.rows(c.wanted))
	if err != nil {
		return err
	}
	c.repaired.Rows, c.repaired.Bytes = c.repaired.Rows+got.Rows, c.repaired.Bytes+got.Bytes
	if c.at = got.Through; c.at == nil {
		c.wanted = nil
		c.settle()
	}
	return nil
}

func (c *comparison) offer(ctx context.Context) error {
	body, err := c.a.ask(ctx, c.peer, message.Pull, c.rows(c.offered).Encode())
	if err != nil {
		return fmt.Errorf("pull of leaf %+v by the peer: %w", c.head.Leaf, err)
	}
	got, err := message.DecodePullAnswer(body)
	if err != nil {
		return err
	}
	if got.Through != nil && bytes.Compare(got.Through, c.at) <= 0 {
		return fmt.Errorf("%w: it does not go on", message.ErrMessage)
	}
	c.given.Rows, c.given.Bytes = c.given.Rows+got.Rows, c.given.Bytes+got.Bytes
	if c.at = got.Through; c.at == nil {
		c.offered = nil
		c.settle()
	}
	return nil
}
