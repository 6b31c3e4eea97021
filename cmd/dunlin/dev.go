package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// devOptions are the flags of `dunlin dev`.
type devOptions struct {
	nodes  int
	dir    string
	base   string
	wipe   bool
	sample bool
}

// devReadyDeadline bounds how long the nodes may take to become ready.
const devReadyDeadline = 60 * time.Second

func newDevCommand() *cobra.Command {
	var opts devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, for trying and developing",
		Long: `Run a cluster of child processes on this machine, one loopback address each
(on systems other than Linux: one address with port offsets). Data stays in
--dir and is taken up again on the next start. A node that dies stays dead: the
command that starts it again is printed. Ctrl-C stops all of them.`,
		Example: `  dunlin dev                       # three nodes on 127.0.0.1 … 127.0.0.3
  dunlin dev --nodes 5 --dir /tmp/d5 --wipe
  dunlin dev --base 127.0.1.1      # beside another cluster`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDev(cmd.Context(), cmd.OutOrStdout(), opts)
		},
	}
	f := cmd.Flags()
	f.IntVar(&opts.nodes, "nodes", 3, "number of nodes")
	f.StringVar(&opts.dir, "dir", "./dunlin-dev", "directory for the nodes' data and logs (n1, n2, …)")
	f.StringVar(&opts.base, "base", "127.0.0.1", "address of the first node; the others follow it")
	f.BoolVar(&opts.wipe, "wipe", false, "delete existing data of the development cluster first")
	f.BoolVar(&opts.sample, "sample", false, "write a few sample events once the cluster is ready, and read them back")
	return cmd
}

func runDev(ctx context.Context, out io.Writer, opts devOptions) error {
	plan, err := planDev(opts, runtime.GOOS)
	if err != nil {
		return &usageError{err}
	}
	if err := checkPorts(plan); err != nil {
		return err
	}
	if opts.wipe {
		if err := wipeDev(plan); err != nil {
			return err
		}
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("dev: find this binary: %w", err)
	}
	fleet := newFleet(binary, out)
	defer fleet.stop()
	if err := fleet.startAll(plan); err != nil {
		return err
	}
	readyCtx, cancel := context.WithTimeout(ctx, devReadyDeadline)
	defer cancel()
	if err := fleet.waitReady(readyCtx); err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C while starting
		}
		return err
	}
	fleet.printReady()
	if opts.sample {
		if err := writeSample(ctx, out, plan); err != nil {
			return fmt.Errorf("dev: sample events: %w", err)
		}
	}
	printNextSteps(out, plan)
	return fleet.watch(ctx)
}

// devNode is the plan for one node of a development cluster.
type devNode struct {
	name  string // n1, n2, …
	host  string
	http  int // ports
	inter int
	goss  int
	admin int
	dir   string
	seed  string // whom to ask for membership; empty: this node bootstraps
	rf    int    // replication factor of the bootstrap
}

func (n devNode) httpURL() string {
	return "http://" + net.JoinHostPort(n.host, strconv.Itoa(n.http))
}

func (n devNode) adminURL() string {
	return "http://" + net.JoinHostPort(n.host, strconv.Itoa(n.admin))
}

// args is the command line, after the binary's name, that runs the node. A
// node that is a member already ignores --bootstrap and --join.
func (n devNode) args() []string {
	args := []string{"serve", "--data-dir", n.dir, "--listen-host", n.host}
	if n.http != defaultHTTPPort {
		args = append(args,
			"--listen-http-port", strconv.Itoa(n.http), "--listen-internode-port", strconv.Itoa(n.inter),
			"--listen-gossip-port", strconv.Itoa(n.goss), "--listen-admin-port", strconv.Itoa(n.admin))
	}
	if n.seed == "" {
		return append(args, "--bootstrap", "--replication-factor", strconv.Itoa(n.rf))
	}
	return append(args, "--join", n.seed)
}

// planDev lays out a development cluster: on Linux every node has a loopback
// address of its own, elsewhere (where only 127.0.0.1 exists) ports of its own.
func planDev(opts devOptions, goos string) ([]devNode, error) {
	if opts.nodes < 1 || opts.nodes > 50 {
		return nil, fmt.Errorf("--nodes is %d: give 1 to 50", opts.nodes)
	}
	base := net.ParseIP(opts.base).To4()
	if base == nil || !base.IsLoopback() {
		return nil, fmt.Errorf("--base is %q: give an IPv4 loopback address such as 127.0.0.1", opts.base)
	}
	if int(base[3])+opts.nodes-1 > 254 {
		return nil, fmt.Errorf("--base %s leaves no room for %d nodes: the last byte may reach 254", opts.base, opts.nodes)
	}
	var plan []devNode
	for i := range opts.nodes {
		n := devNode{
			name: "n" + strconv.Itoa(i+1), host: opts.base,
			http: defaultHTTPPort, inter: defaultInternodePort, goss: defaultGossipPort, admin: defaultAdminPort,
		}
		if goos == "linux" {
			n.host = net.IPv4(base[0], base[1], base[2], base[3]+byte(i)).String()
		} else {
			n.http, n.inter, n.goss, n.admin = n.http+10*i, n.inter+10*i, n.goss+10*i, n.admin+10*i
		}
		n.dir = filepath.Join(opts.dir, n.name)
		n.rf = min(opts.nodes, 3)
		plan = append(plan, n)
	}
	founder := founder(plan, opts.wipe)
	for i := range plan {
		if i != founder || (founder > 0 && !opts.wipe) {
			seed := plan[founder]
			plan[i].seed = net.JoinHostPort(seed.host, strconv.Itoa(seed.inter))
		}
	}
	return plan, nil
}

// founder is the node that the others join: the first one that has data, since
// a node without data must not found a second cluster beside it.
func founder(plan []devNode, wipe bool) int {
	for i, n := range plan {
		if _, err := os.Stat(n.dir); err == nil && !wipe {
			return i
		}
	}
	return 0
}

// wipeDev removes the data of earlier runs: only directories and logs named
// as this command names them.
func wipeDev(plan []devNode) error {
	if len(plan) == 0 {
		return nil
	}
	dir := filepath.Dir(plan[0].dir)
	for _, pattern := range []string{"n[0-9]", "n[0-9][0-9]", "n[0-9].log", "n[0-9][0-9].log"} {
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
func checkPorts(plan []devNode) error {
	for _, n := range plan {
		for _, port := range []int{n.http, n.inter, n.goss, n.admin} {
			l, err := net.Listen("tcp", net.JoinHostPort(n.host, strconv.Itoa(port)))
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

func printNextSteps(out io.Writer, plan []devNode) {
	first := plan[0]
	fmt.Fprintf(out, `
Try next, in another terminal:
  %[5]s status --admin %[2]s
  echo '{"type":"greeting","data":{"hello":"world"}}' | %[5]s event append demo --http %[1]s
  %[5]s event read demo --http %[1]s
  curl -s '%[1]s/v1/streams/demo/events?limit=5'
  curl -s %[2]s/metrics | grep dunlin_coordinator
  kill -9 %[3]s      # then go on writing

Ctrl-C stops the cluster; data stays in %[4]s.
`, first.httpURL(), first.adminURL(), "PID-OF-A-NODE", filepath.Dir(first.dir), os.Args[0])
}
