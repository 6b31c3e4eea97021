package ring

import (
	"fmt"

	"github.com/buraksezer/consistent"

	"github.com/dunlindb/dunlin/token"
)

// named is a member as the library sees it: its UUID and never its address,
// because names that end in digits share virtual nodes.
type named struct {
	id    string
	index uint16
}

// String is the name that the library hashes.
func (n named) String() string { return n.id }

// hasher is the library's hash: the low half of Murmur3, as tokens use it. It
// must never change under a running cluster.
type hasher struct{}

// Sum64 hashes a virtual node's or a range's name.
func (hasher) Sum64(b []byte) uint64 { return uint64(token.Of(b)) }

// propose asks the library for an owner of every range. The library panics when
// its bounded loads do not fit; that becomes an error.
func propose(members []Member) (owners []uint16, err error) {
	defer func() {
		if p := recover(); p != nil {
			owners, err = nil, fmt.Errorf("ring: no proposal for %d members: %v", len(members), p)
		}
	}()
	list := make([]consistent.Member, len(members))
	for i, m := range members {
		list[i] = named{id: m.ID.String(), index: uint16(i)}
	}
	c := consistent.New(list, consistent.Config{
		Hasher:            hasher{},
		PartitionCount:    token.Ranges,
		ReplicationFactor: 200,
		Load:              1.05,
	})
	owners = make([]uint16, token.Ranges)
	for rng := range owners {
		owners[rng] = c.GetPartitionOwner(rng).(named).index
	}
	return owners, nil
}
