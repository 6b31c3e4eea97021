package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/dunlindb/dunlin/admin"
)

// errNotYet answers what operators ask of the layout until it can be changed.
var errNotYet = fmt.Errorf("node: the layout cannot be changed yet: %w", errors.ErrUnsupported)

// Plan says what a change of the layout would move.
func (n *Node) Plan(context.Context, admin.ChangeRequest) (admin.LayoutPlan, error) {
	return admin.LayoutPlan{}, errNotYet
}

// Change begins a change of the layout.
func (n *Node) Change(context.Context, admin.ChangeRequest) (admin.LayoutPlan, error) {
	return admin.LayoutPlan{}, errNotYet
}

// Abort drops the change on its way.
func (n *Node) Abort(context.Context) error { return errNotYet }

// Progress is what the change on its way has done; nil if there is none.
func (n *Node) Progress() *admin.ChangeProgress { return nil }

// Recover makes the survivors the only members.
func (n *Node) Recover(context.Context, admin.RecoverRequest) error { return errNotYet }
