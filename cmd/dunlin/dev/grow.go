package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/cmd/dunlin/moves"
)

// normal is the state of a member that holds its ranges.
const normal = "normal"

// Add starts one more node of a cluster that runs already, waits until it holds its
// ranges, and stays with it until ctx ends.
func Add(ctx context.Context, out io.Writer, o Options, show moves.Show) error {
	if err := o.Validate(); err != nil {
		return err
	}
	seed, cluster, status, err := o.running(ctx, 0)
	if err != nil {
		return err
	}
	n, err := o.free(status.Members, runtime.GOOS)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(n.left()); err != nil { // of the node that had this number and left
		return fmt.Errorf("dev: %w", err)
	}
	n.seed = seed.address(seed.ports.Internode)
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("dev: find this binary: %w", err)
	}
	fleet := newFleet(o, binary, out)
	defer fleet.stop()
	if err := fleet.startAll([]node{n}); err != nil {
		return err
	}
	err = fleet.awaitMember(ctx, cluster, show)
	if ctx.Err() != nil {
		return nil // Ctrl-C
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s is a member, and holds its ranges. Ctrl-C stops it; it stays a member, and `%s dev%s` starts it with the others.\n"+
		"Take it out, from another terminal:  %s dev --remove %d%s\n", n.name, os.Args[0], o.where(), os.Args[0], n.number, o.where())
	return fleet.watch(ctx)
}

// running finds a node of the cluster that answers, another one than avoid if it can.
func (o Options) running(ctx context.Context, avoid int) (n node, cluster *moves.Cluster, s admin.Status, err error) {
	var numbers []int
	for number := 1; o.fits(number); number++ {
		numbers = append(numbers, number)
	}
	slices.SortStableFunc(numbers, func(a, b int) int {
		switch {
		case a == avoid:
			return 1
		case b == avoid:
			return -1
		}
		return 0
	})
	for _, number := range numbers {
		n = o.node(number, runtime.GOOS)
		port, err := client.NewAdmin(n.adminURL())
		if err != nil {
			return n, nil, s, err
		}
		cluster, s, err = moves.Connect(ctx, port)
		if err == nil && len(s.Members) > 0 {
			return n, cluster, s, nil
		}
		if ctx.Err() != nil {
			return n, nil, s, ctx.Err()
		}
	}
	return n, nil, s, fmt.Errorf("dev: no node of a cluster answers at %s or the addresses that follow it: start one with `%s dev%s`", o.Base, os.Args[0], o.where())
}

// free is the node with the lowest number that no member has, that has no data, and
// whose ports are free.
func (o Options) free(members []admin.Member, goos string) (node, error) {
	for number := 1; o.fits(number); number++ {
		n := o.node(number, goos)
		if n.member(members) == nil && !exists(n.dir) && checkPorts([]node{n}) == nil {
			return n, nil
		}
	}
	return node{}, fmt.Errorf("dev: no address is free: all numbers up to %d are taken", nodesMax)
}

// member is the node as a member; nil if it is none.
func (n node) member(members []admin.Member) *admin.Member {
	for i := range members {
		if members[i].HTTP == n.address(n.ports.HTTP) {
			return &members[i]
		}
	}
	return nil
}

// awaitMember waits until the only child is a member that holds its ranges.
func (f *fleet) awaitMember(ctx context.Context, cluster *moves.Cluster, show moves.Show) error {
	defer show(nil)
	c := f.kids[0]
	for {
		if s, err := cluster.Status(ctx); err == nil { // an error: the cluster is asked again
			m := c.node.member(s.Members)
			if m != nil && m.State == normal && m.Alive {
				return nil
			}
			if m != nil && s.Change != nil {
				show(s.Change)
			}
		}
		select {
		case <-c.done:
			return errors.New("it has ended before it held its ranges; the end of its log:\n" + tail(c.node.dir+".log", 8))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}
