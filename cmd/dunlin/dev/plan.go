package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Ports are those of a node.
type Ports struct{ HTTP, Internode, Gossip, Admin int }

// Options are the flags of `dunlin dev`.
type Options struct {
	Nodes int
	// Again starts, besides, those nodes that were added, and leaves out those that left.
	Again  bool
	Dir    string
	Base   string // address of n1
	Wipe   bool
	Ports  Ports
	Sample func(ctx context.Context, out io.Writer, urls []string) error // once all are ready; nil: nothing
}

// Defaults of the flags.
const (
	DefaultBase = "127.0.0.1"
	DefaultDir  = "./dunlin-dev"
)

// nodesMax is the largest number of a node.
const nodesMax = 50

// Validate reports what is wrong with the options.
func (o Options) Validate() error {
	if o.Nodes < 1 || o.Nodes > nodesMax {
		return fmt.Errorf("--nodes is %d: give 1 to %d", o.Nodes, nodesMax)
	}
	base := net.ParseIP(o.Base).To4()
	if base == nil || !base.IsLoopback() {
		return fmt.Errorf("--base is %q: give an IPv4 loopback address such as 127.0.0.1", o.Base)
	}
	if !o.fits(o.Nodes) {
		return fmt.Errorf("--base %s leaves no room for %d nodes: the last byte may reach 254", o.Base, o.Nodes)
	}
	return nil
}

// fits reports whether there is an address for a node's number.
func (o Options) fits(number int) bool {
	return number <= nodesMax && int(net.ParseIP(o.Base).To4()[3])+number-1 <= 254
}

// node is the plan for one node of a development cluster.
type node struct {
	number int
	name   string // n1, n2, …
	host   string
	ports  Ports
	usual  bool // they are the default ports
	dir    string
	seed   string // whom to ask for membership; empty: this node bootstraps
	rf     int    // replication factor of the bootstrap
}

// node lays out a node by its number: on Linux every node has a loopback address of
// its own, elsewhere (where only 127.0.0.1 exists) ports of its own.
func (o Options) node(number int, goos string) node {
	n := node{number: number, name: "n" + strconv.Itoa(number), host: o.Base, ports: o.Ports, usual: true}
	if i := number - 1; goos == "linux" {
		base := net.ParseIP(o.Base).To4()
		n.host = net.IPv4(base[0], base[1], base[2], base[3]+byte(i)).String()
	} else {
		n.usual = i == 0
		n.ports.HTTP, n.ports.Internode = n.ports.HTTP+10*i, n.ports.Internode+10*i
		n.ports.Gossip, n.ports.Admin = n.ports.Gossip+10*i, n.ports.Admin+10*i
	}
	n.dir = filepath.Join(o.Dir, n.name)
	return n
}

func (n node) address(port int) string { return net.JoinHostPort(n.host, strconv.Itoa(port)) }
func (n node) httpURL() string         { return "http://" + n.address(n.ports.HTTP) }
func (n node) adminURL() string        { return "http://" + n.address(n.ports.Admin) }

// left is where the data of a node is put that has left the cluster.
func (n node) left() string { return n.dir + ".left" }

// args is the command line, after the binary's name, that runs the node. A
// node that is a member already ignores --bootstrap and --join.
func (n node) args() []string {
	args := []string{"serve", "--data-dir", n.dir, "--listen-host", n.host}
	if !n.usual {
		args = append(args,
			"--listen-http-port", strconv.Itoa(n.ports.HTTP), "--listen-internode-port", strconv.Itoa(n.ports.Internode),
			"--listen-gossip-port", strconv.Itoa(n.ports.Gossip), "--listen-admin-port", strconv.Itoa(n.ports.Admin))
	}
	if n.seed == "" {
		return append(args, "--bootstrap", "--replication-factor", strconv.Itoa(n.rf))
	}
	return append(args, "--join", n.seed)
}

// exists reports whether there is such a file; one that cannot be looked at counts.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// plan lays out a development cluster.
func (o Options) plan(goos string) ([]node, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	var plan []node
	for number := 1; o.fits(number); number++ {
		n := o.node(number, goos)
		wanted := number <= o.Nodes
		if o.Again && !o.Wipe {
			wanted = exists(n.dir) || wanted && !exists(n.left())
		}
		if wanted {
			plan = append(plan, n)
		}
	}
	founder := founder(plan, o.Wipe)
	for i := range plan {
		plan[i].rf = min(len(plan), 3)
		if i != founder || (founder > 0 && !o.Wipe) {
			plan[i].seed = plan[founder].address(plan[founder].ports.Internode)
		}
	}
	return plan, nil
}

// founder is the node that the others join: the first one that has data, since
// a node without data must not found a second cluster beside it.
func founder(plan []node, wipe bool) int {
	for i, n := range plan {
		if !wipe && exists(n.dir) {
			return i
		}
	}
	return 0
}

// wipe removes the data of earlier runs: only directories and logs named
// as this command names them.
func wipe(plan []node) error {
	if len(plan) == 0 {
		return nil
	}
	dir := filepath.Dir(plan[0].dir)
	for _, pattern := range []string{"n[0-9]", "n[0-9][0-9]", "n[0-9].log", "n[0-9][0-9].log", "n[0-9].left", "n[0-9][0-9].left"} {
		old, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("dev: wipe: %w", err)
		}
		for _, path := range old {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("dev: wipe: %w", err)
			}
		}
	}
	return nil
}

// checkPorts refuses addresses that something else listens on: its answers would
// be taken for the new nodes'.
func checkPorts(plan []node) error {
	for _, n := range plan {
		for _, port := range []int{n.ports.HTTP, n.ports.Internode, n.ports.Gossip, n.ports.Admin} {
			l, err := net.Listen("tcp", n.address(port))
			if err != nil {
				return fmt.Errorf("dev: %s cannot be used (%w); is another cluster running there? Stop it, or choose other addresses with --base", n.name, err)
			}
			if err := l.Close(); err != nil {
				return fmt.Errorf("dev: %w", err)
			}
		}
	}
	return nil
}
