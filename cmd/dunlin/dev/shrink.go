package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/cmd/dunlin/moves"
)

// Remove takes a node out of a running cluster: it hands over what it holds, its
// process ends, and its data moves out of the way. which is its number, name, id, or
// the beginning of its id.
func Remove(ctx context.Context, out io.Writer, o Options, which string, show moves.Show) error {
	if err := o.Validate(); err != nil {
		return err
	}
	number := parseNumber(which)
	asked, cluster, status, err := o.running(ctx, number)
	if err != nil {
		return err
	}
	if n := o.node(number, runtime.GOOS); number > 0 && n.hasLeft(status) {
		fmt.Fprintf(out, "%s has left the cluster already; its data is set aside in %s, and can be deleted\n", n.name, n.left())
		return nil
	}
	id, n, err := o.leaver(status, which, number)
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	if n != nil && n.number == asked.number && number == 0 { // found by its id: another one can tell when it has gone
		if other, c, _, err := o.running(ctx, n.number); err == nil {
			asked, cluster = other, c
		}
	}
	port, err := client.NewAdmin(asked.adminURL())
	if err != nil {
		return err
	}
	request := client.ChangeRequest{Kind: admin.KindDecommission, Node: id}
	raw, err := port.Change(ctx, request)
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	var plan admin.LayoutPlan
	if err := json.Unmarshal(raw, &plan); err != nil {
		return fmt.Errorf("dev: read the answer: %w", err)
	}
	if err := moves.PrintPlan(out, plan); err != nil {
		return err
	}
	if !plan.Done {
		if err := cluster.Wait(ctx, request, plan.Change, show); err != nil {
			return fmt.Errorf("dev: %w", err)
		}
	}
	if n == nil { // it runs elsewhere
		fmt.Fprintf(out, "\n%s has left the cluster\n", id)
		return nil
	}
	fmt.Fprintf(out, "\n%s has left the cluster\n", n.name)
	return n.setAside(ctx, out)
}

// hasLeft: the node was taken out before, and none has its place.
func (n node) hasLeft(status admin.Status) bool {
	return n.member(status.Members) == nil && !exists(n.dir) && exists(n.left())
}

// parseNumber reads a node's number, or its name; 0 if it is neither.
func parseNumber(which string) int {
	number, err := strconv.Atoi(strings.TrimPrefix(which, "n"))
	if err != nil || number < 1 || number > nodesMax {
		return 0
	}
	return number
}

// leaver finds the member that is meant, and its place in this cluster; nil if it has
// none.
func (o Options) leaver(status admin.Status, which string, number int) (id string, n *node, err error) {
	if number > 0 {
		planned := o.node(number, runtime.GOOS)
		m := planned.member(status.Members)
		if m == nil {
			return "", nil, fmt.Errorf("no member has the address of %s, %s", planned.name, planned.address(planned.ports.HTTP))
		}
		return m.ID, &planned, nil
	}
	if id, err = moves.Resolve(status, which); err != nil {
		return "", nil, err
	}
	for number := 1; o.fits(number); number++ {
		planned := o.node(number, runtime.GOOS)
		if m := planned.member(status.Members); m != nil && m.ID == id {
			return id, &planned, nil
		}
	}
	return id, nil, nil
}

// endPatience is how long a node may take to end that has left.
const endPatience = 30 * time.Second

// setAside moves the data of a node that has left out of the way, once it serves
// nothing any more and its process has let go of its stores.
func (n node) setAside(ctx context.Context, out io.Writer) error {
	if !exists(n.dir) {
		return nil // its data is elsewhere
	}
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	for checkPorts([]node{n}) != nil || locked(filepath.Join(n.dir, "meta", "LOCK")) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("dev: %s has not ended: stop it, and delete %s", n.name, n.dir)
		case <-time.After(100 * time.Millisecond):
		}
	}
	if !exists(n.dir) {
		return nil // the process that ran it was faster
	}
	if err := os.RemoveAll(n.left()); err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	if err := os.Rename(n.dir, n.left()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dev: %w", err)
	}
	fmt.Fprintf(out, "its data is set aside in %s, and can be deleted\n", n.left())
	return nil
}
