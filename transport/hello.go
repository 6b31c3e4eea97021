package transport

import (
	"fmt"

	"github.com/dunlindb/dunlin/transport/slot"
	"github.com/dunlindb/dunlin/transport/wire"
)

// ownHello is what this node says now.
func (t *Transport) ownHello() Hello {
	h := t.env.Hello()
	h.Node, h.Version = t.env.Self, t.env.CatalogVersion()
	h.Protocol, h.Features, h.Limits = wire.Protocol, wire.Features, t.cfg.limits()
	return h
}

// admit decides whether a stream with the node that said theirs is wanted.
func (t *Transport) admit(ours, theirs Hello) error {
	if theirs.Node == t.env.Self {
		return fmt.Errorf("node %s is this node: two addresses, or two nodes with one identity", theirs.Node)
	}
	l := theirs.Limits
	if l.Slots == 0 || l.Slots > 1<<slot.IndexBits || l.RequestBytes == 0 || l.AnswerBytes == 0 {
		return fmt.Errorf("node %s states impossible limits: %+v", theirs.Node, l)
	}
	if err := ours.SameCluster(theirs); err != nil {
		return err
	}
	return t.env.Admit(theirs)
}

func (t *Transport) sendHello(s stream, h Hello) error {
	b, err := h.Encode()
	if err != nil {
		return err
	}
	return s.SendMsg(&message{Buf: &b})
}

func (t *Transport) receiveHello(s stream) (Hello, error) {
	var m message
	if err := s.RecvMsg(&m); err != nil {
		return Hello{}, err
	}
	defer t.pool.Put(m.Buf)
	return wire.DecodeHello(*m.Buf)
}
